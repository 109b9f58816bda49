"""Reference velocities from segmentations: training targets that are derived from shapes instead of intensities."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from scipy import spatial

from acreg.data.manifest import Dataset
from acreg.data.prepare.rigid_alignment import medoid, thinned_labels
from acreg.data.resuming import check_least, run_tasks
from acreg.data.sampling.velocities import (
    SETTINGS,
    SOURCES,
    check_digests,
    labels_digest,
    read_settings,
    read_sources,
    read_velocity,
    velocity_path,
    write_velocity,
)
from acreg.data.tables.pair_files import Pair
from acreg.errors import AcregError, UsageError
from acreg.geometry import Grid, Transform, Velocity, folding
from acreg.geometry.displacement import voxel_indices
from acreg.geometry.elastic_spline import ElasticBodySpline
from acreg.geometry.logarithm import logarithm
from acreg.io import Image, writes_into
from acreg.io.claims import claim
from acreg.io.csv_tables import write_table
from acreg.io.documents import write_json
from acreg.metrics import label_metrics, mean_over_labels
from acreg.progress import Progress, counted
from acreg.shapes import MATCHERS, Matcher, Surface, matcher, read_surfaces, region_surface, thinned, write_surfaces

NUMBERS = ("mean_residual", "largest_residual", "folded_percent", "dsc", "assd", "seconds")
"""The numbers that `velocities.csv` lists for each pair: residuals of the logarithm in voxels; Dice and average surface
distance (mm) of the labels warped by the flow; the flow's folded voxels; the time of one pair."""


@dataclass(frozen=True)
class ShapeSettings:
    """How velocities are made from labels.

    Args:
        regions: each a tuple of labels, whose union is bounded by one surface; None for one region per label.
        edge: length of the surfaces' edges in mm; None for twice the finest spacing.
        matcher: see `acreg.shapes.MATCHERS`.
        poisson_ratio, smoothing: parameters of the elastic body, see `acreg.geometry.elastic_spline.ElasticBodySpline`.
            Matched points slide along a surface, and a spline through each of them folds between surfaces that are
            close.
    """

    regions: tuple[tuple[int, ...], ...] | None = None
    edge: float | None = None
    matcher: str = "point-drift"
    poisson_ratio: float = 0.3
    smoothing: float = 0.5

    def __post_init__(self) -> None:
        if (
            (self.edge is not None and not 0 < self.edge < np.inf)
            or not -1 < self.poisson_ratio < 0.5
            or not 0 <= self.smoothing < np.inf
        ):
            raise UsageError(
                "Edges of surfaces are positive, in mm; Poisson's ratio lies between -1 and 0.5; a smoothing is 0 or "
                f"more. Received: edge={self.edge}, poisson_ratio={self.poisson_ratio}, smoothing={self.smoothing}. "
                "Correct them."
            )


