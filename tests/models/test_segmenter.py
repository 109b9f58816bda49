"""The segmenter: it learns, predicts on the image's own grid, is saved and trained as other models, and guides."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import acreg
from acreg.applications.batch.commands import segment
from acreg.data.sampling.augmentation import Augmentation
from acreg.data.sampling.singles import ImageSampler
from acreg.errors import AcregError, DoubtfulResult, UsageError
from acreg.geometry import Grid, Image
from acreg.io import Preprocessing, read_image, read_labels, write_image
from acreg.models import Segmenter, from_preset
from acreg.registration.optimised import Optimised
from acreg.registration.usual import Usual, UsualInputs

SHAPES = {2: (32, 24), 3: (16, 16, 8)}


def blobs(rank: int, count: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Bright boxes with noise, and their labels."""
    rng = np.random.default_rng(0)
    labels = np.zeros((count, *SHAPES[rank], 1), np.int32)
    for one in labels:
        start = [int(rng.integers(1, n // 2)) for n in SHAPES[rank]]
        one[tuple(slice(s, s + n // 3) for s, n in zip(start, SHAPES[rank], strict=True))] = 1
    return (0.2 + 0.6 * labels + rng.normal(0, 0.05, labels.shape)).astype(np.float32), labels


def trained(rank: int, **options: Any) -> Segmenter:
    images, labels = blobs(rank)
    keras.utils.set_random_seed(0)
    preprocessing = Preprocessing(
        shape=SHAPES[rank], trim=False, label_values=(0, 7), label_names={0: "none", 7: "box"}
    )
    model = Segmenter(rank, filters=(4, 8), preprocessing=preprocessing, **options)
    model.compile(optimizer=keras.optimizers.Adam(0.01))
    model.fit({"image": images, "labels": labels}, batch_size=2, epochs=20, verbose=0)
    return model


@pytest.fixture(scope="module")
def model() -> Segmenter:
    return trained(2)


@pytest.mark.parametrize("rank", [2, 3])
def test_it_learns_to_find_boxes(rank: int) -> None:
    images, labels = blobs(rank, 8)
    found = trained(rank).segment(Image(images[-1, ..., 0], Grid(SHAPES[rank])))
    truth = labels[-1, ..., 0] > 0
    assert set(np.unique(found.array)) == {0, 7}
    assert 2 * ((found.array == 7) & truth).sum() / ((found.array == 7).sum() + truth.sum()) > 0.9


def test_results_lie_on_the_grid_of_the_image_whatever_its_axes(model: Segmenter) -> None:
    array = blobs(2)[0][0, ..., 0]
    plain = Image(array, Grid(array.shape, (1.0, 1.0), (3.0, 4.0)))
    first = tuple(plain.grid.to_world(np.array([array.shape[0] - 1, 0])).tolist())
    turned = Image(array[::-1].T.copy(), Grid(array.shape[::-1], (1.0, 1.0), first, ((0.0, -1.0), (1.0, 0.0))))
    found, there = model.segment(plain), model.segment(turned)
    assert there.grid is turned.grid and there.kind == "labels"
    np.testing.assert_array_equal(there.array, found.array[::-1].T)


def test_probabilities_add_to_one_and_background_lies_beyond_the_network(model: Segmenter) -> None:
    small = model.remade(preprocessing=Preprocessing(shape=(16, 16), spacing=(1, 1), trim=False, label_values=(0, 7)))
    small.set_weights(model.get_weights())
    image = Image(blobs(2)[0][0, ..., 0], Grid(SHAPES[2]))
    found = small.probabilities(image)
    assert found.shape == (2, *SHAPES[2]) and found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-5)
    np.testing.assert_array_equal(found[0, 0], 1)
    np.testing.assert_array_equal(found[1, 0], 0)


def test_flips_make_the_result_turn_with_the_image(model: Segmenter) -> None:
    array = blobs(2)[0][0, ..., 0]
    grid = Grid(SHAPES[2])
    one, other = (model.probabilities(Image(a, grid), flips=True) for a in (array, array[:, ::-1].copy()))
    np.testing.assert_allclose(other, one[:, :, ::-1], atol=1e-5)
    assert np.abs(model.probabilities(Image(array, grid)) - one).max() > 1e-4


def test_sizes_that_the_levels_do_not_divide_are_padded(model: Segmenter) -> None:
    odd = model.remade(preprocessing=Preprocessing(shape=(31, 23), trim=False, label_values=(0, 7)))
    odd.set_weights(model.get_weights())
    image = Image(blobs(2)[0][0, :31, :23, 0], Grid((31, 23)))
    assert odd.segment(image).array.shape == (31, 23)


def test_a_preset_gives_the_same_probabilities(model: Segmenter, tmp_path: Path) -> None:
    image = blobs(2)[0][0, ..., 0]
    again = from_preset(model.save_preset(tmp_path / "preset"))
    assert isinstance(again, Segmenter)
    np.testing.assert_array_equal(again.probabilities(image), model.probabilities(image))
    twin = Segmenter(2, filters=(4, 8))
    twin.transfer_from(tmp_path / "preset")
    np.testing.assert_array_equal(twin.network.get_weights()[0], model.network.get_weights()[0])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"rank": 4}, "`rank` must be 2 or 3"),
        ({"num_classes": 1}, "must be at least 2"),
        ({"filters": ()}, "`filters` must be one or more positive numbers"),
        ({"dropout": 1.0}, "`dropout` from 0 to less than 1"),
    ],
)
def test_arguments_out_of_range_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Segmenter(**options)


def test_without_preprocessing_or_with_labels_that_are_no_classes_it_says_so(model: Segmenter) -> None:
    with pytest.raises(AcregError, match="`preprocessing` is None"):
        Segmenter(2, filters=(4, 8)).segment(np.zeros((8, 8), np.float32))
    images, labels = blobs(2)
    with pytest.raises(AcregError, match="num_classes=2"):
        model.fit({"image": images, "labels": labels + 1}, verbose=0)
    with pytest.raises(AcregError, match="2 axes"):
        model.segment(np.zeros((8, 8, 8), np.float32))


def test_batches_depend_on_seed_and_step_alone_and_labels_move_along() -> None:
    labels = blobs(2)[1]
    noiseless = 0.2 + 0.6 * labels.astype(np.float32)
    make = Augmentation(rotation=0.3, shift=0.1)
    one, two = (ImageSampler(noiseless, labels, np.ones((6, 2)), 4, 5, augment=make) for _ in range(2))
    first, again = one.batch(3), two.batch(3)
    for name in ("image", "labels"):
        np.testing.assert_array_equal(first[name], again[name])
    assert (one.batch(4)["image"] != first["image"]).any()
    sure = np.abs(first["image"] - 0.5) > 0.25  # away from borders that are interpolated
    np.testing.assert_array_equal((first["image"] > 0.5)[sure], (first["labels"] == 1)[sure])


@pytest.fixture(scope="module")
def preset(model: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model.save_preset(tmp_path_factory.mktemp("presets") / "boxes")


def test_segment_writes_label_maps_and_a_dataset(preset: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for number, array in enumerate(blobs(2)[0][:2, ..., 0]):
        write_image(Image(array, Grid(SHAPES[2], (2.0, 2.0))), images / f"{number}.nii.gz")
    found = segment(images, None, tmp_path / "out", model=preset, probabilities=True)
    assert found.tally.done == 2
    rows = found.rows
    assert list(rows[0]) == ["subject", "image", "labels", "split", "agreement", "unlikeness", "reversed"]
    assert rows[0]["unlikeness"] == rows[0]["reversed"] == "" and 0.5 < float(rows[0]["agreement"]) <= 1
    labels = read_labels(tmp_path / "out" / rows[0]["labels"])
    assert set(np.unique(labels.array)) == {0, 7}
    share = read_image(tmp_path / "out" / "probabilities" / "0_7.nii.gz")
    assert ((share.array > 0.5) == (labels.array == 7)).all()
    about = json.loads((tmp_path / "out" / "dataset.json").read_text(encoding="utf-8"))
    assert about["labels"] == {"0": "none", "7": "box"}
    again = segment(images, None, tmp_path / "out", model=preset, probabilities=True)
    assert again.tally.before == 2


def test_an_image_that_is_unlike_those_of_the_training_is_named(preset: Path, tmp_path: Path) -> None:
    known = shutil.copytree(preset, tmp_path / "known")
    usual = Usual(data="boxes, train", pairs=1, ncc=-1, nmi=0, folded_percent=0, inputs=measured_inputs(preset))
    (known / "usual.json").write_text(usual.model_dump_json(), encoding="utf-8")
    images = tmp_path / "images"
    images.mkdir()
    own = blobs(2)[0][0, ..., 0]
    for name, array in (("own", own), ("inverted", 1 - own)):
        write_image(Image(array, Grid(SHAPES[2])), images / f"{name}.nii.gz")
    with pytest.warns(DoubtfulResult, match=r"on which known was trained \(boxes, train\): 1 of 2.*inverted"):
        segment(images, None, tmp_path / "out", model=known)
    moving = Image(1 - own, Grid(SHAPES[2]))
    with pytest.warns(DoubtfulResult, match="The moving image is unlike those"):
        found = acreg.register(fixed=Image(own, Grid(SHAPES[2])), moving=moving, model=known)
    assert set(found.unlikeness) == {"fixed", "moving"} and found.verdict == "look at it"
    plain = acreg.register(fixed=Image(own, Grid(SHAPES[2])), moving=moving)
    np.testing.assert_array_equal(found.warped.array, plain.warped.array)  # registered without the labels


def measured_inputs(preset: Path) -> UsualInputs:
    model = from_preset(preset)
    arrays = [model.preprocessing.apply(Image(one[..., 0], Grid(SHAPES[2]))) for one in blobs(2)[0]]
    found = UsualInputs.of(arrays)
    return found.model_copy(update={"limit": 1.05 * max(map(found.unlikeness, arrays)) + 0.05})


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"data": "somewhere"}, "needs no dataset.* Leave out data"),
        ({"data": None, "model": "acregnet-jsrt"}, "registers the images of a dataset.* Give data"),
        ({"data": None, "model": None, "method": "acreg:affine"}, "with method='acreg:affine', which .* Give data"),
        ({"data": "somewhere", "model": "acregnet-jsrt", "flips": True}, "without mirror images.* Leave out flips"),
    ],
)
def test_segment_refuses_a_dataset_where_none_is_needed(
    preset: Path, tmp_path: Path, arguments: dict[str, Any], text: str
) -> None:
    with pytest.raises(UsageError, match=text):
        segment("images", arguments.pop("data"), tmp_path / "out", **{"model": preset, **arguments})
    assert not (tmp_path / "out").exists()


