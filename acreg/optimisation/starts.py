"""Where a linear registration starts, and how likely its maps are."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from acreg.geometry.grid import Grid
from acreg.geometry.maps import Affine
from acreg.optimisation.subject import Subject

TURNING, STRETCHING = 0.025, 1.0
"""Weights of the two terms of `Candidate.cost`."""
TILT = 45.0
"""Degrees beyond which a map is a turned one."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A map that is a start, or was found from it.

    Args:
        start: the name of the start.
        matrix: `(rank + 1, rank + 1)` homogeneous, mm; from the fixed image to the moving one, both centred.
        reference: `(rank, rank)`, the linear part that costs nothing; None for the identity.
        value: its objective.
    """

    start: str
    matrix: np.ndarray
    reference: np.ndarray | None = None
    value: float = float("-inf")

    @property
    def turn(self) -> float:
        """Degrees of the rotation nearest to it."""
        left, _, right = np.linalg.svd(self.matrix[:-1, :-1])
        return _angle(left @ right)

    @property
    def is_turned(self) -> bool:
        """Whether it turns by more than `TILT`."""
        return self.turn > TILT

    def cost(self, matrix: np.ndarray) -> tuple[float, np.ndarray]:
        """How unlikely another map is from this start, at least 0, and its derivatives by its linear part.

        Headers are usually right, and subjects differ in size by some percent, not by half. With the linear part `A`
        relative to `reference`, and its singular values s, the cost is `TURNING (|A - 1|^2 + |A^-1 - 1|^2) / 2 +
        STRETCHING sum (s - 1 / s)^2 / 4`. It is the same for the inverse map.
        """
        base = np.eye(len(matrix) - 1) if self.reference is None else np.linalg.inv(self.reference)
        a = matrix[:-1, :-1] @ base
        b, one = np.linalg.inv(a), np.eye(len(a))
        turning = ((a - one) ** 2).sum() + ((b - one) ** 2).sum()
        stretching = (a**2).sum() + (b**2).sum() - 2 * len(a)
        slopes = TURNING * (a - one - (b @ (b - one).T @ b).T) + STRETCHING / 2 * (a - (b @ b.T @ b).T)
        return TURNING / 2 * turning + STRETCHING / 4 * stretching, slopes @ base.T


def upright_starts(subjects: tuple[Subject, Subject], placed: bool, kind: str) -> list[Candidate]:
    """The starts that do not turn; the first is the one without any registration.

    Args:
        subjects: the fixed and the moving image.
        placed: whether both have a place. Where one has none, the extents are aligned first, and scaled to each other
            if `kind` scales.
        kind: see `linear`.
    """
    fixed, moving = subjects
    rank = len(fixed.centre)
    (extent, box), (moving_extent, moving_box) = fixed.middles, moving.middles
    shifts = {
        "extents": (fixed.centre - extent) - (moving.centre - moving_extent),
        "contents": (fixed.centre - box) - (moving.centre - moving_box),
        "centres of mass": np.zeros(rank),
    }
    if placed:
        shifts = {"header": fixed.centre - moving.centre, **shifts}
    starts = [Candidate(name, _map(np.eye(rank), shift)) for name, shift in shifts.items()]
    if not placed and kind in ("similarity", "affine"):
        scales = _lengths(moving.grid) / _lengths(fixed.grid)
        scale = np.diag(scales if kind == "affine" else np.full(rank, np.prod(scales) ** (1 / rank)))
        shift = scale @ (fixed.centre - extent) - (moving.centre - moving_extent)
        starts.insert(0, Candidate("scaled extents", _map(scale, shift), scale))
    return starts


def turned_starts(subjects: tuple[Subject, Subject]) -> list[Candidate]:
    """Rotations about the centres of mass: a set without wide gaps, and those between the principal axes."""
    rank = len(subjects[0].centre)
    if rank == 2:
        turns = [np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) for a in np.arange(1, 12) * np.pi / 6]
    else:  # the rotations of a cube and of an icosahedron but for the identity
        turns = [r for group in "OI" for r in Rotation.create_group(group).as_matrix() if np.trace(r) < 2.99]
    axes, moving_axes = (np.linalg.eigh(subject.covariance)[1] for subject in subjects)
    for signs in itertools.product((1, -1), repeat=rank):
        turn = moving_axes * signs @ axes.T
        if np.linalg.det(turn) > 0:
            turns.append(turn)
    return [Candidate(f"turned by {_angle(turn):.0f} degrees", _map(turn, np.zeros(rank))) for turn in turns]


def given_start(subjects: tuple[Subject, Subject], initial: Affine) -> Candidate:
    """The start at an initial map."""
    matrix = initial.matrix.copy()
    matrix[:-1, -1] = initial(subjects[0].centre[None])[0] - subjects[1].centre
    return Candidate("initial", matrix, initial.matrix[:-1, :-1])


def _lengths(grid: Grid) -> np.ndarray:
    return np.multiply(grid.shape, grid.spacing)


def _map(linear: np.ndarray, shift: np.ndarray) -> np.ndarray:
    matrix = np.eye(len(shift) + 1)
    matrix[:-1, :-1], matrix[:-1, -1] = linear, shift
    return matrix


def _angle(turn: np.ndarray) -> float:
    cosine = np.trace(turn) / 2 if len(turn) == 2 else (np.trace(turn) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
