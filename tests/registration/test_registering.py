"""`acreg.register`, `warp` and `jacobian`: what their commands do, as functions."""

from __future__ import annotations

import json
import warnings
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from matplotlib.figure import Figure

import acreg
from acreg.cli.main import main
from acreg.data.phantoms.chests import chest_phantom, make_dataset
from acreg.errors import AcregError, DoubtfulResult, UsageError
from acreg.geometry import Displacement, Grid, Image, Transform
from acreg.io import read_image, write_image
from acreg.io.transforms.itk import image_to_itk
from acreg.metrics import label_metrics
from acreg.registration import display


class Shift:
    """Looks some voxels further along the first axis."""

    def __init__(self, rows: float) -> None:
        self.name, self.rows = f"shift by {rows:g}", rows

    def register(self, *, fixed: Image, moving: Image) -> Transform:
        field = np.zeros((*fixed.grid.shape, fixed.grid.rank))
        field[..., 0] = self.rows
        return Transform(fixed.grid, moving.grid, (Displacement(field, fixed.grid),))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, seed in (("a", 1), ("b", 2)):
        phantom = chest_phantom(seed, (48, 40))
        write_image(Image.from_array(phantom.image), tmp_path / f"{name}.png")
        write_image(Image.from_array(phantom.labels, kind="labels"), tmp_path / f"{name}_labels.png")
    return tmp_path


def pair(files: Path) -> dict[str, Path]:
    return {
        "fixed": files / "a.png",
        "moving": files / "b.png",
        "labels": files / "b_labels.png",
        "fixed_labels": files / "a_labels.png",
    }