def test_a_segmenter_registers_by_what_it_predicts(preset: Path) -> None:
    fixed, moving = (Image(array, Grid(SHAPES[2])) for array in blobs(2)[0][:2, ..., 0])
    found = acreg.register(fixed=fixed, moving=moving, model=preset)
    same = acreg.register(fixed=fixed, moving=moving, method=f"acreg:deformable[features={preset}]")
    np.testing.assert_array_equal(found.warped.array, same.warped.array)
    assert found.method == "boxes"
    with pytest.raises(UsageError, match="a segmenter's registration is an optimisation already.* Leave out refine"):
        acreg.register(fixed=fixed, moving=moving, model=preset, refine=3)


def test_a_segmenter_has_options_of_its_own_which_others_replace(model: Segmenter, tmp_path: Path) -> None:
    own = model.remade(registration={"labels": 4, "smoothness": 0.5})
    own.set_weights(model.get_weights())
    preset = own.save_preset(tmp_path / "own")
    chosen, asked = (
        Optimised(f"acreg:deformable[features={preset}{more}]").settings["options"] for more in ("", ",labels=2")
    )
    assert (chosen["labels"], chosen["smoothness"]) == (4.0, 0.5)
    assert (asked["labels"], asked["smoothness"]) == (2.0, 0.5)


