from __future__ import annotations

import errno
import json

import numpy as np
import PIL.Image
import pytest
import SimpleITK as sitk

from acreg.baselines import NAMES
from acreg.cli.main import main
from acreg.cli.register import METHODS
from acreg.data.phantoms import chest_phantom
from acreg.geometry import Grid
from acreg.io import Image, read_displacement, read_image, read_labels, write_image


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
    return main(["register", "--model", str(model), *arguments, *more])


def test_register_writes_its_files_and_says_what_came_of_it(files, capsys):
    labels = ["--labels", str(files / "b_labels.png"), "--fixed-labels", str(files / "a_labels.png")]
    assert register(files, *labels) == 0
    names = {path.name for path in (files / "out").iterdir()}
    assert names == {
        "registration.json",
        "warped.png",
        "warped_labels.png",
        "displacement.nii.gz",
        "transform.h5",
        "transform.h5.check.json",
        "preview.png",
    }
    assert read_image(files / "out" / "warped.png").array.shape == (48, 40)
    text = capsys.readouterr().out
    assert "folded 0.000 %" in text and "NCC" in text and "Dice" in text and str(files / "out" / "warped.png") in text


def test_what_speaks_against_a_result_is_a_warning_and_on_record(files, capsys):
    """An image of which a strip overlaps the fixed one: the exit code stays 0."""
    beside = Grid((40, 40), (1.0, 1.0), (0.0, 33.0))
    write_image(Image(read_image(files / "b.png").array, beside), files / "beside.nii.gz")
    arguments = ["--fixed", str(files / "a.png"), "--moving", str(files / "beside.nii.gz")]
    for method, concerned in (("sitk:demons[affine=false,iterations=1]", ["overlap"]), ("identity", [])):
        folder = files / method[:8]
        assert main(["--quiet", "register", "--method", method, *arguments, "--out", str(folder)]) == 0
        error = capsys.readouterr().err
        record = json.loads((folder / "registration.json").read_text(encoding="utf-8"))
        assert record["method"] in (method, "unregistered") and record["folded_percent"] == 0
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
        theirs = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, transform, sitk.sitkLinear, -1.0))
        shown[folder] = read_image(files / folder / "warped.png").array
        inside = theirs >= 0
        assert inside.mean() > 0.8
        np.testing.assert_allclose(shown[folder][inside], theirs[inside], atol=0.51)  # pictures are rounded
        check = json.loads((files / folder / "transform.h5.check.json").read_text(encoding="utf-8"))
        assert check["largest_difference"] < 1e-3 and check["image"].endswith("b.png")
    assert np.abs(shown["refined"] - shown["out"]).max() > 5


def test_results_are_replaced_only_when_asked(files, capsys):
    assert register(files) == 0
    before = (files / "out" / "preview.png").stat().st_mtime_ns
    assert register(files) == 1
    assert "--overwrite" in capsys.readouterr().err and (files / "out" / "preview.png").stat().st_mtime_ns == before
    assert register(files, "--overwrite") == 0


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


def test_sixteen_bit_and_colour_images_are_handled(files):
    grey = np.asarray(PIL.Image.open(files / "b.png"))
    PIL.Image.fromarray(grey.astype(np.uint16) * 200).save(files / "deep.png")
    PIL.Image.fromarray(np.stack([grey] * 3, -1)).save(files / "colour.png")
    assert register(files, moving="deep.png") == 0
    assert read_image(files / "out" / "warped.png").array.max() > 255
    assert register(files, "--overwrite", moving="colour.png") == 0
    assert read_image(files / "out" / "warped.png").array.shape == (48, 40)


def test_a_full_disk_leaves_whole_files_only(files, capsys, monkeypatch):
    from matplotlib.figure import Figure

    def full(self, path, **options):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Figure, "savefig", full)
    assert register(files) == 1
    assert {path.name for path in (files / "out").iterdir()} == {
        "registration.json",
        "warped.png",
        "displacement.nii.gz",
        "transform.h5",
        "transform.h5.check.json",
    }
    assert "Traceback" not in capsys.readouterr().err


def test_help_names_every_method():
    named = []
    for group in METHODS.split(";")[0].split(", "):
        tool, _, kinds = group.partition(":")
        named += [f"{tool}:{kind}" for kind in kinds.split("|")] if kinds else [tool]
    assert named == ["identity", *NAMES]


def test_a_classical_method_registers_a_pair(files, capsys):
    arguments = ["--fixed", str(files / "a.png"), "--moving", str(files / "b.png"), "--out", str(files / "out")]
    assert main(["register", "--method", "sitk:affine", *arguments]) == 0
    assert "sitk:affine: " in capsys.readouterr().out
    assert (files / "out" / "transform.h5").is_file()


@pytest.mark.parametrize(
    "more, found",
    [
        ([], "--model None, --method None"),
        (["--model", "unregistered", "--method", "sitk:affine"], "Give one of"),
        (["--method", "sitk:affine", "--refine", "3"], "--refine 3"),
        (["--method", "sitk:afine"], "sitk:afine"),
        (["--model", "unregistered", "--refine", "3"], "--refine 3"),
    ],
)
def test_a_pair_is_registered_by_a_model_or_a_method(files, capsys, more, found):
    arguments = ["--fixed", str(files / "a.png"), "--moving", str(files / "b.png"), "--out", str(files / "out")]
    assert main(["register", *arguments, *more]) == 2
    assert found in capsys.readouterr().err and not (files / "out").exists()


@pytest.mark.parametrize("place", ["/proc/x", "a.png", "a.png/x", "link", "x" * 300, "s3://bucket/x"])
def test_a_place_where_no_results_can_lie_is_named_before_anything_is_read(files, capsys, monkeypatch, place):
    monkeypatch.chdir(files)
    (files / "link").symlink_to(files / "nowhere")
    before = sorted(files.iterdir())
    assert main(["register", "--method", "identity", "--fixed", "no.png", "--moving", "no.png", "--out", place]) == 1
    error = " ".join(capsys.readouterr().err.split())
    assert error.startswith("Error: Results are written to a folder that is there") and "another place" in error
    assert sorted(files.iterdir()) == before


def test_what_is_of_no_use_is_said(files, capsys):
    same = ["register", "--fixed", str(files / "a.png"), "--moving", str(files / "a.png"), "--model", "unregistered"]
    assert main([*same, "--threads", "2", "--out", str(files / "out")]) == 0
    error = capsys.readouterr().err
    assert "--fixed and --moving are one file" in error and "a model does not use them" in error


def test_a_slice_and_a_volume_are_not_registered(files, capsys):
    write_image(Image.from_array(np.zeros((4, 5, 6))), files / "volume.nii.gz")
    assert register(files, moving="volume.nii.gz") == 1
    assert "a fixed image of shape (48, 40) and a moving one of shape (4, 5, 6)" in capsys.readouterr().err
