"""What a check keeps of each subject, and the comparisons of spacing, axes, extents and label sets over all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from acreg.data.check.findings import Findings, span
from acreg.data.records import DatasetInfo
from acreg.geometry import resize_image
from acreg.geometry.grid import Grid
from acreg.io import Image
from acreg.names import some

THUMBNAIL = 32
"""Voxels per axis that are kept of an image, at most."""
LABEL_SAMPLES = 64
"""Voxels per axis, at most about, from which the centres of labels are computed."""
SPACING_FACTOR = 2.0
OVERLAP = 0.5
OBLIQUE = 5.0  # degrees


@dataclass(frozen=True, eq=False)
class Summary:
    """What is kept of a subject, so that one volume at a time is in memory.

    Attributes:
        subject: its name.
        grid: grid of the image, with the dataset's spacing where that takes precedence.
        thumbnail: the image reduced to at most 32 voxels per axis, and the grid of that.
        labels: the values in its label file without 0; None without labels.
        centres: world coordinates ``(rank,)`` in mm of the centre of each label.
    """

    subject: str
    grid: Grid
    thumbnail: tuple[np.ndarray, Grid]
    labels: frozenset[int] | None
    centres: dict[int, np.ndarray]


def summarise(subject: str, image: Image, labels: Image | None, spacing: Sequence[float] | None) -> Summary:
    """Reduce a subject's image and labels; ``spacing`` replaces that of the files where it has their number of axes."""
    grid = _with_spacing(image.grid, spacing)
    shape = tuple(min(n, THUMBNAIL) for n in grid.shape)
    factor = np.divide(grid.shape, shape)
    reduced = Grid(shape, tuple(grid.spacing * factor), tuple(grid.to_world((factor - 1) / 2)), grid.direction)
    values: frozenset[int] | None = None
    centres: dict[int, np.ndarray] = {}
    if labels is not None:
        values = frozenset(int(value) for value in np.unique(labels.array)) - {0}
        centres = _centres(labels, _with_spacing(labels.grid, spacing))
    return Summary(subject, grid, (resize_image(image.array, shape), reduced), values, centres)


def check_geometry(summaries: Sequence[Summary], spacing_is_given: bool, findings: Findings) -> list[Summary]:
    """Compare number of axes, their order and directions, spacing and place in space over the subjects.

    Returns:
        The subjects with the commonest number of axes.
    """
    rank = Counter(s.grid.rank for s in summaries).most_common(1)[0][0] if summaries else 0
    odd = [s.subject for s in summaries if s.grid.rank != rank]
    if odd:
        findings.add("error", odd, f"not {rank} axes as the others have", f"Give images with {rank} axes only")
    alike = [s for s in summaries if s.grid.rank == rank]
    placed = [s for s in alike if s.grid != Grid(s.grid.shape)]
    if rank == 3:
        _check_placed(alike, placed, findings)
        _check_axes(placed, findings)
    if not spacing_is_given:
        _check_spacing(alike, findings)
    _check_extents(alike, findings)
    return alike


def check_label_sets(summaries: Sequence[Summary], info: DatasetInfo | None, findings: Findings) -> None:
    """Compare the label values over the subjects; empty label maps are left out."""
    sets = {s.subject: s.labels for s in summaries if s.labels}
    counts = Counter(value for values in sets.values() for value in values)
    if info is None and len(sets) > 2:
        for subject, values in sets.items():
            alone = [str(value) for value in sorted(values) if counts[value] == 1]
            if alone:
                what = f"label values that no other subject has: {some(alone)}"
                findings.add("warning", subject, what, "Correct the file if they are not meant")
        counts = Counter({value: count for value, count in counts.items() if count > 1})
    names = {value: f"label {value}" for value in counts} if info is None else dict(info.labels)
    names.pop(0, None)
    lacking = {value: [subject for subject, values in sets.items() if value not in values] for value in sorted(names)}
    subjects = [subject for subject, values in sets.items() if not values >= set(names)]
    if subjects:
        rarest = sorted((value for value in names if lacking[value]), key=lambda value: -len(lacking[value]))
        absent = [
            names[value] + (f" ({len(lacking[value])} of {len(sets)} subjects)" if len(subjects) > 1 else "")
            for value in rarest
        ]
        what = f"the labels lack {some(absent)}"
        findings.add("warning", subjects, what, "Check them; a label that one map lacks has Dice 0")


def _with_spacing(grid: Grid, spacing: Sequence[float] | None) -> Grid:
    if spacing is None or len(spacing) != grid.rank:
        return grid
    return replace(grid, spacing=tuple(spacing))


