"""A pair warped by its transform, and its pictures: the whole of a pair in 2-D, planes of volumes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from acreg.errors import images_by_name
from acreg.geometry import Affine, Transform, jacobian_determinant, labels_on, unregistered
from acreg.geometry.planes import VOLUME, upright, upright_grid
from acreg.geometry.transform import Border
from acreg.io import Image

PLANES = tuple(plane.name.capitalize() for plane in VOLUME)
"""The planes perpendicular to the axes of an upright volume."""
SIDES = tuple(plane.sides for plane in VOLUME)
"""The patient's side at the top, bottom, left and right of each plane."""


@dataclass
class PairView:
    """A registered pair in 2-D, everything on the fixed grid except `moving` and `moving_labels`.

    Images and label maps are `(rows, columns)`, the displacement is `(rows, columns, 2)` in voxels of the fixed grid.
    `aspect` and `moving_aspect` are row spacing / column spacing, `step` and `moving_step` the column spacing in mm.
    `before` is the moving image on the fixed grid, without registration.
    """

    fixed: np.ndarray
    moving: np.ndarray
    before: np.ndarray
    warped: np.ndarray
    displacement: np.ndarray
    determinant: np.ndarray
    aspect: float
    moving_aspect: float
    fixed_labels: np.ndarray | None = None
    moving_labels: np.ndarray | None = None
    warped_labels: np.ndarray | None = None
    step: float = 1.0
    moving_step: float = 1.0


