"""Linear registration of any two images: translation, rigid, similarity and affine maps.

NumPy does it: at most twelve parameters and some ten thousand samples need no tensors, and nothing is compiled.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import optimize
from scipy.spatial.transform import Rotation

from acreg.errors import AcregError, UsageError, images_by_name
from acreg.geometry.image import Image
from acreg.geometry.maps import Affine
from acreg.optimisation.joint_information import Similarity
from acreg.optimisation.motions import KINDS, exponential, generators
from acreg.optimisation.subject import Subject

SIMILARITIES = ("auto", "mutual_information")
"""What `linear` optimises, by name."""
CELLS = (18, 36)
"""Cells along the content of the larger image, on average over the axes: the search, then the last refinement."""
SCORED, SEARCHED, REFINED = 1500, 4000, 20_000
"""Samples of each image in the comparison of starts, their refinement, and the last refinement."""
UPRIGHT, TURNED = 2, 8
"""Starts of either sort that are refined; two of each again with all parameters."""
TILT = 45.0
"""Degrees beyond which a map is a turned one."""
TURNING, STRETCHING = 0.05, 1.0
"""Weights of the prior: see `_unlikely`."""
STEPS = {"search": 20, "refine": 60}
"""Largest numbers of iterations."""
OVERLAP = 0.1
"""Smallest share of the samples of either image that must meet the other image."""


@dataclass(frozen=True)
class _Candidate:
    """A map from `fixed - centre` to `moving - centre`, where it came from, and its similarity."""

    start: str
    matrix: np.ndarray
    value: float = float("-inf")


@images_by_name
def linear(
    *,
    fixed: Image,
    moving: Image,
    kind: str = "affine",
    similarity: str = "auto",
    fixed_mask: Image | None = None,
    moving_mask: Image | None = None,
    initial: Affine | None = None,
    seed: int = 0,
) -> tuple[Affine, dict[str, object]]:
    """Find the linear map between two images of any position, orientation, spacing, anatomy and contrast.

    It maximises normalised mutual information. Starts are the alignment by the headers, of the extents, of the boxes
    around the content, and of the centres of mass; the latter also turned by some ninety rotations and by those
    between the principal axes. The best are refined at a low resolution, the best of these at a higher one. A turned
    start must become clearly more similar than the upright ones (`GAIN`): headers are usually right, and anatomy can
    resemble itself upside down.

    Args:
        fixed, moving: images of one rank. Without a place of its own (`Image.has_place`) in either, the headers' alignment
            is no start.
        kind: "translation", "rigid", "similarity" or "affine". A translation has no turned starts.
        similarity: "auto" or "mutual_information", which are the same.
        fixed_mask, moving_mask: images of kind "labels", nonzero where the image counts.
        initial: a map from fixed to moving points, the only start; the map that is found differs from it by one of
            `kind`.
        seed: chooses the samples. The same seed gives the same bits.

    Returns:
        The map from fixed to moving points, and what was done: "kind", "similarity" (its name), "start" (the start that
        was chosen), "before" and "after" (normalised mutual information, 1 to 2, of the headers' alignment, the extents
        where there is no place, or `initial`; and of the result, which is never lower), "turned" (degrees by which the
        result turns), "starts" (the similarity of each upright start and the best of the turned ones).

    Raises:
        AcregError: the ranks of images, masks or `initial` differ, an image is constant where it counts, a mask is
            empty, or the images do not overlap from any start.
        UsageError: `kind` or `similarity` is none of these.
    """
    _check(fixed, moving, kind, similarity, initial)
    subjects = Subject(fixed, fixed_mask, "fixed"), Subject(moving, moving_mask, "moving")
    rank, centres = fixed.grid.rank, (subjects[0].centre, subjects[1].centre)
    size = max(float(np.prod(s.size) ** (1 / rank)) for s in subjects)
    search, last = (_similarity(subjects, size / cells, n, seed) for cells, n in zip(CELLS, (SEARCHED, REFINED)))
    radius = (subjects[0].radius + subjects[1].radius) / 2
    scored = search.coarser(SCORED)

    upright = _upright_starts(subjects, fixed.has_place and moving.has_place, initial)
    first = upright[0]
    turned = [] if initial is not None or kind == "translation" else _turned_starts(subjects)
    upright, turned = (_best(scored, some) for some in (upright, turned))
    if not upright and not turned:
        raise AcregError(
            "Two images that are registered overlap. Received: images or masks of which less than "
            f"{OVERLAP:.0%} overlap from {'the initial map' if initial is not None else 'every start'}. "
            + ("Give another initial map, or none." if initial is not None else "Give larger masks or an initial map.")
        )
    tried = {c.start: c.value + 1 for c in (*upright, *turned[:1])}

    motions = generators("translation" if kind == "translation" else "rigid", rank, radius)
    moved = [_refined(c, scored, motions, STEPS["search"]) for c in (*upright[:UPRIGHT], *turned[:TURNED])]
    motions = generators(kind, rank, radius)
    chosen = _chosen([_refined(c, search, motions, STEPS["search"]) for c in _leading(moved)])
    found = _refined(chosen, last, motions, STEPS["refine"])
    before = _objective(last, first.matrix)[0]
    if found.value < before or last.overlap(found.matrix) < OVERLAP:
        found = dataclasses.replace(first, value=before)
    there, back = np.eye(rank + 1), np.eye(rank + 1)
    there[:-1, -1], back[:-1, -1] = -centres[0], centres[1]
    return Affine(back @ found.matrix @ there), {
        "kind": kind,
        "similarity": "mutual_information",
        "start": found.start,
        "before": before + 1,
        "after": found.value + 1,
        "turned": _tilt(found.matrix),
        "starts": tried,
    }


def _check(fixed: Image, moving: Image, kind: str, similarity: str, initial: Affine | None) -> None:
    if kind not in KINDS:
        raise UsageError(f"A linear map is one of {', '.join(KINDS)}. Received: kind={kind!r}.")
    if similarity not in SIMILARITIES:
        raise UsageError(
            f"The similarity of a linear registration is one of {', '.join(SIMILARITIES)}. Received: "
            f"similarity={similarity!r}."
        )
    if fixed.grid.rank != moving.grid.rank:
        raise AcregError(
            "Two images that are registered have one number of axes. Received: a fixed image of shape "
            f"{fixed.grid.shape} and a moving one of shape {moving.grid.shape}. Give two images of one kind."
        )
    if initial is not None and initial.rank != fixed.grid.rank:
        raise AcregError(
            f"An initial map has the axes of the images. Received: a map of {initial.rank}-D points for images of "
            f"shape {fixed.grid.shape}. Give a map of {fixed.grid.rank}-D points."
        )


def _similarity(subjects: tuple[Subject, Subject], spacing: float, points: int, seed: int) -> Similarity:
    fixed, moving = subjects
    return Similarity(fixed.at(spacing), moving.at(spacing), (fixed.centre, moving.centre), points, seed)


def _upright_starts(subjects: tuple[Subject, Subject], placed: bool, initial: Affine | None) -> list[_Candidate]:
    """The starts that do not turn; the first is the one that the result is compared with."""
    fixed, moving = subjects
    rank = len(fixed.centre)
    if initial is not None:
        matrix = initial.matrix.copy()
        matrix[:-1, -1] = initial(fixed.centre[None])[0] - moving.centre
        return [_Candidate("initial", matrix)]
    shifts = {
        "extents": (fixed.centre - fixed.middles[0]) - (moving.centre - moving.middles[0]),
        "contents": (fixed.centre - fixed.middles[1]) - (moving.centre - moving.middles[1]),
        "centres of mass": np.zeros(rank),
    }
    if placed:
        shifts = {"header": fixed.centre - moving.centre, **shifts}
    return [_Candidate(name, _map(np.eye(rank), shift)) for name, shift in shifts.items()]


def _turned_starts(subjects: tuple[Subject, Subject]) -> list[_Candidate]:
    """Rotations about the centre of mass: some that leave no gap, and those between the principal axes."""
    fixed, moving = subjects
    rank = len(fixed.centre)
    if rank == 2:
        turns = [np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) for a in np.arange(1, 12) * np.pi / 6]
    else:
        turns = [r for group in "OI" for r in Rotation.create_group(group).as_matrix() if np.trace(r) < 2.99]
    axes = [np.linalg.eigh(subject.covariance)[1] for subject in subjects]
    for signs in itertools.product((1, -1), repeat=rank):
        turn = axes[1] * signs @ axes[0].T
        if np.linalg.det(turn) > 0:
            turns.append(turn)
    return [_Candidate(f"turned by {_angle(turn):.0f} degrees", _map(turn, np.zeros(rank))) for turn in turns]


def _best(similarity: Similarity, starts: Iterable[_Candidate]) -> list[_Candidate]:
    """The starts with an overlap, the most similar first."""
    valued = [
        dataclasses.replace(start, value=_objective(similarity, start.matrix)[0])
        for start in starts
        if similarity.overlap(start.matrix) >= OVERLAP
    ]
    return sorted(valued, key=lambda c: -c.value)


def _refined(start: _Candidate, similarity: Similarity, motions: np.ndarray, steps: int) -> _Candidate:
    """The start after a search for the largest similarity along the parameters of `motions`, at least as good."""

    def negative(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        motion, derivatives = exponential(parameters, motions)
        value, gradient = _objective(similarity, start.matrix @ motion)
        # In units in which BFGS begins with a step of some millimetres
        return -100 * value, -100 * np.einsum("ij,pij->p", gradient, (start.matrix @ derivatives)[:, :-1])

    begin = np.zeros(len(motions))
    result = optimize.minimize(negative, begin, jac=True, method="L-BFGS-B", options={"maxiter": steps, "ftol": 1e-6})
    value, matrix = -result.fun / 100, start.matrix @ exponential(result.x, motions)[0]
    before = _objective(similarity, start.matrix)[0]
    return _Candidate(start.start, matrix, value) if value >= before else dataclasses.replace(start, value=before)


def _leading(found: list[_Candidate]) -> list[_Candidate]:
    """The two best upright maps and the two best turned ones."""
    ordered = sorted(found, key=lambda c: -c.value)
    groups = [[c for c in ordered if (_tilt(c.matrix) > TILT) is turned] for turned in (False, True)]
    return groups[0][:2] + groups[1][:2]


def _chosen(found: list[_Candidate]) -> _Candidate:
    return max(found, key=lambda c: c.value)


def _objective(similarity, matrix):
    value, gradient = similarity(matrix)
    cost, slopes = _unlikely(matrix[:-1, :-1])
    gradient = gradient / (1 + cost)
    gradient[:, :-1] -= value / (1 + cost) ** 2 * slopes
    return value / (1 + cost), gradient


def _unlikely(a):
    b = np.linalg.inv(a)
    one = np.eye(len(a))
    turning = ((a - one) ** 2).sum() + ((b - one) ** 2).sum()
    stretching = (a**2).sum() + (b**2).sum() - 2 * len(a)
    dt = 2 * (a - one) - 2 * (b @ (b - one).T @ b).T
    ds = 2 * a - 2 * (b @ b.T @ b).T
    return TURNING / 2 * turning + STRETCHING / 4 * stretching, TURNING / 2 * dt + STRETCHING / 4 * ds


def _map(turn: np.ndarray, shift: np.ndarray) -> np.ndarray:
    matrix = np.eye(len(shift) + 1)
    matrix[:-1, :-1], matrix[:-1, -1] = turn, shift
    return matrix


def _tilt(matrix: np.ndarray) -> float:
    """Degrees by which a map turns: the angle of the rotation nearest to it."""
    left, _, right = np.linalg.svd(matrix[:-1, :-1])
    return _angle(left @ right)


def _angle(turn: np.ndarray) -> float:
    cosine = np.trace(turn) / 2 if len(turn) == 2 else (np.trace(turn) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
