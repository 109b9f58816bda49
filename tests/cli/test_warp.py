"""What `acreg warp` writes against SimpleITK, and against `acreg register`."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage
from scipy.spatial.transform import Rotation

import acreg
from acreg.cli.main import main
from acreg.data.phantoms.chests import chest_phantom
from acreg.geometry import Displacement, Grid, Transform
from acreg.io import Image, read_image, read_labels, write_image
from acreg.io.colour import read_channels
from acreg.io.transforms import write_transform
from acreg.registration.warping import read_transforms

FIXED = Grid((9, 24, 20), (4.0, 1.5, 1.0), (-30.0, 12.0, 5.0), Rotation.from_euler("xyz", (0.2, -0.3, 0.1)).as_matrix())
MOVING = Grid((22, 20, 18), (1.5, 2.0, 1.5), (-26.0, 10.0, 4.0))
SMOOTH = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(*FIXED.shape, 3)), (3, 3, 3, 0))
FIELD = Displacement(1.5 * SMOOTH / np.abs(SMOOTH).max(), FIXED)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two volumes, labels, a rotation as ITK's .tfm and a field in mm."""
    folder = tmp_path_factory.mktemp("warp")
    rng = np.random.default_rng(1)
    write_image(Image(ndimage.gaussian_filter(rng.normal(size=FIXED.shape), 1), FIXED), folder / "fixed.nii.gz")
    write_image(Image(ndimage.gaussian_filter(rng.normal(size=MOVING.shape), 1), MOVING), folder / "moving.nii.gz")
    blocks = rng.integers(0, 4, (3, 3, 3)).repeat(8, 0).repeat(8, 1).repeat(8, 2)[:22, :20, :18]
    write_image(Image(blocks, MOVING, "labels"), folder / "labels.nii.gz")
    rotation = sitk.Euler3DTransform((10.0, 20.0, -10.0), 0.05, -0.1, 0.2, (1.0, -2.0, 3.0))
    sitk.WriteTransform(rotation, str(folder / "rotation.tfm"))
    write_transform(Transform(FIXED, FIXED, (FIELD,)), folder / "field.nii.gz")
    return folder


def warp(files, out, *more, transforms=("field.nii.gz", "rotation.tfm"), reference="fixed.nii.gz"):
    named = [word for name in transforms for word in ("--transform", str(files / name))]
    more = [str(files / word) if "." in word else word for word in more]
    return main(["warp", *named, "--reference", str(files / reference), "--out", str(out), *more])


def as_itk(files):
    """ITK applies first what was added last: a point goes through the field, then through the rotation."""
    composite = sitk.CompositeTransform(3)
    composite.AddTransform(sitk.ReadTransform(str(files / "rotation.tfm")))
    field = sitk.ReadImage(str(files / "field.nii.gz"), sitk.sitkVectorFloat64)
    composite.AddTransform(sitk.DisplacementFieldTransform(field))
    return composite


def resample(files, name, transform, interpolator, outside):
    image, fixed = (sitk.ReadImage(str(files / n)) for n in (name, "fixed.nii.gz"))
    return sitk.GetArrayFromImage(sitk.Resample(image, fixed, transform, interpolator, outside))


def test_image_equals_what_simpleitk_makes_of_the_same_files(files, tmp_path, capsys):
    assert warp(files, tmp_path / "w.nii.gz", "--image", "moving.nii.gz") == 0
    warped = read_image(tmp_path / "w.nii.gz")
    theirs = resample(files, "moving.nii.gz", as_itk(files), sitk.sitkLinear, 0.0)
    inside = np.isfinite(resample(files, "moving.nii.gz", as_itk(files), sitk.sitkLinear, np.nan))
    assert 0.2 < inside.mean() < 0.95
    np.testing.assert_allclose(warped.array, theirs, rtol=0, atol=1e-5)
    np.testing.assert_allclose(warped.grid.matrix, FIXED.matrix, rtol=0, atol=1e-5)
    assert f"20 x 24 x 9 voxels, {100 * inside.mean():.1f} % of which look inside" in capsys.readouterr().out


