import json
import struct

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage
from scipy.spatial.transform import Rotation

from acreg.errors import AcregError, UsageError
from acreg.geometry import Affine, Displacement, Grid, Transform, Velocity
from acreg.io import Image, write_displacement, write_image
from acreg.io.transforms import read_learn2reg, read_transform, write_inverse, write_learn2reg, write_transform, writing
from acreg.io.transforms.itk import image_to_itk, to_itk
from tests.io.made_transforms import between, field

FIXED = Grid((8, 30, 26), (6.0, 1.2, 0.5), (-1e5, 30.0, 4.0), Rotation.from_euler("xyz", (0.3, -0.5, 0.2)).as_matrix())
MOVING = Grid((26, 24, 20), (1.2, 2.0, 1.0), (-1e5 - 3, 33.0, 8.0), np.eye(3)[[2, 0, 1]] * [1, -1, 1])
FLAT = Grid((30, 26), (1.2, 0.5), (30.0, 4.0), ((0.8, 0.6), (0.6, -0.8)))


TRANSFORMS = {
    "3-D": Transform(FIXED, MOVING, (Displacement(field(FIXED), FIXED), between(FIXED, MOVING))),
    "3-D velocity": Transform(FIXED, FIXED, (Velocity(field(FIXED), FIXED), between(FIXED, FIXED))),
    "2-D": Transform(FLAT, FLAT, (between(FLAT, FLAT), Displacement(field(FLAT), FLAT))),
}


@pytest.mark.parametrize("suffix", [".h5", ".tfm", ".nii.gz", ".nii"])
@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_what_is_written_is_read_back_and_was_checked(transform, suffix, tmp_path):
    path = tmp_path / f"t{suffix}"
    difference = write_transform(transform, path)
    assert 0 <= difference < 1e-3
    check = json.loads((tmp_path / f"t{suffix}.check.json").read_text(encoding="utf-8"))
    assert check["largest_difference"] == difference and check["voxels"] > 100 and "SimpleITK" in check["program"]
    again = read_transform(path, transform.fixed, transform.moving)
    # At voxel centres, between which a field of all maps is interpolated once more.
    voxels = np.random.default_rng(3).integers(0, transform.fixed.shape, (100, transform.fixed.rank))
    points = transform.fixed.to_world(voxels)
    expected = transform.warp_points(points, to="moving")
    np.testing.assert_allclose(again.warp_points(points, to="moving"), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("suffix", "writer"), [(".nii.gz", "whole_field"), (".h5", "to_itk")])
def test_a_write_that_fails_the_check_raises_and_leaves_nothing(suffix, writer, tmp_path, monkeypatch):
    original = getattr(writing, writer)
    monkeypatch.setattr(writing, writer, lambda transform: original(_shifted(transform)))
    with pytest.raises(AcregError, match=r"differs by .* of its intensity range and points by .* voxels"):
        write_transform(TRANSFORMS["3-D"], tmp_path / f"t{suffix}")
    assert list(tmp_path.iterdir()) == []


def test_a_write_is_checked_where_the_images_do_not_overlap(tmp_path, monkeypatch):
    apart = Transform(FIXED, Grid((20, 20, 20)))
    write_transform(apart, tmp_path / "t.h5")
    check = json.loads((tmp_path / "t.h5.check.json").read_text(encoding="utf-8"))
    assert check["voxels"] == np.prod(FIXED.shape) and check["voxels_inside"] == 0
    assert check["largest_distance_voxels"] < 1e-6
    monkeypatch.setattr(writing, "to_itk", lambda transform: to_itk(_shifted(transform)))
    with pytest.raises(AcregError, match=r"points by 1 voxels"):
        write_transform(apart, tmp_path / "wrong.h5")


