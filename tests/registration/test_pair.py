import json

import numpy as np
import PIL.Image
import pytest
import SimpleITK as sitk

from acreg.evaluation.scoring import score_pair
from acreg.geometry import Displacement, Transform
from acreg.io import Image, Preprocessing, read_displacement, read_image, read_labels
from acreg.io.transforms import writing
from acreg.io.transforms.itk import image_to_itk
from acreg.models import JRSNet, RegNet
from acreg.registration.methods import PresetMethod, Unregistered, preset_name
from acreg.registration.pair import register_pair
from acreg.registration.saving import result_name, save_registration


@pytest.mark.parametrize(
    "source, rank, expected",
    [
        ("a.png", 2, "w.png"),
        ("a.JPG", 2, "w.png"),
        ("a.nii", 2, "w.nii.gz"),
        ("a.tif", 3, "w.nii.gz"),
        ("", 2, "w.nii.gz"),
    ],
)
def test_results_are_the_moving_files_kind(source, rank, expected):
    assert result_name("w", source, rank) == expected


def test_a_run_gives_its_preset_the_name():
    assert preset_name("runs/acregnet/preset") == "acregnet"
    assert preset_name("presets/acregnet-jsrt/") == "acregnet-jsrt"


def test_images_of_different_sizes_and_a_volume_are_saved_and_drawn(tmp_path):
    rng = np.random.default_rng(0)
    for shape, other in (((20, 30), (25, 14)), ((8, 12, 10), (6, 9, 14))):
        fixed = Image.from_array(rng.random(shape) * 200, spacing=[2.0] * len(shape))
        moving = Image.from_array(rng.random(other) * 200)
        labels = Image.from_array(rng.integers(0, 3, other), kind="labels")
        result = register_pair(Unregistered(), fixed=fixed, moving=moving, moving_labels=labels)
        folder = tmp_path / str(len(shape))
        written = save_registration(folder, result, fixed=fixed, moving=moving, moving_labels=labels)
        assert sorted(written) == sorted(folder.iterdir()) and len(written) == 8
        assert read_image(folder / "warped.nii.gz").array.shape == shape
        assert read_image(folder / "warped.nii.gz").grid.spacing == (2.0,) * len(shape)
        assert set(np.unique(read_labels(folder / "warped_labels.nii.gz").array)) <= {0, 1, 2}
        assert read_displacement(folder / "displacement.nii.gz").shape == (*shape, len(shape))
        with PIL.Image.open(folder / "preview.png") as picture:
            assert min(picture.size) > 300


class Shift:
    """Looks 7 voxels further along every axis, half of which shows nothing of the moving image."""

    name = "shift"

    def register(self, fixed, moving):
        field = np.full((*fixed.grid.shape, fixed.grid.rank), 7.0)
        return Transform(fixed.grid, moving.grid, (Displacement(field, fixed.grid),))


@pytest.mark.parametrize(
    ("shape", "outside"),
    [((20, 18), {}), ((12, 14, 16), {"fill": -1000.0}), ((12, 14, 16), {"border": "edge"})],
    ids=["2-D", "CT", "edge"],
)
def test_what_is_written_has_a_background_and_what_is_measured_edge_values(shape, outside, tmp_path):
    rng = np.random.default_rng(0)
    fixed, moving = (Image.from_array(rng.normal(size=shape) * 300) for _ in range(2))
    result = register_pair(Shift(), fixed=fixed, moving=moving)
    save_registration(tmp_path, result, fixed=fixed, moving=moving, what=["images", "transform"], **outside)
    found = sitk.ReadTransform(str(tmp_path / "transform.h5"))
    fixed_itk, moving_itk = image_to_itk(fixed), image_to_itk(moving)
    theirs = sitk.GetArrayFromImage(sitk.Resample(moving_itk, fixed_itk, found, sitk.sitkLinear, float("nan")))
    inside = np.isfinite(theirs)
    edge = result.transform.warp_image(moving, border="edge").array
    np.testing.assert_array_equal(result.warped.array, edge)
    theirs[~inside] = edge[~inside] if "border" in outside else outside.get("fill", 0.0)
    np.testing.assert_allclose(read_image(tmp_path / "warped.nii.gz").array, theirs, rtol=0, atol=1e-3)
    check = json.loads((tmp_path / "transform.h5.check.json").read_text(encoding="utf-8"))
    assert check["voxels_inside"] == inside.sum() < inside.size
    assert check["voxels"] == (inside.sum() if "border" in outside else inside.size)
    assert check["voxels"] + check["voxels_not_compared"] == inside.size and check["largest_difference"] < 1e-6
    assert (tmp_path / "inverse_transform.h5").is_file()
    assert {name: check.get(name) for name in ("border", "fill")} == {
        "border": outside.get("border", "constant"),
        "fill": None if "border" in outside else outside.get("fill", 0.0),
    }


