import errno
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import nibabel
import numpy as np
import PIL.Image
import pytest
import SimpleITK as sitk

from acreg.errors import AcregError, UsageError
from acreg.geometry import Grid
from acreg.io import Image, read_displacement, read_image, read_labels, write_displacement, write_image

VOLUME = Grid((4, 5, 6), (3.0, 1.2, 0.7), (1e5, -20.0, 7.0), ((1, 0, 0), (0, 0.8, -0.6), (0, 0.6, 0.8)))
SLICE = Grid((7, 9), (1.2, 0.7), (1e5, 3.0))


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def everything_in(folder):
    return sorted(p.name for p in folder.iterdir())


def check_grid(found, expected):
    assert found.shape == expected.shape
    np.testing.assert_allclose(found.spacing, expected.spacing, rtol=1e-6)
    np.testing.assert_allclose(found.origin, expected.origin, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(found.direction, expected.direction, atol=1e-6)


# --- the type ---------------------------------------------------------------------------------------------------------


def test_arrays_are_kept_as_float32_and_int32():
    grid = Grid((2, 3))
    assert Image(np.zeros((2, 3), np.uint16), grid).array.dtype == np.float32
    assert Image(np.zeros((2, 3), bool), grid, "labels").array.dtype == np.int32
    assert Image.from_array(np.zeros((2, 3)), spacing=(2, 3)).grid == Grid((2, 3), (2, 3))


@pytest.mark.parametrize(
    ("array", "kind", "message"),
    [
        (np.zeros((3, 3)), "intensity", "shape of its grid"),
        (np.full((2, 3), np.nan), "intensity", "6 NaN or infinite values out of 6"),
        (np.array([[0, np.inf, 1]] * 2), "intensity", "2 NaN or infinite"),
        (np.array([[0, 0.5, 1]] * 2), "labels", "whole numbers.*0.5"),
        (np.array([[0, np.nan, 1]] * 2), "labels", "whole numbers.*nan"),
        (np.full((2, 3), 1 << 40), "labels", "32 bits"),
    ],
)
def test_contents_that_do_not_fit_are_refused(array, kind, message):
    with pytest.raises(AcregError, match=message):
        Image(array, Grid((2, 3)), kind)
    with pytest.raises(UsageError, match="'intensity' or 'labels'"):
        Image(np.zeros((2, 3)), Grid((2, 3)), "mask")


# --- round trips ------------------------------------------------------------------------------------------------------


def test_png_of_8_bit_is_rounded_and_clipped(tmp_path):
    array = np.array([[-3.0, 0.4, 0.6], [100.5, 254.7, 255.0]])
    write_image(Image.from_array(array), tmp_path / "a.png")
    assert PIL.Image.open(tmp_path / "a.png").mode == "L"
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").array, [[0, 0, 1], [100, 255, 255]])


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_pictures_of_16_bit(tmp_path, rng, name):
    array = rng.integers(0, 65536, size=(7, 9)).astype(np.float32)
    array[0, 0] = 70000
    write_image(Image.from_array(array), tmp_path / name)
    image = read_image(tmp_path / name, spacing=(1.4, 0.7))
    assert image.array.dtype == np.float32 and image.grid == Grid((7, 9), (1.4, 0.7)) and image.kind == "intensity"
    np.testing.assert_array_equal(image.array, np.minimum(array, 65535))


@pytest.mark.parametrize("name", ["a.png", "a.tiff", "a.nii", "a.nii.gz", "a.nrrd", "a.mha"])
@pytest.mark.parametrize("largest", [3, 300])
def test_labels_keep_their_ids(tmp_path, rng, name, largest):
    labels = rng.choice([0, 1, largest], size=(7, 9))
    write_image(Image(labels, SLICE, "labels"), tmp_path / name)
    again = read_labels(tmp_path / name, values=[0, 1, largest])
    assert again.array.dtype == np.int32 and again.kind == "labels"
    np.testing.assert_array_equal(again.array, labels)
    assert everything_in(tmp_path) == [name]


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha"])
@pytest.mark.parametrize("grid", [VOLUME, SLICE], ids=["volume", "slice"])
def test_medical_formats_keep_values_and_grid(tmp_path, rng, name, grid):
    image = Image(rng.normal(scale=1e4, size=grid.shape), grid)
    write_image(image, tmp_path / name)
    again = read_image(tmp_path / name)
    np.testing.assert_array_equal(again.array, image.array)
    check_grid(again.grid, grid)


def test_simpleitk_sees_the_same_nifti(tmp_path, rng):
    array = rng.normal(size=VOLUME.shape).astype(np.float32)
    write_image(Image(array, VOLUME), tmp_path / "a.nii.gz")
    seen = sitk.ReadImage(str(tmp_path / "a.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(seen), array)
    check_grid(Grid.from_itk(seen), VOLUME)
    sitk.WriteImage(seen, str(tmp_path / "b.nii"))
    check_grid(read_image(tmp_path / "b.nii").grid, VOLUME)


# --- colours and depths -----------------------------------------------------------------------------------------------


def luminance(rgb):
    return rgb[..., :3] @ np.array([0.299, 0.587, 0.114])


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_colour_becomes_luminance_and_alpha_is_ignored(tmp_path, rng, channels, name):
    rgb = rng.integers(0, 256, size=(7, 9, channels)).astype(np.uint8)
    PIL.Image.fromarray(rgb).save(tmp_path / name)
    np.testing.assert_allclose(read_image(tmp_path / name).array, luminance(rgb), atol=1e-4)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_colour_of_16_bit_keeps_its_depth(tmp_path, rng, name):
    rgb = rng.integers(0, 65536, size=(7, 9, 3)).astype(np.uint16)
    sitk.WriteImage(sitk.GetImageFromArray(rgb, isVector=True), str(tmp_path / name))
    np.testing.assert_allclose(read_image(tmp_path / name).array, luminance(rgb), rtol=1e-5)


def test_grey_stored_as_colour_is_exact(tmp_path, rng):
    grey = rng.integers(0, 256, size=(7, 9)).astype(np.uint8)
    PIL.Image.fromarray(np.stack([grey] * 3, -1)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").array, grey)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png").array, grey)


def test_grey_with_alpha(tmp_path, rng):
    pair = rng.integers(0, 256, size=(7, 9, 2)).astype(np.uint8)
    PIL.Image.fromarray(pair, mode="LA").save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").array, pair[..., 0])


def test_palette(tmp_path):
    indices = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    picture = PIL.Image.fromarray(indices, mode="P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    picture.info["transparency"] = b"\x00\xff\x80"
    picture.save(tmp_path / "colours.png", transparency=b"\x00\xff\x80")
    np.testing.assert_allclose(
        read_image(tmp_path / "colours.png").array, np.array([0, 76.245, 149.685])[indices], atol=1e-3
    )
    np.testing.assert_array_equal(read_labels(tmp_path / "colours.png").array, indices)
    picture.putpalette([0, 0, 0, 1, 1, 1, 3, 3, 3])
    picture.save(tmp_path / "greys.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "greys.png").array, np.array([0, 1, 3])[indices])


def test_one_bit(tmp_path):
    mask = np.array([[True, False], [False, True]])
    PIL.Image.fromarray(mask).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").array, mask * 255)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png", [0, 1]).array, mask)


def test_jpeg_bmp_and_gif(tmp_path):
    ramp = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))
    for name, tolerance in [("a.jpg", 3), ("a.JPEG", 3), ("a.bmp", 0), ("a.gif", 0)]:
        PIL.Image.fromarray(ramp).save(tmp_path / name)
        np.testing.assert_allclose(read_image(tmp_path / name).array, ramp, atol=tolerance)