def test_a_field_that_ends_at_voxel_centres(tmp_path):
    """Every second voxel: half a coarse voxel beyond the last coarse centre lies the last fine one, outside. Where the
    numbers are rounded ITK says this or that."""
    for spacing, origin, rounded in (((0.5, 1.0), (8.0, -4.0), False), ((0.7, 0.3), (1000.1, 7.3), True)):
        fine = Grid((20, 16), spacing, origin)
        coarse = Grid((10, 8), tuple(2 * s for s in spacing), origin)
        transform = Transform(fine, fine, (Displacement(1 + field(coarse), coarse),))
        assert write_transform(transform, tmp_path / "t.nii.gz") < 1e-4
        if rounded:
            with pytest.raises(AcregError, match=r"ends at centres of fixed voxels, .* write .nii.gz"):
                write_transform(transform, tmp_path / "t.h5")
        else:
            assert write_transform(transform, tmp_path / "t.h5") < 1e-6


def test_a_sheared_grid_goes_into_h5(tmp_path):
    sheared = Grid((10, 12, 14), (1.0, 2.0, 3.0), (), ((1.0, 0.6, 0.0), (0.0, 0.8, 0.0), (0.0, 0.0, 1.0)))
    transform = Transform(sheared, sheared, (Displacement(field(sheared), sheared),))
    with pytest.raises(AcregError, match="NIfTI holds no sheared grid: write .h5"):
        write_transform(transform, tmp_path / "t.nii.gz")
    assert write_transform(transform, tmp_path / "t.h5") < 1e-6


@pytest.mark.parametrize(("first", "second"), [("t.nii", "t.nii.gz"), ("t.nii.gz", "t.nii")])
def test_a_nii_and_a_nii_gz_of_one_name_are_refused(first, second, tmp_path):
    write_transform(TRANSFORMS["2-D"], tmp_path / first)
    with pytest.raises(AcregError, match=rf"/{second}, beside .*/{first}\. Choose another name"):
        write_transform(TRANSFORMS["2-D"], tmp_path / second)
    shifted = sitk.GetImageFromArray(np.full((5, 6, 7), 2.0))
    sitk.WriteImage(shifted * 0, str(tmp_path / "i.nii.gz"))
    sitk.WriteImage(shifted, str(tmp_path / "i.nii"))
    # The reason; when this changes, the rule can go.
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "i.nii.gz"))).max() == 2


def test_a_field_of_one_slice_is_read_from_nifti(tmp_path):
    """As ANTs writes it, which knows from the start that the image has three axes."""
    one_slice = Grid((1, 20, 30), (6.0, 1.2, 0.5))
    vectors = field(one_slice)
    stored = vectors[..., ::-1].transpose(2, 1, 0, 3)[:, :, :, None] * one_slice.spacing[::-1]
    image = nibabel.Nifti1Image(stored.astype(np.float32), one_slice.affine())
    image.header.set_intent("vector")
    nibabel.save(image, tmp_path / "1Warp.nii.gz")
    found = read_transform(tmp_path / "1Warp.nii.gz", one_slice, MOVING).maps[0]
    np.testing.assert_allclose(found.vectors, vectors, rtol=0, atol=1e-5)
    assert found.grid.shape == (1, 20, 30)


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_an_inverse_takes_the_fixed_image_onto_the_moving_grid_in_simpleitk(transform, tmp_path):
    fixed, moving = transform.fixed, transform.moving
    image = Image(np.random.default_rng(0).random(fixed.shape) + 1, fixed, name="fixed.nii.gz")
    write_inverse(transform, tmp_path / "inverse_transform.h5", image)
    inverse = sitk.ReadTransform(str(tmp_path / "inverse_transform.h5"))
    reference = image_to_itk(Image(np.zeros(moving.shape), moving))
    theirs = sitk.GetArrayFromImage(sitk.Resample(image_to_itk(image), reference, inverse, sitk.sitkLinear, 0.0))
    ours = transform.sampled_inverse().warp_image(image).array
    assert 0.05 < (theirs > 0).mean() < 1
    assert np.mean(np.abs(ours - theirs) > 1e-3) < 1e-3, "but at the border of the fixed image"
    # A round trip by SimpleITK alone.
    write_transform(transform, tmp_path / "transform.h5")
    forward = sitk.ReadTransform(str(tmp_path / "transform.h5"))
    apart = []
    for voxel in np.random.default_rng(1).integers(0, fixed.shape, (300, fixed.rank)):
        start = fixed.to_world(voxel)
        there = np.array(forward.TransformPoint(start[::-1].tolist()))
        index = moving.to_index(there[::-1])
        if np.all((index > 0) & (index < np.array(moving.shape) - 1)):
            apart.append(np.linalg.norm(np.array(inverse.TransformPoint(there.tolist()))[::-1] - start))
    check = json.loads((tmp_path / "inverse_transform.h5.check.json").read_text(encoding="utf-8"))
    assert check["voxels"] == np.prod(moving.shape) and check["image"] == "fixed.nii.gz"
    assert check["residual_voxels"] < 1e-3 and check["largest_difference"] < 1e-3
    assert len(apart) > 30 and max(apart) <= check["largest_round_trip_mm"] + 1e-4
    assert np.mean(apart) < 0.2 and check["mean_round_trip_mm"] < 0.2, "of voxels up to 6 mm long"


