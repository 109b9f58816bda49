"""The discrete search: shifts that are known, what must have no influence, and what it may not do at borders."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from acreg.errors import AcregError
from acreg.layers import functional
from acreg.optimisation import discrete
from acreg.optimisation.discrete import coarse_to_fine, coupled_convex

Array = NDArray[np.float32]
SHIFTS = [
    ((24, 21), 3, (6, -9)),
    ((25, 23), 4, (-8, 4)),
    ((16, 14, 15), 2, (4, 0, -4)),
    ((17, 16, 14), 3, (-3, 6, 3)),
]
"""Grid, cell, and shift in voxels; two grids are multiples of their cells, two are not."""


def texture(shape: tuple[int, ...], channels: int = 3, seed: int = 0) -> Array:
    noise = np.random.default_rng(seed).normal(size=(*shape, channels))
    return ndimage.gaussian_filter(noise, (1.0,) * len(shape) + (0.0,)).astype(np.float32)


def shifted_pair(shape: tuple[int, ...], shift: tuple[int, ...], margin: int = 12) -> tuple[Array, Array]:
    """Two views of one large texture with ``fixed(p) = moving(p + shift)``, different at the borders."""
    large = texture(tuple(n + 2 * margin for n in shape))
    fixed, moving = (
        large[tuple(slice(margin - s, margin - s + n) for s, n in zip(by, shape))] for by in ((0,) * len(shape), shift)
    )
    return fixed[None], moving[None]


def field(fixed: Array, moving: Array, **options: object) -> Array:
    return np.asarray(coupled_convex(fixed, moving, **options))


@pytest.mark.parametrize(("shape", "cell", "shift"), SHIFTS)
def test_a_shift_is_found_exactly_everywhere_up_to_the_borders(
    shape: tuple[int, ...], cell: int, shift: tuple[int, ...]
) -> None:
    fixed, moving = shifted_pair(shape, shift)
    found = field(fixed, moving, cell=cell, radius=3)
    assert found.shape == (1, *shape, len(shape)) and found.dtype == np.float32
    np.testing.assert_allclose(found, np.broadcast_to(np.float32(shift), found.shape), atol=1e-4)
    # a factor of the features changes nothing
    np.testing.assert_allclose(field(100 * fixed, 100 * moving, cell=cell, radius=3), found, atol=1e-4)


def test_a_field_that_is_not_constant_is_found_without_a_shift_of_the_grid() -> None:
    """A magnification about the centre of the grid, which cells of 3 voxels do not divide."""
    shape = (46, 43)
    p = np.moveaxis(np.indices(shape), 0, -1).astype(np.float32)
    true = (0.15 * (p - (np.array(shape) - 1) / 2)).astype(np.float32)[None]
    moving = ndimage.gaussian_filter(texture(shape), (1, 1, 0))[None]
    found = field(np.asarray(functional.warp(moving, true)), moving, cell=3, radius=3)
    error = (found - true)[0, 4:-4, 4:-4]
    assert np.abs(error.mean(axis=(0, 1))).max() < 0.25
    assert np.linalg.norm(error, axis=-1).mean() < 0.3 * np.linalg.norm(true, axis=-1).mean()


def test_swapped_images_give_the_inverse() -> None:
    shape = (33, 30)
    moving = texture(shape)[None]
    bend = 2.5 * np.sin(2 * np.pi * np.moveaxis(np.indices(shape), 0, -1) / np.array(shape))[None].astype(np.float32)
    fixed = np.asarray(functional.warp(moving, bend))
    there, back = field(fixed, moving, cell=2, radius=3), field(moving, fixed, cell=2, radius=3)
    both = np.asarray(functional.compose(there, back))
    assert np.linalg.norm(there, axis=-1).mean() > 1
    assert np.linalg.norm(both, axis=-1).mean() < 0.05


def test_finer_cells_find_what_coarse_ones_leave() -> None:
    shape = (48, 44)
    moving = texture(shape)[None]
    bend = 5 + 2 * np.sin(2 * np.pi * np.moveaxis(np.indices(shape), 0, -1)[..., ::-1] / np.array(shape))
    bend = bend[None].astype(np.float32)
    fixed = np.asarray(functional.warp(moving, bend))
    inside = (0, slice(0, 40), slice(0, 36))  # the rest corresponds to nothing in the moving image
    errors = [
        np.linalg.norm((np.asarray(coarse_to_fine(fixed, moving, steps)) - bend)[inside], axis=-1).mean()
        for steps in ([(3, 3)], [(3, 3), (1, 2)])
    ]
    assert errors[1] < 0.5 * errors[0] < 1


def test_it_repeats_itself_to_the_bit() -> None:
    fixed, moving = shifted_pair((17, 16, 14), (1, 3, -2))
    np.testing.assert_array_equal(*(field(fixed, moving, cell=3, radius=2) for _ in range(2)))


@pytest.mark.parametrize("shape", [(20, 17), (10, 9, 11)])
@pytest.mark.parametrize("weights", [False, True])
def test_images_without_contrast_and_masks_without_voxels_give_no_displacement(
    shape: tuple[int, ...], weights: bool
) -> None:
    image = np.zeros((1, *shape, 2), np.float32) if not weights else texture(shape)[None]
    options = {"fixed_weights": np.zeros((1, *shape, 1), np.float32)} if weights else {}
    np.testing.assert_array_equal(field(image, image, cell=3, radius=2, **options), 0)


def test_what_has_no_weight_has_no_influence() -> None:
    shape, shift = (32, 30), (4, -6)
    fixed, moving = shifted_pair(shape, shift)
    masks = np.zeros((2, 1, *shape, 1), np.float32)
    masks[0, :, 5:23, 9:28] = masks[1, :, 7:27, 2:23] = 1
    options = {"cell": 2, "radius": 3, "fixed_weights": masks[0], "moving_weights": masks[1]}
    found = field(fixed, moving, **options)
    np.testing.assert_allclose(found, np.broadcast_to(np.float32(shift), found.shape), atol=1e-4)
    others = [np.where(mask > 0, x, 9 * texture(shape, seed=7)) for x, mask in zip((fixed, moving), masks)]
    np.testing.assert_array_equal(field(*others, **options), found)
    options = {"steps": [(2, 3), (1, 1)], "fixed_weights": masks[0], "moving_weights": masks[1]}
    np.testing.assert_array_equal(coarse_to_fine(*others, **options), coarse_to_fine(fixed, moving, **options))


def brute_force(fixed: Array, moving: Array, radius: int, scales: tuple[float, ...]) -> NDArray[np.float64]:
    """One direction of the search in NumPy, with cells of one voxel, before both are made inverse to each other."""
    shape, rank = fixed.shape[:-1], fixed.ndim - 1
    window = np.array([1.0, 2, 3, 2, 1])
    window = np.multiply.outer(window, window) if rank == 2 else np.einsum("i,j,k->ijk", window, window, window)
    shifts = np.array(list(itertools.product(sorted(range(-radius, radius + 1), key=abs), repeat=rank)))
    cost, known = np.zeros((2, len(shifts), *shape))
    for k, shift in enumerate(shifts):
        at = np.moveaxis(np.indices(shape), 0, -1) + shift
        inside = ((at >= 0) & (at < shape)).all(axis=-1).astype(float)
        there = moving[tuple(np.clip(at, 0, np.array(shape) - 1).reshape(-1, rank).T)].reshape(fixed.shape)
        weight = ndimage.convolve(inside, window, mode="constant")
        known[k] = weight >= 0.5 * 3**rank
        squares = inside * np.sum((fixed.astype(float) - there) ** 2, axis=-1)
        cost[k] = ndimage.convolve(squares, window, mode="constant") / np.maximum(weight, 1)
    mean, typical = cost[known > 0].mean(), np.where(known > 0, cost, np.inf).min(axis=0).mean()
    cost = discrete.MEAN_COST * np.where(known > 0, cost, typical) / mean
    u = np.zeros((*shape, rank))
    for coupling in (0, 0.003, 0.01, 0.03, 0.1, 0.3, 1):
        away = np.sum(((shifts.reshape(-1, *(1,) * rank, rank) - u) * scales) ** 2, axis=-1)
        best = np.argmin(cost + coupling * away, axis=0)
        sure = np.take_along_axis(known, best[None], axis=0)[0]
        total = [
            ndimage.convolve(sure * s, np.ones((3,) * rank), mode="constant") for s in np.moveaxis(shifts[best], -1, 0)
        ]
        u = np.stack(total, axis=-1) / ndimage.convolve(sure, np.ones((3,) * rank), mode="constant")[..., None]
    return u


@pytest.mark.parametrize(("shape", "spacing"), [((16, 14), (3.0, 1.0)), ((9, 8, 7), (1.0, 1.0, 2.0))])
def test_equals_brute_force(
    shape: tuple[int, ...], spacing: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the length of the spacing in multiples of the cells' mean side."""
    monkeypatch.setattr(discrete, "CONSISTENCY_STEPS", 0)
    fixed, moving = texture(shape, seed=1), texture(shape, seed=2)
    scales = np.array(spacing) / np.prod(spacing) ** (1 / len(shape))
    expected = brute_force(fixed, moving, 2, scales)
    found = field(fixed[None], moving[None], cell=1, radius=2, spacing=spacing)[0]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.abs(field(fixed[None], moving[None], cell=1, radius=2)[0] - expected).max() > 0.1


def test_cells_and_radius_may_differ_between_axes() -> None:
    fixed, moving = shifted_pair((12, 24), (0, 8))
    found = field(fixed, moving, cell=(1, 4), radius=(0, 2))
    np.testing.assert_allclose(found, np.broadcast_to(np.float32([0, 8]), found.shape), atol=1e-4)


def test_a_search_that_takes_too_much_memory_is_refused() -> None:
    image = np.zeros((1, 60, 60, 60, 1), np.float32)
    with pytest.raises(AcregError, match=r"512 MiB. Received: 1061208000, .*Use larger cells or a smaller radius"):
        coupled_convex(image, image, cell=1, radius=8)
