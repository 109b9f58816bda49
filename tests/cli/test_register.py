from __future__ import annotations

import errno
import json
import zipfile

import nibabel
import numpy as np
import PIL.Image
import pytest
import SimpleITK as sitk
from medpy.metric import binary
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from acreg.baselines import NAMES
from acreg.cli.main import main
from acreg.cli.register import METHODS
from acreg.data.phantoms.chests import chest_phantom
from acreg.geometry import Grid, Transform
from acreg.io import Image, read_displacement, read_image, read_labels, write_image
from acreg.io.transforms import writing
from acreg.optimisation import NAMES as OPTIMISED
from acreg.registration import pair as registration
from acreg.registration.saving import RECORD_NAME

STRAIGHT = np.diag([-1.0, 1.0, 1.0, 1.0])


@pytest.fixture
def files(tmp_path):
    """Two phantoms of different sizes with labels."""
    for name, seed, shape in (("a", 1, (48, 40)), ("b", 2, (40, 40))):
        phantom = chest_phantom(seed, shape)
        write_image(Image.from_array(phantom.image), tmp_path / f"{name}.png")
        write_image(Image.from_array(phantom.labels, kind="labels"), tmp_path / f"{name}_labels.png")
    return tmp_path


def register(files, *more, model="unregistered", moving="b.png", out="out"):
    arguments = ["--fixed", str(files / "a.png"), "--moving", str(files / moving), "--out", str(files / out)]
    return main(["register", "--method" if model == "unregistered" else "--model", str(model), *arguments, *more])


def test_register_writes_its_files_and_says_what_came_of_it(files, capsys):
    labels = ["--labels", str(files / "b_labels.png"), "--fixed-labels", str(files / "a_labels.png")]
    assert register(files, *labels) == 0
    names = {path.name for path in (files / "out").iterdir()}
    assert names == {
        "result.json",
        "warped.png",
        "warped_labels.png",
        "displacement.nii.gz",
        "transform.h5",
        "transform.h5.check.json",
        "inverse_transform.h5",
        "inverse_transform.h5.check.json",
        "preview.png",
    }
    assert read_image(files / "out" / "warped.png").array.shape == (48, 40)
    text = capsys.readouterr().out
    assert "folded 0.000 %" in text and "NCC" in text and "Dice" in text and str(files / "out" / "warped.png") in text


def blob(name, centre, folder, affine=STRAIGHT, labels=None, shape=(22, 30, 24)):
    """A volume of a bright ball and its label, as NIfTI."""
    distance = np.sqrt(sum((x - c) ** 2 for x, c in zip(np.indices(shape), centre, strict=True)))
    noise = np.random.default_rng(0).normal(size=shape)
    nibabel.save(
        nibabel.Nifti1Image((100 * np.exp(-((distance / 8) ** 2)) + noise).astype("f4"), affine), folder / f"{name}.nii"
    )
    array = (distance < 6).astype(np.uint8) if labels is None else labels
    nibabel.save(nibabel.Nifti1Image(array, affine), folder / f"{name}_labels.nii")
    return array


def of_volumes(folder, *more, out="out"):
    files = {"--fixed": "f.nii", "--moving": "m.nii", "--labels": "m_labels.nii"}
    arguments = [part for option, name in files.items() for part in (option, str(folder / name))]
    return main(["register", "--method", "unregistered", *arguments, "--out", str(folder / out), *more])


