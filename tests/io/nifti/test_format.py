import gzip
import os
import struct

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from acreg.errors import AcregError
from acreg.geometry import Grid
from acreg.io import Image, read_displacement, read_image, read_labels, write_displacement, write_image
from acreg.io.inputs import as_image
from acreg.io.nifti.inspection import inspect
from acreg.io.transforms import read_transform
from acreg.io.transforms.parts import read_parts
from tests.io.awkward import flipped, nifti_bytes

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
    image.set_sform(affine * [1, 0, 1, 1], code=1)
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
        with pytest.raises(AcregError, match=r"differ by 0\.6 voxels in a corner.*fslorient") as caught:
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
    (tmp_path / "b.nii").write_bytes(content)
    if size < 0:  # ITK mirrors
        with pytest.raises(AcregError, match=r"say the same lengths.*b\.nii"):
            read_image(tmp_path / "b.nii")
    else:  # the sform says all that is needed
        np.testing.assert_allclose(read_image(tmp_path / "b.nii").grid.spacing, SPACING[::-1], rtol=1e-6)


@pytest.mark.parametrize("factor", [1.05, 1.2, -1.0])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_sform_and_voxel_sizes_agree_to_half_a_voxel(tmp_path, volume, axis, factor):
    """SimpleITK places voxels by the directions of the sform and the voxel sizes, nibabel by the sform alone."""
    image = nibabel.Nifti1Image(volume, affine_of(ROTATION))
    image.header["pixdim"][1 + axis] *= factor
    content = image.to_bytes()
    (tmp_path / "a.nii").write_bytes(content)
    theirs = Grid.from_itk(sitk.ReadImage(str(tmp_path / "a.nii"))).affine()
    corner = [*(n - 1 for n in volume.shape), 1]
    apart = np.linalg.norm((theirs - image.affine) @ corner) / SPACING[axis]
    if apart < 0.5:
        np.testing.assert_allclose(read_image(tmp_path / "a.nii").grid.affine(), image.affine, atol=1e-5)
    else:
        with pytest.raises(AcregError, match=r"say the same lengths.*a\.nii.*pixdim.*set_zooms"):
            read_image(tmp_path / "a.nii")
        assert read_image(tmp_path / "a.nii", spacing=(3, 2, 1)).grid.spacing == (3, 2, 1)


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


# --- what a header says beside numbers of voxels ----------------------------------------------------------------------


@pytest.mark.parametrize("form", ["sform", "qform", "neither"])
@pytest.mark.parametrize(("unit", "mm"), [(0, 1), (1, 1000), (2, 1), (3, 0.001), (2 + 8, 1), (3 + 16, 0.001)])
def test_lengths_become_mm(tmp_path, volume, unit, mm, form):
    codes = {"sform_code": form == "sform", "qform_code": form == "qform"}
    (tmp_path / "a.nii").write_bytes(nifti_bytes(volume, affine_of(ROTATION), xyzt_units=unit, **codes))
    theirs = sitk.ReadImage(str(tmp_path / "a.nii"))
    assert theirs.GetSpacing() == pytest.approx(np.multiply(SPACING, mm))
    np.testing.assert_allclose(read_image(tmp_path / "a.nii").grid.matrix, Grid.from_itk(theirs).matrix, rtol=1e-5)


@pytest.mark.parametrize("fields", [{"xyzt_units": 4}, {"sform_code": 6}, {"qform_code": -1}, {"sform_code": 256}])
def test_codes_that_do_not_exist(tmp_path, volume, fields):
    (tmp_path / "a.nii").write_bytes(nifti_bytes(volume, affine_of(ROTATION), **fields))
    with pytest.raises(AcregError, match=r"0 to 5 as its form codes.*a\.nii with sform_code"):
        read_image(tmp_path / "a.nii")


@pytest.mark.parametrize("offset", [0, 16, 348])
def test_voxels_that_would_begin_in_the_header(tmp_path, volume, offset):
    (tmp_path / "a.nii").write_bytes(nifti_bytes(volume, np.eye(4), vox_offset=offset))
    with pytest.raises(AcregError, match=r"a\.nii.*vox.offset"):
        read_image(tmp_path / "a.nii")


def test_voxels_behind_an_extension(tmp_path, volume):
    image = nibabel.Nifti1Image(volume, np.eye(4))
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"x" * 1000))
    nibabel.save(image, tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_image(tmp_path / "a.nii.gz").array, volume.T)