def test_the_inverse_of_a_fold_is_an_approximation_and_a_tear_has_none(tmp_path, monkeypatch):
    grid = Grid((30, 20))
    fold = np.zeros((30, 20, 2))
    fold[15:, :, 0] = -3.0
    folded = Transform(grid, grid, (Displacement(fold, grid),))
    assert "folds in 6.7 % of the voxels, where it has several" in write_inverse(folded, tmp_path / "folded.h5")
    check = json.loads((tmp_path / "folded.h5.check.json").read_text(encoding="utf-8"))
    assert check["folded_percent"] == pytest.approx(6.67, abs=0.01) and check["residual_voxels"] < 1
    assert check["largest_round_trip_mm"] > 1
    for path in tmp_path.iterdir():
        path.unlink()
    monkeypatch.setattr(writing, "LARGEST_RESIDUAL", 1e-6)
    with pytest.raises(AcregError, match="which needs a field that is not torn. Received: .* would miss by"):
        write_inverse(TRANSFORMS["2-D"], tmp_path / "inverse_transform.h5")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    mirror = Affine(np.array([[-1.0, 0, 29], [0, 1, 0], [0, 0, 1]]))  # which does not fold
    assert not write_inverse(Transform(grid, grid, (Displacement(0.1 * field(grid), grid), mirror)), tmp_path / "t.h5")
    write_inverse(Transform(grid, grid, (mirror,)), tmp_path / "t.tfm")


def _shifted(transform):
    """The same and a step of one moving voxel."""
    step = np.eye(transform.moving.rank + 1)
    step[:-1, -1] = transform.moving.matrix[:-1, 0]
    return Transform(transform.fixed, transform.moving, (*transform.maps, Affine(step)))


def test_the_check_uses_the_image_that_is_given(tmp_path):
    image = Image(np.random.default_rng(0).random(MOVING.shape), MOVING, name="head.nii.gz")
    write_transform(TRANSFORMS["3-D"], tmp_path / "t.h5", image)
    assert json.loads((tmp_path / "t.h5.check.json").read_text(encoding="utf-8"))["image"] == "head.nii.gz"


@pytest.mark.parametrize("grid", [FIXED, FLAT], ids=["3-D", "2-D"])
def test_acreg_s_own_field_is_known_by_its_header_and_not_taken_for_mm(grid, tmp_path):
    vectors = field(grid)
    write_displacement(vectors, grid, tmp_path / "displacement.nii.gz")
    other = Grid((3,) * grid.rank)  # a field lies where its header says
    again = read_transform(tmp_path / "displacement.nii.gz", other, other)
    points = grid.to_world(np.random.default_rng(3).uniform(0, np.array(grid.shape) - 1, (100, grid.rank)))
    expected = Transform(grid, grid, (Displacement(vectors, grid),)).warp_points(points, to="moving")
    assert np.abs(expected - points).max() > 0.5
    # Headers hold 32-bit numbers: the origin at -1e5 is 0.004 mm off.
    np.testing.assert_allclose(again.warp_points(points, to="moving"), expected, rtol=0, atol=5e-3)


