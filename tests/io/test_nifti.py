import struct

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from acreg.errors import AcregError
from acreg.geometry import Grid
from acreg.io import read_image, read_labels

SPACING = (0.7, 1.2, 3.0)  # x, y, z
ROTATION = Rotation.from_euler("xyz", (0.3, -0.5, 0.2)).as_matrix()
DIRECTIONS = {
    "LPS": np.diag([-1.0, -1, 1]),
    "left-handed": np.eye(3)[[1, 0, 2]],
    "oblique": ROTATION,
    "oblique left-handed": ROTATION * [1, 1, -1],
    "coronal": np.eye(3)[[0, 2, 1]] * [1, -1, 1],
}


def affine_of(direction, spacing=SPACING, origin=(5.0, -60.0, 7.0)):
    affine = np.eye(4)
    affine[:3, :3] = direction * np.array(spacing)
    affine[:3, 3] = origin
    return affine


@pytest.fixture
def volume():
    """(x, y, z)"""
    return np.random.default_rng(0).normal(size=(7, 6, 5)).astype(np.float32)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "big.nii", "two.nii.gz", "a.mgh", "a.mgz"])
@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
def test_voxels_lie_where_nibabel_and_itk_say(tmp_path, volume, direction, name):
    path, affine = tmp_path / name, affine_of(direction)
    if ".mg" in name:
        nibabel.save(nibabel.MGHImage(volume, affine), path)
    elif name == "big.nii":
        nibabel.save(nibabel.Nifti1Image(volume, affine, nibabel.Nifti1Header(endianness=">")), path)
    else:
        nibabel.save((nibabel.Nifti2Image if "two" in name else nibabel.Nifti1Image)(volume, affine), path)
    image = read_image(path)
    np.testing.assert_array_equal(image.array, volume.T)
    np.testing.assert_allclose(image.grid.affine(), nibabel.load(path).affine, atol=1e-5)
    np.testing.assert_allclose(image.grid.affine(), affine, atol=1e-5)
    if ".nii" in name and name != "two.nii.gz":  # SimpleITK reads no NIfTI-2
        theirs = Grid.from_itk(sitk.ReadImage(str(path)))
        np.testing.assert_allclose(image.grid.matrix, theirs.matrix, atol=1e-4)


def test_mgh_labels_and_frames(tmp_path):
    labels = np.random.default_rng(0).integers(0, 2036, (7, 6, 5)).astype(np.int32)
    nibabel.save(nibabel.MGHImage(labels, np.eye(4)), tmp_path / "aseg.mgz")
    np.testing.assert_array_equal(read_labels(tmp_path / "aseg.mgz").array, labels.T)
    nibabel.save(nibabel.MGHImage(np.stack([labels] * 2, -1), np.eye(4)), tmp_path / "frames.mgz")
    with pytest.raises(AcregError, match="2 or 3 axes"):
        read_image(tmp_path / "frames.mgz")
    (tmp_path / "cut.mgh").write_bytes(nibabel.MGHImage(labels, np.eye(4)).to_bytes()[:-100])
    with pytest.raises(AcregError, match=r"whole mgh image.*cut\.mgh"):
        read_image(tmp_path / "cut.mgh")


@pytest.mark.parametrize("trailing", [(), (1,), (1, 1)])
def test_intents_and_trailing_axes_do_not_matter(tmp_path, volume, trailing):
    image = nibabel.Nifti1Image(volume.reshape(volume.shape + trailing), affine_of(ROTATION))
    image.header.set_intent("label", name="regions")
    nibabel.save(image, tmp_path / "a.nii")
    again = read_image(tmp_path / "a.nii")
    np.testing.assert_array_equal(again.array, volume.T)
    np.testing.assert_allclose(again.grid.affine(), image.affine, atol=1e-5)


def test_a_sheared_sform_is_kept(tmp_path, volume):
    affine = affine_of(np.eye(3))
    affine[1, 2] = 0.8  # a tilted gantry
    image = nibabel.Nifti1Image(volume, affine)
    nibabel.save(image, tmp_path / "a.nii")
    np.testing.assert_allclose(read_image(tmp_path / "a.nii").grid.affine(), affine, atol=1e-5)
    image.set_sform(np.diag([1.0, 0, 1, 1]), code=1)
    nibabel.save(image, tmp_path / "b.nii")
    with pytest.raises(AcregError, match=r"unit vectors that span the space.*b\.nii"):
        read_image(tmp_path / "b.nii")