class Fold(Shift):
    """Looks back by three voxels from the middle on."""

    def register(self, fixed, moving):
        field = np.zeros((*fixed.grid.shape, fixed.grid.rank))
        field[field.shape[0] // 2 :, ..., 0] = -3.0
        return Transform(fixed.grid, moving.grid, (Displacement(field, fixed.grid),))


def test_without_an_inverse_that_of_an_earlier_transform_goes(tmp_path, monkeypatch):
    fixed, moving = (Image.from_array(np.random.default_rng(n).random((20, 18))) for n in range(2))
    for method, reason in ((Shift(), ""), (Fold(), "An inverse is found by iteration, which needs a field")):
        monkeypatch.setattr(writing, "LARGEST_RESIDUAL", -1.0 if reason else 1.0)
        result = register_pair(method, fixed=fixed, moving=moving)
        written = save_registration(tmp_path, result, fixed=fixed, moving=moving, overwrite=True)
        assert sorted(written) == sorted(tmp_path.iterdir()) and result.no_inverse.startswith(reason)
        assert len(written) == (5 if reason else 7) and bool(reason) == bool(result.no_inverse)


class WithMask(Shift):
    """Records the masks that it is given."""

    takes_mask, both_ways = True, True

    def __init__(self):
        super().__init__()
        self.masks = []

    def register(self, fixed, moving, fixed_mask=None):
        self.masks.append(fixed_mask)
        return super().register(fixed=fixed, moving=moving)


def test_a_method_that_takes_a_mask_is_given_the_labels_of_its_fixed_image_each_way():
    fixed, moving = (Image.from_array(np.random.default_rng(n).random((20, 18))) for n in range(2))
    one, other = (Image.from_array(np.full((20, 18), n), kind="labels") for n in (1, 2))
    method = WithMask()
    scores, result = score_pair(method, ("a", "b"), fixed=(fixed, one), moving=(moving, other), label_values=[0, 1, 2])
    assert not scores.failure and result.inverse_error is not None
    assert [mask.array.max() for mask in method.masks] == [1, 2]
    assert register_pair(method, fixed=fixed, moving=moving, fixed_mask=one).inverse_error is None
    assert len(method.masks) == 3  # without labels of the moving image, there is no way back


def test_a_model_that_segments_has_its_mask_saved_and_scored(tmp_path):
    model = JRSNet(filters=4, blocks=1, num_classes=2, losses={"mask": 1})
    model.preprocessing = Preprocessing(shape=(16, 16))
    model.save_preset(tmp_path / "jrsnet")
    plain = RegNet(filters=(4, 8))
    plain.preprocessing = model.preprocessing
    plain.save_preset(tmp_path / "regnet")
    disc = np.hypot(*(np.indices((24, 20)) - [[[12]], [[10]]])) < 6
    image = Image.from_array(50 + 100.0 * disc, spacing=(2.0, 2.0), name="a.png")
    labels = Image.from_array(disc.astype(int), spacing=(2.0, 2.0), kind="labels")
    method = PresetMethod(str(tmp_path / "jrsnet"))
    scores, result = score_pair(method, ("a", "b"), fixed=(image, labels), moving=(image, labels), label_values=[0, 1])
    mask = method.segment(fixed=image, moving=image)
    np.testing.assert_array_equal(result.mask.array, mask.array)
    expected = 2 * (mask.array * disc).sum() / (mask.array.sum() + disc.sum())
    assert 0 < scores.value("mask_dsc") == pytest.approx(expected)
    save_registration(
        tmp_path / "out", result, fixed=image, moving=image, moving_labels=labels, fixed_labels=labels, what=["labels"]
    )
    np.testing.assert_array_equal(read_labels(tmp_path / "out" / "mask.png").array, mask.array)
    other, _ = score_pair(
        PresetMethod(str(tmp_path / "regnet")),
        ("a", "b"),
        fixed=(image, labels),
        moving=(image, labels),
        label_values=[0, 1],
    )
    assert np.isnan(other.value("mask_dsc"))