def test_big_endian_tiff_and_nifti(tmp_path, rng):
    array = rng.integers(0, 65536, size=(7, 9)).astype(">u2")
    header = struct.pack(">2sHI", b"MM", 42, 8 + array.nbytes)
    tags = [(256, 4, 9), (257, 4, 7), (258, 3, 16 << 16), (259, 3, 1 << 16), (262, 3, 1 << 16), (273, 4, 8)]
    tags += [(277, 3, 1 << 16), (278, 4, 7), (279, 4, array.nbytes)]
    directory = struct.pack(">H", len(tags)) + b"".join(struct.pack(">HHII", t, kind, 1, v) for t, kind, v in tags)
    (tmp_path / "a.tif").write_bytes(header + array.tobytes() + directory + bytes(4))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").array, array)
    volume = rng.normal(size=(4, 5, 6)).astype(">f4")
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4), nibabel.Nifti1Header(endianness=">")), tmp_path / "a.nii")
    np.testing.assert_array_equal(read_image(tmp_path / "a.nii").array, volume.T)


# --- axes -------------------------------------------------------------------------------------------------------------


def test_trailing_axes_of_one_are_dropped(tmp_path, rng):
    array = rng.normal(size=(6, 5, 4, 1)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([0.7, 1.2, 3, 1])), tmp_path / "series.nii")
    image = read_image(tmp_path / "series.nii")
    np.testing.assert_array_equal(image.array, array[..., 0].T)
    np.testing.assert_allclose(image.grid.spacing, (3, 1.2, 0.7), rtol=1e-6)
    nibabel.save(nibabel.Nifti1Image(array[:, :, :1, 0], np.diag([0.7, 1.2, 3, 1])), tmp_path / "slice.nii")
    np.testing.assert_allclose(read_image(tmp_path / "slice.nii").grid.spacing, (1.2, 0.7), rtol=1e-6)
    sitk.WriteImage(sitk.GetImageFromArray(array.T[0, :1]), str(tmp_path / "slice.mha"))
    np.testing.assert_array_equal(read_image(tmp_path / "slice.mha").array, array[:, :, 0, 0].T)


