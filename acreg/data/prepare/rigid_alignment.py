"""Rigid alignment of subjects by their labels, as for the hearts of SVF-Net: all images in the frame of one subject.

A subject is rotated and translated, but not scaled, so that its smoothed label maps differ least from those of the
reference: by least squares over a lattice of points, summed over the labels, at two widths of smoothing. The
optimisation starts from the centroids of the labels and the orientation in the files. A rotation that fits the
centroids of several labels, or the principal axes of one label, is used instead if its result is clearly better.
Nothing is random: the result is always the same.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy import ndimage, optimize

from acreg.errors import AcregError, images_by_name
from acreg.geometry import Affine, Grid
from acreg.io import Image

AUTO = "auto"
THINNED = 64
"""Largest number of voxels along an axis of the compared labels: finer labels are subsampled."""
POINTS = 4000
WIDTHS = (0.25, 0.08)
"""Standard deviations of the smoothing, in root mean square distances of the labels from their centre."""
MARGIN = 0.3
"""Margin of the lattice around the box of the labels, in the same unit."""
HESITATION = 0.4
"""Cost of a rotation of 1 rad from the start, as a difference of the maps relative to those of the reference. It keeps
the orientation of a round label, which fits in any orientation."""
CLEARLY = 0.05
"""How much better another start must end, in squared differences relative to the squared maps of the reference."""


def label_box(labels: Image) -> tuple[np.ndarray, np.ndarray]:
    """The first index of the labelled voxels by axis, and the index after the last.

    Raises:
        AcregError: no voxel has a label.
    """
    found = np.argwhere(labels.array > 0)
    if not len(found):
        raise AcregError(
            f"Subjects are compared by their labels. Received: {labels.name} without a voxel of a label (after "
            "merging). Correct the file, or leave the subject out."
        )
    return found.min(axis=0), found.max(axis=0) + 1


def thinned_labels(labels: Image) -> Image:
    """The part of a label map around its labels, subsampled to at most 64 voxels along an axis.

    Raises:
        AcregError: no voxel has a label.
    """
    start, stop = label_box(labels)
    steps = np.ceil((stop - start) / THINNED).astype(int)
    start = start + (steps - 1) // 2
    array = labels.array[tuple(slice(a, b, s) for a, b, s in zip(start, stop, steps))]
    grid = labels.grid.part(start, array.shape)
    spacing = tuple((np.asarray(grid.spacing) * steps).tolist())
    return replace(labels, array=array, grid=Grid(grid.shape, spacing, grid.origin, grid.direction))


def medoid(subjects: dict[str, Image]) -> str:
    """The subject whose labels overlap most with those of all others, each centred on its labelled voxels.

    The overlap of two subjects is the Dice coefficient of all labels together, for maps sampled at a few thousand
    points around the centres. In a tie, the first subject is returned.

    Args:
        subjects: name -> labels as from `thinned_labels`.
    """
    clouds = {name: _cloud(labels) for name, labels in subjects.items()}
    reach = np.max([np.abs(cloud.points - cloud.centre).max(axis=0) for cloud in clouds.values()], axis=0)
    count = round(POINTS ** (1 / len(reach)))
    axis = (np.arange(count) + 0.5) / count * 2 - 1
    lattice = np.stack(np.meshgrid(*(axis * r for r in reach), indexing="ij"), axis=-1).reshape(-1, len(reach))
    sampled = []
    for name, labels in subjects.items():
        places = labels.grid.to_index(lattice + clouds[name].centre).T
        sampled.append(ndimage.map_coordinates(labels.array, places, order=0, mode="grid-constant"))
    maps = np.stack(sampled)
    overlap, sizes = np.zeros((len(maps), len(maps))), (maps > 0).sum(axis=1)
    for value in _values(maps):
        one = (maps == value).astype(np.float32)
        overlap += one @ one.T
    dice = 2 * overlap / np.maximum(sizes[:, None] + sizes, 1)
    return list(subjects)[int(np.argmax(dice.sum(axis=1)))]


@images_by_name
def rigid_map(*, fixed: Image, moving: Image) -> Affine:
    """The rigid map from points of one label map to the corresponding points of another, mm in world axes.

    Args:
        fixed, moving: labels as from `thinned_labels`, in 2-D or 3-D, on any grids.

    Raises:
        AcregError: the two have another number of axes, or no label in common.
    """
    if fixed.grid.rank != moving.grid.rank:
        raise AcregError(
            f"Subjects that are aligned have one number of axes. Received: {fixed.name} with {fixed.grid.rank} and "
            f"{moving.name} with {moving.grid.rank}. Prepare them apart."
        )
    values = sorted(set(_values(fixed.array)) & set(_values(moving.array)))
    if not values:
        raise AcregError(
            f"Subjects are aligned by labels that they share. Received: {moving.name} with {_values(moving.array)}, "
            f"{fixed.name} with {_values(fixed.array)}. Give another reference, or leave the subject out."
        )
    clouds = _cloud(fixed, values), _cloud(moving, values)
    coarse = _Difference(fixed, moving, values, clouds, WIDTHS[0])
    found = coarse.least(np.eye(fixed.grid.rank), np.zeros(fixed.grid.rank))
    other = min((coarse.start(turn) for turn in _turns(*clouds)), key=lambda start: start.cost)
    other = coarse.least(other.turn, other.shift)
    if other.cost < found.cost - CLEARLY:
        found = other
    found = _Difference(fixed, moving, values, clouds, WIDTHS[1]).least(found.turn, found.shift)
    matrix = np.eye(fixed.grid.rank + 1)
    matrix[:-1, :-1] = found.turn
    matrix[:-1, -1] = clouds[1].centre + found.shift - found.turn @ clouds[0].centre
    return Affine(matrix)


def degrees(rigid: Affine) -> float:
    """The rotation angle of a rigid map."""
    turn = rigid.matrix[:-1, :-1]
    cosine = (np.trace(turn) - len(turn) + 2) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


class _Cloud(NamedTuple):
    """The labelled voxels as world points `(n, rank)`, their labels `(n,)`, mean, and root mean square distance."""

    points: np.ndarray
    labels: np.ndarray
    centre: np.ndarray
    radius: float


def _cloud(labels: Image, values: Sequence[int] | None = None) -> _Cloud:
    mask = labels.array > 0 if values is None else np.isin(labels.array, values)
    points = labels.grid.to_world(np.argwhere(mask))
    centre = points.mean(axis=0)
    # A single voxel also has an extent.
    radius = math.sqrt(((points - centre) ** 2).sum(axis=1).mean() + max(labels.grid.spacing) ** 2 / 12)
    return _Cloud(points, labels.array[mask], centre, radius)


def _turns(fixed: _Cloud, moving: _Cloud) -> list[np.ndarray]:
    """Rotations that fit the centroids of several labels, or else the principal axes in each direction."""
    rank = len(fixed.centre)
    values = np.unique(fixed.labels)
    centroids = [np.array([c.points[c.labels == value].mean(axis=0) for value in values]) for c in (fixed, moving)]
    centroids = [c - c.mean(axis=0) for c in centroids]
    extents = [np.linalg.svd(c, compute_uv=False) for c in centroids]
    apart = [e[rank - 2] if len(e) > rank - 2 else 0.0 for e in extents]
    if min(apart) > 0.1 * fixed.radius:  # not on one line
        left, _, right = np.linalg.svd(centroids[1].T @ centroids[0])
        signs = np.ones(rank)
        signs[-1] = np.linalg.det(left @ right)
        return [left @ np.diag(signs) @ right]
    axes = [np.linalg.eigh(np.atleast_2d(np.cov(c.points, rowvar=False)))[1] for c in (fixed, moving)]
    turns = [axes[1] @ np.diag(signs) @ axes[0].T for signs in itertools.product((1.0, -1.0), repeat=rank)]
    return [turn for turn in turns if np.linalg.det(turn) > 0]


class _Found(NamedTuple):
    turn: np.ndarray
    shift: np.ndarray
    cost: float


class _Difference:
    """The difference of two label maps smoothed by a Gaussian, at lattice points of the fixed one.

    The map is `turn @ (point - centre of the fixed labels) + centre of the moving labels + shift`. The moving maps are
    scaled to the size of the fixed maps: larger hollow labels would otherwise be tilted until their
    walls cross.
    """

    def __init__(
        self, fixed: Image, moving: Image, values: Sequence[int], clouds: tuple[_Cloud, _Cloud], width: float
    ) -> None:
        cloud = clouds[0]
        sigma = width * cloud.radius
        self._radius, self._step, self._centre = cloud.radius, 0.2 * sigma, clouds[1].centre
        low, high = cloud.points.min(axis=0), cloud.points.max(axis=0)
        low, high = low - MARGIN * cloud.radius, high + MARGIN * cloud.radius
        apart = (np.prod(high - low) / POINTS) ** (1 / len(low))
        axes = [np.linspace(a, b, max(int((b - a) / apart) + 1, 2)) for a, b in zip(low, high)]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(low))
        self._points = points - cloud.centre
        self._scale = clouds[1].radius / cloud.radius
        self._moving = _smoothed(moving, values, sigma * self._scale)
        self._fixed = _sampled(_smoothed(fixed, values, sigma), points)
        self._norm = float(np.linalg.norm(self._fixed))

    def start(self, turn: np.ndarray) -> _Found:
        """A rotation without optimisation."""
        shift = np.zeros(len(self._centre))
        return _Found(turn, shift, float((self._difference(turn, shift) ** 2).sum()))

    def least(self, turn: np.ndarray, shift: np.ndarray) -> _Found:
        """The least difference found from a start."""
        rank = len(shift)
        planes = list(itertools.combinations(range(rank), 2))

        def turned(parameters: np.ndarray) -> np.ndarray:
            skew = np.zeros((rank, rank))
            for (a, b), angle in zip(planes, parameters[rank:] / self._radius):
                skew[a, b], skew[b, a] = -angle, angle
            half = skew / 2  # Cayley's map: a rotation, by nearly the angles
            return np.linalg.solve(np.eye(rank) - half, np.eye(rank) + half) @ turn

        def residuals(parameters: np.ndarray) -> np.ndarray:
            difference = self._difference(turned(parameters), shift + parameters[:rank])
            return np.append(difference, HESITATION / self._radius * parameters[rank:])

        def jacobian(parameters: np.ndarray) -> np.ndarray:
            """Central differences over a part of the smoothing width, because the maps are linear between voxels."""
            steps = self._step * np.eye(len(parameters))
            return np.stack([residuals(parameters + s) - residuals(parameters - s) for s in steps], axis=1) / (
                2 * self._step
            )

        start = np.zeros(rank + len(planes))  # mm: translations, and rotations at the distance of the radius
        # MINPACK's method, which has no threads: they would compete with other processes.
        found = optimize.least_squares(residuals, start, jacobian, method="lm", xtol=1e-4, ftol=1e-5, max_nfev=30)
        return _Found(turned(found.x), shift + found.x[:rank], 2 * float(found.cost))

    def _difference(self, turn: np.ndarray, shift: np.ndarray) -> np.ndarray:
        points = self._scale * self._points @ turn.T + (self._centre + shift)
        return ((_sampled(self._moving, points) - self._fixed) / self._norm).ravel()


def _smoothed(labels: Image, values: Sequence[int], sigma: float) -> tuple[np.ndarray, Grid]:
    """The smoothed mask of each label: `(len(values), *spatial)`, on a grid with a margin for the smoothing."""
    voxels = sigma / np.asarray(labels.grid.spacing)
    room = np.ceil(3 * voxels).astype(int) + 1
    array = np.pad(labels.array, [(int(r), int(r)) for r in room])
    maps = [ndimage.gaussian_filter((array == v).astype(float), voxels, mode="constant", truncate=3) for v in values]
    return np.stack(maps), labels.grid.part(-room, array.shape)


def _sampled(smoothed: tuple[np.ndarray, Grid], points: np.ndarray) -> np.ndarray:
    maps, grid = smoothed
    places = grid.to_index(points).T
    return np.stack([ndimage.map_coordinates(one, places, order=1, mode="constant") for one in maps])


def _values(array: np.ndarray) -> list[int]:
    return [int(value) for value in np.unique(array) if value > 0]