def test_labels_lie_where_their_header_says_or_are_refused(tmp_path, capsys):
    """Of an image stored from front to back: its own labels, the same stored otherwise, and with a lost header."""
    affine = np.array([[-1.0, 0, 0, 90], [0, 0, 1, -60], [0, 1, 0, -40], [0, 0, 0, 1]])
    fixed = blob("f", (11, 20, 8), tmp_path, affine)
    moving = blob("m", (13, 22, 10), tmp_path, affine)
    dice = f"Dice  before {binary.dc(fixed, moving):.4f}"
    kept = nibabel.load(tmp_path / "m_labels.nii"), nibabel.load(tmp_path / "f_labels.nii")
    for fixed_to, moving_to in (("LAS", "LAS"), ("PIR", "SLA")):
        for image, to, name in ((kept[1], fixed_to, "f"), (kept[0], moving_to, "m")):
            turned = image.as_reoriented(ornt_transform(io_orientation(image.affine), axcodes2ornt(to)))
            nibabel.save(turned, tmp_path / f"{name}_{to}.nii")
        more = ["--labels", str(tmp_path / f"m_{moving_to}.nii"), "--fixed-labels", str(tmp_path / f"f_{fixed_to}.nii")]
        assert of_volumes(tmp_path, *more, out=fixed_to) == 0 and dice in capsys.readouterr().out
        assert read_labels(tmp_path / fixed_to / "warped_labels.nii.gz").array.sum() == moving.sum()
    nibabel.save(nibabel.Nifti1Image(moving, np.eye(4)), tmp_path / "m_labels.nii")
    assert of_volumes(tmp_path, out="lost") == 1
    said = capsys.readouterr().err
    assert "m_labels.nii on" in said and "a header was lost" in said and not (tmp_path / "lost").exists()


def test_an_image_is_not_taken_for_labels(tmp_path, capsys):
    for name in "fm":
        blob(name, (11, 15, 12), tmp_path)
    scan = (nibabel.load(tmp_path / "m.nii").get_fdata() * 2).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(scan, STRAIGHT), tmp_path / "m_labels.nii")
    assert of_volumes(tmp_path) == 1
    assert "form regions" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_labels_that_one_map_lacks_count_with_dice_0_and_are_named(tmp_path, capsys):
    """Large and negative numbers, too; a label smaller than the fixed image's voxels vanishes."""
    fixed, moving = (np.zeros((22, 30, 24), np.int32) for _ in range(2))
    fixed[4:9, 4:9, 4:9], moving[5:10, 4:9, 4:9] = 614_454_277, 614_454_277
    fixed[12:15, 12:15, 12:15] = -3
    moving[1, 1, 1] = 8
    for name, labels in (("f", fixed), ("m", moving)):
        blob(name, (11, 15, 12), tmp_path, labels=labels)
    assert of_volumes(tmp_path, "--fixed-labels", str(tmp_path / "f_labels.nii")) == 0
    text = capsys.readouterr().out
    assert "before 0.2667   after 0.2667   (mean over 3 labels)" in text
    assert "Dice 0, in one of the two maps alone: label -3, label 8" in text and "Vanished" not in text
    blob("f", (5, 7, 6), tmp_path, np.diag([-2.0, 2, 2, 1]), shape=(11, 15, 12))
    assert of_volumes(tmp_path, out="coarse") == 0
    assert "Vanished, without a voxel in the warped labels: label 8\n" in capsys.readouterr().out


def test_what_speaks_against_a_result_is_a_warning_and_on_record(files, capsys):
    """An image of which a strip overlaps the fixed one: the exit code stays 0."""
    beside = Grid((40, 40), (1.0, 1.0), (0.0, 33.0))
    write_image(Image(read_image(files / "b.png").array, beside), files / "beside.nii.gz")
    arguments = ["--fixed", str(files / "a.png"), "--moving", str(files / "beside.nii.gz")]
    for method, concerned in (("sitk:demons[affine=false,iterations=1]", ["overlap"]), ("unregistered", [])):
        folder = files / method[:8]
        assert main(["--quiet", "register", "--method", method, *arguments, "--out", str(folder)]) == 0
        error = capsys.readouterr().err
        record = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        assert record["method"] == method and record["folded_percent"] == 0
        assert record["verdict"] == ("look at it" if concerned else None)
        assert (record["overlap"]["share"] < 0.4) == bool(concerned)
        assert -1 < record["after"]["ncc"] < 1 < record["after"]["nmi"] < 2
        assert {"similarity", *concerned} >= {concern["name"] for concern in record["concerns"]} >= {*concerned}
        assert error == "".join(f"Warning: {concern['text']}\n" for concern in record["concerns"])