def test_a_coronal_slice_is_read(tmp_path, rng):
    affine = np.array([[0.7, 0, 0, 1], [0, 0, 2, 2], [0, 1.2, 0, 3], [0, 0, 0, 1.0]])
    nibabel.save(nibabel.Nifti1Image(rng.normal(size=(6, 5, 1)).astype(np.float32), affine), tmp_path / "a.nii")
    image = read_image(tmp_path / "a.nii")
    np.testing.assert_allclose(image.grid.spacing, (1.2, 0.7), rtol=1e-6)
    assert image.array.shape == (5, 6)


def test_nifti_without_coded_affine(tmp_path):
    image = nibabel.Nifti1Image(np.zeros((6, 5, 4), np.float32), None)
    image.header.set_zooms((0.7, 1.2, 3))
    nibabel.save(image, tmp_path / "a.nii")
    check_grid(read_image(tmp_path / "a.nii").grid, Grid((4, 5, 6), (3, 1.2, 0.7)))


def test_dicom_with_and_without_suffix(tmp_path):
    array = np.arange(30, dtype=np.int16).reshape(1, 5, 6)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.7, 1.2, 1))
    sitk.WriteImage(image, str(tmp_path / "a.dcm"))
    (tmp_path / "IM0001").write_bytes((tmp_path / "a.dcm").read_bytes())
    for name in ("a.dcm", "IM0001"):
        read = read_image(tmp_path / name)
        np.testing.assert_array_equal(read.array, array[0])
        np.testing.assert_allclose(read.grid.spacing, (1.2, 0.7))


def test_nifti_rescaling_is_applied_and_fractional_labels_refused(tmp_path):
    stored = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(4, 3, 2), np.eye(4))
    stored.header.set_slope_inter(0.5, 10)
    nibabel.save(stored, tmp_path / "a.nii")
    image = read_image(tmp_path / "a.nii")
    again = np.asanyarray(nibabel.load(tmp_path / "a.nii").dataobj)
    np.testing.assert_allclose(image.array, again.T)
    write_image(Image.from_array(np.array([[0, 1.5], [2, 3]])), tmp_path / "b.nii")
    with pytest.raises(AcregError, match=r"b.nii with the value 1.5"):
        read_labels(tmp_path / "b.nii")


