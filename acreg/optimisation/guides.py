"""What a user knows about two images: masks, labels, landmarks, and a first alignment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from acreg.errors import AcregError
from acreg.geometry import Grid, Image, Transform


@dataclass(frozen=True, eq=False)
class Guides:
    """Guides of a registration.

    Args:
        fixed_mask, moving_mask: label maps that their headers place on the image; what is 0 counts nothing.
        fixed_labels, moving_labels: label maps of both images; their overlap becomes part of the energy.
        fixed_points, moving_points: landmarks ``(n, rank)``, mm in array-axis order (see `acreg.geometry.Grid`). Row i
            of one corresponds to row i of the other.
        initial: takes fixed points to moving points; the registration starts from it.

    Raises:
        AcregError: labels or landmarks of one image alone, or landmarks that are not pairs of finite points.
    """

    fixed_mask: Image | None = None
    moving_mask: Image | None = None
    fixed_labels: Image | None = None
    moving_labels: Image | None = None
    fixed_points: NDArray[np.float64] | None = None
    moving_points: NDArray[np.float64] | None = None
    initial: Transform | None = None

    def __post_init__(self) -> None:
        for one, other, what in (
            (self.fixed_labels, self.moving_labels, "labels"),
            (self.fixed_points, self.moving_points, "landmarks"),
        ):
            if (one is None) != (other is None):
                raise AcregError(
                    f"As guides, {what} of both images are needed. Received: those of the "
                    f"{'moving' if one is None else 'fixed'} image alone. Give both, or none."
                )
        if self.fixed_points is None or self.moving_points is None:
            return
        pair = np.asarray(self.fixed_points, float), np.asarray(self.moving_points, float)
        if pair[0].shape != pair[1].shape or pair[0].ndim != 2 or not (np.isfinite(pair).all() and pair[0].size):
            raise AcregError(
                "Landmarks that guide a registration are pairs of points. Received: arrays of shapes "
                f"{pair[0].shape} and {pair[1].shape}. Give as many of both, in the same order, (n, rank) in mm."
            )

    def swapped(self) -> Guides:
        """The guides of the registration in the other direction.

        Raises:
            AcregError: the initial transform has no inverse, see `Transform.inverse`.
        """
        return Guides(
            fixed_mask=self.moving_mask,
            moving_mask=self.fixed_mask,
            fixed_labels=self.moving_labels,
            moving_labels=self.fixed_labels,
            fixed_points=self.moving_points,
            moving_points=self.fixed_points,
            initial=None if self.initial is None else self.initial.inverse(),
        )

    def check(self, fixed: Grid, moving: Grid) -> None:
        """Raise `AcregError` unless landmarks and the initial transform have as many axes as the images."""
        ranks = {
            "landmarks": None if self.fixed_points is None else np.shape(self.fixed_points)[1],
            "an initial transform": None if self.initial is None else self.initial.fixed.rank,
        }
        for what, rank in ranks.items():
            if rank not in (None, fixed.rank):
                raise AcregError(
                    f"Guides have as many axes as the images. Received: {what} of {rank} axes, images of {fixed.shape} "
                    f"and {moving.shape}. Give those of these images."
                )
