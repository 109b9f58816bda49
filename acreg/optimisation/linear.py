"""Linear registration of any two images: translation, rigid, similarity and affine maps.

NumPy does it: at most twelve parameters and some ten thousand samples need no tensors, and nothing is compiled.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import optimize

from acreg.errors import AcregError, UsageError, images_by_name
from acreg.geometry.image import Image
from acreg.geometry.maps import Affine
from acreg.optimisation.joint_information import Similarity
from acreg.optimisation.motions import KINDS, exponential, generators
from acreg.optimisation.starts import Candidate, given_start, turned_starts, upright_starts
from acreg.optimisation.subject import Subject

SIMILARITIES = ("auto", "mutual_information")
"""What `linear` optimises, by name."""
SEARCH, LAST = 18, 72
"""Cells along the content of the larger image, on average over its axes, in the search and in the last refinement."""
SCORED, SEARCHED, REFINED = 1500, 4000, 60_000
"""Samples of each image in the comparison of starts, in the search, and in the last refinement."""
UPRIGHT, TURNED, LEADING = 2, 8, 2
"""Starts of either sort that are refined, and how many of either sort are refined again with all parameters."""
SHORT, LONG = 20, 60
"""Iterations of the search and of the last refinement, at most."""
SCALE = 100.0
"""Of the objective: L-BFGS takes a first step as long as the gradient, which is then some tenths of a millimetre."""
OVERLAP = 0.1
"""The share of the samples of either image that must meet the other image."""


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

    It maximises their normalised mutual information, divided by 1 and a cost of maps that turn or stretch much
    (`starts.Candidate.cost`). The starts are the alignment by the headers, of the extents, of the boxes around the
    content, and of the centres of mass, the latter also turned by 82 rotations and by those between the principal axes
    (in 2-D by 11). The best are refined at a low resolution, and the best of these at a higher one.

    Args:
        fixed, moving: images of one rank. Without a place of both (`Image.has_place`), headers do not align them.
        kind: "translation", "rigid", "similarity" or "affine". A translation has no turned starts.
        similarity: "auto" or "mutual_information", which are the same: it suits one contrast and two.
        fixed_mask, moving_mask: images of kind "labels", nonzero where the image counts.
        initial: a map from fixed to moving points, the only start; the result is this map after one of `kind`.
        seed: chooses the samples. The same seed gives the same bits.

    Returns:
        The map from fixed to moving points, mm, and what was done:

        - "kind", and "similarity": its name
        - "start": where the result was found from
        - "before", "after": normalised mutual information, from 1 to 2, without registration (or after `initial`), and
          of the result, which is never lower
        - "turned": degrees by which the result turns
        - "starts": normalised mutual information, divided by its cost, of each upright start and of the best turned one

    Raises:
        AcregError: the ranks of images, masks or `initial` differ, an image is constant where it counts, a mask is
            empty, or the images do not overlap from any start.
        UsageError: `kind` or `similarity` is none of these.
    """
    _check(fixed, moving, kind, similarity, initial)
    subjects = Subject(fixed, fixed_mask, "fixed"), Subject(moving, moving_mask, "moving")
    rank, (centre, moving_centre) = fixed.grid.rank, (subject.centre for subject in subjects)
    search, last = (_similarity(subjects, *level, seed) for level in ((SEARCH, SEARCHED), (LAST, REFINED)))
    scored = search.coarser(SCORED)

    upright = upright_starts(subjects, fixed.has_place and moving.has_place, kind)
    turned = turned_starts(subjects) if kind != "translation" else []
    if initial is not None:
        upright, turned = [given_start(subjects, initial)], []
    unregistered = upright[0]
    upright, turned = _scored(upright, scored), _scored(turned, scored)
    if not upright and not turned:
        raise AcregError(_no_overlap(initial is not None))

    radius = (subjects[0].radius + subjects[1].radius) / 2
    turning, all_of_them = (generators(k, rank, radius) for k in (kind if kind == "translation" else "rigid", kind))
    moved = [_refined(c, scored, turning, SHORT) for c in (*upright[:UPRIGHT], *turned[:TURNED])]
    best = max((_refined(c, search, all_of_them, SHORT) for c in _leading(moved)), key=lambda c: c.value)
    found = _refined(best, last, all_of_them, LONG)
    first = dataclasses.replace(unregistered, value=_objective(last, unregistered, unregistered.matrix)[0])
    if found.value < first.value or last.overlap(found.matrix) < OVERLAP:
        found = _refined(first, last, all_of_them, LONG)

    there, back = np.eye(rank + 1), np.eye(rank + 1)
    there[:-1, -1], back[:-1, -1] = -centre, moving_centre
    return Affine(back @ found.matrix @ there), {
        "kind": kind,
        "similarity": "mutual_information",
        "start": found.start,
        "before": 1 + last(first.matrix)[0],
        "after": 1 + last(found.matrix)[0],
        "turned": found.turn,
        "starts": {c.start: 1 + float(c.value) for c in (*upright, *turned[:1])},
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


def _no_overlap(initial: bool) -> str:
    start, remedy = ("the initial map", "another initial map, or none") if initial else ("all starts", "other masks")
    return (
        f"Two images that are registered overlap. Received: images that share less than {OVERLAP:.0%} of what counts "
        f"of the smaller one, at {start}. Give {remedy}."
    )


def _similarity(subjects: tuple[Subject, Subject], cells: int, points: int, seed: int) -> Similarity:
    fixed, moving = subjects
    spacing = max(float(np.prod(subject.size) ** (1 / len(subject.size))) for subject in subjects) / cells
    return Similarity(fixed.at(spacing), moving.at(spacing), (fixed.centre, moving.centre), points, seed)


def _objective(similarity: Similarity, start: Candidate, matrix: np.ndarray) -> tuple[float, np.ndarray]:
    """Similarity / (1 + cost) of a map that comes from a start, and its derivatives by the map."""
    value, gradient = similarity(matrix)
    cost, slopes = start.cost(matrix)
    gradient /= 1 + cost
    gradient[:, :-1] -= value / (1 + cost) ** 2 * slopes
    return float(value / (1 + cost)), gradient


def _scored(starts: list[Candidate], similarity: Similarity) -> list[Candidate]:
    """The starts with an overlap, the best first."""
    valued = [
        dataclasses.replace(start, value=_objective(similarity, start, start.matrix)[0])
        for start in starts
        if similarity.overlap(start.matrix) >= OVERLAP
    ]
    return sorted(valued, key=lambda c: -c.value)


def _refined(start: Candidate, similarity: Similarity, motions: np.ndarray, iterations: int) -> Candidate:
    """The best map along the parameters of `motions` from a start, never worse than the start."""

    def negative(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        motion, derivatives = exponential(parameters, motions)
        value, gradient = _objective(similarity, start, start.matrix @ motion)
        slopes = np.einsum("ij,pij->p", gradient, (start.matrix @ derivatives)[:, :-1])
        return -SCALE * value, -SCALE * slopes

    options = {"maxiter": iterations, "ftol": 1e-6}
    result = optimize.minimize(negative, np.zeros(len(motions)), jac=True, method="L-BFGS-B", options=options)
    before = _objective(similarity, start, start.matrix)[0]
    if -result.fun < SCALE * before:
        return dataclasses.replace(start, value=before)
    motion, _ = exponential(result.x, motions)
    return dataclasses.replace(start, matrix=start.matrix @ motion, value=-result.fun / SCALE)


def _leading(found: list[Candidate]) -> list[Candidate]:
    """The best upright maps and the best turned ones."""
    ordered = sorted(found, key=lambda c: -c.value)
    return [c for sort in (False, True) for c in [c for c in ordered if c.is_turned is sort][:LEADING]]
