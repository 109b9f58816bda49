"""Warping, composition, inversion and integration of fields: the Keras layers against SciPy, and laws that fields obey.

Shapes are those of `acreg.layers.functional`: fields `(1, *spatial, rank)` in voxels.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk
from scipy import ndimage
from scipy.linalg import expm

from acreg.applications.verification import samples
from acreg.applications.verification.check import Check, Measured
from acreg.geometry import Displacement, Grid, Transform, Velocity, jacobian_determinant

SHAPES = {2: (36, 40), 3: (24, 26, 28)}
STEPS = 7


def _layers() -> Any:
    from acreg.layers import functional  # Keras is imported when a check asks for it

    return functional


def _inner(rank: int, margin: int) -> tuple[slice, ...]:
    return (slice(margin, -margin),) * rank


def _largest(found: Any, expected: Any) -> Measured:
    found, expected = np.asarray(found, float), np.asarray(expected, float)
    return Measured(expected.size, float(np.abs(found - expected).max()))


def _warp(rank: int, interpolation: Literal["linear", "nearest"]) -> Measured:
    """Of noise, by a field that leaves the image on all sides."""
    rng = np.random.default_rng(rank)
    shape = SHAPES[rank]
    image = rng.random((2, *shape, 2), np.float32)
    u = rng.normal(scale=3.0, size=(2, *shape, rank)).astype(np.float32)
    expected = np.empty_like(image)
    for b, c in np.ndindex(2, 2):
        places = np.indices(shape) + np.moveaxis(u[b], -1, 0).astype(float)
        order = 1 if interpolation == "linear" else 0
        expected[b, ..., c] = ndimage.map_coordinates(image[b, ..., c], places, order=order, mode="nearest")
    return _largest(_layers().warp(image, u, interpolation), expected)


def _warp_as_itk(rank: int) -> Measured:
    """On a rotated, anisotropic grid, inside of the image."""
    rng = np.random.default_rng(20 + rank)
    grid = samples.grids(rank)[0]
    image = rng.random(grid.shape, np.float32)
    u = (2 * np.stack([samples.smooth(rng, grid.shape, 2.0) for _ in grid.shape], -1)).astype(np.float32)
    moved = Transform(grid, grid, (Displacement(u, grid),))
    expected = samples.itk_resampled(samples.itk_transform(moved), grid, samples.Image(image, grid))
    places = samples.looked_up(moved).reshape(*grid.shape, rank)
    inside = ((places >= 0) & (places <= np.array(grid.shape) - 1)).all(axis=-1)
    found = np.asarray(_layers().warp(image[None, ..., None], u[None]))[0, ..., 0]
    return _largest(found[inside], expected[inside])


def _composed(rank: int) -> Measured:
    rng = np.random.default_rng(rank)
    first, second = (samples.field(rng, SHAPES[rank], 2.0).astype(np.float32) for _ in range(2))
    places = np.indices(SHAPES[rank]) + np.moveaxis(second, -1, 0).astype(float)
    sampled = [ndimage.map_coordinates(first[..., d], places, order=1, mode="nearest") for d in range(rank)]
    return _largest(_layers().compose(first[None], second[None])[0], second + np.stack(sampled, -1))


def _warped_twice(rank: int) -> Measured:
    """An image of coordinates is interpolated without an error, so that the law is exact away from the border."""
    rng = np.random.default_rng(30 + rank)
    first, second = (samples.field(rng, SHAPES[rank], 2.0).astype(np.float32)[None] for _ in range(2))
    image = np.stack(np.indices(SHAPES[rank]), -1).astype(np.float32)[None]
    layers, core = _layers(), (0, *_inner(rank, 5))
    once, twice = layers.warp(image, layers.compose(first, second)), layers.warp(layers.warp(image, first), second)
    return _largest(np.asarray(once)[core], np.asarray(twice)[core])


def _constant(rank: int) -> Measured:
    velocity = np.broadcast_to(np.float32([2.7, -1.3, 0.4][:rank]), (1, *SHAPES[rank], rank))
    return _largest(_layers().integrate(velocity, STEPS), velocity)


def _linear(rank: int) -> Measured:
    """Where the flow does not leave the grid."""
    shape = SHAPES[rank]
    matrix = np.random.default_rng(rank).uniform(-0.15, 0.15, (rank, rank))
    centred = np.stack(np.indices(shape), -1) - (np.array(shape) - 1) / 2
    found = np.asarray(_layers().integrate((centred @ matrix.T).astype(np.float32)[None], STEPS))[0]
    core = _inner(rank, 8)
    return _largest(found[core], (centred @ (expm(matrix) - np.eye(rank)).T)[core])


def _there_and_back(rank: int) -> Measured:
    layers = _layers()
    velocity = samples.field(np.random.default_rng(40 + rank), SHAPES[rank]).astype(np.float32)[None]
    there, back = layers.integrate(velocity, STEPS), layers.integrate(-velocity, STEPS)
    rest = np.asarray(layers.compose(there, back))[0][_inner(rank, 3)]
    return _largest(rest, np.zeros_like(rest))


def _flow(rank: int) -> Measured:
    """What a result holds, in NumPy, and what a network computes, in Keras."""
    velocity = samples.field(np.random.default_rng(50 + rank), SHAPES[rank])
    held = Velocity(velocity, Grid(SHAPES[rank]), STEPS).displacement.vectors
    return _largest(held, _layers().integrate(velocity.astype(np.float32)[None], STEPS)[0])


def _determinant(rank: int) -> Measured:
    """Inside: at the border ITK counts zeros beyond the image."""
    u = samples.field(np.random.default_rng(60 + rank), SHAPES[rank], 2.0)
    vectors = samples.itk_image(np.ascontiguousarray(u[..., ::-1]), Grid(SHAPES[rank]), vectors=True)
    expected = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(vectors))
    core = _inner(rank, 1)
    layer = np.asarray(_layers().jacobian_determinant(u.astype(np.float32)[None]))[0]
    both = [_largest(found[core], expected[core]) for found in (jacobian_determinant(u), layer)]
    return Measured(sum(m.cases for m in both), max(m.largest for m in both))


def _inverse(rank: int) -> Measured:
    """How far from its start a voxel ends that goes by the inverse and back, where the inverse stays on the grid."""
    grid = samples.grids(rank)[0]
    there = Transform(grid, grid, (Displacement(samples.field(np.random.default_rng(70 + rank), grid.shape), grid),))
    back, start = there.inverse(), grid.to_world(samples.voxels(grid))
    middle = back.warp_points(start, to="moving")
    inside = grid.contains(grid.to_index(middle))
    ends = there.warp_points(middle[inside], to="moving")
    return _distance(grid, ends, start[inside])


def _flow_back(rank: int) -> Measured:
    grid = samples.grids(rank)[0]
    there = Transform(grid, grid, (Velocity(samples.field(np.random.default_rng(80 + rank), grid.shape), grid),))
    points = samples.some_points(grid)
    return _distance(grid, there.compose(there.inverse()).warp_points(points, to="moving"), points)


def _points_back(rank: int) -> Measured:
    """Points of the moving image, to the fixed one and back, through a displacement and an affine map."""
    transform = samples.transform(rank, "displacement")
    points = samples.some_points(transform.moving)
    fixed = transform.warp_points(points, to="fixed")
    return _distance(transform.moving, transform.warp_points(fixed, to="moving"), points)


def _distance(grid: Grid, found: np.ndarray, expected: np.ndarray) -> Measured:
    """The largest distance of world points, in voxels of a grid."""
    apart = np.linalg.norm(grid.to_index(found) - grid.to_index(expected), axis=1)
    return Measured(len(apart), float(apart.max()))


def _checks(rank: int) -> list[Check]:
    def one(section: str, name: str, reference: str, limit: float, measure: Any, *rest: Any, counted: str = "voxels",
            unit: str = "voxels") -> Check:  # fmt: skip
        return Check(section, f"{name}, {rank}-D", reference, counted, unit, limit, partial(measure, rank, *rest))

    warp, chain, flow = "Warping", "Composition and inverse", "Velocities"
    coordinates = "scipy.ndimage.map_coordinates"
    return [
        one(warp, "Warp layer, linear", f"{coordinates}, order 1", 1e-5, _warp, "linear", counted="values", unit=""),
        one(warp, "Warp layer, nearest", f"{coordinates}, order 0", 0.0, _warp, "nearest", counted="values", unit=""),
        one(warp, "Warp layer on a rotated, anisotropic grid", "SimpleITK's Resample", 1e-5, _warp_as_itk, unit=""),
        one(chain, "Composition of displacements", coordinates, 1e-5, _composed, counted="values"),
        one(chain, "Warp by a composition", "two warps, one after the other", 1e-4, _warped_twice, counted="values"),
        one(chain, "Inverse of a displacement, then the displacement", "identity", 0.01, _inverse),
        one(chain, "Flow of a velocity, then its inverse", "identity", 0.1, _flow_back, counted="points"),
        one(chain, "Points to the fixed image and back", "identity", 0.01, _points_back, counted="points"),
        one(flow, "exp of a constant velocity", "the same shift", 1e-6, _constant, counted="values"),
        one(flow, "exp of a linear velocity", "scipy.linalg.expm", 0.02, _linear, counted="values"),
        one(flow, "exp(v) after exp(-v)", "identity", 0.06, _there_and_back, counted="values"),
        one(flow, "Velocity of a result, in NumPy", "the Keras layer", 1e-4, _flow, counted="values"),
        one(flow, "Jacobian determinant", "SimpleITK's DisplacementFieldJacobianDeterminant", 1e-5, _determinant,
            unit=""),  # fmt: skip
    ]


CHECKS = [check for rank in (2, 3) for check in _checks(rank)]