def test_the_background_is_chosen(files, tmp_path, capsys):
    """A signed image, as CT is, is told when it gets 0."""
    ct = ["--image", "moving.nii.gz"]
    theirs = resample(files, "moving.nii.gz", as_itk(files), sitk.sitkLinear, -1000.0)
    edge = read_transforms([files / "field.nii.gz", files / "rotation.tfm"], FIXED, MOVING).warp_image(
        read_image(files / "moving.nii.gz"), border="edge"
    )
    for more, expected, told in (
        (["--fill", "-1000"], theirs, False),
        (["--border", "edge"], edge.array, False),
        (["--border", "constant"], np.where(theirs == -1000, 0, theirs), True),
    ):
        assert warp(files, tmp_path / "w.nii.gz", *ct, *more, "--overwrite") == 0
        np.testing.assert_allclose(read_image(tmp_path / "w.nii.gz").array, expected, rtol=0, atol=1e-4)
        assert ("Outside of" in (said := capsys.readouterr().err)) == told
        assert not told or ("lies 0, where its values go from -" in said and "--fill -1000 for CT" in said)


def test_colours_are_kept_in_all_formats_that_hold_them(files, tmp_path, capsys):
    """Against SimpleITK, which warps vectors, channel by channel."""
    colours = np.random.default_rng(0).integers(0, 256, (20, 24, 3)).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(colours, isVector=True), str(tmp_path / "rgb.png"))
    write_image(Image.from_array(np.zeros((22, 26)), spacing=(1, 1)), tmp_path / "fixed.png")
    turn = sitk.Euler2DTransform((10.0, 9.0), 0.2, (3.0, -2.0))
    sitk.WriteTransform(turn, str(tmp_path / "turn.tfm"))
    moving, fixed = (sitk.ReadImage(str(tmp_path / name), sitk.sitkVectorFloat32) for name in ("rgb.png", "fixed.png"))
    moving.SetSpacing((1, 1))
    fixed.SetSpacing((1, 1))
    expected = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, turn, sitk.sitkLinear, 7.0))
    pair = ["--transform", str(tmp_path / "turn.tfm"), "--reference", str(tmp_path / "fixed.png")]
    for name in ("w.png", "w.tif", "w.nii.gz", "w.mha", "w.nrrd"):
        image = ["--image", str(tmp_path / "rgb.png"), "--fill", "7", "--out", str(tmp_path / name)]
        assert main(["warp", *pair, *image]) == 0
        found = np.stack([channel.array for channel in read_channels(tmp_path / name)], axis=-1)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 if name in ("w.mha", "w.nrrd") else 0.51)
    assert main(["warp", *pair, "--image", str(tmp_path / "rgb.png"), "--out", str(tmp_path / "w.h5")]) == 1
    assert "An image in HDF5 has one value a voxel" in capsys.readouterr().err and not (tmp_path / "w.h5").exists()


def test_the_order_of_two_transforms_matters_and_is_that_of_the_fixed_points(files, tmp_path):
    for name, transforms in (("a", ("field.nii.gz", "rotation.tfm")), ("b", ("rotation.tfm", "field.nii.gz"))):
        assert warp(files, tmp_path / f"{name}.mha", "--image", "moving.nii.gz", transforms=transforms) == 0
    a, b = (read_image(tmp_path / f"{name}.mha").array for name in "ab")
    assert np.abs(a - b).max() > 0.01


def test_labels_by_nearest_equal_simpleitk_and_by_weight_are_close(files, tmp_path):
    for interpolation in ("linear", "nearest"):
        out = tmp_path / f"{interpolation}.nrrd"
        assert warp(files, out, "--labels", "labels.nii.gz", "--interpolation", interpolation) == 0
    theirs = resample(files, "labels.nii.gz", as_itk(files), sitk.sitkNearestNeighbor, 0)
    nearest = read_labels(tmp_path / "nearest.nrrd").array
    assert np.mean(nearest != theirs) < 1e-3, "ties aside"
    linear = read_labels(tmp_path / "linear.nrrd").array
    assert set(np.unique(linear)) == {0, 1, 2, 3} and 0.7 < np.mean(linear == nearest) < 1