# --- bad input --------------------------------------------------------------------------------------------------------


def png_bytes(tmp_path, shape=(200, 200)):
    path = tmp_path / "whole.png"
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, size=shape).astype(np.uint8)).save(path)
    return path.read_bytes()


def nifti_bytes(tmp_path, suffix):
    path = tmp_path / f"whole{suffix}"
    write_image(Image.from_array(np.random.default_rng(0).normal(size=(9, 8, 7))), path)
    return path.read_bytes()


@pytest.mark.parametrize("reader", [read_image, read_labels])
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("cut.png", lambda d: png_bytes(d)[:9000]),
        ("header.png", lambda d: png_bytes(d)[:30]),
        ("signature.png", lambda d: png_bytes(d)[:8]),
        ("flipped.png", lambda d: png_bytes(d)[:5000] + b"\xff" * 100 + png_bytes(d)[5100:]),
        ("text.png", lambda d: b"subject,image\n1,a.png\n"),
        ("text.jpg", lambda d: b"subject,image\n"),
        ("text.tif", lambda d: b"subject,image\n"),
        ("text.nii", lambda d: b"subject,image\n"),
        ("text.nii.gz", lambda d: b"subject,image\n"),
        ("text.nrrd", lambda d: b"subject,image\n"),
        ("text.mha", lambda d: b"subject,image\n"),
        ("text.dcm", lambda d: b"subject,image\n"),
        ("cut.nii", lambda d: nifti_bytes(d, ".nii")[:-100]),
        ("header.nii", lambda d: nifti_bytes(d, ".nii")[:200]),
        ("cut.nii.gz", lambda d: nifti_bytes(d, ".nii.gz")[:-100]),
        ("cut.nrrd", lambda d: nifti_bytes(d, ".nrrd")[:-100]),
        ("cut.mha", lambda d: nifti_bytes(d, ".mha")[:-100]),
    ],
)
def test_a_file_that_cannot_be_decoded_is_one_paragraph(tmp_path, name, make, reader):
    path = tmp_path / name
    path.write_bytes(make(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(AcregError, match="must be a whole") as caught:
            reader(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value) and caught.value.exit_code == 1


@pytest.mark.parametrize("name", ["a.png", "a.nii.gz", "a.dcm"])
def test_missing_and_empty_files(tmp_path, name):
    with pytest.raises(AcregError, match="must exist") as caught:
        read_image(tmp_path / name)
    assert caught.value.exit_code == 1
    (tmp_path / name).touch()
    with pytest.raises(AcregError, match=r"empty \(0 bytes\)"):
        read_image(tmp_path / name)


def test_a_folder_and_an_unknown_suffix(tmp_path):
    with pytest.raises(AcregError, match="a folder"):
        read_image(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UsageError, match=r"read from \.png") as caught:
        read_image(tmp_path / "a.txt")
    assert caught.value.exit_code == 2


def test_not_a_number_names_the_file(tmp_path):
    array = np.zeros((4, 5, 6), np.float32)
    array[1, 2, 3] = np.nan
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(AcregError, match=r"a\.nii\.gz with 1 NaN or infinite"):
        read_image(tmp_path / "a.nii.gz")


def test_several_frames_and_colour_volumes(tmp_path):
    frames = [PIL.Image.fromarray(np.full((4, 5), n, np.uint8)) for n in range(3)]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    with pytest.raises(AcregError, match="one frame.*with 3"):
        read_image(tmp_path / "a.tif")
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6, 2), np.float32), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(AcregError, match=r"2 or 3 axes.*\(4, 5, 6, 2\)"):
        read_image(tmp_path / "a.nii")
    rgb = np.zeros((3, 4, 5, 3), np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(rgb, isVector=True), str(tmp_path / "a.nrrd"))
    with pytest.raises(AcregError, match="Colour is read from 2-D images only"):
        read_image(tmp_path / "a.nrrd")
    colour = np.zeros((4, 5, 6), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    nibabel.save(nibabel.Nifti1Image(colour, np.eye(4)), tmp_path / "b.nii")
    with pytest.raises(AcregError, match="Colour is read from 2-D images only"):
        read_image(tmp_path / "b.nii")
    nibabel.save(nibabel.Nifti1Image(colour[:, :, :1], np.eye(4)), tmp_path / "c.nii")
    assert read_image(tmp_path / "c.nii").array.shape == (5, 4)


def test_a_picture_that_claims_to_be_huge(tmp_path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 200_000, 200_000, 8, 0, 0, 0, 0)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IEND", b""))
    with pytest.raises(AcregError, match="must be a whole png"):
        read_image(tmp_path / "a.png")


def test_labels_outside_the_set_are_listed(tmp_path):
    write_image(Image.from_array(np.array([[0, 1], [7, 9]]), kind="labels"), tmp_path / "a.png")
    with pytest.raises(AcregError, match=r"among \[0, 1\].*a\.png with 7, 9\."):
        read_labels(tmp_path / "a.png", values=[0, 1])
    rgb = np.zeros((2, 2, 3), np.uint8)
    rgb[0, 0, 1] = 5
    PIL.Image.fromarray(rgb).save(tmp_path / "b.png")
    with pytest.raises(AcregError, match="channels differ"):
        read_labels(tmp_path / "b.png")


def test_spacing_must_fit(tmp_path):
    write_image(Image.from_array(np.zeros((2, 2))), tmp_path / "a.png")
    for spacing in [(1.0,), (1.0, -1.0), (1.0, np.nan), (1, 1, 1)]:
        with pytest.raises(UsageError, match="2 positive numbers"):
            read_image(tmp_path / "a.png", spacing=spacing)


# --- writing ----------------------------------------------------------------------------------------------------------


def test_what_a_format_cannot_hold_is_refused(tmp_path):
    volume = Image(np.zeros(VOLUME.shape), VOLUME)
    with pytest.raises(AcregError, match="2-D images"):
        write_image(volume, tmp_path / "a.png")
    with pytest.raises(AcregError, match="labels 0 to 65535"):
        write_image(Image.from_array(np.array([[-1, 0]]), kind="labels"), tmp_path / "a.png")
    with pytest.raises(UsageError, match="written as"):
        write_image(volume, tmp_path / "a.jpg")
    assert everything_in(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "writer"),
    [("a.png", "PIL.Image.Image.save"), ("a.nii.gz", "nibabel.save"), ("a.nrrd", "SimpleITK.WriteImage")],
)
@pytest.mark.parametrize("existing", [True, False])
def test_a_full_disk_leaves_no_half_file(tmp_path, monkeypatch, name, writer, existing):
    def fill_the_disk(*args, **kwargs):
        target = next(a for a in args if "tmp" in str(a) and not hasattr(a, "shape"))
        with open(target, "wb") as file:
            file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    image = Image.from_array(np.ones((4, 5)))
    if existing:
        write_image(image, tmp_path / name)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    monkeypatch.setattr(writer, fill_the_disk)
    with pytest.raises(OSError, match="No space left"):
        write_image(Image.from_array(np.zeros((4, 5))), tmp_path / name)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_itk_writing_half_without_an_error_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr("SimpleITK.WriteImage", lambda image, path, **_: open(path, "wb").write(b"NRRD0004\n"))
    with pytest.raises(AcregError, match="incomplete .nrrd"):
        write_image(Image.from_array(np.zeros((4, 5))), tmp_path / "a.nrrd")
    assert everything_in(tmp_path) == []


