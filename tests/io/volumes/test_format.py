import struct
import zlib

import numpy as np
import PIL.Image
import pytest
import SimpleITK as sitk

from acreg.errors import AcregError
from acreg.io import read_image


@pytest.fixture
def volume():
    return np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)


def write(path, volume, **options):
    image = sitk.GetImageFromArray(volume)
    image.SetSpacing((0.7, 1.2, 3))
    sitk.WriteImage(image, str(path), **options)
    return path


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", ["a.nhdr", "a.mhd"])
def test_voxels_in_a_second_file(tmp_path, volume, name, packed):
    path = write(tmp_path / name, volume, useCompression=packed)
    image = read_image(path)
    np.testing.assert_array_equal(image.array, volume)
    np.testing.assert_allclose(image.grid.spacing, (3, 1.2, 0.7))
    (second,) = (p for p in tmp_path.iterdir() if p != path)
    content = second.read_bytes()
    second.write_bytes(content[:-20])
    with pytest.raises(AcregError, match=rf"must be a whole .*{name}"):
        read_image(path)
    second.unlink()
    with pytest.raises(AcregError, match=rf"file of the voxels .*{name}, which names {second.name}; there is no file"):
        read_image(path)


def test_voxels_in_a_file_a_slice(tmp_path, volume):
    header = write(tmp_path / "a.mhd", volume).read_text(encoding="utf-8")
    for k, plane in enumerate(volume):
        (tmp_path / f"s{k}.raw").write_bytes(plane.tobytes())
    names = "\n".join(f"s{k}.raw" for k in range(5))
    for data in (f"LIST\n{names}", "s%d.raw 0 4 1"):
        (tmp_path / "b.mhd").write_text(header.replace("a.raw", data))
        np.testing.assert_array_equal(read_image(tmp_path / "b.mhd").array, volume)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("a.nrrd", b"sizes: 7 6 5", b"sizes: 1000000000 1000000000 1", "announces .* bytes are stored"),
        ("a.mha", b"DimSize = 7 6 5", b"DimSize = 100000 100000 1000", "announces .* bytes are stored"),
        ("a.mha", b"NDims = 3", b"NDims = 1000000000", "1000000000 as NDims"),
        ("a.mha", b"NDims = 3", b"NDims = -1", "-1 as NDims"),
        ("a.mha", b"1 0 0 0 1 0 0 0 1", b"1 0 0 0 1 0 0 1e308 1", "transformmatrix = .*1e308"),
        ("a.nrrd", b"(0,0,0)", b"(0,inf,0)", "spaceorigin = .*inf"),
    ],
)
def test_headers_on_which_itk_fails_are_refused_before(tmp_path, volume, name, old, new, message):
    path = write(tmp_path / name, volume)
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))
    with pytest.raises(AcregError, match=message):
        read_image(path)


def test_only_the_decoder_of_the_suffix_is_tried(tmp_path, volume):
    path = write(tmp_path / "a.mha", volume)
    path.rename(tmp_path / "a.nrrd")
    with pytest.raises(AcregError, match="must be a whole nrrd"):
        read_image(tmp_path / "a.nrrd")
    PIL.Image.new("RGB", (4, 4)).save(tmp_path / "a.eps")  # Pillow would run Ghostscript
    (tmp_path / "a.eps").rename(tmp_path / "a.png")
    with pytest.raises(AcregError, match=r"must be a whole png.*cannot identify"):
        read_image(tmp_path / "a.png")


def test_a_picture_of_more_pixels_than_are_decoded(tmp_path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 10_000, 10_000, 8, 0, 0, 0, 0))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    with pytest.raises(AcregError, match="at most 89 million pixels.*with 10000x10000"):
        read_image(tmp_path / "a.png")
    tiff = np.zeros((30, 40), np.uint8)
    PIL.Image.fromarray(tiff).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").array, tiff)