def test_without_labels_none_are_written(files, capsys):
    assert register(files) == 0
    assert not (files / "out" / "warped_labels.png").exists() and "Dice" not in capsys.readouterr().out


def test_a_preset_is_used_and_found_in_the_result(files, tmp_path):
    models = pytest.importorskip("acreg.models")
    from acreg.io import Preprocessing

    model = models.RegNet()
    model.preprocessing = Preprocessing(shape=(32, 32), intensity="divide_by_255", label_values=[0, 1, 2, 3])
    model.build({"moving": (None, 32, 32, 1), "fixed": (None, 32, 32, 1)})
    model.save_preset(tmp_path / "preset")
    assert register(files, model=tmp_path / "preset") == 0
    field = model.register(fixed=read_image(files / "a.png"), moving=read_image(files / "b.png")).displacement
    assert field.any()
    np.testing.assert_allclose(read_displacement(files / "out" / "displacement.nii.gz"), field, atol=1e-5)


def test_the_transform_does_in_other_programs_what_the_warped_image_shows(files, tmp_path):
    """Applied by SimpleITK to the moving file, it gives the warped file; refined, another one."""
    models = pytest.importorskip("acreg.models")
    from acreg.io import Preprocessing

    model = models.RegNet(network="pyramid", filters=(8, 8), losses={"ncc": 1, "diffusion": 0.1})
    model.preprocessing = Preprocessing(shape=(32, 32))
    model.save_preset(tmp_path / "preset")
    assert register(files, model=tmp_path / "preset") == 0
    assert register(files, "--refine", "8", model=tmp_path / "preset", out="refined") == 0
    fixed, moving = (sitk.ReadImage(str(files / name), sitk.sitkFloat32) for name in ("a.png", "b.png"))
    for image in (fixed, moving):
        image.SetSpacing((1.0, 1.0))
    shown = {}
    for folder in ("out", "refined"):
        transform = sitk.ReadTransform(str(files / folder / "transform.h5"))
        theirs = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, transform, sitk.sitkLinear, 0.0))
        shown[folder] = read_image(files / folder / "warped.png").array
        np.testing.assert_allclose(shown[folder], theirs, atol=0.51)  # pictures are rounded
        check = json.loads((files / folder / "transform.h5.check.json").read_text(encoding="utf-8"))
        assert check["largest_difference"] < 1e-3 and check["image"].endswith("b.png")
        assert check["voxels"] == shown[folder].size
    assert np.abs(shown["refined"] - shown["out"]).max() > 5


def test_results_are_replaced_only_when_asked(files, capsys):
    assert register(files) == 0
    before = (files / "out" / "preview.png").stat().st_mtime_ns
    assert register(files) == 1
    assert "--overwrite" in capsys.readouterr().err and (files / "out" / "preview.png").stat().st_mtime_ns == before
    labels = ["--labels", str(files / "b_labels.png")]
    assert register(files, *labels, "--overwrite") == 0 and (files / "out" / "warped_labels.png").is_file()
    assert register(files, "--overwrite") == 0
    assert not (files / "out" / "warped_labels.png").exists(), "labels that another transform moved"


def test_a_scene_for_slicer_is_written_when_asked_and_goes_with_the_other_results(files, capsys):
    labels = ["--labels", str(files / "b_labels.png"), "--fixed-labels", str(files / "a_labels.png")]
    assert register(files, *labels, "--slicer") == 0
    assert str(files / "out" / "scene.mrb") in capsys.readouterr().out
    with zipfile.ZipFile(files / "out" / "scene.mrb") as bundle:
        stored = {name.removeprefix("scene/Data/") for name in bundle.namelist()}
    images = {"fixed.nrrd", "moving.nrrd", "warped.nrrd", "fixed_labels.seg.nrrd", "moving_labels.seg.nrrd"}
    assert stored == {"scene/scene.mrml", "transform.h5", *images}
    assert register(files, "--slicer") == 1 and "scene.mrb" in capsys.readouterr().err
    assert register(files, "--overwrite") == 0 and not (files / "out" / "scene.mrb").exists()


