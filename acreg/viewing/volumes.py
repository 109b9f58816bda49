"""What the page of a pair shows: images, labels and deformation, all sampled on one grid.

The grid is that of the fixed image with its axes turned towards the viewer. If the image is large, it is coarser.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np

from acreg.errors import AcregError, images_by_name
from acreg.geometry import (
    Affine,
    Grid,
    Image,
    Transform,
    jacobian_determinant,
    labels_on,
    sample_image,
    unregistered,
)
from acreg.geometry.thinning import thinned_grid
from acreg.geometry.transform import Border

VOXELS = {2: 2**22, 3: 2**23}
"""Largest number of voxels of the shown grid, by rank."""
SIDE = 2048
"""Largest number of voxels along an axis: the size of a texture that every graphics card has."""
PROBES = 2**16
"""About the number of voxels that are asked whether they lie in the moving image."""
NODES = 2**18
"""Largest number of nodes at which the page knows the displacement."""


@dataclass(eq=False)
class Volumes:
    """A registered pair on the grid that the page shows.

    Images are float32 and labels int32, `(*grid.shape)`. `before` is the moving image without registration.

    Attributes:
        grid: its last axis points to the right of the screen and the one before upward. In 3-D the axes are
            (superior, anterior, right); a slice of a patient is turned in its plane, a picture is shown as stored.
        displacement: the deformation, which is the transform without its affine part, at every `step`-th voxel;
            `(*nodes, rank)` in voxels of `grid`. None if the transform is affine.
        determinant: Jacobian determinant of the deformation, `(*grid.shape)`.
        folded: number of voxels whose determinant is not positive.
        notes: what the page has to say about its content, one sentence each.
    """

    grid: Grid
    fixed: np.ndarray
    before: np.ndarray
    warped: np.ndarray
    fixed_labels: np.ndarray | None = None
    before_labels: np.ndarray | None = None
    warped_labels: np.ndarray | None = None
    displacement: np.ndarray | None = None
    step: int = 1
    determinant: np.ndarray | None = None
    folded: int = 0
    notes: list[str] = field(default_factory=list)


@images_by_name
def sample_pair(
    *,
    fixed: Image,
    moving: Image,
    transform: Transform,
    fixed_labels: Image | None = None,
    moving_labels: Image | None = None,
    border: Border = "constant",
    fill: float | None = None,
) -> Volumes:
    """Sample a registered pair on the grid that is shown; see `acreg.viewing.view` for arguments and errors."""
    for image, role in ((fixed, "fixed"), (moving, "moving")):
        _check(image, role, transform)
    fixed_labels = None if fixed_labels is None else labels_on(fixed_labels, fixed)
    moving_labels = None if moving_labels is None else labels_on(moving_labels, moving)
    start = unregistered(fixed=fixed, moving=moving)
    outside = float(moving.array.min()) if fill is None else fill
    grid = shown_grid(fixed.grid)
    notes = _notes(fixed.grid, grid)
    if grid.spacing != turned(fixed.grid).spacing:
        # The moving image is averaged, too: samples far apart would show noise that the image does not have.
        finest = min(grid.spacing)
        moving, moving_labels = _coarser(moving, finest), _coarser_labels(moving_labels, finest)
    transform, start = (dataclasses.replace(each, fixed=grid, moving=moving.grid) for each in (transform, start))
    volumes = Volumes(
        grid=grid,
        fixed=sample_image(fixed.array, fixed.grid, grid, outside=0.0),
        before=start.warp_image(moving, border, outside).array,
        warped=transform.warp_image(moving, border, outside).array,
        notes=notes,
    )
    if fixed_labels is not None:
        volumes.fixed_labels = Transform(grid, fixed.grid).warp_labels(fixed_labels, "nearest").array
    if moving_labels is not None:
        volumes.before_labels = start.warp_labels(moving_labels).array
        volumes.warped_labels = transform.warp_labels(moving_labels).array
    _add_deformation(volumes, transform)
    if not transform.resample_to(thinned_grid(grid, PROBES)[0]).inside(moving.grid).any():
        notes.append("No part of the moving image is visible: do the transform and its direction belong to this pair?")
    return volumes


def _check(image: Image, role: str, transform: Transform) -> None:
    """Raise `AcregError` if an image cannot be shown with a transform."""
    grid = image.grid
    if grid.rank != transform.fixed.rank:
        raise AcregError(
            f"A transform has the number of axes of its images. Received: {image.name or 'image'}, the {role} image, "
            f"of shape {grid.shape}, and a transform with {transform.fixed.rank} axes. Give the transform of this pair."
        )
    if min(grid.shape) < 2:
        raise AcregError(
            f"Images to view have at least 2 voxels along each axis. Received: {image.name or role}, the {role} image, "
            f"of shape {grid.shape}. A slice is read as a 2-D image where the axis of one voxel is the last of the "
            "file: store it so."
        )


def shown_grid(grid: Grid) -> Grid:
    """The grid on which the page shows an image: turned, and coarser if it has more voxels than `VOXELS`."""
    grid = turned(grid)
    spacing = np.asarray(grid.spacing)
    size = spacing * grid.shape
    finest = spacing.min()
    while True:
        shape = np.minimum(np.maximum(np.rint(size / np.maximum(spacing, finest)), 2), grid.shape).astype(int)
        if np.prod(shape) <= VOXELS[grid.rank] and shape.max() <= SIDE:
            break
        finest *= 1.02
    return _with_shape(grid, tuple(shape.tolist()))


def turned(grid: Grid) -> Grid:
    """The same voxels, with the last axis to the right of the screen and the axis before upward."""
    if grid.rank == 3:
        return _flipped(grid.reoriented(), 1, 2)
    if not grid.plane:
        return _flipped(grid, 0)
    down = int(np.abs(np.asarray(grid.plane)[:, 1]).argmax()) == 1  # rows go to posterior, and not to superior
    return _flipped(grid.reoriented(), *[0] * down)


def _flipped(grid: Grid, *axes: int) -> Grid:
    direction = np.array(grid.direction)
    corner = np.zeros(grid.rank)
    for axis in axes:
        direction[:, axis] *= -1
        corner[axis] = grid.shape[axis] - 1
    return dataclasses.replace(grid, origin=tuple(grid.to_world(corner)), direction=tuple(map(tuple, direction)))


def _with_shape(grid: Grid, shape: tuple[int, ...]) -> Grid:
    """A grid of another shape with the same extent."""
    if shape == grid.shape:
        return grid
    spacing = [s * n / new for s, n, new in zip(grid.spacing, grid.shape, shape, strict=True)]
    return grid.centred((np.array(grid.shape) - 1) / 2, shape, spacing)


def _coarser(image: Image, spacing: float) -> Image:
    """An image averaged to voxels of about `spacing` mm along the axes that are finer."""
    grid = _of_spacing(image.grid, spacing)
    return dataclasses.replace(image, array=sample_image(image.array, image.grid, grid, outside=0.0), grid=grid)


def _coarser_labels(labels: Image | None, spacing: float) -> Image | None:
    if labels is None:
        return None
    return Transform(_of_spacing(labels.grid, spacing), labels.grid).warp_labels(labels, "nearest")


def _of_spacing(grid: Grid, spacing: float) -> Grid:
    shape = [max(2, min(n, round(n * s / spacing))) for n, s in zip(grid.shape, grid.spacing, strict=True)]
    return _with_shape(grid, tuple(shape))


def _add_deformation(volumes: Volumes, transform: Transform) -> None:
    """Add the displacement and its determinant; what an affine map does everywhere would hide the deformation."""
    if all(isinstance(part, Affine) for part in transform.maps):
        volumes.notes.append("The transform is affine: there is no deformation to show.")
        return
    grid = volumes.grid
    deformation = Transform(grid, grid, (*transform.maps, transform.affine_part.inverse()))
    displacement = deformation.displacement
    determinant = np.nan_to_num(jacobian_determinant(displacement), nan=0.0)  # of a field that overflows
    volumes.determinant = np.clip(determinant, -1e9, 1e9).astype(np.float32)
    volumes.folded = int(np.count_nonzero(~(volumes.determinant > 0)))
    volumes.step = min(thinned_grid(grid, NODES)[1])
    volumes.displacement = displacement[(slice(None, None, volumes.step),) * grid.rank]


def _notes(fixed: Grid, grid: Grid) -> list[str]:
    """What the reader has to know about the shown grid."""
    notes = []
    original = turned(fixed)
    if grid.shape != original.shape:
        notes.append(f"Reduced for this page from {_words(original)} to {_words(grid)}; the files keep their voxels.")
    angle = np.degrees(np.arccos(np.clip(np.abs(np.asarray(original.direction)).max(axis=0).min(), 0, 1)))
    if grid.rank == 3 and angle > 0.5:
        notes.append(
            f"The slices are those of the fixed image, whose axes are oblique: turned by {angle:.0f} degrees from the "
            "patient's."
        )
    return notes


def _words(grid: Grid) -> str:
    return f"{' x '.join(map(str, grid.shape[::-1]))} voxels of {' x '.join(f'{s:.3g}' for s in grid.spacing[::-1])} mm"