def test_points_go_to_the_moving_image_as_in_simpleitk_and_back(files, tmp_path, capsys):
    given = FIXED.to_world(np.array([[2, 5, 4], [6, 18, 15], [4, 10, 10.5]]))
    with (tmp_path / "points.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["x", "y", "z", "label"], *([*p[::-1], f"p{i}"] for i, p in enumerate(given))])
    assert warp(files, tmp_path / "m.csv", "--points", str(tmp_path / "points.csv"), "--to", "moving") == 0
    with (tmp_path / "m.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == ["p0", "p1", "p2"]
    moved = np.array([[float(row[axis]) for axis in "xyz"] for row in rows])
    expected = [as_itk(files).TransformPoint(p[::-1].tolist()) for p in given]
    np.testing.assert_allclose(moved, expected, rtol=0, atol=1e-4)
    lengths = np.linalg.norm(moved - given[:, ::-1], axis=1)
    assert f"points moved: 3, by {lengths.mean():.2f} mm on average" in capsys.readouterr().out

    assert warp(files, tmp_path / "f.mrk.json", "--points", str(tmp_path / "m.csv"), "--to", "fixed") == 0
    markup = json.loads((tmp_path / "f.mrk.json").read_text(encoding="utf-8"))["markups"][0]
    assert markup["coordinateSystem"] == "LPS" and [p["label"] for p in markup["controlPoints"]] == ["p0", "p1", "p2"]
    np.testing.assert_allclose([p["position"] for p in markup["controlPoints"]], given[:, ::-1], rtol=0, atol=1e-3)


def test_the_inverse_takes_the_fixed_image_onto_the_moving_grid(files, tmp_path):
    more = ("--image", "fixed.nii.gz", "--inverse")
    assert warp(files, tmp_path / "i.nii.gz", *more, transforms=("rotation.tfm",), reference="moving.nii.gz") == 0
    inverse = sitk.ReadTransform(str(files / "rotation.tfm")).GetInverse()
    fixed, moving = (sitk.ReadImage(str(files / name)) for name in ("fixed.nii.gz", "moving.nii.gz"))
    theirs = sitk.GetArrayFromImage(sitk.Resample(fixed, moving, inverse, sitk.sitkLinear, 0.0))
    ours = read_image(tmp_path / "i.nii.gz").array
    assert 0.1 < (theirs != 0).mean() < 1
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


def test_the_inverse_of_a_deformation_shows_each_point_where_it_came_from(files, tmp_path, capsys):
    # An image whose values are a linear function of the place: what is read in it says where it was read.
    slope = np.array([0.3, 0.5, 0.7])
    places = FIXED.to_world(np.moveaxis(np.indices(FIXED.shape), 0, -1))
    write_image(Image(places @ slope, FIXED), tmp_path / "ramp.nii.gz")
    more = ("--image", str(tmp_path / "ramp.nii.gz"), "--inverse")
    assert warp(files, tmp_path / "i.nii.gz", *more, reference="moving.nii.gz") == 0
    assert "The inverse misses by" in capsys.readouterr().err
    transform = read_transforms([files / "field.nii.gz", files / "rotation.tfm"], FIXED, MOVING)
    voxels = np.argwhere(np.ones(MOVING.shape))
    origins = transform.warp_points(MOVING.to_world(voxels), to="fixed")
    indices = FIXED.to_index(origins)
    inside = np.all((indices > 1) & (indices < np.array(FIXED.shape) - 2), axis=1)
    assert inside.mean() > 0.1
    shown = read_image(tmp_path / "i.nii.gz").array[tuple(voxels[inside].T)]
    # Between its voxels the inverse field is interpolated, where the points are solved for one by one.
    np.testing.assert_allclose(shown, origins[inside] @ slope, rtol=0, atol=0.1)
    undeformed = read_transforms([files / "rotation.tfm"], FIXED, MOVING).warp_points(MOVING.to_world(voxels), "fixed")
    assert np.abs(shown - undeformed[inside] @ slope).max() > 1


def test_the_displacement_of_acreg_register_warps_as_register_did(tmp_path):
    for name, seed, shape in (("a", 1, (48, 40)), ("b", 2, (40, 44))):
        phantom = chest_phantom(seed, shape)
        write_image(Image.from_array(phantom.image), tmp_path / f"{name}.png")
        write_image(Image.from_array(phantom.labels, kind="labels"), tmp_path / f"{name}_labels.png")
    pair = ["--fixed", str(tmp_path / "a.png"), "--moving", str(tmp_path / "b.png")]
    labels = ["--labels", str(tmp_path / "b_labels.png")]
    assert main(["register", "--method", "unregistered", *pair, *labels, "--out", str(tmp_path / "out")]) == 0
    common = ["warp", "--transform", str(tmp_path / "out" / "displacement.nii.gz"), "--reference", pair[1]]
    assert main([*common, "--image", pair[3], "--out", str(tmp_path / "w.png")]) == 0
    assert main([*common, *labels, "--out", str(tmp_path / "wl.png")]) == 0
    warped, again = read_image(tmp_path / "out" / "warped.png").array, read_image(tmp_path / "w.png").array
    assert np.abs(warped - again).max() <= 1, "grey levels, rounded"
    before = read_labels(tmp_path / "out" / "warped_labels.png").array
    assert np.mean(before != read_labels(tmp_path / "wl.png").array) < 2e-3, "ties aside"
    # A point of the fixed image: the extents of 48 x 40 and 40 x 44 pixels are laid over each other.
    (tmp_path / "p.csv").write_text("x,y\n10,20\n")
    assert main([*common, "--points", str(tmp_path / "p.csv"), "--to", "moving", "--out", str(tmp_path / "q.csv")]) == 0
    x, y = (tmp_path / "q.csv").read_text(encoding="utf-8").splitlines()[1].split(",")
    assert float(x) == pytest.approx(10.5 * 44 / 40 - 0.5, abs=1e-4)
    assert float(y) == pytest.approx(20.5 * 40 / 48 - 0.5, abs=1e-4)


def test_wrong_use_and_bad_files_are_one_paragraph_and_write_nothing(files, tmp_path, capsys):
    (tmp_path / "points.csv").write_text("x,y,z\n1,2,3\n")
    points = ["--points", str(tmp_path / "points.csv")]
    image = ["--image", "moving.nii.gz"]
    out = tmp_path / "out.nii.gz"
    cases = [
        ([], {}, out, 2, "nothing to warp"),
        ([*image, "--labels", "labels.nii.gz"], {}, out, 2, "--image and --labels"),
        (points, {}, tmp_path / "out.csv", 2, "without --to"),
        ([*image, "--to", "fixed"], {}, out, 2, "with --to fixed"),
        ([*points, "--to", "fixed", "--inverse"], {}, tmp_path / "out.csv", 2, "Leave out --inverse"),
        ([*image, "--interpolation", "nearest"], {}, out, 2, "images are warped linearly"),
        ([*image, "--border", "edge", "--fill", "3"], {}, out, 2, "--fill 3 with --border edge"),
        ([*image, "--fill", "nan"], {}, out, 2, "fill=nan"),
        ([*image, "--fill", "-1000"], {}, tmp_path / "out.png", 2, "PNG holds values from 0"),
        (["--labels", "labels.nii.gz", "--fill", "3"], {}, out, 2, "--labels with --fill"),
        ([*points, "--to", "fixed", "--border", "edge"], {}, tmp_path / "out.csv", 2, "--points with --border"),
        ([*points, "--to", "fixed"], {}, out, 2, "Points are kept in"),
        (image, {}, tmp_path / "out.csv", 2, "Images are written as"),
        (image, {"transforms": ("moving.nii.gz",)}, out, 1, "Is it an image?"),
        (image, {"transforms": ("absent.h5",)}, out, 1, "must exist"),
        (["--labels", "moving.nii.gz"], {}, out, 1, "Labels are whole numbers"),
    ]
    for more, options, target, code, said in cases:
        assert warp(files, target, *more, **options) == code, said
        error = capsys.readouterr().err
        assert said in error and "Received" in error and "Traceback" not in error, said
        assert not target.exists(), said


def test_a_result_is_replaced_only_when_asked(files, tmp_path, capsys):
    (tmp_path / "w.mha").write_text("mine")
    assert warp(files, tmp_path / "w.mha", "--image", "moving.nii.gz") == 1
    assert "--overwrite" in capsys.readouterr().err and (tmp_path / "w.mha").read_text(encoding="utf-8") == "mine"
    assert warp(files, tmp_path / "w.mha", "--image", "moving.nii.gz", "--overwrite") == 0
    assert read_image(tmp_path / "w.mha").array.shape == FIXED.shape


def test_nothing_in_sight_is_said(files, tmp_path, capsys):
    sitk.WriteTransform(sitk.TranslationTransform(3, (1e4, 0, 0)), str(tmp_path / "far.tfm"))
    assert warp(files, tmp_path / "w.mha", "--image", "moving.nii.gz", transforms=(tmp_path / "far.tfm",)) == 0
    said = capsys.readouterr()
    assert "0.0 % of which look inside" in said.out and "do the transform and its direction belong" in said.err


def test_labels_that_do_not_say_where_they_lie_are_named(tmp_path):
    """A PNG of labels that were drawn on a slice with a header begins at 0 mm, not where the slice does."""
    grid = Grid((20, 24), (1.5, 1.5), (30.0, 40.0))
    slice_, same = Image(np.random.default_rng(0).random(grid.shape), grid), Transform(grid, grid, ())
    labels = Image(np.ones(grid.shape, np.int32), kind="labels", grid=Grid(grid.shape))
    write_image(labels, tmp_path / "drawn.png")
    warped = acreg.warp(same, slice_, labels=tmp_path / "drawn.png")
    assert any("drawn.png does not say where it lies and is taken to begin at 0 mm" in note for note in warped.notes)
    placed = acreg.warp(same, slice_, labels=Image(labels.array, grid, "labels"))
    assert not any("does not say" in note for note in placed.notes) and placed.image.array.all()
