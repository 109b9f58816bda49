"""Log-demons with local correlation: the update against known shifts, and the laws that the method promises."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from acreg.errors import AcregError, UsageError
from acreg.geometry import Grid, Image, Transform, Velocity
from acreg.optimisation import DemonsSettings, Guides, LogDemons
from acreg.optimisation.local_correlation import local_update

GRIDS = {2: Grid((48, 48)), 3: Grid((20, 20, 20))}
DEMONS = LogDemons(linear=None)


def texture(shape: tuple[int, ...]) -> np.ndarray:
    """Blobs up to the border, with values around 4."""
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=shape), 1.5)
    return (noise / noise.std() + 4).astype(np.float32)


def smooth_velocity(grid: Grid, longest: float) -> np.ndarray:
    noise = np.random.default_rng(1).normal(size=(*grid.shape, grid.rank))
    field = ndimage.gaussian_filter(noise, (*[6.0] * grid.rank, 0))
    return (field * longest / np.abs(field).max()).astype(np.float32)


def pair(rank: int) -> tuple[Image, Image, np.ndarray]:
    """A moving image, what the flow of a velocity makes of it, and the velocity."""
    grid = GRIDS[rank]
    v = smooth_velocity(grid, 3.0 if rank == 2 else 1.5)
    moving = Image(texture(grid.shape), grid, placed=True)
    return Transform(grid, grid, (Velocity(v, grid),)).warp_image(moving, border="edge"), moving, v


def velocity(fixed: Image, moving: Image, demons: LogDemons = DEMONS) -> np.ndarray:
    (found,) = demons.register(fixed=fixed, moving=moving).transform.maps
    assert isinstance(found, Velocity)
    return found.vectors


def update(fixed: np.ndarray, moving: np.ndarray, longest: float = 1.0, sides: tuple[float, ...] = (1.0, 1.0)):
    return local_update(fixed, moving, None, sides, 2.0, longest)


def test_one_update_undoes_a_small_shift() -> None:
    """What Gauss and Newton promise where the image varies along both axes; lengths are in the unit of the sides."""
    scene = ndimage.gaussian_filter(texture((64, 64)), 1.0)
    fixed, moving = (ndimage.shift(scene, sign * np.array([0.1, -0.2]), mode="nearest") for sign in (-1, 1))
    for sides in ((1.0, 1.0), (2.0, 1.0)):
        found, left = update(fixed, moving, 1e3, sides)
        shift = np.array([0.2, -0.4]) * sides
        # Along an edge nothing is seen of a shift: of all windows together, the updates leave less than its length.
        assert np.dot(found[8:-8, 8:-8].mean(axis=(0, 1)), shift) == pytest.approx(shift @ shift, rel=0.35)
        assert 0 <= left.min() and left.max() < 0.2


def test_no_update_is_longer_than_the_longest() -> None:
    fixed, moving = texture((40, 40)), texture((40, 40))[::-1].copy()
    for longest in (0.5, 2.0):
        lengths = np.linalg.norm(update(fixed, moving, longest)[0], axis=-1)
        assert 0.5 * longest < lengths.max() <= longest * 1.0001


def test_swapped_images_get_the_opposite_update() -> None:
    fixed, moving, _ = pair(2)
    forth, back = update(fixed.array, moving.array)[0], update(moving.array, fixed.array)[0]
    assert np.abs(forth).max() > 0.1
    np.testing.assert_array_equal(forth, -back)


@pytest.mark.parametrize(("factor", "offset"), [(30.0, -500.0), (-1.0, 2.0)])
def test_the_correlation_does_not_see_affine_changes_of_grey_values(factor: float, offset: float) -> None:
    fixed, moving, _ = pair(2)
    plain, changed = update(fixed.array, moving.array)[0], update(fixed.array, factor * moving.array + offset)[0]
    np.testing.assert_allclose(changed, plain, atol=0.01)


def test_nothing_moves_where_an_image_is_flat() -> None:
    fixed, moving, _ = pair(2)
    left = np.where(np.arange(48) < 24, np.float32(4), fixed.array)
    assert np.abs(update(left, moving.array)[0][:, :14]).max() < 1e-3


@pytest.mark.parametrize("rank", [2, 3])
def test_a_smooth_velocity_is_found_without_folding(rank: int) -> None:
    fixed, moving, known = pair(rank)
    found = DEMONS.register(fixed=fixed, moving=moving)
    inside = (slice(4, -4),) * rank
    error = np.linalg.norm(found.transform.maps[0].vectors - known, axis=-1)[inside].mean()
    assert error < 0.15 * np.linalg.norm(known, axis=-1)[inside].mean()
    assert found.transform.folding()["folded_percent"] == 0
    assert (found.contrast, [stage["stage"] for stage in found.stages]) == ("one", ["demons"])
    for level in found.stages[0]["levels"]:
        first, last = level["energy"]
        assert last < first and level["steps"] < 40  # it ended because the energy fell no more


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("brackets", [False, True])
def test_swapped_images_give_the_inverse(rank: int, brackets: bool) -> None:
    fixed, moving, _ = pair(rank)
    demons = LogDemons(None, DemonsSettings(brackets=brackets, steps=(8, 5)))
    forth, back = velocity(fixed, moving, demons), velocity(moving, fixed, demons)
    assert np.abs(forth).max() > 1
    np.testing.assert_allclose(forth, -back, atol=1e-5)


def test_a_bias_field_hardly_matters() -> None:
    """The moving image is 1.5 times as bright at one side as at the other, and has other units."""
    fixed, moving, known = pair(2)
    fixed, moving = (dataclasses.replace(each, array=np.maximum(each.array - 2, 0)) for each in (fixed, moving))
    bias = np.exp(np.linspace(-0.2, 0.2, 48, dtype=np.float32))[:, None]
    biased = dataclasses.replace(moving, array=100 * bias * moving.array + 7)
    inside = (slice(4, -4),) * 2
    error = np.linalg.norm(velocity(fixed, biased) - known, axis=-1)[inside].mean()
    assert error < 0.15 * np.linalg.norm(known, axis=-1)[inside].mean()


def test_what_lies_outside_of_a_mask_has_no_influence() -> None:
    fixed, moving, _ = pair(2)
    inside = np.zeros(fixed.grid.shape, np.int32)
    inside[6:40, 8:44] = 1
    guides = Guides(fixed_mask=Image(inside, fixed.grid, "labels", placed=True))
    changed = dataclasses.replace(fixed, array=np.where(inside, fixed.array, np.float32(9)))
    found = [DEMONS.register(fixed=each, moving=moving, guides=guides).transform for each in (fixed, changed)]
    assert np.abs(found[0].displacement).max() > 1
    np.testing.assert_array_equal(found[0].displacement, found[1].displacement)


def test_the_linear_stage_comes_first_and_thick_slices_move() -> None:
    """Slices of 4 mm, and a moving image that lies 12 mm away."""
    grid = Grid((12, 32, 32), (4.0, 2.0, 2.0))
    fixed = Image(ndimage.gaussian_filter(texture((24, 32, 32)), 1.0)[::2].copy(), grid, placed=True)
    moving = dataclasses.replace(fixed, grid=dataclasses.replace(grid, origin=(12.0, 0.0, 0.0)))
    found = LogDemons("translation", DemonsSettings(steps=(4,))).register(fixed=fixed, moving=moving)
    assert [stage["stage"] for stage in found.stages] == ["linear", "demons"]
    points = grid.to_world(np.argwhere(fixed.array > 4)[::50].astype(float))
    assert np.abs(found.transform.warp_points(points, to="moving") - points - [12, 0, 0]).mean() < 0.5


@pytest.mark.parametrize("change", [{"window": 0.0}, {"longest": -1.0}, {"smoothing": -0.5}, {"steps": ()}])
def test_settings_out_of_range(change: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"^Demons have positive lengths.*Received: DemonsSettings\(.*Correct it\.$"):
        DemonsSettings(**change)  # type: ignore[arg-type]


def test_landmarks_are_refused() -> None:
    fixed, moving, _ = pair(2)
    guides = Guides(fixed_points=np.ones((1, 2)), moving_points=np.ones((1, 2)))
    with pytest.raises(AcregError, match="Received: landmarks as guides of acreg:lcc-demons. Leave them out"):
        DEMONS.register(fixed=fixed, moving=moving, guides=guides)
