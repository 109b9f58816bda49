"""What a picture's header says counts, or the picture is refused; damage that a checksum tells is noticed."""

import io
import struct
import zlib

import numpy as np
import PIL.Image
import pytest
import SimpleITK as sitk
import tifffile

from acreg.errors import AcregError
from acreg.io import read_image, read_labels
from tests.io.awkward import flipped, orientation_exif, png_bytes, tiff_bytes

SHAPE = (10, 13)


def numbers(dtype, shape=SHAPE, seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.normal(scale=50, size=shape).round().astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


def luminance(rgb):
    return rgb[..., :3] @ np.array([0.299, 0.587, 0.114])


def write(path, content):
    path.write_bytes(content)
    return path


# --- values of TIFF ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "f2", "f4", "f8"])
def test_a_tiff_of_any_type_is_read_as_it_is_or_refused(tmp_path, dtype, packed, order):
    pixels = numbers(dtype)
    options = {"pack": zlib.compress, "t259": 8} if packed else {}
    path = write(tmp_path / "a.tif", tiff_bytes(pixels, order=order, **options))
    np.testing.assert_array_equal(tifffile.imread(path), pixels)
    try:
        found = read_image(path).array
    except AcregError as error:
        assert "A TIFF holds unsigned integers" in str(error) and dtype in ("u4", "u8", "f2", "f8")
        return
    np.testing.assert_array_equal(found, pixels.astype(np.float32))
    if dtype != "u4":
        np.testing.assert_array_equal(read_labels(path).array, pixels)


@pytest.mark.parametrize("options", [{}, {"pack": zlib.compress, "t259": 8}], ids=["raw", "deflate"])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_where_white_is_zero_the_brightness_is_turned(tmp_path, dtype, options):
    """So a film has one contrast at any depth; SimpleITK leaves the numbers, which the tag says are darkness."""
    pixels = numbers(dtype)
    path = write(tmp_path / "a.tif", tiff_bytes(pixels, photometric=0, **options))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), pixels)
    np.testing.assert_array_equal(read_image(path).array, np.iinfo(dtype).max - pixels)
    with pytest.raises(AcregError, match=r"WhiteIsZero.*a\.tif as labels.*BlackIsZero"):
        read_labels(path)


def test_one_bit_where_white_is_zero(tmp_path):
    mask = numbers("u1") > 127
    PIL.Image.fromarray(mask).save(tmp_path / "a.tif", tiffinfo={262: 0})  # Pillow turns the bits that it writes
    assert tifffile.TiffFile(tmp_path / "a.tif").pages[0].photometric == 0
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").array, mask * 255)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.tif").array, mask)


@pytest.mark.parametrize("dtype", ["i1", "i2", "u4", "f4"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_white_is_zero_of_other_numbers_is_refused(tmp_path, dtype, order):
    path = write(tmp_path / "a.tif", tiff_bytes(numbers(dtype), photometric=0, order=order))
    with pytest.raises(AcregError, match=r"WhiteIsZero|A TIFF holds unsigned integers"):
        read_image(path)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("photometric", ["rgb", "minisblack"])
@pytest.mark.parametrize("channels", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "f4"])
def test_several_values_a_pixel_are_a_colour_or_refused(tmp_path, dtype, channels, photometric, planar):
    if photometric == "rgb" and channels == 2:
        return
    pixels = numbers(dtype, (*SHAPE, channels))
    stored = pixels if planar == "contig" else np.moveaxis(pixels, -1, 0).copy()
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric=photometric, planarconfig=planar)
    try:
        found = read_image(tmp_path / "a.tif").array
    except AcregError as error:
        assert str(tmp_path / "a.tif") in str(error)
    else:
        assert photometric == "rgb" and channels < 5 and dtype in ("u1", "u2")
        np.testing.assert_allclose(found, luminance(pixels), rtol=1e-5, atol=1e-3)


def test_grey_with_alpha_in_tiff_is_grey(tmp_path):
    pixels = numbers("u1", (*SHAPE, 2))
    path = write(tmp_path / "a.tif", tiff_bytes(pixels, photometric=1, t338=2))
    np.testing.assert_array_equal(read_image(path).array, pixels[..., 0])


@pytest.mark.parametrize("options", [{"bigtiff": True}, {"tile": (16, 16)}, {"byteorder": ">"}, {"rowsperstrip": 3}])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_other_layouts_of_tiff(tmp_path, options, compression):
    pixels = numbers("u2", (20, 33))
    tifffile.imwrite(tmp_path / "a.tif", pixels, compression=compression, predictor=bool(compression), **options)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").array, pixels)


