"""Registration in stages: known maps, laws of symmetry and space, guides, and bad input."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from acreg.errors import AcregError
from acreg.geometry import Affine, Displacement, Grid, Image, Transform
from acreg.optimisation import Engine, Guides, Settings, workspace

DEFAULT, QUICK = Engine(linear=None), Engine(linear=None, continuous=Settings(steps=(30, 30, 20)))
"""Shared by the tests: an engine keeps its graphs."""


def picture(shape: tuple[int, ...], seed: int = 0, sigma: float = 2.0) -> np.ndarray:
    """Blobs of several sizes on a dark background, smooth enough for interpolation."""
    noise = np.random.default_rng(seed).normal(size=shape)
    blobs = ndimage.gaussian_filter(noise, sigma) / ndimage.gaussian_filter(noise, sigma).std()
    blobs += 0.7 * ndimage.gaussian_filter(noise, 2.5 * sigma) / ndimage.gaussian_filter(noise, 2.5 * sigma).std()
    distance = sum(
        ((np.arange(n) - (n - 1) / 2) / (0.42 * n)).reshape([-1 if a == d else 1 for a in range(len(shape))]) ** 2
        for d, n in enumerate(shape)
    )
    return (np.clip(blobs + 3, 0.5, None) * ndimage.gaussian_filter((distance < 1).astype(float), 0.7)).astype(
        np.float32
    )


def wave(grid: Grid, length: float) -> Transform:
    """A smooth map that moves points by at most `length` mm."""
    voxels = np.moveaxis(np.indices(grid.shape), 0, -1)
    phases = [np.pi * voxels[..., d] / grid.shape[d] for d in range(grid.rank)]
    bump = np.prod(np.sin(phases), axis=0)
    field = np.stack([np.cos(3 * phases[(d + 1) % grid.rank]) * bump for d in range(grid.rank)], axis=-1)
    return Transform(grid, grid, (Displacement(field * length / np.array(grid.spacing) / np.sqrt(grid.rank), grid),))


def pair(grid: Grid, length: float = 6.0) -> tuple[Image, Image, Transform]:
    """A moving image, what a known map makes of it, and the map."""
    known = wave(grid, length)
    moving = Image(picture(grid.shape), grid, placed=True)
    return known.warp_image(moving), moving, known


def error(found: Transform, known: Transform, fixed: Image) -> np.ndarray:
    """Distances in mm between two maps where the fixed image shows something."""
    points = fixed.grid.to_world(np.argwhere(fixed.array > 0.5))
    return np.linalg.norm(found.warp_points(points, to="moving") - known.warp_points(points, to="moving"), axis=1)


SPACES = [
    Grid((96, 80), (1.0, 1.0)),
    Grid((48, 40, 44), (2.0, 2.0, 2.0)),
    Grid((12, 56, 48), (8.0, 1.5, 1.5)),
]


@pytest.mark.parametrize(("grid", "share"), list(zip(SPACES, (0.25, 0.3, 0.7))), ids=["2-D", "3-D", "thick slices"])
def test_a_known_map_is_found(grid: Grid, share: float) -> None:
    """Across slices of 8 mm, movements of up to half a slice are hardly seen."""
    fixed, moving, known = pair(grid)
    start = error(Transform(grid, grid), known, fixed)
    found = DEFAULT.register(fixed=fixed, moving=moving)
    left = error(found.transform, known, fixed)
    assert found.contrast == "one" and [stage["stage"] for stage in found.stages] == ["discrete", "continuous"]
    assert left.mean() < share * start.mean()
    assert found.transform.folding()["folded_percent"] == 0


def test_a_displacement_finds_it_too() -> None:
    fixed, moving, known = pair(SPACES[0])
    found = Engine(linear=None, continuous=Settings(kind="displacement")).register(fixed=fixed, moving=moving)
    start = error(Transform(fixed.grid, fixed.grid), known, fixed)
    assert error(found.transform, known, fixed).mean() < 0.3 * start.mean()


def test_other_contrast_is_noticed_and_registered() -> None:
    fixed, moving, known = pair(SPACES[1])
    other = dataclasses.replace(fixed, array=np.where(fixed.array > 0.05, 6.0 - fixed.array, 0.0))
    said: list[str] = []
    found = DEFAULT.register(fixed=other, moving=moving, progress=said.append)
    assert found.contrast == "two" and found.stages[-1]["similarity"] == ["mind_ssc"]
    assert any("two contrasts" in text for text in said)
    start = error(Transform(fixed.grid, fixed.grid), known, fixed)
    assert error(found.transform, known, fixed).mean() < 0.6 * start.mean()


def test_the_header_may_say_it_in_any_way() -> None:
    """The same pair, padded and with its axes turned, gives the same map."""
    fixed, moving, _ = pair(SPACES[1])
    first = QUICK.register(fixed=fixed, moving=moving).transform

    def changed(image: Image) -> Image:
        padded = np.pad(image.array, ((5, 3), (2, 9), (4, 4)))
        grid = image.grid.part([-5, -2, -4], padded.shape)
        array = padded.transpose(2, 0, 1)[:, ::-1]
        direction = np.asarray(grid.direction)[:, [2, 0, 1]] * [1, -1, 1]
        origin = grid.to_world(np.array([padded.shape[0] - 1, 0, 0]))
        turned = Grid(array.shape, tuple(np.take(grid.spacing, [2, 0, 1])), tuple(origin), tuple(map(tuple, direction)))
        return Image(array, turned, placed=True)

    again = QUICK.register(fixed=changed(fixed), moving=changed(moving)).transform
    assert error(again, first, fixed).max() < 0.1


def test_swapped_images_give_the_inverse() -> None:
    fixed, moving, _ = pair(SPACES[1], length=4.0)
    engine = Engine(linear=None, discrete=False)
    forth = engine.register(fixed=fixed, moving=moving).transform
    back = engine.register(fixed=moving, moving=fixed).transform
    points = fixed.grid.to_world(np.argwhere(fixed.array > 0.5))
    there = back.warp_points(forth.warp_points(points, to="moving"), to="moving")
    gone = np.linalg.norm(there - points, axis=1)
    assert gone.mean() < 0.3  # mm, a seventh of a voxel
    assert gone.mean() < 0.15 * np.linalg.norm(forth.warp_points(points, to="moving") - points, axis=1).mean() + 0.05


def test_same_images_same_bits() -> None:
    fixed, moving, _ = pair(SPACES[0])
    engines = QUICK, Engine(linear=None, continuous=QUICK.continuous)
    found = [each.register(fixed=fixed, moving=moving).transform for each in engines]
    np.testing.assert_array_equal(found[0].displacement, found[1].displacement)


@pytest.mark.parametrize("role", ["fixed", "moving"])
def test_what_lies_outside_of_a_mask_has_no_influence(role: str) -> None:
    fixed, moving, _ = pair(SPACES[0])
    inside = np.zeros(fixed.grid.shape, np.int32)
    inside[20:80, 16:70] = 1
    mask = Image(inside, fixed.grid, "labels", placed=True)
    images = {"fixed": fixed, "moving": moving}
    changed = dataclasses.replace(images[role], array=np.where(inside, images[role].array, 77.0))
    guides = Guides(**{f"{role}_mask": mask})
    plain = QUICK.register(**images, guides=guides).transform
    other = QUICK.register(**{**images, role: changed}, guides=guides).transform
    np.testing.assert_array_equal(plain.displacement, other.displacement)


def test_landmarks_end_nearer() -> None:
    grid = SPACES[0]
    fixed, moving, known = pair(grid)
    points = grid.to_world(np.array([[30.0, 30.0], [50.0, 40.0], [66.0, 52.0]]))
    wrong = known.warp_points(points, to="moving") + [3.0, -2.0]
    engine = Engine(linear=None, continuous=Settings(landmarks=50.0, steps=(30, 30, 20)))
    distances = []
    for guides in (Guides(), Guides(fixed_points=points, moving_points=wrong)):
        found = engine.register(fixed=fixed, moving=moving, guides=guides).transform
        distances.append(np.linalg.norm(found.warp_points(points, to="moving") - wrong, axis=1).mean())
    assert distances[1] < 0.4 * distances[0]


def test_labels_end_nearer() -> None:
    """Two discs whose images look the same everywhere: only their labels say what is where."""
    grid = Grid((64, 64))
    rows, columns = np.indices(grid.shape)
    near = [((rows - 32) ** 2 + (columns - c) ** 2 < 100).astype(np.int32) for c in (28, 36)]
    texture = picture(grid.shape, seed=3)
    images = [Image(texture, grid, placed=True)] * 2
    labels = [Image(array, grid, "labels", placed=True) for array in near]
    engine = Engine(linear=None, continuous=Settings(labels=5.0))
    guides = Guides(fixed_labels=labels[0], moving_labels=labels[1])
    found = engine.register(fixed=images[0], moving=images[1], guides=guides).transform
    before = 2 * (near[0] & near[1]).sum() / (near[0].sum() + near[1].sum())
    warped = found.warp_labels(labels[1]).array
    after = 2 * (near[0] & warped).sum() / (near[0].sum() + warped.sum())
    assert after > before + 0.1


def test_where_labels_need_too_much_memory_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed, moving, _ = pair(Grid((64, 64)))
    discs = Image((fixed.array > 3).astype(np.int32), fixed.grid, "labels", placed=True)
    guides = Guides(fixed_labels=discs, moving_labels=discs)
    engine = Engine(linear=None, discrete=False, continuous=Settings(steps=(1,)))
    said: list[str] = []
    engine.register(fixed=fixed, moving=moving, guides=guides, progress=said.append)
    assert not any("too many labels" in text for text in said)
    monkeypatch.setattr(workspace, "LABELS", 2 * 40 * 40)  # the working grids have a margin
    engine.register(fixed=fixed, moving=moving, guides=guides, progress=said.append)
    left_out = [text for text in said if "too many labels" in text]
    assert len(left_out) == 1 and left_out[0].startswith("72x72 voxels: too many labels for the memory")


def test_an_initial_transform_is_the_start() -> None:
    fixed, moving, known = pair(SPACES[0])
    shift = Affine(np.array([[1, 0, 40.0], [0, 1, -35.0], [0, 0, 1]]))
    away = dataclasses.replace(moving, grid=dataclasses.replace(moving.grid, origin=(40.0, -35.0)))
    goal = Transform(fixed.grid, away.grid, (*known.maps, shift))
    for maps in ((shift,), (*wave(fixed.grid, 2.0).maps, shift)):
        guides = Guides(initial=Transform(fixed.grid, away.grid, maps))
        found = DEFAULT.register(fixed=fixed, moving=away, guides=guides).transform
        assert error(found, goal, fixed).mean() < 1.0


def test_what_a_network_found_is_the_start() -> None:
    """Its linear part is kept, its deformation is that of the first level, and no step is needed where it is right."""
    fixed, moving, known = pair(SPACES[0])
    shift = Affine(np.array([[1, 0, 40.0], [0, 1, -35.0], [0, 0, 1]]))
    away = dataclasses.replace(moving, grid=dataclasses.replace(moving.grid, origin=(40.0, -35.0)))
    goal = Transform(fixed.grid, away.grid, (*known.maps, shift))
    one_step = Engine(continuous=Settings(steps=(1,)))
    found = one_step.register(fixed=fixed, moving=away, start=goal)
    assert error(found.transform, goal, fixed).mean() < 0.5
    assert [stage["stage"] for stage in found.stages] == ["continuous"]
    np.testing.assert_array_equal(found.transform.affine_part.matrix, shift.matrix)
    same = Transform(fixed.grid, fixed.grid, (Affine(np.eye(3)),))
    still = one_step.register(fixed=fixed, moving=fixed, start=same).transform
    np.testing.assert_allclose(still.sampled().displacement, 0, atol=1e-6)


def test_folding_is_kept_under_the_limit() -> None:
    fixed, moving, _ = pair(SPACES[0], length=14.0)
    rough = Settings(smoothness=0.001, rate=0.5)
    found = Engine(linear=None, continuous=rough).register(fixed=fixed, moving=moving).transform
    assert found.folding()["folded_percent"] <= 0.2


def bad(what: str) -> tuple[Image, Image, Guides]:
    fixed, moving, _ = pair(SPACES[0])
    grid = fixed.grid
    empty = Image(np.zeros(grid.shape, np.int32), grid, "labels", placed=True)
    away = dataclasses.replace(moving, grid=dataclasses.replace(grid, origin=(500.0, 500.0)))
    volume = Grid((8, 8, 8))
    return {
        "no overlap": (fixed, away, Guides(initial=Transform(grid, away.grid))),
        "constant": (dataclasses.replace(fixed, array=np.ones(grid.shape)), moving, Guides()),
        "empty mask": (fixed, moving, Guides(moving_mask=empty)),
        "initial of another rank": (fixed, moving, Guides(initial=Transform(volume, volume))),
        "ranks": (fixed, Image(np.arange(512.0).reshape(8, 8, 8), volume), Guides()),
        "landmarks of another rank": (
            fixed,
            moving,
            Guides(fixed_points=np.zeros((2, 3)), moving_points=np.zeros((2, 3))),
        ),
    }[what]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("no overlap", "Images to register overlap"),
        ("constant", "which has the value 1 everywhere"),
        ("empty mask", "which is 0 everywhere"),
        ("initial of another rank", "an initial transform of 3 axes"),
        ("ranks", "one number of axes"),
        ("landmarks of another rank", "landmarks of 3 axes"),
    ],
)
def test_bad_input_is_one_paragraph(what: str, said: str) -> None:
    fixed, moving, guides = bad(what)
    with pytest.raises(AcregError, match=said):
        DEFAULT.register(fixed=fixed, moving=moving, guides=guides)


def test_guides_come_in_pairs() -> None:
    with pytest.raises(AcregError, match="those of the fixed image alone"):
        Guides(fixed_points=np.zeros((1, 2)))
    with pytest.raises(AcregError, match="pairs of points"):
        Guides(fixed_points=np.zeros((1, 2)), moving_points=np.zeros((2, 2)))
