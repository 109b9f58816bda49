"""What `acreg inspect` says of files whose contents are known."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import PIL.Image
import pytest
import SimpleITK as sitk
from scipy import ndimage
from scipy.spatial.transform import Rotation

from acreg.cli.main import main
from acreg.data.phantoms.chests import make_dataset
from acreg.geometry import Displacement, Grid, Transform
from acreg.io import Image, write_displacement, write_image
from acreg.io.transforms import write_learn2reg, write_transform

GRID = Grid((5, 7, 6), (4.0, 1.5, 1.0), (-30.0, 12.0, 5.0))


@pytest.fixture
def facts(capsys):
    """What the command says of a file, from its JSON; the readable text must come without an error, too."""

    def read(path):
        assert main(["inspect", str(path)]) == 0, capsys.readouterr().err
        text = capsys.readouterr().out
        assert main(["inspect", str(path), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["file"] == str(path) and found["kind"] in text
        return found

    return read


def test_a_nifti_image_with_its_geometry(facts, tmp_path):
    array = np.random.default_rng(0).normal(size=(6, 7, 5)).astype(np.float32)
    turn = np.diag([-1.0, 1.0, 1.0, 1.0]) @ np.diag([1.0, 1.5, 4.0, 1.0])
    turn[:3, :3] = Rotation.from_euler("z", 10, degrees=True).as_matrix() @ turn[:3, :3]
    turn[:3, 3] = (10, 20, 30)
    image = nibabel.Nifti1Image(array, turn)
    image.set_qform(turn, code=1)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, tmp_path / "a.nii.gz")
    found = facts(tmp_path / "a.nii.gz")
    assert found["kind"] == "image" and found["stored_as"] == "float32"
    assert found["shape_xyz"] == [6, 7, 5] and found["shape_zyx"] == [5, 7, 6]
    assert found["spacing_xyz_mm"] == pytest.approx([1, 1.5, 4]) and found["unit_in_header"] == "mm"
    assert found["origin_xyz_mm"] == pytest.approx([-10, -20, 30])
    assert (found["orientation_towards"], found["orientation_from"]) == ("LAS", "RPI")
    assert found["oblique_degrees"] == pytest.approx(10, abs=1e-4)
    assert (found["sform_code"], found["qform_code"], found["forms_agree"]) == (2, 1, True)
    assert found["range"] == pytest.approx([array.min(), array.max()]) and "values" not in found

    image.set_qform(np.diag([1.0, 1.5, 4.0, 1.0]), code=1)
    nibabel.save(image, tmp_path / "b.nii.gz")
    assert facts(tmp_path / "b.nii.gz")["forms_agree"] is False


def test_scaling_and_what_is_not_finite(facts, tmp_path):
    image = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    image.header.set_slope_inter(0.5, 10)
    nibabel.save(image, tmp_path / "scaled.nii")
    found = facts(tmp_path / "scaled.nii")
    assert found["stored_as"] == "int16" and found["scaling"] == "times 0.5, plus 10" and found["range"] == [10, 21.5]
    holes = np.array([[[1.5, np.nan], [np.inf, -2.0]]])
    nibabel.save(nibabel.Nifti1Image(holes, np.eye(4)), tmp_path / "holes.nii")
    found = facts(tmp_path / "holes.nii")
    assert found["not_finite"] == 2 and found["range"] == [-2.0, 1.5]


def test_labels_are_told_from_images_of_whole_numbers(facts, tmp_path, data_dir):
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(40, 40)), 4)
    labels = np.digitize(smooth, np.quantile(smooth, [0.5, 0.7, 0.9])) * 10
    write_image(Image.from_array(labels, kind="labels"), tmp_path / "labels.png")
    found = facts(tmp_path / "labels.png")
    assert found["kind"].startswith("labels") and found["values"] == [0, 10, 20, 30]
    assert found["format"] == "PNG" and found["spacing"] is None and found["shape_yx"] == [40, 40]
    for folder in ("hippocampus", "cardiac_sunnybrook"):
        for kind, word in (("images", "image"), ("labels", "labels")):
            path = sorted((data_dir / folder / kind).iterdir())[0]
            assert facts(path)["kind"].startswith(word), path


def test_colour_and_other_formats(facts, tmp_path):
    PIL.Image.new("RGB", (8, 6), (10, 20, 30)).save(tmp_path / "c.png")
    assert facts(tmp_path / "c.png")["stored_as"] == "mode RGB"
    write_image(Image(np.random.default_rng(0).normal(size=GRID.shape), GRID), tmp_path / "a.mha")
    found = facts(tmp_path / "a.mha")
    assert (found["format"], found["stored_as"], found["orientation_towards"]) == ("Meta", "float32", "LPS")
    assert found["origin_xyz_mm"] == [5, 12, -30] and found["oblique_degrees"] == 0
    series = nibabel.Nifti1Image(np.zeros((3, 4, 5, 2), np.float32), np.eye(4))
    nibabel.save(series, tmp_path / "s.nii")
    assert facts(tmp_path / "s.nii")["kind"] == "series of images"


def test_fields_are_told_apart_by_what_their_vectors_are_in(facts, tmp_path):
    vectors = np.broadcast_to([1.0, -2.0, 2.0], (*GRID.shape, 3))  # in mm: 4, 3 and 2 along z, y and x
    transform = Transform(GRID, GRID, (Displacement(vectors, GRID),))
    write_transform(transform, tmp_path / "mm.nii.gz")
    write_displacement(vectors, GRID, tmp_path / "voxels.nii.gz")
    write_learn2reg(transform, tmp_path / "l2r.nii.gz")
    mm, voxels, l2r = (facts(tmp_path / f"{name}.nii.gz") for name in ("mm", "voxels", "l2r"))
    assert mm["kind"] == "displacement field" and mm["largest_length_mm"] == pytest.approx(np.sqrt(16 + 9 + 4))
    assert voxels["kind"] == "displacement field of acreg" and voxels["largest_length_voxels"] == pytest.approx(3)
    assert l2r["kind"] == "perhaps a field of Learn2Reg" and l2r["largest_length_voxels"] == pytest.approx(3)
    for found in (mm, voxels, l2r):
        assert found["shape_zyx"] == [5, 7, 6] and found["spacing_xyz_mm"] == pytest.approx([1, 1.5, 4])
    flat = Grid((7, 6), (1.5, 1.0))
    write_displacement(np.zeros((7, 6, 2)), flat, tmp_path / "flat.nii.gz")
    found = facts(tmp_path / "flat.nii.gz")
    assert found["shape_yx"] == [7, 6] and found["spacing_xy_mm"] == [1, 1.5] and found["mean_length_voxels"] == 0


def test_an_itk_transform_and_its_parts(facts, tmp_path):
    euler = sitk.Euler3DTransform((1.0, 2.0, 3.0), *np.radians((10, -20, 30)), (4.0, 5.0, 6.0))
    scale = sitk.AffineTransform(np.diag([2.0, 0.5, 1.5]).ravel().tolist(), (7, 8, 9))
    composite = sitk.CompositeTransform(3)
    composite.AddTransform(euler)
    composite.AddTransform(scale)
    sitk.WriteTransform(composite, str(tmp_path / "t.h5"))
    found = facts(tmp_path / "t.h5")
    assert found["kind"] == "transform" and found["rank"] == 3
    first, second = found["parts"]  # a point goes through what was added last
    assert first["type"] == "AffineTransform" and second["type"] == "Euler3DTransform"
    assert first["stretch_xyz"] == pytest.approx([2, 0.5, 1.5]) and first["offset_xyz_mm"] == [7, 8, 9]
    assert first["volume_factor"] == pytest.approx(1.5) and first["rotation_degrees"] == pytest.approx(0)
    assert second["rotation_xyz_degrees"] == pytest.approx([10, -20, 30])
    assert second["offset_xyz_mm"] == pytest.approx(euler.TransformPoint((0.0, 0.0, 0.0)))

    sheared = sitk.AffineTransform([1, 0.4, 0, 1], (0, 0))
    sitk.WriteTransform(sheared, str(tmp_path / "shear.txt"))
    (part,) = facts(tmp_path / "shear.txt")["parts"]
    assert part["rotation_degrees"] == pytest.approx(-np.degrees(np.arctan(0.2))) and part["shear"] > 0.1
    sitk.WriteTransform(sitk.AffineTransform([-1, 0, 0, 1], (0, 0)), str(tmp_path / "mirror.tfm"))
    assert facts(tmp_path / "mirror.tfm")["parts"][0]["mirrored"] is True
    sitk.WriteTransform(sitk.BSplineTransform(2, 3), str(tmp_path / "spline.tfm"))
    assert facts(tmp_path / "spline.tfm")["parts"][0]["note"] == "acreg cannot apply this kind"


def test_points_datasets_recipes_and_presets(facts, tmp_path, repository):
    (tmp_path / "p.csv").write_text("x,y,z,label\n1,2,3,apex\n-4,5,6,\n")
    found = facts(tmp_path / "p.csv")
    assert (found["kind"], found["points"], found["names"]) == ("points", 2, ["apex"])
    assert found["lowest_xyz_mm"] == [-4, 2, 3] and found["highest_xyz_mm"] == [1, 5, 6]

    make_dataset(tmp_path / "set", subjects=10)
    for path in (tmp_path / "set", tmp_path / "set" / "manifest.csv"):
        found = facts(path)
        assert found["kind"] == "manifest of a dataset" and found["subjects"] == found["with_labels"] == 10
        assert found["train"] + found["validation"] + found["test"] == 10 and found["labels"][0] == "0 background"

    found = facts(repository / "acreg" / "presets" / "acregnet-jsrt")
    assert (found["kind"], found["class"], found["rank"], found["shape"]) == ("preset", "ACRegNet", 2, [64, 64])
    assert found["labels"] == ["0 background", "1 left lung", "2 right lung", "3 heart"]

    found = facts(repository / "acreg" / "experiments" / "acregnet" / "acregnet-phantoms.yaml")
    assert (found["kind"], found["model"], found["dataset"]) == ("recipe of a training", "ACRegNet", "phantoms")


def test_a_folder_of_dicom_files(facts, tmp_path):
    for number in range(3):
        image = sitk.GetImageFromArray(np.full((1, 6, 5), number, np.int16))
        image.SetSpacing((0.5, 0.7, 2.0))
        tags = {"0008|0060": "MR", "0008|103e": "knee", "0010|0010": "Doe^Jane", "0020|000e": "1.2.3.4"}
        tags |= {"0020|0013": str(number), "0020|0032": f"0\\0\\{2 * number}"}
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(tmp_path / f"{number}.dcm"))
        writer.Execute(image)
    found = facts(tmp_path)
    (series,) = found["series"]
    assert found["kind"] == "folder of DICOM files" and series["files"] == 3 and series["modality"] == "MR"
    assert series["description"] == "knee" and series["size_xy"] == [5, 6]
    assert series["spacing_xy_mm"] == pytest.approx([0.5, 0.7]) and "Doe" not in json.dumps(found)
    assert facts(tmp_path / "0.dcm")["format"] == "DICOM"


def test_the_text_is_aligned_and_names_axes_and_units(tmp_path, capsys):
    (tmp_path / "p.csv").write_text("x,y\n1,2\n")
    assert main(["inspect", str(tmp_path / "p.csv")]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "kind                points",
        "format              .csv",
        "coordinate system   LPS",
        "points              1",
        "names               none",
        "lowest (x, y; mm)   1, 2",
        "highest (x, y; mm)  1, 2",
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.txt", b"hello"),
        ("table.csv", b"a,b\n1,2\n"),
        ("weights.h5", b"\x89HDF\r\n\x1a\n"),
        ("thing.xyz", b"?"),
        ("other.yaml", b"a: 1\n"),
        ("cut.nii.gz", b"\x1f\x8b\x08\x00"),
        ("text.png", b"no image"),
        ("empty.h5", b""),
        ("bad.mrk.json", b"{}"),
        ("folder", None),
        ("absent.nii", None),
    ],
)
def test_what_is_unknown_or_damaged_is_one_paragraph(name, content, tmp_path, capsys):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    elif name == "folder":
        path.mkdir()
    assert main(["inspect", str(path)]) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert "Received: " in said.err and str(path) in said.err and "Traceback" not in said.err