@dataclass
class WarpedPair:
    """A registered pair, everything on the fixed grid except `moving` and `moving_labels`.

    The axes of a volume are those nearest to (superior, posterior, left), and `transform` maps between images in this
    order. The displacement `(*spatial, rank)` is in voxels of the fixed grid and has no affine part. `before` is the
    moving image on the fixed grid, without registration.
    """

    transform: Transform
    fixed: Image
    moving: Image
    before: np.ndarray
    warped: np.ndarray
    displacement: np.ndarray
    fixed_labels: np.ndarray | None = None
    moving_labels: np.ndarray | None = None
    warped_labels: np.ndarray | None = None

    @cached_property
    def determinant(self) -> np.ndarray:
        """The Jacobian determinant of the displacement, `(*spatial)`."""
        return jacobian_determinant(self.displacement)

    def middle(self) -> tuple[int, ...]:
        """The voxel whose planes are shown by default: on each axis, the slice with most fixed labels or the middle."""
        shape = self.fixed.grid.shape
        if self.fixed_labels is None or not self.fixed_labels.any():
            return tuple(n // 2 for n in shape)
        axes = range(len(shape))
        counts = (np.count_nonzero(self.fixed_labels, axis=tuple(a for a in axes if a != axis)) for axis in axes)
        return tuple(int(np.argmax(count)) for count in counts)

    def plane(self, axis: int, index: int, moving_index: int | None = None) -> PairView:
        """A slice of a volume in radiological view: 0 axial, 1 coronal, 2 sagittal, see `SIDES`.

        Args:
            axis: the axis perpendicular to the slice.
            index: the position of the slice along this axis of the fixed image.
            moving_index: that of the slice of the moving image; if left out, at the same share of its extent.
        """
        if moving_index is None:
            moving_index = int((index + 0.5) * self.moving.grid.shape[axis] / self.fixed.grid.shape[axis])
        within = [n for n in range(3) if n != axis]

        def cut(array: np.ndarray, at: int = index) -> np.ndarray:
            found = np.take(array, at, axis)
            return found[::-1] if axis else found  # the superior side is up

        def moving_cut(array: np.ndarray) -> np.ndarray:
            return cut(array, moving_index)

        displacement = cut(self.displacement)[..., within]
        return self._view(cut, moving_cut, displacement * (-1, 1) if axis else displacement, within)

    def place(self, axis: int, voxel: Sequence[int]) -> tuple[int, int]:
        """The row and column at which `plane` shows a voxel of the fixed grid."""
        row, column = (voxel[n] for n in range(3) if n != axis)
        return (self.fixed.grid.shape[0] - 1 - row if axis else row), column

    def picture(self) -> PairView:
        """The whole of a pair in 2-D."""
        return self._view(np.asarray, np.asarray, self.displacement, (0, 1))

    def _view(
        self,
        cut: Callable[[np.ndarray], np.ndarray],
        moving_cut: Callable[[np.ndarray], np.ndarray],
        displacement: np.ndarray,
        within: Sequence[int],
    ) -> PairView:
        rows, columns = within
        spacing, moving_spacing = self.fixed.grid.spacing, self.moving.grid.spacing
        return PairView(
            fixed=cut(self.fixed.array),
            moving=moving_cut(self.moving.array),
            before=cut(self.before),
            warped=cut(self.warped),
            displacement=displacement,
            determinant=cut(self.determinant),
            aspect=spacing[rows] / spacing[columns],
            moving_aspect=moving_spacing[rows] / moving_spacing[columns],
            fixed_labels=None if self.fixed_labels is None else cut(self.fixed_labels),
            moving_labels=None if self.moving_labels is None else moving_cut(self.moving_labels),
            warped_labels=None if self.warped_labels is None else cut(self.warped_labels),
            step=spacing[columns],
            moving_step=moving_spacing[columns],
        )


@images_by_name
def view_pair(
    transform: Transform,
    *,
    fixed: Image,
    moving: Image,
    fixed_labels: Image | None = None,
    moving_labels: Image | None = None,
    border: Border = "constant",
    fill: float = 0.0,
) -> PairView:
    """Warp the given images and labels and extract the slice to show; see `warp_pair` for arguments and errors.

    For a volume, this is the axial slice with the most fixed labels, or else the middle one, in radiological view (the
    patient's left on the right).
    """
    pair = warp_pair(
        transform,
        fixed=fixed,
        moving=moving,
        fixed_labels=fixed_labels,
        moving_labels=moving_labels,
        border=border,
        fill=fill,
    )
    return pair.picture() if fixed.grid.rank == 2 else pair.plane(0, pair.middle()[0])


@images_by_name
def warp_pair(
    transform: Transform,
    *,
    fixed: Image,
    moving: Image,
    fixed_labels: Image | None = None,
    moving_labels: Image | None = None,
    border: Border = "constant",
    fill: float = 0.0,
) -> WarpedPair:
    """Warp the given images and labels to show them; for values outside, see `Transform.warp_image`.

    Raises:
        AcregError: labels cannot be placed on their image, see `acreg.geometry.labels_on`.
    """
    fixed_labels = None if fixed_labels is None else labels_on(fixed_labels, fixed)
    moving_labels = None if moving_labels is None else labels_on(moving_labels, moving)
    if fixed.grid.rank == 3:
        fixed, moving = _upright(fixed), _upright(moving)
        fixed_labels = None if fixed_labels is None else _upright(fixed_labels)
        moving_labels = None if moving_labels is None else _upright(moving_labels)
        transform = dataclasses.replace(transform, fixed=fixed.grid, moving=moving.grid)
    deformation = dataclasses.replace(transform, maps=tuple(m for m in transform.maps if not isinstance(m, Affine)))
    return WarpedPair(
        transform=transform,
        fixed=fixed,
        moving=moving,
        before=unregistered(fixed=fixed, moving=moving).warp_image(moving, border, fill).array,
        warped=transform.warp_image(moving, border, fill).array,
        displacement=deformation.displacement,
        fixed_labels=None if fixed_labels is None else fixed_labels.array,
        moving_labels=None if moving_labels is None else moving_labels.array,
        warped_labels=None if moving_labels is None else transform.warp_labels(moving_labels).array,
    )


def _upright(image: Image) -> Image:
    """The same voxels along (superior, posterior, left)."""
    return dataclasses.replace(image, array=upright(image.array, image.grid), grid=upright_grid(image.grid))