def test_learn2reg(tmp_path):
    """Their evaluation samples the moving labels at index + field, both in the files' (x, y, z) order."""
    transform = TRANSFORMS["3-D"]
    path = tmp_path / "disp_0001_0002.nii.gz"
    write_learn2reg(transform, path)
    stored = np.asarray(nibabel.load(path).dataobj)
    assert stored.shape == (26, 30, 8, 3) and stored.dtype == np.float32
    np.testing.assert_allclose(nibabel.load(path).affine, FIXED.affine())
    array = np.random.default_rng(0).random(MOVING.shape).astype(np.float32)
    identity = np.indices(stored.shape[:3])
    theirs = ndimage.map_coordinates(array.T, identity + np.moveaxis(stored, -1, 0), order=1, mode="nearest")
    ours = transform.warp_image(Image(array, MOVING), border="edge").array
    np.testing.assert_allclose(theirs.T, ours, atol=1e-3)
    again = read_learn2reg(path, FIXED, MOVING)
    np.testing.assert_allclose(again.warp_image(Image(array, MOVING), border="edge").array, ours, atol=1e-3)


def test_ants_affine_with_a_centre(tmp_path):
    rotation = sitk.Euler3DTransform((4.0, 5.0, 6.0), 0.1, 0.2, 0.3, (1.0, 2.0, 3.0))
    affine = sitk.AffineTransform(3)
    affine.SetMatrix(rotation.GetMatrix())
    affine.SetCenter((4.0, 5.0, 6.0))
    affine.SetTranslation((1.0, 2.0, 3.0))
    sitk.WriteTransform(affine, str(tmp_path / "0GenericAffine.mat"))
    found = read_transform(tmp_path / "0GenericAffine.mat", FIXED, MOVING)
    point = np.array([[7.0, 8.0, 9.0]])
    expected = rotation.TransformPoint(point[0, ::-1].tolist())[::-1]
    np.testing.assert_allclose(found.warp_points(point, to="moving")[0], expected)


def test_mat_holds_affine_maps_as_one(tmp_path):
    maps = (between(FIXED, MOVING), between(MOVING, FIXED), between(FIXED, MOVING))
    transform = Transform(FIXED, MOVING, maps)
    assert write_transform(transform, tmp_path / "t.mat") < 1e-6
    again = read_transform(tmp_path / "t.mat", FIXED, MOVING)
    assert len(again.maps) == 1
    np.testing.assert_allclose(again.maps[0].matrix, maps[2].matrix @ maps[1].matrix @ maps[0].matrix, atol=1e-9)
    with pytest.raises(AcregError, match="A .mat file holds affine maps alone"):
        write_transform(TRANSFORMS["3-D"], tmp_path / "d.mat")


def test_fields_are_stored_as_float32_and_what_places_them_as_float64(tmp_path):
    transform = TRANSFORMS["3-D"]
    for suffix in (".h5", ".nii"):
        write_transform(transform, tmp_path / f"t{suffix}")
        assert (tmp_path / f"t{suffix}").stat().st_size < 4 * transform.maps[0].vectors.size + 16_384
    again = read_transform(tmp_path / "t.h5", FIXED, MOVING)
    assert again.maps[0].grid == FIXED
    np.testing.assert_allclose(again.maps[0].vectors, transform.maps[0].vectors, rtol=0, atol=1e-6)
    np.testing.assert_allclose(again.maps[1].matrix, transform.maps[1].matrix, rtol=0, atol=1e-9)


