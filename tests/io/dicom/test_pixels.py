"""The pixels of DICOM: as pydicom and SimpleITK have them, and never more than are stored."""

import os
import zlib

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.data import get_testdata_file
from pydicom.uid import RLELossless

from acreg.errors import AcregError
from acreg.io import read_image, read_labels
from tests.io.dicom_samples import enhanced, hostile_dicom, image, insert, save


def test_hostile_files_are_read_the_same_three_times_or_refused(tmp_path):
    files = hostile_dicom(tmp_path)
    assert len(files) > 60
    read, messages = [], {}
    for path in files:
        results = []
        for _ in range(1 if "many" in path.name else 3):
            try:
                results.append(read_image(path).array.tobytes())
            except AcregError as error:
                assert str(path) in str(error) and "\n" not in str(error)
                messages[path.stem] = str(error)
                results.append(b"refused")
        assert len(set(results)) == 1, path.name
        if results[0] != b"refused":
            read.append(path.stem)
    for name in ("undefined", "private", "unknown"):
        assert "nest a few times" in messages[f"dicom_nested_{name}"]
    for name in ("elements", "items", "groups"):
        assert "at most some hundred thousand elements" in messages[f"dicom_many_{name}"]
    assert read == [
        "dicom_enhanced_good",
        "dicom_good",
        "dicom_jpeg2000_good",
        "dicom_jpeg_good",
        "dicom_nested_defined",  # passed over, with all that is in it
        "dicom_nested_groups",
        "dicom_nested_shallow",
        "dicom_no_preamble",
        "dicom_rle_good",
    ]


BITS = [
    (np.uint8, 8),
    (np.int8, 8),
    (np.uint8, 7),
    (np.uint16, 16),
    (np.int16, 16),
    (np.uint16, 12),
    (np.int16, 12),
    (np.int16, 10),
    (np.uint32, 32),
    (np.int32, 32),
]


@pytest.mark.parametrize(("dtype", "bits", "packed"), [(*b, False) for b in BITS] + [(*b, True) for b in BITS[:-2]])
def test_values_of_all_depths_and_signs(tmp_path, dtype, bits, packed):
    signed = np.dtype(dtype).kind == "i"
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    values = np.random.default_rng(0).integers(low, high, (24, 20), endpoint=True)
    stored = values.astype(dtype)
    if bits < np.dtype(dtype).itemsize * 8:  # the bits above hold something else
        stored = np.where(np.arange(20) % 2, stored & dtype(2**bits - 1), stored).astype(dtype)
    made = image(stored, BitsStored=bits, HighBit=bits - 1)
    if packed:
        made.compress(RLELossless)
    path = save(made, tmp_path / "a.dcm")
    np.testing.assert_array_equal(read_image(path).array, values.astype(np.float32))
    if dtype is not np.uint32:
        np.testing.assert_array_equal(read_labels(path).array, values)
    made.PhotometricInterpretation, made.Modality = "MONOCHROME1", "DX"
    np.testing.assert_array_equal(
        read_image(save(made, path)).array, ((-1 if signed else 2**bits - 1) - values).astype(np.float32)
    )


def test_bits_above_those_stored_are_not_values(tmp_path):
    stored = np.arange(480, dtype=np.uint16).reshape(24, 20) | 0xF000
    path = save(image(stored, BitsStored=12, HighBit=11), tmp_path / "a.dcm")
    np.testing.assert_array_equal(read_image(path).array, sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0])
    np.testing.assert_array_equal(read_image(path).array, stored & 0x0FFF)


@pytest.mark.parametrize(("excess", "message"), [(b"\0" * 400, None), (b"\0\1", "has 962 bytes, where 960 belong")])
def test_zeros_after_the_pixels_are_padding(tmp_path, excess, message):
    stored = np.arange(480, dtype=np.uint16).reshape(24, 20)
    path = save(image(stored, PixelData=stored.tobytes() + excess), tmp_path / "a.dcm")
    if message is None:
        np.testing.assert_array_equal(read_image(path).array, stored)
    else:
        with pytest.raises(AcregError, match=message):
            read_image(path)


GREY = ["CT_small", "MR_small", "MR_small_bigendian", "MR_small_implicit", "MR_small_RLE", "MR_small_jp2klossless"]
GREY += ["MR_small_jpeg_ls_lossless", "MR_small_padded", "693_J2KI", "JPGExtended", "examples_overlay"]
COLOURS = ["SC_rgb_dcmtk_+eb+cr", "SC_rgb_dcmtk_+eb+cy+n1", "SC_ybr_full_422_uncompressed", "SC_rgb_jpeg_gdcm"]
COLOURS += ["SC_rgb_rle", "SC_rgb_small_odd", "examples_palette", "GDCMJ2K_TextGBR"]


def sample(name):
    path = get_testdata_file(f"{name}.dcm", download=False)
    if path is None:
        pytest.skip("pydicom is installed without its test files")
    return path