def _centres(labels: Image, grid: Grid) -> dict[int, np.ndarray]:
    step = [max(1, n // LABEL_SAMPLES) for n in labels.array.shape]
    sampled = labels.array[tuple(slice(s // 2, None, s) for s in step)]
    where = np.nonzero(sampled)
    values, ids = np.unique(sampled[where], return_inverse=True)
    counts = np.bincount(ids)
    means = [np.bincount(ids, weights=w) / counts * s + s // 2 for w, s in zip(where, step, strict=True)]
    return dict(zip(values.tolist(), grid.to_world(np.stack(means, axis=-1)), strict=True))


def _corners(grid: Grid, beyond: float = 0.0) -> np.ndarray:
    """Indices ``(2**rank, rank)`` of the corner voxels' centres, moved out by ``beyond`` voxels."""
    ends = [(-beyond, n - 1 + beyond) for n in grid.shape]
    return np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, grid.rank)


def _check_placed(alike: list[Summary], placed: list[Summary], findings: Findings) -> None:
    bare = [s.subject for s in alike if s not in placed]
    if bare and len(bare) <= len(placed):
        findings.add(
            "warning",
            bare,
            "the header says neither spacing (1 x 1 x 1) nor orientation nor origin, as the others do",
            "Its geometry was lost: convert the original again",
        )


def _check_axes(placed: list[Summary], findings: Findings) -> None:
    from nibabel.orientations import aff2axcodes

    codes = {s.subject: "".join(aff2axcodes(s.grid.affine())) for s in placed}
    common = Counter(codes.values()).most_common()
    if len(common) > 1:
        odd = [subject for subject, code in codes.items() if code != common[0][0]]
        others = ", ".join(f"{code} ({count})" for code, count in common[1:])
        findings.add(
            "warning",
            odd,
            f"the axes are {others} and not {common[0][0]} as in {common[0][1]} of {len(codes)} subjects",
            "Registration in physical space follows the header; check that left and right are true in it, or store all "
            "in one orientation",
        )
    angles = [np.degrees(np.arccos(min(1.0, np.abs(s.grid.direction).max(axis=0).min()))) for s in placed]
    oblique = [angle for angle in angles if angle > OBLIQUE]
    if oblique:
        findings.notes.append(
            f"{len(oblique)} of {len(placed)} images are oblique, by up to {max(oblique):.0f} degrees. Registration in "
            "physical space follows the header."
        )


def _check_spacing(alike: list[Summary], findings: Findings) -> None:
    spacings = {s.subject: _by_world_axis(s.grid) for s in alike}
    if not spacings:
        return
    median = np.median(list(spacings.values()), axis=0)
    odd = [n for n, s in spacings.items() if np.exp(np.abs(np.log(s / median))).max() > SPACING_FACTOR * (1 + 1e-3)]
    if odd:
        worst = max(odd, key=lambda name: np.abs(np.log(spacings[name] / median)).max())
        such = "" if len(odd) == 1 else f" in {worst}"
        findings.add(
            "warning",
            odd,
            f"the spacing is {_mm(spacings[worst])} mm{such}, off the median by more than a factor of "
            f"{SPACING_FACTOR:g}: {_mm(median)} mm ({'z, y, x' if len(median) == 3 else 'y, x'})",
            "Check the unit (mm) and the header; leave the subject out if it is that coarse",
        )


def _check_extents(alike: list[Summary], findings: Findings) -> None:
    """Boxes along the world axes: each subject's against the median one."""
    if len(alike) < 2:
        return
    points = [s.grid.to_world(_corners(s.grid, beyond=0.5)) for s in alike]
    low, high = np.array([p.min(axis=0) for p in points]), np.array([p.max(axis=0) for p in points])
    group_low, group_high = np.median(low, axis=0), np.median(high, axis=0)
    shared = np.clip(np.minimum(high, group_high) - np.maximum(low, group_low), 0, None).prod(axis=1)
    share = shared / np.minimum((high - low).prod(axis=1), (group_high - group_low).prod())
    apart = np.linalg.norm((low + high) / 2 - (group_low + group_high) / 2, axis=1)
    odd = np.flatnonzero(share < OVERLAP)
    if odd.size:
        findings.add(
            "warning",
            [alike[i].subject for i in odd],
            f"the field of view shares {span(100 * share[odd], '.0f')} % with the group's in physical space, its "
            f"centre lies {span(apart[odd], '.0f')} mm from there",
            "A start in physical space does not help them: begin with the centres aligned, or restore the origins",
        )


def _by_world_axis(grid: Grid) -> np.ndarray:
    """The spacing in the order (z, y, x) of the world axes that the array's axes are nearest to."""
    from nibabel.orientations import io_orientation

    spacing = np.empty(grid.rank)
    spacing[io_orientation(grid.matrix)[:, 0].astype(int)] = grid.spacing
    return spacing


def _mm(spacing: np.ndarray) -> str:
    return " x ".join(f"{s:.3g}" for s in spacing)