@writes_into("out")
def make_velocities(
    dataset: Dataset,
    out: Path,
    pairs: Sequence[Pair],
    settings: ShapeSettings,
    template: str | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Make the velocities of pairs; velocities that exist already are kept.

    The surfaces of a template are matched to those of each subject: its points are then landmarks in all subjects.
    Between two subjects, an elastic body spline maps the landmarks of one to those of the other, and the velocity is
    the logarithm of that displacement.

    Args:
        dataset: labelled images on one grid, roughly aligned.
        out: folder of the velocities: ``settings.json``, ``labels.json``, ``shapes/SUBJECT.h5``,
            ``fields/FIXED/MOVING.h5``, ``velocities.csv``.
        pairs: (fixed, moving).
        settings: how the velocities are made.
        template: a subject; None for the one whose labels overlap most with those of the others (`medoid`).
        jobs: number of processes.
        progress: called with (text, done, total).

    Returns:
        A row for each pair: its names and `NUMBERS`.

    Raises:
        UsageError: a setting is impossible, or ``out`` was made with other settings.
        AcregError: images are on different grids, a label map lacks a surface or has changed since ``out`` was made, or
            files cannot be read.

    Source: Rohe et al., SVF-Net: learning deformable image registration using shape matching, MICCAI 2017, section 2.
    """
    check_least(jobs=(jobs, 1))
    if settings.matcher not in MATCHERS:
        raise UsageError(f"A matcher is one of {', '.join(MATCHERS)}. Received: {settings.matcher!r}.")
    template = template or _template_before(out)
    subjects = sorted({subject for pair in pairs for subject in pair} | ({template} if template else set()))
    settings = _filled(settings, dataset, subjects)
    maps = _read_labels(dataset, subjects, progress)
    template = template or medoid({subject: thinned_labels(labels) for subject, labels in maps.items()})
    surfaces = _surfaces(maps[template], settings)
    digests = {subject: labels_digest(labels) for subject, labels in maps.items()}
    check_digests(out, digests)
    claim(out, SETTINGS, {"dataset": dataset.name, "template": template, **json.loads(json.dumps(asdict(settings)))})
    write_json(out / SOURCES, read_sources(out) | digests)
    target = _shape_path(out, template)
    if not target.is_file():
        write_surfaces(surfaces, target)
    left = [subject for subject in subjects if subject != template and not _shape_path(out, subject).is_file()]
    matches = [_Match(maps[subject], _shape_path(out, subject), target, settings) for subject in left]
    for _ in counted(run_tasks(_match, matches, jobs), f"Matching the template {template}", len(matches), progress):
        pass
    del maps
    by_fixed: dict[str, list[str]] = {}
    for fixed, moving in pairs:
        if not velocity_path(out, (fixed, moving)).is_file():
            by_fixed.setdefault(fixed, []).append(moving)
    tasks = [_Fixed(dataset, out, fixed, tuple(moving), settings) for fixed, moving in by_fixed.items()]
    total, done = sum(len(task.moving) for task in tasks), 0
    for task_done in run_tasks(_make_fields, tasks, jobs):
        done += task_done
        if progress:
            progress("Making velocities", done, total)
    rows = [
        {"fixed": fixed, "moving": moving, **read_velocity(velocity_path(out, (fixed, moving)))[1]}
        for fixed, moving in pairs
    ]
    columns = ["fixed", "moving", *NUMBERS]
    write_table(out / "velocities.csv", [columns, *([row.get(column, "") for column in columns] for row in rows)])
    return rows


@dataclass(frozen=True)
class _Match:
    labels: Image
    out: Path
    template: Path
    settings: ShapeSettings


@dataclass(frozen=True)
class _Fixed:
    dataset: Dataset
    out: Path
    fixed: str
    moving: tuple[str, ...]
    settings: ShapeSettings


@cache
def _matcher(name: str) -> Matcher:
    """One matcher per process: its compiled functions are reused for the next subject."""
    return matcher(name)


def _match(task: _Match) -> None:
    template, subject = read_surfaces(task.template), _surfaces(task.labels, task.settings)
    points = _matcher(task.settings.matcher).match(template, subject)
    write_surfaces([surface.moved(found) for surface, found in zip(template, points, strict=True)], task.out)


def _make_fields(task: _Fixed) -> int:
    """Write the velocities of all pairs of one fixed subject, which share the spline's system; return their number."""
    fixed_labels = task.dataset.read_labels(task.dataset.record(task.fixed))
    grid = fixed_labels.grid
    landmarks = _landmarks(task.out, task.fixed)
    kept = thinned(landmarks, 0.5 * cast(float, task.settings.edge))
    landmarks = landmarks[kept]
    start = time.perf_counter()
    moved = np.stack([_landmarks(task.out, moving)[kept] - landmarks for moving in task.moving])
    spline, moved = _anchored(landmarks, moved, grid, task.settings)
    places = grid.to_world(voxel_indices(grid.shape).reshape(-1, grid.rank))
    found = spline.interpolate(moved, places) @ np.linalg.inv(grid.matrix[:-1, :-1]).T
    shared = (time.perf_counter() - start) / len(task.moving)
    for moving, displacement in zip(task.moving, found, strict=True):
        start = time.perf_counter()
        result = logarithm(displacement.reshape(*grid.shape, grid.rank))
        seconds = shared + time.perf_counter() - start
        flow = Velocity(result.velocity, grid)
        moving_labels = task.dataset.read_labels(task.dataset.record(moving))
        warped = Transform(grid, moving_labels.grid, (flow,)).warp_labels(moving_labels)
        values = [value for value in task.dataset.label_values if value]
        scores = mean_over_labels(label_metrics(warped.array, fixed_labels.array, values, grid.spacing))
        numbers = {
            "mean_residual": result.mean_residual,
            "largest_residual": result.largest_residual,
            "folded_percent": folding(flow.displacement.vectors)["folded_percent"],
            "dsc": scores["dsc"],
            "assd": scores["assd"],
            "seconds": seconds,
        }
        write_velocity(velocity_path(task.out, (task.fixed, moving)), result.velocity, numbers)
    return len(task.moving)


def _anchored(
    landmarks: np.ndarray, moved: np.ndarray, grid: Grid, settings: ShapeSettings
) -> tuple[ElasticBodySpline, np.ndarray]:
    """A spline through landmarks and anchors at the border of the grid, with the displacements of both.

    The anchors are the corners and the middles of edges and faces, where no landmark is near. They move as the affine
    map that fits the landmarks best: a spline of landmarks alone, whose kernel grows with the distance, tears the
    surroundings of an organ apart.
    """
    ends = [(0.0, (n - 1) / 2, float(n - 1)) for n in grid.shape]
    border = [place for place in itertools.product(*ends) if any(x != e[1] for x, e in zip(place, ends, strict=True))]
    anchors = grid.to_world(np.array(border))
    anchors = anchors[spatial.KDTree(landmarks).query(anchors)[0] > 2 * cast(float, settings.edge)]
    homogeneous = [np.column_stack([points, np.ones(len(points))]) for points in (landmarks, anchors)]
    fit = np.linalg.pinv(homogeneous[0]) @ moved
    spline = ElasticBodySpline(np.concatenate([landmarks, anchors]), settings.poisson_ratio, settings.smoothing)
    return spline, np.concatenate([moved, homogeneous[1] @ fit], axis=1)


def _landmarks(out: Path, subject: str) -> np.ndarray:
    return np.concatenate([surface.points for surface in read_surfaces(_shape_path(out, subject))])


def _shape_path(out: Path, subject: str) -> Path:
    return out / "shapes" / f"{subject}.h5"


def _surfaces(labels: Image, settings: ShapeSettings) -> list[Surface]:
    return [region_surface(labels, region, cast(float, settings.edge)) for region in settings.regions or ()]


def _filled(settings: ShapeSettings, dataset: Dataset, subjects: Sequence[str]) -> ShapeSettings:
    """The settings, with those that depend on the data filled in."""
    known = [value for value in dataset.label_values if value]
    regions = settings.regions or tuple((value,) for value in known)
    unknown = sorted({value for region in regions for value in region} - set(known))
    if unknown:
        raise UsageError(
            f"Regions are made of labels of {dataset.name}, which are {known}. Received: {unknown}. Correct --regions."
        )
    spacing = dataset.read_labels(dataset.record(subjects[0])).grid.spacing
    edge = 2.0 * min(spacing) if settings.edge is None else settings.edge
    return replace(settings, regions=regions, edge=edge)


def _read_labels(dataset: Dataset, subjects: Sequence[str], progress: Progress | None) -> dict[str, Image]:
    maps: dict[str, Image] = {}
    first: Grid | None = None
    for subject in counted(subjects, "Reading labels", len(subjects), progress):
        maps[subject] = dataset.read_labels(dataset.record(subject))
        grid, first = maps[subject].grid, first or maps[subject].grid
        if grid.shape != first.shape or not np.allclose(grid.matrix, first.matrix, atol=1e-3):
            raise AcregError(
                f"Velocities are made of images that are aligned, on one grid. Received: {subjects[0]} on "
                f"{first.shape} and {subject} on {grid.shape} or elsewhere in space. Prepare the dataset with "
                "`acreg data prepare folder --align auto`."
            )
    return maps


def _template_before(out: Path) -> str | None:
    """The template of an existing folder that is being continued."""
    return read_settings(out).get("template") if (out / SETTINGS).is_file() else None