@pytest.mark.parametrize("voxels", [0.4, 0.6])
@pytest.mark.parametrize("how", ["shift", "turn"])
def test_sform_and_qform_agree_to_half_a_voxel(tmp_path, volume, voxels, how):
    sform = affine_of(DIRECTIONS["LPS"], origin=(0, 0, 0))
    qform = sform.copy()
    if how == "shift":
        qform[2, 3] += voxels * min(SPACING)
    else:  # about voxel 0, which stays: the far corner moves
        far = np.linalg.norm(sform[:2, :2] @ (6, 5))
        turn = Rotation.from_euler("z", 2 * np.arcsin(voxels * min(SPACING) / 2 / far)).as_matrix()
        qform[:3, :3] = turn @ qform[:3, :3]
    image = nibabel.Nifti1Image(volume, sform)
    image.set_sform(sform, code=2)
    image.set_qform(qform, code=1)
    nibabel.save(image, tmp_path / "a.nii")
    if voxels < 0.5:
        np.testing.assert_allclose(read_image(tmp_path / "a.nii").grid.affine(), sform, atol=1e-5)
    else:
        with pytest.raises(AcregError, match=r"differ by 0\.42 mm in a corner.*fslorient") as caught:
            read_image(tmp_path / "a.nii", spacing=(1, 1, 1))
        assert str(tmp_path / "a.nii") in str(caught.value)
        image.set_qform(qform, code=0)
        nibabel.save(image, tmp_path / "a.nii")
        np.testing.assert_allclose(read_image(tmp_path / "a.nii").grid.affine(), sform, atol=1e-5)


@pytest.mark.parametrize("coded", [True, False])
@pytest.mark.parametrize("size", [0.0, -1.2, np.nan, np.inf])
def test_voxel_sizes_that_are_missing(tmp_path, volume, coded, size):
    image = nibabel.Nifti1Image(volume, None)
    image.header.set_zooms(SPACING)
    if coded:
        image.set_qform(affine_of(ROTATION), code=1)
    content = bytearray(image.to_bytes())
    content[84:88] = struct.pack("<f", size)
    (tmp_path / "a.nii").write_bytes(content)
    with pytest.raises(
        AcregError, match=rf"voxel sizes .* are positive.*a\.nii with {size:g} among .*Give the spacing"
    ):
        read_image(tmp_path / "a.nii")
    if np.isfinite(size):
        assert read_image(tmp_path / "a.nii", spacing=(3, 2, 1)).grid.spacing == (3, 2, 1)
    image.set_sform(affine_of(ROTATION), code=1)
    image.set_qform(None, code=0)
    content = bytearray(image.to_bytes())
    content[84:88] = struct.pack("<f", size)
    (tmp_path / "b.nii").write_bytes(content)  # the sform says all that is needed
    np.testing.assert_allclose(read_image(tmp_path / "b.nii").grid.spacing, SPACING[::-1], rtol=1e-6)


def test_a_slice_needs_no_third_voxel_size(tmp_path, volume):
    image = nibabel.Nifti1Image(volume[:, :, :1], None)
    image.header.set_zooms(SPACING)
    content = bytearray(image.to_bytes())
    content[88:92] = bytes(4)
    (tmp_path / "a.nii").write_bytes(content)
    assert read_image(tmp_path / "a.nii").grid.spacing == pytest.approx(SPACING[1::-1])


def test_what_is_no_image_of_numbers(tmp_path, volume):
    nibabel.save(nibabel.Nifti1Image(volume.astype(np.complex64), np.eye(4)), tmp_path / "a.nii")
    for reader in (read_image, read_labels):
        with pytest.raises(AcregError, match=r"real numbers.*a\.nii of complex64"):
            reader(tmp_path / "a.nii")
    axes = (
        nibabel.cifti2.ScalarAxis(["a"]),
        nibabel.cifti2.BrainModelAxis.from_mask(np.ones((2, 2, 2)), affine=np.eye(4)),
    )
    nibabel.save(nibabel.Cifti2Image(np.zeros((1, 8), np.float32), axes), tmp_path / "b.dscalar.nii")
    with pytest.raises(AcregError, match="a Cifti2Image"):
        read_image(tmp_path / "b.dscalar.nii")


def test_an_image_outlives_its_file(tmp_path, volume):
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "a.nii")
    image = read_image(tmp_path / "a.nii")
    with open(tmp_path / "a.nii", "r+b") as file:
        file.truncate(0)
    np.testing.assert_array_equal(image.array, volume.T)