def test_an_inverse_that_is_an_approximation_or_lacks_is_said(files, capsys, monkeypatch):
    def fold(fixed, moving):
        field = np.zeros((*fixed.grid.shape, 2))
        field[20:, :, 0] = -3.0
        return Transform.between_extents(fixed.grid, moving.grid, field)

    assert register(files) == 0
    monkeypatch.setattr(registration.Unregistered, "register", lambda self, fixed, moving: fold(fixed, moving))
    assert register(files, "--overwrite") == 0
    assert "inverse_transform.h5 is an approximation: the transform folds in" in capsys.readouterr().err
    monkeypatch.setattr(writing, "LARGEST_RESIDUAL", -1.0)
    assert register(files, "--overwrite") == 0
    names = {path.name for path in (files / "out").iterdir()}
    assert {"transform.h5", "warped.png", "preview.png"} <= names
    assert not {"inverse_transform.h5", "inverse_transform.h5.check.json"} & names
    assert "No inverse was written. An inverse is found by iteration" in capsys.readouterr().err


def test_bad_input_is_one_paragraph_and_leaves_no_folder(files, capsys):
    (files / "empty.png").write_bytes(b"")
    (files / "text.png").write_text("not an image")
    (files / "cut.png").write_bytes((files / "b.png").read_bytes()[:200])
    small = ["--labels", str(files / "a_labels.png")]
    cases = [
        ({"moving": "absent.png"}, [], 1),
        ({"moving": "empty.png"}, [], 1),
        ({"moving": "text.png"}, [], 1),
        ({"moving": "cut.png"}, [], 1),
        ({}, small, 1),
        ({}, ["--fixed-labels", str(files / "a_labels.png")], 2),
        ({"model": files / "no-preset"}, [], 2),
    ]
    for options, more, code in cases:
        assert register(files, *more, **options) == code, (options, more)
        error = capsys.readouterr().err
        assert "Received" in error and "Traceback" not in error
        assert not (files / "out").exists(), (options, more)


def test_labels_without_a_common_value_have_no_dice(files, capsys):
    other = read_labels(files / "a_labels.png").array
    for value, found in ((9, "--fixed-labels with 9"), (0, "--fixed-labels with background alone")):
        path = files / f"{value}.png"
        write_image(Image.from_array(np.where(other > 0, value, 0), kind="labels"), path)
        assert register(files, "--labels", str(files / "b_labels.png"), "--fixed-labels", str(path)) == 1
        assert found in " ".join(capsys.readouterr().err.split()) and not (files / "out").exists()


def test_sixteen_bit_and_colour_images_are_handled(files, capsys):
    grey = np.asarray(PIL.Image.open(files / "b.png"))
    PIL.Image.fromarray(grey.astype(np.uint16) * 200).save(files / "deep.png")
    colours = np.stack([grey, grey[::-1], 255 - grey], -1)
    PIL.Image.fromarray(colours).save(files / "colour.png")
    assert register(files, moving="deep.png") == 0
    assert read_image(files / "out" / "warped.png").array.max() > 255
    assert register(files, "--overwrite", moving="colour.png") == 0
    warped = np.asarray(PIL.Image.open(files / "out" / "warped.png"))
    assert warped.shape == (48, 40, 3)
    for channel in range(3):
        PIL.Image.fromarray(np.ascontiguousarray(colours[..., channel])).save(files / "one.png")
        assert register(files, "--overwrite", moving="one.png", out="one") == 0
        np.testing.assert_array_equal(warped[..., channel], PIL.Image.open(files / "one" / "warped.png"))
    deep = sitk.GetImageFromArray(colours.astype(np.uint16) * 200, isVector=True)
    sitk.WriteImage(deep, str(files / "deep.nrrd"))
    assert register(files, "--overwrite", moving="deep.nrrd") == 0
    assert "has the luminance of" in capsys.readouterr().err, "NIfTI has no colour of 16 bits"
    assert read_image(files / "out" / "warped.nii.gz").array.max() > 255


