import json
import struct

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage
from scipy.spatial.transform import Rotation

from acreg.errors import AcregError, UsageError
from acreg.geometry import Affine, Displacement, Grid, Transform, Velocity
from acreg.io import Image, write_image
from acreg.io.transforms import read_learn2reg, read_transform, write_learn2reg, write_transform

FIXED = Grid((8, 30, 26), (6.0, 1.2, 0.5), (-1e5, 30.0, 4.0), Rotation.from_euler("xyz", (0.3, -0.5, 0.2)).as_matrix())
MOVING = Grid((26, 24, 20), (1.2, 2.0, 1.0), (-1e5 - 3, 33.0, 8.0), np.eye(3)[[2, 0, 1]] * [1, -1, 1])
FLAT = Grid((30, 26), (1.2, 0.5), (30.0, 4.0), ((0.8, 0.6), (0.6, -0.8)))


def field(grid, largest=1.5, seed=0):
    noise = np.random.default_rng(seed).normal(size=(*grid.shape, grid.rank))
    smooth = ndimage.gaussian_filter(noise, (3,) * grid.rank + (0,))
    return smooth * largest / np.abs(smooth).max()


def affine(fixed, moving):
    matrix = np.eye(fixed.rank + 1)
    matrix[:-1, :-1] += np.random.default_rng(0).uniform(-0.1, 0.1, (fixed.rank, fixed.rank))
    middle = [grid.to_world((np.array(grid.shape) - 1) / 2) for grid in (fixed, moving)]
    matrix[:-1, -1] = middle[1] - matrix[:-1, :-1] @ middle[0]
    return Affine(matrix)


TRANSFORMS = {
    "3-D": Transform(FIXED, MOVING, (Displacement(field(FIXED), FIXED), affine(FIXED, MOVING))),
    "3-D velocity": Transform(FIXED, FIXED, (Velocity(field(FIXED), FIXED), affine(FIXED, FIXED))),
    "2-D": Transform(FLAT, FLAT, (affine(FLAT, FLAT), Displacement(field(FLAT), FLAT))),
}


@pytest.mark.parametrize("suffix", [".h5", ".tfm", ".nii.gz", ".nii"])
@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_what_is_written_is_read_back_and_was_checked(transform, suffix, tmp_path):
    path = tmp_path / f"t{suffix}"
    difference = write_transform(transform, path)
    assert 0 <= difference < 1e-3
    check = json.loads((tmp_path / f"t{suffix}.check.json").read_text())
    assert check["largest_difference"] == difference and check["voxels"] > 100 and "SimpleITK" in check["program"]
    again = read_transform(path, transform.fixed, transform.moving)
    # At voxel centres, between which a field of all maps is interpolated once more.
    voxels = np.random.default_rng(3).integers(0, transform.fixed.shape, (100, transform.fixed.rank))
    points = transform.fixed.to_world(voxels)
    expected = transform.warp_points(points, to="moving")
    np.testing.assert_allclose(again.warp_points(points, to="moving"), expected, rtol=0, atol=1e-3)


def test_a_write_that_fails_the_check_raises_and_leaves_nothing(tmp_path, monkeypatch):
    from acreg.io import transforms

    def shifted(part):
        image = original(part)
        image.SetOrigin([x + 1 for x in image.GetOrigin()])
        return image

    original = transforms._field_to_itk
    monkeypatch.setattr(transforms, "_field_to_itk", shifted)
    with pytest.raises(AcregError, match=r"differs by .* of its intensity range"):
        write_transform(TRANSFORMS["3-D"], tmp_path / "t.nii.gz")
    assert list(tmp_path.iterdir()) == []


def test_the_check_uses_the_image_that_is_given(tmp_path):
    image = Image(np.random.default_rng(0).random(MOVING.shape), MOVING, name="head.nii.gz")
    write_transform(TRANSFORMS["3-D"], tmp_path / "t.h5", image)
    assert json.loads((tmp_path / "t.h5.check.json").read_text())["image"] == "head.nii.gz"


def test_learn2reg(tmp_path):
    """Their evaluation samples the moving labels at index + field, both in the files' (x, y, z) order."""
    import nibabel

    transform = TRANSFORMS["3-D"]
    path = tmp_path / "disp_0001_0002.nii.gz"
    write_learn2reg(transform, path)
    stored = np.asarray(nibabel.load(path).dataobj)
    assert stored.shape == (26, 30, 8, 3) and stored.dtype == np.float32
    np.testing.assert_allclose(nibabel.load(path).affine, FIXED.affine())
    array = np.random.default_rng(0).random(MOVING.shape).astype(np.float32)
    identity = np.indices(stored.shape[:3])
    theirs = ndimage.map_coordinates(array.T, identity + np.moveaxis(stored, -1, 0), order=1, mode="nearest")
    ours = transform.warp_image(Image(array, MOVING)).array
    np.testing.assert_allclose(theirs.T, ours, atol=1e-3)
    again = read_learn2reg(path, FIXED, MOVING)
    np.testing.assert_allclose(again.warp_image(Image(array, MOVING)).array, ours, atol=1e-3)


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
    for size in (0, 2**40):  # HDF5 hangs on the first
        path.write_bytes(content[: rest + 8] + struct.pack("<Q", size) + content[rest + 16 :])
        with pytest.raises(AcregError, match=r"whole transform.*t\.h5, whose texts are damaged"):
            read_transform(path, FIXED, MOVING)
    text = content.index(b"CompositeTransform_")
    path.write_bytes(content[:text] + b"\0" + content[text + 1 :])  # ITK crashes
    with pytest.raises(AcregError, match=r"has a type.*t\.h5 without one in TransformGroup/0/TransformType"):
        read_transform(path, FIXED, MOVING)
    sitk.WriteTransform(sitk.AffineTransform(3), str(tmp_path / "a.mat"))
    content = (tmp_path / "a.mat").read_bytes()
    columns = content.rindex(struct.pack("<2i", 3, 1)) + 4
    damaged = content[:columns] + struct.pack("<i", 2**24) + content[columns + 4 :]  # ITK counts through them
    (tmp_path / "a.mat").write_bytes(damaged)
    with pytest.raises(AcregError, match=r"whole transform.*a\.mat"):
        read_transform(tmp_path / "a.mat", FIXED, MOVING)