# --- displacements ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", [VOLUME, SLICE], ids=["volume", "slice"])
@pytest.mark.parametrize("name", ["u.nii", "u.nii.gz"])
def test_displacement_round_trip(tmp_path, rng, grid, name):
    u = rng.normal(size=(*grid.shape, grid.rank)).astype(np.float32)
    write_displacement(u, grid, tmp_path / name)
    again = read_displacement(tmp_path / name)
    assert again.dtype == np.float32 and again.flags.c_contiguous
    np.testing.assert_array_equal(again, u)
    assert everything_in(tmp_path) == [name]


def test_displacement_header_and_components(tmp_path):
    u = np.zeros((4, 5, 6, 3), np.float32)
    u[1, 2, 3] = (10, 20, 30)  # along z, y, x
    write_displacement(u, VOLUME, tmp_path / "u.nii.gz")
    stored = nibabel.load(tmp_path / "u.nii.gz")
    assert stored.shape == (6, 5, 4, 1, 3)
    np.testing.assert_array_equal(np.asanyarray(stored.dataobj)[3, 2, 1, 0], [10, 20, 30])
    description = bytes(stored.header["descrip"]).rstrip(b"\0").decode()
    assert description == "acreg displacement: voxels of the fixed grid, array-axis order (z,y,x)"
    assert stored.header.get_intent()[0] == "vector"
    check_grid(Grid.from_affine(stored.affine, VOLUME.shape), VOLUME)
    write_displacement(np.zeros((7, 9, 2)), SLICE, tmp_path / "v.nii.gz")
    flat = nibabel.load(tmp_path / "v.nii.gz")
    assert flat.shape == (9, 7, 1, 1, 2)
    assert b"(rows,columns)" in bytes(flat.header["descrip"])
    assert flat.header.get_zooms()[:2] == pytest.approx((0.7, 1.2))