def test_a_full_disk_leaves_no_file(files, capsys, monkeypatch):
    from acreg.registration import saving

    def full(view):
        raise OSError(errno.ENOSPC, "No space left on device", "preview.png")

    monkeypatch.setattr(saving, "preview_png", full)
    assert register(files) == 1
    assert not (files / "out").exists()
    assert "Traceback" not in capsys.readouterr().err
    monkeypatch.undo()
    assert register(files) == 0  # the same command


def test_old_names_of_no_registration_work_with_a_warning(files, capsys):
    pair = ["--fixed", str(files / "a.png"), "--moving", str(files / "b.png")]
    for option, name in (("--method", "identity"), ("--model", "unregistered")):
        assert main(["register", option, name, *pair, "--out", str(files / name)]) == 0
        told = capsys.readouterr()
        assert f"{name} is now " in told.err and "unregistered; the old name goes in version 0.3." in told.err
        assert told.out.startswith("unregistered: ")


def test_help_names_every_method():
    named = []
    for group in METHODS.split(";")[0].split(", "):
        tool, _, kinds = group.partition(":")
        named += [f"{tool}:{kind}" for kind in kinds.split("|")] if kinds else [tool]
    assert named == ["unregistered", *OPTIMISED, *NAMES]


def test_two_images_are_registered_without_a_model_and_a_method(files, capsys, monkeypatch):
    monkeypatch.setattr("acreg.registration.registering.DEFAULT", "acreg:deformable[linear=translation,steps=9]")
    for name in "ab":
        whole = Image.from_array(np.ones((48 if name == "a" else 40, 40), np.int32), kind="labels")
        write_image(whole, files / f"{name}_mask.png")
    masks = ["--fixed-mask", str(files / "a_mask.png"), "--moving-mask", str(files / "b_mask.png")]
    arguments = ["--fixed", str(files / "a.png"), "--moving", str(files / "b.png"), "--out", str(files / "out")]
    assert main(["register", *arguments, *masks, "--also", str(files / "b_labels.png")]) == 0
    told = capsys.readouterr()
    assert "linear: translation" in told.out and "continuous: " in told.out and "NCC   before" in told.out
    assert "voxels: " in told.err and "Moved as labels, which their values look like: b_labels" in told.err
    record = json.loads((files / "out" / RECORD_NAME).read_text())
    assert record["stages"][0]["stage"] == "linear" and record["also"] == ["b_labels_warped.png"]
    assert main(["--quiet", "register", *arguments, "--overwrite"]) == 0
    assert not capsys.readouterr().err and not (files / "out" / "b_labels_warped.png").exists()


def test_two_images_or_a_list_are_given(files, capsys):
    assert main(["register", "--moving", str(files / "b.png"), "--out", str(files / "out")]) == 2
    assert "Received: no --fixed. Give --fixed and --moving, or --pairs" in capsys.readouterr().err


def test_a_list_of_pairs(files, capsys):
    (files / "pairs.csv").write_text("fixed,moving\na.png,b.png\na.png,c.png\n")
    arguments = ["register", "--method", "unregistered", "--pairs", str(files / "pairs.csv")]
    assert main([*arguments, "--out", str(files / "out"), "--slicer"]) == 0
    told = capsys.readouterr()
    assert "1 of 2 pairs: " in told.out and "1 of 2 pairs failed; the reasons: " in told.err
    assert all((files / "out" / "b_to_a" / name).is_file() for name in ("warped.png", "scene.mrb"))
    (files / "pairs.csv").write_text("fixed,moving\na.png,c.png\n")
    assert main([*arguments, "--out", str(files / "none")]) == 1
    assert "At least one of the pairs must succeed. Received: 1 pairs, all of which failed" in capsys.readouterr().err


