"""`register`: images of any size in, a transform on the fixed image's own grid out."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from acreg.errors import AcregError, UsageError
from acreg.geometry import Grid, Transform
from acreg.inference import registering
from acreg.io import Image, Preprocessing, write_image
from acreg.models import RegNet
from acreg.models.memory import peak_bytes


@pytest.fixture
def shifting() -> RegNet:
    """A network that answers every pair with the same displacement: (1, -2) voxels of its 16 x 24 grid."""
    model = RegNet(network="unet", filters=(4, 8), preprocessing=Preprocessing(shape=(16, 24)))
    head = model.network.get_layer("head")
    head.kernel.assign(np.zeros(head.kernel.shape))
    head.bias.assign([1.0, -2.0])
    return model


@pytest.fixture
def still(shifting: RegNet) -> RegNet:
    shifting.network.get_layer("head").bias.assign([0.0, 0.0])
    return shifting


def smooth(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(shape)
    picture = ndimage.gaussian_filter(noise, 4)
    return (255 * (picture - picture.min()) / np.ptp(picture)).astype(np.float32)


def test_identity_gives_the_moving_image_on_the_fixed_grid(still: RegNet) -> None:
    fixed = Image(smooth((100, 90)), Grid((100, 90), (0.5, 0.7)))
    moving = Image(smooth((80, 70), 1), Grid((80, 70)))
    transform = still.register(fixed=fixed, moving=moving)
    assert isinstance(transform, Transform)
    assert transform.displacement.shape == (100, 90, 2)
    assert not transform.maps[0].vectors.any()
    assert transform.fixed == fixed.grid
    assert transform.folding()["folded_percent"] == 0
    warped = transform.warp_image(moving, border="edge")
    assert warped.grid == fixed.grid
    # Each image fills the network's 16 x 24 grid along one axis, the other is padded; the middles meet.
    spacing = [max(50 / 16, 63 / 24), max(80 / 16, 70 / 24)]
    ratio = spacing[1] / spacing[0] * np.array([0.5, 0.7])
    at = np.meshgrid(
        *((np.arange(f) - (f - 1) / 2) * r + (m - 1) / 2 for f, m, r in ((100, 80, ratio[0]), (90, 70, ratio[1]))),
        indexing="ij",
    )
    np.testing.assert_allclose(
        warped.array, ndimage.map_coordinates(moving.array, at, order=1, mode="nearest"), atol=1e-3
    )


def test_displacement_is_in_voxels_of_the_fixed_image(shifting: RegNet) -> None:
    transform = shifting.register(fixed=smooth((100, 90)), moving=smooth((100, 90), 1))
    # 16 rows cover 100 voxels; the columns have the rows' spacing.
    np.testing.assert_allclose(transform.displacement[..., 0], 1 * 100 / 16, rtol=1e-4)
    np.testing.assert_allclose(transform.displacement[..., 1], -2 * 100 / 16, rtol=1e-4)


def test_arrays_images_and_paths_are_the_same(tmp_path: Path, shifting: RegNet) -> None:
    a, b = (np.round(smooth(shape, seed)) for seed, shape in enumerate([(40, 36), (32, 48)]))
    images = [Image(array, Grid(array.shape)) for array in (a, b)]
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for image, path in zip(images, paths):
        write_image(image, path)
    network = shifting.network
    for weight in network.weights:
        weight.assign(np.asarray(weight) + 0.05)
    found = [
        shifting.register(fixed=pair[0], moving=pair[1]).displacement
        for pair in ((a, b), images, paths, [*map(str, paths)])
    ]
    assert found[0].std() > 0
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


def test_volumes_are_registered(make_model: Any) -> None:
    model = make_model("pyramid-3d-velocity")
    transform = model.register(fixed=smooth((18, 20, 14)), moving=smooth((12, 22, 16), 1))
    assert transform.displacement.shape == (18, 20, 14, 3)
    assert np.isfinite(transform.displacement).all()
    assert transform.warp_image(Image(smooth((12, 22, 16), 1), Grid((12, 22, 16)))).array.shape == (18, 20, 14)


def blob(shape: tuple[int, ...], spacing: tuple[float, ...], seed: int) -> Image:
    """An egg with a smooth texture on a background of 0, at a place in space, sampled on a grid around it."""
    direction = Rotation.from_euler("xyz", [0.1, -0.2, 0.15]).as_matrix()
    place = np.array([11.0, -7.0, 5.0 + 3 * seed])
    corner = place - direction @ ((np.array(shape) / 2 - 0.3) * spacing)
    grid = Grid(shape, spacing, tuple(corner), direction)
    at = grid.to_world(np.moveaxis(np.indices(shape), 0, -1).astype(float)) - place
    rng = np.random.default_rng(seed)
    radius = np.linalg.norm(at / [22.0, 17.0, 19.0], axis=-1)
    waves = sum(np.cos(at @ rng.normal(0, 0.12, 3) + phase) for phase in rng.uniform(0, 6, 4))
    return Image((2.5 + 0.5 * waves) / (1 + np.exp(12 * (radius - 1))) * (radius < 1.4), grid)


SHAPE, SPACING = (64, 56, 60), (1.0, 1.0, 1.0)


def calmed(model: Any) -> Any:
    """Random weights make rough fields; a trained network's is smoother and smaller."""
    for layer in model.network._flatten_layers():
        if layer.name == "head" or layer.name.endswith("_step"):
            layer.kernel.assign(layer.kernel * 0.2)
    return model


