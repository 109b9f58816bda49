"""The place of the largest error of a registered pair, through which its pictures are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from acreg.metrics import hausdorff_point
from acreg.plotting.drawing import stretch
from acreg.plotting.warped_pair import WarpedPair
from acreg.registration.concerns import foreground

SMOOTHED = 2.0
"""Standard deviation of the smoothing of image differences, in voxels of the axis with the largest spacing."""


@dataclass(frozen=True)
class LargestError:
    """Where a registered pair is most wrong.

    Attributes:
        voxel: index `(rank,)` in the fixed grid of the `WarpedPair`.
        point: the same in world coordinates `(rank,)`, mm, array-axis order (see `acreg.geometry.Grid`).
        label: the label that was measured, None if images were compared.
        distance: the Hausdorff distance of the label in mm, None if images were compared.
    """

    voxel: tuple[int, ...]
    point: np.ndarray
    label: int | None = None
    distance: float | None = None

    def text(self, names: Mapping[int, str], unit: str = "mm") -> str:
        """What was measured: "the largest surface distance, 8.3 mm, of left lung"."""
        if self.label is None:
            return "the largest difference of the smoothed images"
        return f"the largest surface distance, {self.distance:.1f} {unit}, of {names.get(self.label, self.label)}"


def largest_error(pair: WarpedPair, label_values: Sequence[int]) -> LargestError:
    """The place of the largest error of a pair.

    If a label is in both maps, this is the voxel at which the largest Hausdorff distance is attained
    (`acreg.metrics.hausdorff_point`). Otherwise, it is the voxel at which the fixed and the warped image, each
    stretched to [0, 1] (`acreg.plotting.drawing.stretch`), have the largest absolute difference after smoothing
    (`SMOOTHED`). Only the foreground of the fixed image (by Otsu's threshold) that maps into the moving image counts,
    if there is any.

    Args:
        pair: the pair.
        label_values: the labels to measure; the time grows with their number, so give the one with the largest distance
            if it is known.
    """
    grid = pair.fixed.grid
    if pair.fixed_labels is not None and pair.warped_labels is not None:
        found = hausdorff_point(pair.warped_labels, pair.fixed_labels, label_values, grid.spacing)
        if found is not None:
            label, distance, voxel = found
            return LargestError(tuple(voxel.tolist()), grid.to_world(voxel), label, distance)
    difference = np.abs(stretch(pair.fixed.array) - stretch(pair.warped))
    inside = pair.transform.inside(pair.moving.grid)
    difference *= inside
    sigma = SMOOTHED * max(grid.spacing) / np.asarray(grid.spacing)
    smoothed = ndimage.gaussian_filter(difference, sigma, mode="nearest")
    counted = foreground(pair.fixed) & inside
    if counted.any():
        smoothed[~counted] = -1
    voxel = np.array(np.unravel_index(int(smoothed.argmax()), grid.shape))
    return LargestError(tuple(voxel.tolist()), grid.to_world(voxel))