@pytest.mark.parametrize("name", GREY)
def test_files_of_other_programs_agree_with_simpleitk(name):
    path = sample(name)
    theirs = sitk.ReadImage(path)
    found = read_image(path)
    np.testing.assert_array_equal(found.array, sitk.GetArrayFromImage(theirs)[0])
    np.testing.assert_allclose(found.grid.spacing, theirs.GetSpacing()[1::-1])


@pytest.mark.parametrize("name", COLOURS)
def test_colours_become_grey(name):
    path = sample(name)
    colours = sitk.GetArrayFromImage(sitk.ReadImage(path))[0].astype(float)
    found = read_image(path, spacing=(1, 1)).array
    np.testing.assert_allclose(found, colours @ [0.299, 0.587, 0.114], atol=1e-3)
    with pytest.raises(AcregError, match="colour channels differ"):
        read_labels(path, spacing=(1, 1))


@pytest.mark.parametrize("name", ["rtdose", "rtdose_expb", "rtdose_rle"])
def test_doses_of_another_program(name):
    """SimpleITK leaves the scaling out, and reads big-endian doses of 32 bits in the wrong order."""
    data = pydicom.dcmread(sample(name))
    np.testing.assert_allclose(
        read_image(sample(name)).array, data.pixel_array * float(data.DoseGridScaling), rtol=1e-6
    )


def test_16_bit_colour_in_rle():
    """SimpleITK mixes the bytes of channels up."""
    found = read_image(sample("SC_rgb_rle_16bit"))
    expected = pydicom.dcmread(sample("SC_rgb_rle_16bit")).pixel_array @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(found.array, expected, rtol=1e-5)


def test_frames_in_jpeg_2000(tmp_path):
    """Each frame is a stream; the volume is decoded by GDCM, which sees the pixels alone."""
    source = pydicom.dcmread(sample("MR_small_jp2klossless"))
    from pydicom.encaps import encapsulate, generate_frames

    stream = next(iter(generate_frames(source.PixelData, number_of_frames=1)))
    made = enhanced(np.zeros((3, 64, 64), np.int16), [(0, 0, 3 * k) for k in range(3)], RescaleType="US")
    made.file_meta.TransferSyntaxUID, made.PixelData = source.file_meta.TransferSyntaxUID, encapsulate([stream] * 3)
    made["PixelData"].is_undefined_length = True
    found = read_image(save(made, tmp_path / "a.dcm"))
    np.testing.assert_array_equal(found.array, [read_image(sample("MR_small")).array] * 3)
    made.PixelData = encapsulate([stream] * 2)
    made["PixelData"].is_undefined_length = True
    with pytest.raises(AcregError, match="a.dcm"):
        read_image(save(made, tmp_path / "a.dcm"))


def test_deflated_files(tmp_path):
    stored = np.arange(480, dtype=np.uint16).reshape(24, 20)
    made = image(stored)
    made.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    path = save(made, tmp_path / "a.dcm")
    np.testing.assert_array_equal(read_image(path).array, stored)
    content = path.read_bytes()
    start = 144 + int.from_bytes(content[140:144], "little")
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = packer.compress(bytes(2**28 + 2**21)) + packer.flush()
    path.write_bytes(content[:start] + bomb)
    with pytest.raises(AcregError, match="unpacks to at most 256 MiB"):
        read_image(path)


def test_a_file_that_is_far_larger_than_its_image_is_refused_unread(tmp_path):
    path = save(image(np.zeros((24, 20), np.uint16)), tmp_path / "a.dcm")
    content = path.read_bytes()
    at = content.index(b"\xe0\x7f\x10\x00OW") + 8
    path.write_bytes(content[:at] + (2**32 - 100).to_bytes(4, "little") + content[at + 4 :])
    os.truncate(path, 2**33)  # zeros that take no place on the disk
    with pytest.raises(AcregError, match="of 8589934592 bytes, whose header announces 960"):
        read_image(path)


def test_what_follows_the_pixels_is_not_read(tmp_path):
    stored = np.arange(480, dtype=np.uint16).reshape(24, 20)
    path = save(image(stored), tmp_path / "a.dcm")
    path.write_bytes(path.read_bytes() + b"\xfc\xff\xfc\xffOB\0\0\0\0\0\x10rest")
    np.testing.assert_array_equal(read_image(path).array, stored)


def test_an_element_that_is_there_twice_is_refused(tmp_path):
    path = save(image(np.zeros((24, 20), np.uint16)), tmp_path / "a.dcm")
    content = path.read_bytes()
    spacing = b"\x28\x00\x30\x00DS\x04\x003\\3 "
    path.write_bytes(insert(content, spacing, b"\x28\x00\x30\x00DS"))
    with pytest.raises(AcregError, match=r"two of Pixel Spacing \(0028,0030\)"):
        read_image(path)