def test_a_registration_saves_what_the_command_writes(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = acreg.register(**pair(files), method="unregistered")
    written = result.save(files / "python")
    options = [word for name, path in pair(files).items() for word in ("--" + name.replace("_", "-"), str(path))]
    assert main(["register", "--method", "unregistered", *options, "--out", str(files / "command")]) == 0
    assert sorted(written) == sorted((files / "python").iterdir())
    for path in written:
        other = files / "command" / path.name
        if path.suffix == ".png" or path.name == "displacement.nii.gz":
            assert path.read_bytes() == other.read_bytes(), path.name
    records = [json.loads((files / place / "result.json").read_text()) for place in ("python", "command")]
    assert records[0].pop("seconds") > 0 < records[1].pop("seconds") and records[0] == records[1]
    labels = [acreg.io.read_labels(pair(files)[name]).array for name in ("labels", "fixed_labels")]
    assert result.scores_before == label_metrics(*labels, [1, 2, 3]) == result.scores_after
    with pytest.raises(AcregError, match="not replaced unasked"):
        result.save(files / "python")
    assert result.save(files / "python", what=["transform"], overwrite=True) and not list(files.glob("python/*.png"))


def test_a_scene_names_the_labels_of_a_prepared_dataset(tmp_path: Path) -> None:
    names = {0: "background", 1: "left lung", 2: "right lung", 3: "heart"}
    chests = make_dataset(tmp_path / "chests", subjects=10, shape=(32, 32))
    assert chests.label_names == names
    one, other = (chests.records[number] for number in (0, 1))
    result = acreg.register(fixed=one.image, moving=other.image, labels=other.labels, method="unregistered")
    (scene,) = result.save(tmp_path / "out", what=["slicer"])[1:]
    with zipfile.ZipFile(scene) as bundle:
        bundle.extract("scene/Data/moving_labels.seg.nrrd", tmp_path)
    stored = sitk.ReadImage(str(tmp_path / "scene" / "Data" / "moving_labels.seg.nrrd"))
    assert [stored.GetMetaData(f"Segment{number}_Name") for number in range(3)] == [names[v] for v in (1, 2, 3)]


def test_images_may_be_arrays_files_or_those_of_other_packages() -> None:
    rng, affine = np.random.default_rng(0), np.diag([-2.0, -3.0, 4.0, 1.0])
    fixed, moving = (Image(rng.random((6, 7, 8)), Grid((6, 7, 8), (4.0, 3.0, 2.0))) for _ in range(2))
    expected = acreg.register(fixed=fixed, moving=moving, method=Shift(0.4))
    others = {
        "SimpleITK": [image_to_itk(each) for each in (fixed, moving)],
        "nibabel": [nibabel.Nifti1Image(each.array.T, affine) for each in (fixed, moving)],
    }
    for name, (one, other) in others.items():
        found = acreg.register(fixed=one, moving=other, method=Shift(0.4))
        np.testing.assert_array_equal(found.warped.array, expected.warped.array, err_msg=name)
        assert found.fixed.grid == fixed.grid, name
    plain = acreg.register(fixed=fixed.array, moving=moving.array, method=Shift(0.4))
    assert plain.fixed.grid.spacing == (1, 1, 1) and plain.fixed.name == "fixed"
    colours = sitk.GetImageFromArray(rng.random((6, 7, 3)), isVector=True)
    for wrong, found in ((colours, "fixed with 3 values a voxel"), (3, "Received: fixed, a int")):
        with pytest.raises(AcregError, match=found):
            acreg.register(fixed=wrong, moving=moving, method="unregistered")
    with pytest.raises(UsageError, match="of kind 'intensity'"):
        acreg.register(fixed=fixed, moving=moving, labels=moving, method="unregistered")


def test_a_loaded_model_registers_and_refines(files: Path) -> None:
    from acreg.io import Preprocessing
    from acreg.models import RegNet

    model = RegNet(network="pyramid", filters=(8, 8), losses={"ncc": 1, "diffusion": 0.1})
    model.preprocessing = Preprocessing(shape=(16, 16))
    images = {"fixed": files / "a.png", "moving": files / "b.png"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DoubtfulResult)
        found = acreg.register(**images, model=model)
        refined = acreg.register(**images, model=model, refine=2, threads=2)
    np.testing.assert_array_equal(found.transform.displacement, model.register(**images).displacement)
    assert refined.method == f"{model.name}-refined"
    assert refined.notes == [f"threads and seed are for classical methods: {model.name}-refined does not use them."]


def test_errors_call_arguments_by_their_names_in_python(files: Path) -> None:
    images = {"fixed": files / "a.png", "moving": files / "b.png"}
    cases = [
        ({"model": "a", "method": "b"}, r"Received: model='a', method='b'\. Give one of model and method\."),
        ({"refine": 3}, r"Received: refine=3 with method='acreg:deformable'"),
        ({"method": "sitk:affine", "refine": 3}, r"Received: refine=3 with method='sitk:affine'\. Leave out refine"),
        ({"method": "unregistered", "fixed_labels": files / "a_labels.png"}, "Received: fixed_labels without labels"),
    ]
    for arguments, text in cases:
        with pytest.raises(UsageError, match=text):
            acreg.register(**images, **arguments)
    result = acreg.register(**images, method="unregistered")
    with pytest.raises(UsageError, match=r"Received: fill=5\.0 with border='edge'\. Leave out one"):
        result.save(files / "out", border="edge", fill=5)
    with pytest.raises(UsageError, match="What can be saved is .* Received: everything"):
        result.save(files / "out", what=["everything"])
    assert not (files / "out").exists()


def test_a_doubtful_result_warns_and_can_be_made_an_error(files: Path) -> None:
    images = {"fixed": files / "a.png", "moving": files / "b.png"}
    with pytest.warns(DoubtfulResult) as told:
        result = acreg.register(**images, method=Shift(35))
    assert [str(each.message) for each in told] == [concern.text for concern in result.concerns]
    assert "overlap" in [concern.name for concern in result.concerns]
    assert {each.filename for each in told} == {__file__}, "the warning is the caller's"
    with warnings.catch_warnings(), pytest.raises(DoubtfulResult):
        warnings.simplefilter("error", DoubtfulResult)
        acreg.register(**images, method=Shift(35))
    with pytest.warns(UserWarning, match="^fixed and moving are one file: nothing needs to be moved"):
        acreg.register(fixed=files / "a.png", moving=files / "a.png", method="unregistered")


@pytest.mark.filterwarnings("ignore::acreg.errors.DoubtfulResult")
@pytest.mark.parametrize("shape", [(48, 40), (24, 26, 30)])
def test_a_registration_shows_its_numbers_and_a_picture(shape: tuple[int, ...], monkeypatch) -> None:
    monkeypatch.setattr(display, "VOXELS", 2000)  # larger ones are thinned out
    rng = np.random.default_rng(0)
    images = [Image.from_array(rng.random(shape), name=f"/data/{name}.png") for name in "ab"]
    result = acreg.register(fixed=images[0], moving=images[1], method=Shift(0.5))
    assert repr(result).count("\n") == 1 and "shift by 0.5: NCC " in repr(result) and "a.png" in repr(result)
    page = result._repr_html_()
    assert page.startswith('<img src="data:image/png;base64,') and "folded" in page and len(page) < 1_000_000
    assert all(concern.text in page for concern in result.concerns)
    assert result._repr_png_().startswith(b"\x89PNG") and "<td>shift by 0.5</td>" in page and "a.png" in page
    assert ("axial slice, radiological: the patient&#x27;s left is on the right" in page) == (len(shape) == 3)
    if len(shape) == 2:
        assert isinstance(result.figure(), Figure)
        result.fixed_labels = images[0]  # no labels: a picture cannot be made, and the numbers are shown all the same
        assert result._repr_html_().startswith("<p>No picture: ") and result._repr_png_() is None
        result.regularity = {}  # nor numbers
        assert "<td>not known: " in result._repr_html_() and "shift by 0.5" in result._repr_html_()


@pytest.mark.filterwarnings("ignore::acreg.errors.DoubtfulResult")
def test_transforms_are_applied_as_by_their_commands(files: Path) -> None:
    result = acreg.register(
        fixed=files / "a.png", moving=files / "b.png", method=Shift(1.5), labels=pair(files)["labels"]
    )
    result.save(files / "out")
    places = {"transform": files / "out" / "transform.h5", "reference": files / "a.png"}
    warped = acreg.warp(**places, image=files / "b.png")
    np.testing.assert_allclose(warped.image.array, result.sampled.warp_image(result.moving).array, atol=1e-3)
    assert warped.save(files / "w.png") == files / "w.png" and warped._repr_png_().startswith(b"\x89PNG")
    assert "<th style='text-align:left'>inside of the moving image</th>" in warped._repr_html_()
    same = acreg.warp(result.transform, result.fixed, labels=files / "b_labels.png")
    np.testing.assert_array_equal(same.image.array, result.warped_labels.array)
    assert same.inside == pytest.approx(result.inside.mean()) and same.vanished == []
    (files / "p.csv").write_text("x,y\n3,4\n10,20\n")
    points = acreg.warp(result.transform, result.fixed, points=files / "p.csv", to="moving")
    np.testing.assert_allclose(points.points.positions, [[5.5, 3], [21.5, 10]], atol=1e-5)
    np.testing.assert_allclose(points.lengths, 1.5, atol=1e-5)
    assert "<th style='text-align:left'>1</th><td>5.50</td><td>3.00</td><td>1.50</td>" in points._repr_html_()
    found = acreg.jacobian(result.transform, result.fixed)
    assert found.regularity == result.regularity and "folded" in found._repr_html_()
    np.testing.assert_allclose(found.image.array, 1, atol=1e-5)
    assert read_image(found.save(files / "j.nii.gz")).array.shape == (48, 40)
    for wrong, text in (
        ({}, "nothing to warp. Give one of image, labels and points"),
        ({"image": result.moving, "to": "fixed"}, "Received: image with to='fixed'"),
        ({"labels": result.moving_labels, "fill": 3}, "Received: labels with fill"),
    ):
        with pytest.raises(UsageError, match=text):
            acreg.warp(result.transform, result.fixed, **wrong)
    with pytest.raises(AcregError, match="not replaced unasked"):
        warped.save(files / "w.png")


def test_labels_that_overlap_less_are_a_concern(files: Path, tmp_path: Path) -> None:
    images = {"fixed": files / "a.png", "moving": files / "a.png", "method": Shift(9)}
    labels = read_image(files / "a.png")
    drawn = Image((labels.array > np.median(labels.array)).astype(np.int32), labels.grid, "labels")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = acreg.register(**images, labels=drawn, fixed_labels=drawn)
        other = acreg.register(**{**images, "method": Shift(0)}, labels=drawn, fixed_labels=drawn)
    (concern,) = [each for each in result.concerns if each.name == "labels"]
    assert "Dice 0." in concern.text and "before 1.000" in concern.text
    assert "labels" not in [each.name for each in other.concerns]