def reoriented(image: Image) -> Image:
    grid = image.grid
    corner = np.array([0, grid.shape[1] - 1, grid.shape[2] - 1])
    direction = np.asarray(grid.direction)[:, [2, 0, 1]] * [-1, 1, -1]
    spacing = tuple(np.take(grid.spacing, [2, 0, 1]))
    array = image.array.transpose(2, 0, 1)[::-1, :, ::-1]
    return Image(array, Grid(array.shape, spacing, tuple(grid.to_world(corner)), direction))


def padded(image: Image) -> Image:
    grid = image.grid.part((-7, 0, -3), np.add(image.grid.shape, (10, 12, 3)))
    return Image(np.pad(image.array, [(7, 3), (0, 12), (3, 0)]), grid)


@pytest.mark.parametrize("kind", ["pyramid-3d-velocity", "unet-3d"])
def test_orientation_padding_and_sampling_do_not_change_the_answer(make_model: Any, kind: str) -> None:
    """The same pair in other files: points go to the same places, to 0.05 mm on the mean."""
    model = calmed(make_model(kind))
    model.preprocessing = Preprocessing(shape=(16, 16, 16), spacing=(4.0, 4.0, 4.0), centre="mass")
    fixed, moving = blob(SHAPE, SPACING, 0), blob(SHAPE, SPACING, 1)
    expected = model.register(fixed=fixed, moving=moving)
    inside = np.argwhere(fixed.array > 1)[::97]
    points = fixed.grid.to_world(inside)
    found = expected.warp_points(points, to="moving")
    assert np.linalg.norm(found - points, axis=1).mean() > 1, "the network should move something"

    for change, limit in ((reoriented, 1e-3), (padded, 1e-3)):
        other = model.register(fixed=change(fixed), moving=change(moving))
        assert other.fixed == change(fixed).grid
        apart = np.linalg.norm(other.warp_points(points, to="moving") - found, axis=1)
        assert apart.mean() < limit, change.__name__
    finer = blob((80, 45, 75), (0.8, 1.25, 0.8), 0), blob((64, 70, 50), (1.0, 0.8, 1.2), 1)
    other = model.register(fixed=finer[0], moving=finer[1])
    assert np.linalg.norm(other.warp_points(points, to="moving") - found, axis=1).mean() < 0.05
    # Half of it differs: the fixed image alone is re-oriented, the moving one padded.
    other = model.register(fixed=reoriented(fixed), moving=padded(moving))
    assert np.linalg.norm(other.warp_points(points, to="moving") - found, axis=1).mean() < 1e-3