def test_features_are_the_labels_that_the_segmenter_predicts(preset: Path) -> None:
    fixed, moving = (Image(array, Grid(SHAPES[2])) for array in blobs(2)[0][:2, ..., 0])
    model = from_preset(preset)
    guided = acreg.register(
        fixed=fixed,
        moving=moving,
        method="acreg:deformable",
        labels=model.segment(moving),
        fixed_labels=model.segment(fixed),
        guide_labels=True,
    )
    found = acreg.register(fixed=fixed, moving=moving, method=f"acreg:deformable[features={preset}]")
    there, here = (one.transform.displacement for one in (guided, found))
    np.testing.assert_allclose(here, there, atol=1e-4)
    plain = acreg.register(fixed=fixed, moving=moving, method="acreg:deformable").transform.displacement
    assert np.abs(plain - here).max() > 0.1


def test_features_are_those_of_a_segmenter() -> None:
    with pytest.raises(UsageError, match="Features are those of a segmenter.*an? "):
        Optimised("acreg:deformable[features=acregnet-jsrt]")
    with pytest.raises(UsageError, match="A preset is a folder"):
        Optimised("acreg:deformable[features=nothing]")
    with pytest.raises(UsageError, match="features="):
        Optimised("acreg:deformable[features=]")


def test_what_a_segmenter_was_is_on_record(preset: Path) -> None:
    name = f"acreg:deformable[features={preset}]"
    assert Optimised(name).settings["features_sha256"] != ""
    assert Optimised("acreg:deformable").settings.get("features_sha256") is None