@pytest.mark.parametrize(("slope", "intercept"), [(0.1, 0), (1 / 255, 0), (0.3, -3), (2, 5), (np.nan, np.nan), (0, 7)])
def test_scaled_labels(tmp_path, slope, intercept):
    """A factor that float32 holds inexactly, as SPM writes for masks, leaves whole numbers whole."""
    stored = np.array([0, 10, 255, 2550], np.int16).reshape(4, 1, 1) * np.ones((4, 3, 2), np.int16)
    (tmp_path / "a.nii").write_bytes(nifti_bytes(stored, np.eye(4), scl_slope=slope, scl_inter=intercept))
    applied = (slope, intercept) if slope and np.isfinite(slope) else (1, 0)
    right = stored.T * applied[0] + applied[1]
    np.testing.assert_allclose(read_image(tmp_path / "a.nii").array, right, rtol=1e-6, atol=1e-6)
    if np.abs(right - np.rint(right)).max() < 1e-4:
        np.testing.assert_array_equal(read_labels(tmp_path / "a.nii").array, np.rint(right))
    else:
        with pytest.raises(AcregError, match="whole numbers"):
            read_labels(tmp_path / "a.nii")


@pytest.mark.parametrize("value", [2.0**31, -(2.0**31) - 256, 1e30, np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_labels_beyond_32_bits_are_refused(tmp_path, value, dtype):
    nibabel.save(nibabel.Nifti1Image(np.full((3, 4, 5), value, dtype), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(AcregError, match=r"fit into 32 bits.*a\.nii"):
        read_labels(tmp_path / "a.nii")


def test_labels_of_64_bits_are_exact(tmp_path):
    labels = np.array([0, 2**24 + 1, 2**31 - 1, -(2**31)]).reshape(4, 1, 1) * np.ones((4, 3, 2), np.int64)
    nibabel.save(nibabel.Nifti1Image(labels, np.eye(4), dtype=np.int64), tmp_path / "a.nii")
    np.testing.assert_array_equal(read_labels(tmp_path / "a.nii").array, labels.T)


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.nii.gz", "two.nii.gz", "a.mgz", "displacement.nii.gz", "field.nii.gz"])
def test_every_flipped_bit_of_a_compressed_file_is_noticed(tmp_path, volume, name):
    path = tmp_path / name
    if name.startswith("d"):
        write_displacement(np.zeros((5, 6, 7, 3)) + volume.T[..., None], Grid((5, 6, 7)), path)
    elif name.startswith("f"):
        sitk.WriteImage(sitk.GetImageFromArray(np.stack([volume] * 3, -1), isVector=True), str(path))
    else:
        kinds = {"two.nii.gz": nibabel.Nifti2Image, "a.mgz": nibabel.MGHImage}
        nibabel.save(kinds.get(name, nibabel.Nifti1Image)(volume, np.eye(4)), path)
    readers = {"d": read_displacement, "f": lambda p: read_transform(p, Grid((5, 6, 7)), Grid((5, 6, 7)))}
    read = readers.get(name[0], read_image)
    whole = path.read_bytes()
    read(path)
    rng = np.random.default_rng(0)
    for at in [*rng.integers(20 + len(name), len(whole), 40), *range(len(whole) - 8, len(whole))]:
        path.write_bytes(flipped(whole, at, int(rng.integers(8))))
        with pytest.raises(AcregError, match=r"whole .*get the file again"):
            read(path)
            pytest.fail(f"byte {at} of {len(whole)}")


def test_members_and_what_follows_a_compressed_file(tmp_path, volume):
    content = nifti_bytes(volume, np.eye(4))
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(content[:700]) + gzip.compress(content[700:]) + bytes(512))
    np.testing.assert_array_equal(read_image(path).array, volume.T)
    path.write_bytes(gzip.compress(content) + b"something else")
    with pytest.raises(AcregError, match="whole nii.gz"):
        read_image(path)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_voxels_that_the_header_does_not_announce(tmp_path, volume, name):
    """What a flipped bit in a dimension does to a file without a checksum."""
    pack = gzip.compress if name.endswith("gz") else bytes
    path = tmp_path / name
    path.write_bytes(pack(nifti_bytes(volume, np.eye(4), dim=[3, 7, 6, 4, 1, 1, 1, 1])))
    with pytest.raises(AcregError, match=rf"that its header announces.*{name}.* the 7x6x4\."):
        read_image(path)
    path.write_bytes(pack(nifti_bytes(volume, np.eye(4)) + bytes(2**25)))
    with pytest.raises(AcregError, match="that its header announces"):
        read_image(path)
    path.write_bytes(pack(nifti_bytes(volume, np.eye(4)) + bytes(1000)))
    np.testing.assert_array_equal(read_image(path).array, volume.T)


# --- a sheared grid ---------------------------------------------------------------------------------------------------

TILTED = Grid((5, 6, 7), (3.0, 1.2, 0.7), (7.0, -60.0, 5.0), ((0.9, 0, 0), (np.sqrt(0.19), 1, 0), (0, 0, 1)))


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.h5"])
def test_a_sheared_grid_is_written_and_read_back(tmp_path, volume, name):
    write_image(Image(volume.T, TILTED), tmp_path / name)
    again = read_image(tmp_path / name)
    np.testing.assert_array_equal(again.array, volume.T)
    np.testing.assert_allclose(again.grid.matrix, TILTED.matrix, atol=1e-5)
    if ".nii" in name:
        header = nibabel.load(tmp_path / name)
        assert (header.header["sform_code"], header.header["qform_code"]) == (1, 0)
        np.testing.assert_allclose(header.affine, TILTED.affine(), atol=1e-5)


def test_a_displacement_on_a_sheared_grid(tmp_path, volume):
    vectors = np.stack([volume.T] * 3, -1)
    write_displacement(vectors, TILTED, tmp_path / "u.nii.gz")
    (field,) = read_transform(tmp_path / "u.nii.gz", TILTED, TILTED).maps
    np.testing.assert_array_equal(field.vectors, vectors)
    np.testing.assert_allclose(field.grid.matrix, TILTED.matrix, atol=1e-5)


def test_a_complex_field_is_refused(tmp_path, volume):
    field = nibabel.Nifti1Image(np.stack([volume * 1j] * 3, -1)[:, :, :, None].astype("c8"), affine_of(ROTATION))
    field.header.set_intent("vector")
    nibabel.save(field, tmp_path / "f.nii")
    with pytest.raises(AcregError, match=r"real numbers.*f\.nii of complex64"):
        read_transform(tmp_path / "f.nii", TILTED, TILTED)


@pytest.mark.parametrize("unit", ["micron", "meter"])
def test_a_field_in_another_unit_is_refused(tmp_path, volume, unit):
    """ITK takes the unit for the grid and not for the vectors, so that no reading is right for all."""
    field = nibabel.Nifti1Image(np.stack([volume] * 3, -1)[:, :, :, None], affine_of(ROTATION))
    field.header.set_intent("vector")
    field.header.set_xyzt_units(unit)
    nibabel.save(field, tmp_path / "f.nii")
    with pytest.raises(AcregError, match=r"field in NIfTI is in mm.*f\.nii"):
        read_transform(tmp_path / "f.nii", TILTED, TILTED)


@pytest.mark.parametrize("image", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_the_extensions_of_a_header_are_limited(tmp_path, volume, image, name):
    made = image(volume, np.eye(4))
    made.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"x" * 100_000))
    nibabel.save(made, tmp_path / name)
    np.testing.assert_array_equal(read_image(tmp_path / name).array, volume.T)
    made.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"x" * 2**21))
    nibabel.save(made, tmp_path / name)
    with pytest.raises(AcregError, match="at most 2 MiB with its extensions"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.mgz", "a.nrrd", "a.png", "a.tfm"])
def test_a_file_that_goes_on_as_zeros_is_refused_at_once(tmp_path, volume, name):
    """3 GB that take no room on the disk, nor in an archive."""
    path = tmp_path / name
    if name == "a.tfm":
        sitk.WriteTransform(sitk.AffineTransform(3), str(path))
    elif name == "a.png":
        sitk.WriteImage(sitk.GetImageFromArray(np.zeros((5, 6), np.uint8)), str(path))
    elif name == "a.nrrd":
        sitk.WriteImage(sitk.GetImageFromArray(volume), str(path), useCompression=True)
    else:
        image = nibabel.MGHImage if name == "a.mgz" else nibabel.Nifti1Image
        nibabel.save(image(volume.astype(np.float32), np.eye(4)), path)
    os.truncate(path, 3 * 10**9)
    with pytest.raises(AcregError, match=r"zeros in or behind|at most \d+ MiB"):
        read_parts(path) if name == "a.tfm" else read_image(path)


def test_an_image_without_a_form_lies_alike_as_a_file_and_in_memory(tmp_path):
    """As in ITK: nibabel's own affine has its origin in the middle."""
    image = nibabel.Nifti1Image(np.random.default_rng(0).random((7, 6, 5)).astype(np.float32), None)
    image.header.set_zooms(SPACING)
    nibabel.save(image, tmp_path / "plain.nii")
    read, given = read_image(tmp_path / "plain.nii"), as_image(nibabel.load(tmp_path / "plain.nii"), "given")
    assert read.grid == given.grid and not any(given.grid.origin) and not given.has_place
    theirs = sitk.ReadImage(tmp_path / "plain.nii")
    assert theirs.GetOrigin() == (0, 0, 0) and theirs.GetDirection() == tuple(np.eye(3).ravel())
    np.testing.assert_array_equal(read.array, given.array)


@pytest.mark.parametrize("intent, frame", [(1006, "RAS"), (1007, "LPS, as ITK and ANTs have them")])
def test_the_frame_of_a_displacement_field_is_told_by_its_intent(tmp_path, intent, frame):
    image = nibabel.Nifti1Image(np.ones((4, 5, 6, 1, 3), np.float32), np.eye(4))
    image.header.set_intent(intent)
    nibabel.save(image, tmp_path / "field.nii")
    assert inspect(tmp_path / "field.nii").vectors == f"mm, {frame}"