@pytest.mark.parametrize("kind", ["pyramid-velocity", "unet-3d", "affine-deformable-3d-velocity"])
def test_many_pairs_at_once_are_the_pairs_one_by_one(make_model: Any, kind: str) -> None:
    """Of images of several sizes, one of them in two pairs, and one on the other side."""
    model = calmed(make_model(kind))
    model.preprocessing = Preprocessing(shape=(18, 14, 16)[: model.rank])
    images = []
    for seed, shape in enumerate([(30, 26, 28), (20, 24, 22), (30, 26, 28)]):
        images.append(Image(smooth(shape[: model.rank], seed), Grid(shape[: model.rank])))
    pairs = [(images[0], images[1]), (images[0], images[2]), (images[2], images[0])]
    together = model.register_many(fixed=[pair[0] for pair in pairs], moving=[pair[1] for pair in pairs])
    for (fixed, moving), found in zip(pairs, together, strict=True):
        alone = model.register(fixed=fixed, moving=moving)
        assert (found.fixed, found.moving) == (fixed.grid, moving.grid)
        assert np.abs(alone.displacement).max() > 0.1
        np.testing.assert_allclose(found.displacement, alone.displacement, atol=1e-4)


@pytest.mark.parametrize("kind", ["pyramid-velocity", "unet", "pyramid-3d-velocity"])
def test_what_the_network_found_is_what_the_transform_does(make_model: Any, kind: str) -> None:
    """On the network's own grid, also where that is larger than the field's part of the image."""
    model = calmed(make_model(kind))
    shape = (30, 26, 28)[: model.rank]
    model.preprocessing = Preprocessing(shape=(18, 14, 16)[: model.rank], spacing=(1.5,) * model.rank)
    fixed, moving = (Image(smooth(shape, seed), Grid(shape)) for seed in (0, 1))
    transform = model.register(fixed=fixed, moving=moving)
    grid = model.preprocessing.grid(fixed)
    batch = {"fixed": model.preprocessing.apply(fixed)[None], "moving": model.preprocessing.apply(moving)[None]}
    expected = np.asarray(model.predict_on_batch(batch)["displacement"][0])
    on_grid = replace(transform, maps=transform.maps[:1]).resample_to(grid).displacement
    middle = tuple(slice(4, -4) for _ in shape)
    np.testing.assert_allclose(on_grid[middle], expected[middle], atol=1e-4)
    # The image reaches beyond the grid; the field goes on there and does not stop at a step.
    whole = replace(transform, maps=transform.maps[:1]).displacement
    assert np.abs(whole).min() > 0
    back = transform.compose(transform.inverse()).displacement
    middle = tuple(slice(n // 3, -(n // 3)) for n in shape)
    assert np.abs(back[middle]).mean() < 0.15 * np.abs(whole[middle]).mean()


@pytest.mark.parametrize("kind", ["pyramid-velocity", "pyramid", "unet-3d"])
def test_refinement_lowers_the_loss_and_stops_at_folding(make_model: Any, kind: str) -> None:
    model = make_model(kind)
    shape = (20, 24, 18)[: model.rank]
    fixed, moving = (Image(smooth(shape, seed), Grid(shape)) for seed in (0, 1))
    predicted = model.register(fixed=fixed, moving=moving)

    def unlike(transform: Transform) -> float:
        return float(np.mean((transform.warp_image(moving).array - fixed.array) ** 2))

    settings: dict[str, Any] = {"losses": {"mean_squared_error": 1.0}, "learning_rate": 0.05}
    none = model.refine(fixed=fixed, moving=moving, steps=0, **settings)
    np.testing.assert_allclose(none.displacement, predicted.displacement, atol=1e-4)
    free = model.refine(fixed=fixed, moving=moving, steps=15, anchor=0.0, folding_limit=100.0, **settings)
    held = model.refine(fixed=fixed, moving=moving, steps=15, anchor=0.3, folding_limit=100.0, **settings)
    assert unlike(free) < unlike(predicted)
    moved = [float(np.abs(t.displacement - predicted.displacement).mean()) for t in (free, held)]
    assert 0 < moved[1] < 0.5 * moved[0]
    strict = model.refine(fixed=fixed, moving=moving, steps=15, anchor=0.0, folding_limit=0.0, **settings)
    assert strict.folding()["folded_percent"] <= predicted.folding()["folded_percent"] + 1.5
    assert np.asarray(model.register(fixed=fixed, moving=moving).displacement == predicted.displacement).all(), (
        "weights changed"
    )


def test_what_is_kept_for_the_next_pair_is_no_part_of_the_model(make_model: Any, tmp_path: Path) -> None:
    model = make_model("pyramid")

    def parts() -> tuple[list[str], list[str], list[str]]:
        model.save(path := tmp_path / "model.keras")
        with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as file, h5py.File(file) as weights:
            stored: list[str] = []
            weights.visit(stored.append)
        return stored, [v.path for v in model.variables], [layer.name for layer in model._flatten_layers()]

    before = parts()
    pair = {"fixed": smooth((16, 16)), "moving": smooth((16, 16), 1)}
    model.register(**pair)
    model.refine(**pair, steps=1)
    assert parts() == before


def test_refinement_takes_losses_on_images_and_fields(make_model: Any) -> None:
    model = make_model("pyramid")
    with pytest.raises(ValueError, match=r"of images and fields.*Received: \['soft_dice'\]"):
        model.refine(fixed=smooth((16, 16)), moving=smooth((16, 16), 1), losses={"soft_dice": 1})


def test_memory_of_a_network_is_that_of_the_tensors_alive_at_once() -> None:
    image = keras.Input((None, None, 1), name="image")
    wide = keras.layers.Conv2D(10, 3, padding="same")(image)
    again = keras.layers.Conv2D(4, 3, padding="same")(wide)
    both = keras.layers.Concatenate()([image, keras.layers.Conv2D(2, 1)(again)])
    network = keras.Model(image, both)
    # The image and the 10 channels and the 4 channels together are the most.
    assert peak_bytes(network, [(3, 20, 30, 1)]) == 4 * 3 * 20 * 30 * (1 + 10 + 4)
    outer = keras.Model(image, keras.layers.Conv2D(1, 1)(network(image)))
    assert peak_bytes(outer, [(3, 20, 30, 1)]) == 4 * 3 * 20 * 30 * (1 + 10 + 4)


def test_a_registration_that_cannot_fit_is_refused_before_it_starts(
    shifting: RegNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shifting.estimate_memory((64, 96)) == pytest.approx(16 * shifting.estimate_memory((16, 24)))
    monkeypatch.setattr(registering, "available_bytes", lambda: 1000)
    with pytest.raises(AcregError, match=r"grid of \(16, 24\), which takes about 0.0 GB.*smaller grid"):
        shifting.register(fixed=smooth((100, 90)), moving=smooth((80, 70), 1))


def test_images_are_given_by_name_in_equal_numbers(shifting: RegNet) -> None:
    a, b = smooth((20, 18)), smooth((20, 18), 1)
    calls = ((shifting.register, (a, b)), (shifting.refine, (a, b, 5)), (shifting.register_many, ([a], [b])))
    for function, images in calls:
        with pytest.raises(UsageError, match=rf"given by name.*{function.__name__}\(fixed=..., moving=...\)"):
            function(*images)
    for fixed, moving in (([a, b], [a]), ([], [])):
        with pytest.raises(UsageError, match=f"Received: {len(fixed)} fixed and {len(moving)} moving"):
            shifting.register_many(fixed=fixed, moving=moving)


def test_what_cannot_be_registered(tmp_path: Path, shifting: RegNet) -> None:
    with pytest.raises(AcregError, match="2 axes. Received: fixed of shape"):
        shifting.register(fixed=smooth((8, 8, 8)), moving=smooth((8, 8)))
    with pytest.raises(AcregError, match=r"must exist. Received: .*none.png"):
        shifting.register(fixed=tmp_path / "none.png", moving=smooth((8, 8)))
    shown, empty = np.eye(20, 16), np.full((20, 16), 7.0)
    for pair, role in (((empty, shown), "fixed"), ((shown, empty), "moving")):
        with pytest.raises(AcregError, match=f"show something. Received: a {role} image with intensities from 7 to 7"):
            shifting.register(fixed=pair[0], moving=pair[1])
    shifting.preprocessing = None
    with pytest.raises(AcregError, match="`preprocessing` is None. Load a preset"):
        shifting.register(fixed=smooth((8, 8)), moving=smooth((8, 8)))