def test_images_far_apart_keep_their_precision_in_nifti(tmp_path):
    """Vectors of 100 m, which float32 would hold to 4 microns; NIfTI rounds the origin, not the vectors, as much."""
    fixed, moving = Grid((20, 20, 20), (0.5,) * 3, (1e5 + 0.25, -1e5 - 0.75, 7.0)), Grid((20, 20, 20))
    onto = Affine(moving.matrix @ np.linalg.inv(fixed.matrix))
    noise = Image(np.random.default_rng(0).random(moving.shape), moving)
    transform = Transform(fixed, moving, (Displacement(field(fixed), fixed), onto))
    assert write_transform(transform, tmp_path / "t.nii.gz", noise) < 1e-6
    rounded = Grid(fixed.shape, fixed.spacing, (1e5 + 0.3, -1e5 - 0.7, 7.1))
    write_transform(Transform(rounded, rounded, (Displacement(field(rounded), rounded),)), tmp_path / "r.nii.gz")


@pytest.mark.parametrize(("grid", "intent"), [(FIXED, 1006), (FIXED, 1007), (FLAT, 1007)])
def test_fields_in_nifti_are_read_as_itk_reads_them(grid, intent, tmp_path):
    """ITK turns vectors of the intent "displacement" (1006) from RAS into LPS, those of the intent "vector" not."""
    write_transform(Transform(grid, grid, (Displacement(field(grid), grid),)), tmp_path / "v.nii")
    stored = nibabel.load(tmp_path / "v.nii")
    stored.header["intent_code"] = intent
    nibabel.save(nibabel.Nifti1Image(np.asarray(stored.dataobj), stored.affine, stored.header), tmp_path / "d.nii")
    theirs = sitk.DisplacementFieldTransform(sitk.ReadImage(str(tmp_path / "d.nii"), sitk.sitkVectorFloat64))
    points = grid.to_world(np.random.default_rng(0).uniform(0, np.array(grid.shape) - 1, (50, grid.rank)))
    expected = [theirs.TransformPoint(p[::-1].tolist())[::-1] for p in points]
    found = read_transform(tmp_path / "d.nii", grid, grid).warp_points(points, to="moving")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)
    assert np.abs(found - points).max() > 0.3


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".h5", ".tfm"])
def test_a_file_that_is_cut_off_is_refused(suffix, tmp_path):
    """SimpleITK fills up a NIfTI with zeros, that is with no displacement."""
    write_transform(TRANSFORMS["3-D"], tmp_path / f"t{suffix}")
    whole = (tmp_path / f"t{suffix}").read_bytes()
    (tmp_path / f"cut{suffix}").write_bytes(whole[: 2 * len(whole) // 3])
    with pytest.raises(AcregError, match="The file must be a whole"):
        read_transform(tmp_path / f"cut{suffix}", FIXED, MOVING)


def _one_by_one(kind):
    if kind == "composite":
        parts = [sitk.Euler3DTransform((1e5, 5.0, 6.0), 0.1, 0.2, 0.3), sitk.ScaleTransform(3, (1.1, 0.9, 1.2))]
        return sitk.CompositeTransform([sitk.TranslationTransform(3, (1.0, 2.0, 3.0)), *parts])
    return {
        "translation": sitk.TranslationTransform(3, (1.0, 2.0, 3.0)),
        "scale": sitk.ScaleTransform(3, (2.0, 3.0, 4.0)),
        "identity": sitk.Transform(3, sitk.sitkIdentity),
        "rigid with a far centre": sitk.Euler3DTransform((1e5, 5.0, 6.0), 0.1, 0.2, 0.3, (1.0, 2.0, 3.0)),
        "similarity": sitk.Similarity3DTransform(1.2, (0.0, 0.6, 0.8), 0.3, (1.0, 2.0, 3.0), (4.0, 5.0, 6.0)),
    }[kind]


@pytest.mark.parametrize(
    "kind", ["translation", "scale", "identity", "rigid with a far centre", "similarity", "composite"]
)
def test_linear_transforms_of_itk(kind, tmp_path):
    made = _one_by_one(kind)
    sitk.WriteTransform(made, str(tmp_path / "t.tfm"))
    points = FIXED.to_world(np.random.default_rng(0).uniform(0, FIXED.shape, (20, 3)))
    expected = [made.TransformPoint(p[::-1].tolist())[::-1] for p in points]
    found = read_transform(tmp_path / "t.tfm", FIXED, MOVING).warp_points(points, to="moving")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_refusals(tmp_path):
    transform = TRANSFORMS["3-D"]
    with pytest.raises(UsageError, match="Transforms are written as"):
        write_transform(transform, tmp_path / "t.txt")
    with pytest.raises(AcregError, match="must exist"):
        read_transform(tmp_path / "none.h5", FIXED, MOVING)
    write_transform(transform, tmp_path / "t.h5")
    (tmp_path / "cut.h5").write_bytes((tmp_path / "t.h5").read_bytes()[:3000])
    with pytest.raises(AcregError, match="whole transform"):
        read_transform(tmp_path / "cut.h5", FIXED, MOVING)
    with pytest.raises(AcregError, match="number of axes"):
        read_transform(tmp_path / "t.h5", FLAT, FLAT)
    write_image(Image(np.zeros(FIXED.shape), FIXED), tmp_path / "image.nii.gz")
    with pytest.raises(AcregError, match="intent 0. Is it an image"):
        read_transform(tmp_path / "image.nii.gz", FIXED, MOVING)
    with pytest.raises(AcregError, match="A Learn2Reg field has the shape"):
        read_learn2reg(tmp_path / "image.nii.gz", FIXED, MOVING)
    with pytest.raises(AcregError, match="are 3-D"):
        write_learn2reg(TRANSFORMS["2-D"], tmp_path / "d.nii.gz")
    one_slice = Grid((1, 20, 30))
    with pytest.raises(AcregError, match="last axis has a single voxel .* Write .h5"):
        write_transform(Transform(one_slice, MOVING), tmp_path / "slice.nii.gz")
    stack = nibabel.Nifti1Image(np.zeros((4, 5, 6, 3), np.float32), np.eye(4))
    stack.header.set_intent("vector")
    nibabel.save(stack, tmp_path / "stack.nii.gz")
    with pytest.raises(AcregError, match=r"has the shape \(x, y, z, 1, 3\) .*/stack.nii.gz of shape \(4, 5, 6, 3\)"):
        read_transform(tmp_path / "stack.nii.gz", FIXED, MOVING)
    sitk.WriteTransform(sitk.BSplineTransform(3, 2), str(tmp_path / "b.tfm"))
    with pytest.raises(AcregError, match="with a BSplineTransform"):
        read_transform(tmp_path / "b.tfm", FIXED, MOVING)


def test_damaged_files_on_which_itk_fails_are_refused_before(tmp_path):
    path = tmp_path / "t.h5"
    write_transform(TRANSFORMS["3-D"], path)
    content = path.read_bytes()
    heap = content.index(b"GCOL")
    at, index = heap + 16, 1
    while index:  # to the free rest of the heap
        rest, (index, size) = at, struct.unpack_from("<HxxxxxxQ", content, at)
        at += 16 + -(-size // 8) * 8
    path.write_bytes(content[: rest + 8] + bytes(8) + content[rest + 16 :])  # HDF5 follows a size of 0 for ever
    with pytest.raises(
        AcregError, match=r"whole transform.*t\.h5, which cannot be decoded \(its decoder takes too long"
    ):
        read_transform(path, FIXED, MOVING)
    text = content.index(b"CompositeTransform_")
    path.write_bytes(content[:text] + b"\0" + content[text + 1 :])  # ITK crashes
    with pytest.raises(AcregError, match=r"has a type.*t\.h5 without one in part 0"):
        read_transform(path, FIXED, MOVING)
    sitk.WriteTransform(sitk.AffineTransform(3), str(tmp_path / "a.mat"))
    content = (tmp_path / "a.mat").read_bytes()
    columns = content.rindex(struct.pack("<2i", 3, 1)) + 4
    damaged = content[:columns] + struct.pack("<i", 2**24) + content[columns + 4 :]  # ITK counts through them
    (tmp_path / "a.mat").write_bytes(damaged)
    with pytest.raises(AcregError, match=r"whole transform.*a\.mat"):
        read_transform(tmp_path / "a.mat", FIXED, MOVING)