def test_displacements_of_other_tools_are_refused(tmp_path):
    field = nibabel.Nifti1Image(np.zeros((6, 5, 4, 1, 3), np.float32), np.eye(4))
    field.header.set_intent("vector")
    nibabel.save(field, tmp_path / "ants.nii.gz")
    with pytest.raises(AcregError, match="NIfTI that acreg wrote"):
        read_displacement(tmp_path / "ants.nii.gz")
    with pytest.raises(AcregError, match="must exist"):
        read_displacement(tmp_path / "none.nii.gz")
    with pytest.raises(UsageError, match=r"end in \.nii\.gz"):
        write_displacement(np.zeros((7, 9, 2)), SLICE, tmp_path / "u.npy")
    with pytest.raises(AcregError, match="shape of its grid"):
        write_displacement(np.zeros((9, 7, 2)), SLICE, tmp_path / "u.nii.gz")
    write_displacement(np.zeros((7, 9, 2)), SLICE, tmp_path / "u.nii.gz")
    (tmp_path / "cut.nii.gz").write_bytes((tmp_path / "u.nii.gz").read_bytes()[:-20])
    with pytest.raises(AcregError, match="must be a whole"):
        read_displacement(tmp_path / "cut.nii.gz")


@pytest.mark.parametrize("read", [read_image, read_labels, read_displacement])
@pytest.mark.parametrize("name", ["x" * 300 + ".nii", "x/" * 3000 + "y.nii", "nul\0l.nii", "", "missing/a.nii"])
def test_paths_at_which_no_file_can_be(tmp_path, monkeypatch, read, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AcregError, match="must exist|within reach|single file|folder with the slices") as caught:
        read(name)
    assert len(str(caught.value)) < 1000


def test_images_read_in_two_threads_leave_warnings_on(tmp_path):
    path = tmp_path / "a.nii.gz"
    write_image(Image(np.random.default_rng(0).random((16, 16), np.float32), Grid((16, 16))), path)
    for _ in range(20):
        with pytest.warns(UserWarning, match="afterwards"):
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(read_image, [path] * 8))
            warnings.warn("afterwards", stacklevel=1)