def test_a_stack_of_imagej_in_one_frame_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, numbers("u1"), description="ImageJ=1.53\nimages=7\nslices=7\n", metadata=None)
    with pytest.raises(AcregError, match=r"one frame.*a\.tif with 7"):
        read_image(path)


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_printers_colours_are_refused(tmp_path, name):
    PIL.Image.fromarray(numbers("u1", (*SHAPE, 3))).convert("CMYK").save(tmp_path / name)
    with pytest.raises(AcregError, match=r"grey or RGB.* is CMYK"):
        read_image(tmp_path / name)


# --- place ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reader", [read_image, read_labels])
@pytest.mark.parametrize("orientation", range(9))
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "deep.tif"])
def test_only_upright_pictures_are_read(tmp_path, name, orientation, reader):
    pixels = numbers("u2" if name == "deep.tif" else "u1")
    pixels = np.stack([pixels] * 3, -1) if name == "deep.tif" else pixels
    if name == "a.png":
        write(tmp_path / name, png_bytes(pixels, [(b"eXIf", orientation_exif(orientation))]))
    elif name == "a.jpg":
        PIL.Image.fromarray(pixels).save(tmp_path / name, exif=b"Exif\0\0" + orientation_exif(orientation), quality=100)
    else:
        write(tmp_path / name, tiff_bytes(pixels, t274=orientation))
    if orientation > 1:
        with pytest.raises(AcregError, match=rf"upright.*{name} with orientation {orientation}.*auto-orient"):
            reader(tmp_path / name)
    else:
        assert np.abs(reader(tmp_path / name).array - (pixels if pixels.ndim == 2 else pixels[..., 0])).max() <= 2


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.jpg", {"dpi": (100, 200)}),
        ("a.png", {"dpi": (100, 200)}),
        ("a.bmp", {"dpi": (100, 200)}),
        ("a.tif", {"dpi": (100, 200)}),
        ("a.tif", {"x_resolution": 1, "y_resolution": 2, "resolution_unit": 1}),
    ],
)
def test_pixels_that_are_not_square_want_a_spacing(tmp_path, name, options):
    PIL.Image.fromarray(numbers("u1")).save(tmp_path / name, **options)
    with pytest.raises(AcregError, match=rf"square pixels.*{name}.*Give the spacing"):
        read_image(tmp_path / name)
    assert read_image(tmp_path / name, spacing=(1.0, 2.0)).grid.spacing == (1.0, 2.0)


@pytest.mark.parametrize("spacing", [(0.5, 0.5), (0.5, 0.6)])
def test_the_spacing_that_itk_writes_into_a_png(tmp_path, spacing):
    """As sCAL, which Pillow does not know."""
    made = sitk.GetImageFromArray(numbers("u1"))
    made.SetSpacing(spacing)
    sitk.WriteImage(made, str(tmp_path / "a.png"))
    assert sitk.ReadImage(str(tmp_path / "a.png")).GetSpacing() == pytest.approx(spacing)
    if spacing[0] == spacing[1]:
        assert read_image(tmp_path / "a.png").grid.spacing == (1.0, 1.0)
    else:
        with pytest.raises(AcregError, match=r"square pixels.*a\.png.*0\.6 pixels across and 0\.5 down"):
            read_image(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", spacing=(1.0, 2.0)).grid.spacing == (1.0, 2.0)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.tif"])
def test_what_a_printer_should_do_is_no_spacing(tmp_path, name):
    PIL.Image.fromarray(numbers("u1")).save(tmp_path / name, dpi=(300, 300))
    assert read_image(tmp_path / name).grid.spacing == (1.0, 1.0)


def test_chunks_for_screens_change_no_values(tmp_path):
    pixels = numbers("u2")
    chunks = [(b"gAMA", struct.pack(">I", 100000)), (b"sBIT", b"\x0c"), (b"tRNS", struct.pack(">H", pixels[0, 0]))]
    for chunk in chunks:
        np.testing.assert_array_equal(read_image(write(tmp_path / "a.png", png_bytes(pixels, [chunk]))).array, pixels)


# --- damage -----------------------------------------------------------------------------------------------------------

PNGS = {"grey": ("u1", ()), "deep": ("u2", ()), "rgb": ("u1", (3,)), "deep rgb": ("u2", (3,)), "alpha": ("u1", (2,))}


@pytest.mark.parametrize("dtype, channels", PNGS.values(), ids=PNGS)
def test_every_flipped_bit_of_a_png_is_noticed(tmp_path, dtype, channels):
    content = png_bytes(numbers(dtype, (*SHAPE, *channels)), [(b"pHYs", struct.pack(">IIB", 10, 10, 1))])
    read_image(write(tmp_path / "a.png", content))
    rng = np.random.default_rng(0)
    for at in [*rng.integers(8, len(content), 60), len(content) - 14, len(content) - 1]:
        path = write(tmp_path / "a.png", flipped(content, at, rng.integers(8)))
        with pytest.raises(AcregError, match=r"must be a whole"):
            read_image(path)
            pytest.fail(f"byte {at} of {len(content)}")