def test_a_classical_method_registers_a_pair(files, capsys):
    arguments = ["--fixed", str(files / "a.png"), "--moving", str(files / "b.png"), "--out", str(files / "out")]
    assert main(["register", "--method", "sitk:affine", *arguments]) == 0
    assert "sitk:affine: " in capsys.readouterr().out
    assert (files / "out" / "transform.h5").is_file()


@pytest.mark.parametrize(
    "more, found",
    [
        (["--refine", "3"], "Models alone refine. Received: --refine 3 with --method acreg:deformable"),
        (["--engine", "ray"], "Received: --engine without --pairs"),
        (["--pairs", "pairs.csv"], "Received: --fixed, --moving with --pairs"),
        (["--model", "acregnet-jsrt", "--method", "sitk:affine"], "Give one of"),
        (["--method", "sitk:affine", "--refine", "3"], "Models alone refine. Received: --refine 3 with --method sitk:"),
        (["--method", "sitk:affine", "--seed", "4294967296"], "a seed is from 0 to 2147483646. Received: "),
        (["--method", "sitk:afine"], "sitk:afine"),
        (["--method", "unregistered", "--refine", "3"], "--refine 3"),
    ],
)
def test_a_pair_is_registered_by_a_model_or_a_method(files, capsys, more, found):
    arguments = ["--fixed", str(files / "a.png"), "--moving", str(files / "b.png"), "--out", str(files / "out")]
    assert main(["register", *arguments, *more]) == 2
    assert found in capsys.readouterr().err and not (files / "out").exists()


@pytest.mark.parametrize(
    "place, code, said",
    [
        ("/proc/x", 1, "Results are written to a folder that is there"),
        ("a.png", 2, "The output must be a folder. Received: a.png, a file"),
        ("a.png/x", 1, "Results are written to a folder that is there"),
        ("link", 1, "Results are written to a folder that is there"),
        ("x" * 300, 1, "Results are written to a folder that is there"),
        ("s3://bucket/x", 1, "Results are written to a folder that is there"),
    ],
)
def test_a_place_where_no_results_can_lie_is_named_before_anything_is_read(
    files, capsys, monkeypatch, place, code, said
):
    monkeypatch.chdir(files)
    (files / "link").symlink_to(files / "nowhere")
    before = sorted(files.iterdir())
    pair = ["--fixed", "no.png", "--moving", "no.png"]
    assert main(["register", "--method", "unregistered", *pair, "--out", place]) == code
    error = " ".join(capsys.readouterr().err.split())
    assert error.startswith(f"Error: {said}") and sorted(files.iterdir()) == before


def test_what_is_of_no_use_is_said(files, capsys):
    same = ["register", "--fixed", str(files / "a.png"), "--moving", str(files / "a.png"), "--method", "unregistered"]
    assert main([*same, "--threads", "2", "--out", str(files / "out")]) == 0
    error = capsys.readouterr().err
    assert "--fixed and --moving are one file" in error and "unregistered does not use them" in error
    labels = [word for option in ("--labels", "--fixed-labels") for word in (option, str(files / "b_labels.png"))]
    (files / "a.png").write_bytes((files / "b.png").read_bytes())  # another file, on whose grid they lie
    assert register(files, *labels, out="again") == 0
    assert "Warning: --labels and --fixed-labels are one file" in capsys.readouterr().err


def test_a_slice_and_a_volume_are_not_registered(files, capsys):
    write_image(Image.from_array(np.zeros((4, 5, 6))), files / "volume.nii.gz")
    assert register(files, moving="volume.nii.gz") == 1
    error = capsys.readouterr().err
    assert "a fixed image of shape (48, 40) and a moving one of shape (4, 5, 6). Give two pictures or two vol" in error
    write_image(Image.from_array(np.zeros((4, 5, 1))), files / "sagittal.nii.gz")
    assert register(files, moving="sagittal.nii.gz") == 1
    assert "at least 2 voxels along each axis. Received: " in capsys.readouterr().err
