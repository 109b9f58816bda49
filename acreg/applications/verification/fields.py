"""Warping, composition, inversion and integration of fields: comparison with SciPy, and laws that fields obey.

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
from acreg.applications.verification.check import Measured, compare, distance, in_each_rank, together
from acreg.geometry import Displacement, Grid, Image, Transform, Velocity, jacobian_determinant
from acreg.geometry.displacement import voxel_indices

SHAPES = {2: (36, 40), 3: (24, 26, 28)}
STEPS = 7


def _layers() -> Any:
    from acreg.layers import functional  # Keras is imported when a check asks for it

    return functional


def _inner(rank: int, margin: int) -> tuple[slice, ...]:
    return (slice(margin, -margin),) * rank


def _warp(rank: int, interpolation: Literal["linear", "nearest"]) -> Measured:
    """Warp noise by a field that leaves the image on all sides."""
    rng = np.random.default_rng(rank)
    shape = SHAPES[rank]
    image = rng.random((2, *shape, 2), np.float32)
    u = rng.normal(scale=3.0, size=(2, *shape, rank)).astype(np.float32)
    expected = np.empty_like(image)
    for b, c in np.ndindex(2, 2):
        places = np.indices(shape) + np.moveaxis(u[b], -1, 0).astype(float)
        order = 1 if interpolation == "linear" else 0
        expected[b, ..., c] = ndimage.map_coordinates(image[b, ..., c], places, order=order, mode="nearest")
    return compare(_layers().warp(image, u, interpolation), expected)


def _warp_as_itk(rank: int) -> Measured:
    """Warp on a rotated, anisotropic grid, and compare inside the image."""
    rng = np.random.default_rng(20 + rank)
    grid = samples.grids(rank)[0]
    image = rng.random(grid.shape, np.float32)
    u = (2 * np.stack([samples.smooth(rng, grid.shape, 2.0) for _ in grid.shape], -1)).astype(np.float32)
    moved = Transform(grid, grid, (Displacement(u, grid),))
    expected = samples.itk_resampled(samples.itk_transform(moved), grid, Image(image, grid))
    places = samples.looked_up(moved).reshape(*grid.shape, rank)
    inside = ((places >= 0) & (places <= np.array(grid.shape) - 1)).all(axis=-1)
    found = np.asarray(_layers().warp(image[None, ..., None], u[None]))[0, ..., 0]
    return compare(found[inside], expected[inside])


def _composed(rank: int) -> Measured:
    rng = np.random.default_rng(rank)
    first, second = (samples.field(rng, SHAPES[rank], 2.0).astype(np.float32) for _ in range(2))
    places = np.indices(SHAPES[rank]) + np.moveaxis(second, -1, 0).astype(float)
    sampled = [ndimage.map_coordinates(first[..., d], places, order=1, mode="nearest") for d in range(rank)]
    return compare(_layers().compose(first[None], second[None])[0], second + np.stack(sampled, -1))


def _warped_twice(rank: int) -> Measured:
    """An image of coordinates is interpolated without an error, so that the law is exact away from the border."""
    rng = np.random.default_rng(30 + rank)
    first, second = (samples.field(rng, SHAPES[rank], 2.0).astype(np.float32)[None] for _ in range(2))
    image = voxel_indices(SHAPES[rank]).astype(np.float32)[None]
    layers, core = _layers(), _inner(rank, 5)
    once, twice = layers.warp(image, layers.compose(first, second)), layers.warp(layers.warp(image, first), second)
    return compare(np.asarray(once)[0][core], np.asarray(twice)[0][core])


def _constant(rank: int) -> Measured:
    velocity = np.broadcast_to(np.array([2.7, -1.3, 0.4][:rank], np.float32), (1, *SHAPES[rank], rank))
    return compare(_layers().integrate(velocity, STEPS), velocity)


def _linear(rank: int) -> Measured:
    """Compare where the flow does not leave the grid."""
    shape = SHAPES[rank]
    matrix = np.random.default_rng(rank).uniform(-0.15, 0.15, (rank, rank))
    centred = voxel_indices(shape) - (np.array(shape) - 1) / 2
    found = np.asarray(_layers().integrate((centred @ matrix.T).astype(np.float32)[None], STEPS))[0]
    core = _inner(rank, 8)
    return compare(found[core], (centred @ (expm(matrix) - np.eye(rank)).T)[core])


def _there_and_back(rank: int) -> Measured:
    layers = _layers()
    velocity = samples.field(np.random.default_rng(40 + rank), SHAPES[rank]).astype(np.float32)[None]
    there, back = layers.integrate(velocity, STEPS), layers.integrate(-velocity, STEPS)
    rest = np.asarray(layers.compose(there, back))[0][_inner(rank, 3)]
    return compare(rest, np.zeros_like(rest))


def _flow(rank: int) -> Measured:
    """Compare the flow of a result (NumPy) with that of a network (Keras)."""
    velocity = samples.field(np.random.default_rng(50 + rank), SHAPES[rank])
    held = Velocity(velocity, Grid(SHAPES[rank]), STEPS).displacement.vectors
    return compare(held, _layers().integrate(velocity.astype(np.float32)[None], STEPS)[0])


def _determinant(rank: int) -> Measured:
    """Compare inside the image: at the border, ITK assumes zeros beyond it."""
    u = samples.field(np.random.default_rng(60 + rank), SHAPES[rank], 2.0)
    vectors = samples.itk_image(np.ascontiguousarray(u[..., ::-1]), Grid(SHAPES[rank]), vectors=True)
    expected = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(vectors))
    core = _inner(rank, 1)
    layer = np.asarray(_layers().jacobian_determinant(u.astype(np.float32)[None]))[0]
    return together(compare(found[core], expected[core]) for found in (jacobian_determinant(u), layer))


def _inverse(rank: int) -> Measured:
    """Distance of a voxel from its start after the inverse and the field, where the inverse stays on the grid."""
    grid = samples.grids(rank)[0]
    there = Transform(grid, grid, (Displacement(samples.field(np.random.default_rng(70 + rank), grid.shape), grid),))
    back, start = there.inverse(), grid.to_world(samples.voxels(grid))
    middle = back.warp_points(start, to="moving")
    inside = grid.contains(grid.to_index(middle))
    ends = there.warp_points(middle[inside], to="moving")
    return distance(grid.to_index(ends), grid.to_index(start[inside]))


def _flow_back(rank: int) -> Measured:
    grid = samples.grids(rank)[0]
    there = Transform(grid, grid, (Velocity(samples.field(np.random.default_rng(80 + rank), grid.shape), grid),))
    points = samples.some_points(grid)
    ends = there.compose(there.inverse()).warp_points(points, to="moving")
    return distance(grid.to_index(ends), grid.to_index(points))


def _points_back(rank: int) -> Measured:
    """Map points of the moving image to the fixed one and back, through a displacement and an affine map."""
    transform = samples.transform(rank, "displacement")
    points = samples.some_points(transform.moving)
    ends = transform.warp_points(transform.warp_points(points, to="fixed"), to="moving")
    return distance(transform.moving.to_index(ends), transform.moving.to_index(points))


WARP, CHAIN, FLOW = "Warping", "Composition and inverse", "Velocities"
SCIPY = "scipy.ndimage.map_coordinates"
DETERMINANT = "SimpleITK's DisplacementFieldJacobianDeterminant"
LINEAR, NEAREST = partial(_warp, interpolation="linear"), partial(_warp, interpolation="nearest")
CHECKS = in_each_rank(
    (
        (WARP, "Warp layer, linear", f"{SCIPY}, order 1", "values", "", 1e-5, LINEAR),
        (WARP, "Warp layer, nearest", f"{SCIPY}, order 0", "values", "", 0.0, NEAREST),
        (WARP, "Warp layer, rotated anisotropic grid", "SimpleITK's Resample", "voxels", "", 1e-5, _warp_as_itk),
        (WARP, "Jacobian determinant", DETERMINANT, "values", "", 1e-5, _determinant),
        (CHAIN, "Composition of displacements", SCIPY, "values", "voxels", 1e-5, _composed),
        (CHAIN, "Warp by a composition", "two warps, one after the other", "values", "voxels", 1e-4, _warped_twice),
        (CHAIN, "Inverse of a displacement, then the displacement", "identity", "voxels", "voxels", 0.01, _inverse),
        (CHAIN, "Flow of a velocity, then its inverse", "identity", "points", "voxels", 0.1, _flow_back),
        (CHAIN, "Points to the fixed image and back", "identity", "points", "voxels", 0.01, _points_back),
        (FLOW, "exp of a constant velocity", "the same shift", "values", "voxels", 1e-6, _constant),
        (FLOW, "exp of a linear velocity", "scipy.linalg.expm", "values", "voxels", 0.02, _linear),
        (FLOW, "exp(v) after exp(-v)", "identity", "values", "voxels", 0.06, _there_and_back),
        (FLOW, "Velocity of a result, in NumPy", "the Keras layer", "values", "voxels", 1e-4, _flow),
    )
)