@pytest.mark.parametrize("dtype, channels", PNGS.values(), ids=PNGS)
@pytest.mark.parametrize(
    "stream",
    [
        lambda packed: zlib.compress(zlib.decompress(packed)[: len(zlib.decompress(packed)) // 2]),
        lambda packed: packed[:-4],
        lambda packed: flipped(packed, len(packed) - 1),
    ],
    ids=["half the rows", "no checksum", "another checksum"],
)
def test_a_png_whose_pixels_are_not_whole(tmp_path, dtype, channels, stream):
    path = write(tmp_path / "a.png", png_bytes(numbers(dtype, (*SHAPE, *channels)), stream=stream))
    with pytest.raises(AcregError, match=r"must be a whole.*get the file again"):
        read_image(path)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (20, 33)])
@pytest.mark.parametrize("mode", ["L", "1", "RGB"])
def test_interlaced_png(tmp_path, shape, mode):
    """Pillow does not write them: ours have each pass as an image of its own, as the format has it."""
    pixels = numbers("u1", (*shape, 3) if mode == "RGB" else shape)
    if mode == "1":
        pixels = (pixels > 127) * np.uint8(255)
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    raw = b""
    for x, y, across, down in passes:
        part = pixels[y::down, x::across]
        if part.size:
            lines = np.packbits(part > 127, axis=1) if mode == "1" else part
            raw += b"".join(b"\0" + line.tobytes() for line in lines)
    size = struct.pack(">IIBBBBB", shape[1], shape[0], 1 if mode == "1" else 8, 2 if mode == "RGB" else 0, 0, 0, 1)
    whole = png_bytes(numbers("u1"))
    parts = [(b"IHDR", size), (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts]
    path = write(tmp_path / "a.png", whole[:8] + b"".join(chunks))
    expected = luminance(pixels) if mode == "RGB" else pixels
    np.testing.assert_allclose(read_image(path).array, expected, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("dtype, channels", list(PNGS.values())[:4], ids=list(PNGS)[:4])
@pytest.mark.parametrize("damage", ["strips missing", "half a strip", "an empty strip", "half the file"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_tiff_whose_pixels_are_not_whole(tmp_path, dtype, channels, damage, packed):
    pixels = numbers(dtype, (*SHAPE, *channels))
    options = {"t259": 8} if packed else {}
    pack = zlib.compress if packed else bytes
    change = {"half a strip": lambda part: part[: len(part) // 2], "an empty strip": lambda part: part[:0]}
    damaged = change.get(damage, bytes)
    content = tiff_bytes(pixels, pack=lambda part: pack(damaged(part)), left_out=damage == "strips missing", **options)
    path = write(tmp_path / "a.tif", content[: len(content) // 2] if damage == "half the file" else content)
    with pytest.raises(AcregError, match=rf"{path}"):
        read_image(path)
    assert read_image(write(path, tiff_bytes(pixels, pack=pack, **options))).array.shape == SHAPE


@pytest.mark.parametrize("layout", [{"tile": (16, 16)}, {"rowsperstrip": 7}, {"rowsperstrip": 32}])
def test_every_flipped_bit_of_deflated_pixels_of_a_tiff_is_noticed(tmp_path, layout):
    """Of smooth pixels, in whose stream many bits change a value and not the length."""
    pixels = np.add.outer(np.arange(32) ** 2 // 5, np.arange(40) * 3).astype("u2")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, compression="zlib", **layout)
    content = path.read_bytes()
    np.testing.assert_array_equal(read_image(path).array, pixels)
    page = tifffile.TiffFile(path).pages[0]
    rng = np.random.default_rng(0)
    for start, count in zip(page.dataoffsets, page.databytecounts):
        for at in [*rng.integers(start, start + count, 60 // len(page.dataoffsets)), start + count - 1]:
            try:
                found = read_image(write(path, flipped(content, at, rng.integers(8)))).array
            except AcregError as error:
                assert "must be a whole" in str(error)
            else:  # one of the unused bits that fill the last byte before the checksum
                np.testing.assert_array_equal(found, pixels)
                assert at == start + count - 5


def test_half_a_picture_of_each_kind(tmp_path):
    for name in ("a.png", "a.jpg", "a.gif", "a.bmp", "a.tif"):
        buffer = io.BytesIO()
        kind = {".jpg": "JPEG", ".tif": "TIFF"}.get(name[1:], name[2:].upper())
        PIL.Image.fromarray(numbers("u1", (90, 80))).save(buffer, kind)
        with pytest.raises(AcregError, match=rf"{name}"):
            read_image(write(tmp_path / name, buffer.getvalue()[: len(buffer.getvalue()) // 2]))
