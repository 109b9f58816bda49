"""DICOM: files are written byte by byte (samples.py), so that stored values and tags are known."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from acreg.errors import AcregError, UsageError
from acreg.geometry import Grid, unregistered
from acreg.io import read_image, read_labels
from tests.io.samples import dicom_bytes, write_series

AXIAL = "1\\0\\0\\0\\1\\0"
OBLIQUE = "0.8\\0.6\\0\\-0.36\\0.48\\0.8"
"""Rows and columns; their normal is (0.48, -0.64, 0.6)."""


@pytest.fixture
def volume():
    return np.random.default_rng(0).integers(-1000, 1000, (5, 6, 7)).astype(np.int16)


def check_grid(found, expected):
    assert found.shape == expected.shape
    for name in ("spacing", "origin", "direction"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-6)


def test_a_series_is_sorted_by_position_and_rescaled(tmp_path, volume):
    write_series(tmp_path, volume, start=(10, -20, 30), order=[3, 0, 4, 1, 2], slope="2", intercept="-1024")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "DICOMDIR").write_bytes((tmp_path / "0.dcm").read_bytes())
    image = read_image(tmp_path)
    np.testing.assert_array_equal(image.array, volume * 2.0 - 1024)  # the window (40 +- 40) is not applied
    check_grid(image.grid, Grid((5, 6, 7), (3, 1.2, 0.7), (30, -20, 10)))
    assert image.name == str(tmp_path)
    assert read_image(tmp_path, spacing=(1, 2, 3)).grid.spacing == (1, 2, 3)
    np.testing.assert_array_equal(read_labels(tmp_path).array, volume * 2 - 1024)


def test_files_without_a_suffix_and_descending_positions(tmp_path, volume):
    write_series(tmp_path, volume, step=(0, 0, -2.5))
    for path in list(tmp_path.iterdir()):
        path.rename(path.with_suffix(""))
    image = read_image(tmp_path)
    np.testing.assert_array_equal(image.array, volume[::-1])
    check_grid(image.grid, Grid((5, 6, 7), (2.5, 1.2, 0.7), (-10, 0, 0)))


def test_an_oblique_series_agrees_with_simpleitk(tmp_path, volume):
    write_series(tmp_path, volume, step=(0.96, -1.28, 1.2), start=(5, 6, 7), orientation=OBLIQUE)
    image = read_image(tmp_path)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path), "1.2.3.4"))
    theirs = reader.Execute()
    np.testing.assert_array_equal(image.array, sitk.GetArrayFromImage(theirs))
    check_grid(image.grid, Grid.from_itk(theirs))
    assert image.grid.spacing[0] == pytest.approx(2)


def test_a_tilted_gantry_gives_a_sheared_grid(tmp_path, volume):
    """Each slice lies a bit further along y, although the slices are axial."""
    write_series(tmp_path, volume, step=(0, 1, 3))
    grid = read_image(tmp_path).grid
    np.testing.assert_allclose(grid.to_world(np.array([4, 0, 0])), [12, 4, 0])
    np.testing.assert_allclose(grid.to_world(np.array([4, 2, 3])), [12, 4 + 2 * 1.2, 3 * 0.7])


def test_slices_with_their_own_slopes(tmp_path, volume):
    """PET: the first slice's slope is whole, the others' are not."""
    for k, plane in enumerate(volume):
        content = dicom_bytes(plane, uid=k, modality="PT", position=f"0\\0\\{k}", slope=f"{1 + k * 0.3:g}")
        (tmp_path / f"{k}.dcm").write_bytes(content)
    expected = volume * (1 + 0.3 * np.arange(5))[:, None, None]
    np.testing.assert_allclose(read_image(tmp_path).array, expected, rtol=1e-5)


def test_several_series_are_listed_and_one_is_chosen(tmp_path, volume):
    write_series(tmp_path, volume, series="1.2.10", prefix="a", description="T1 axial")
    write_series(tmp_path, volume[:3, :4], series="1.2.11", prefix="b", description=None)
    with pytest.raises(UsageError, match="Received: .* with 2: ") as caught:
        read_image(tmp_path)
    assert "1.2.10 (T1 axial, 5 slices of 7x6); 1.2.11 (no description, 3 slices of 7x4)" in str(caught.value)
    assert "series=UID" in str(caught.value)
    np.testing.assert_array_equal(read_image(tmp_path, series="1.2.11").array, volume[:3, :4])
    np.testing.assert_array_equal(read_labels(tmp_path, series="1.2.10").array, volume)
    np.testing.assert_array_equal(read_image(tmp_path / "b1.dcm").array, volume[1, :4])
    with pytest.raises(UsageError, match="Received: '1.2.12'"):
        read_image(tmp_path, series="1.2.12")
    with pytest.raises(UsageError, match="chosen in a folder"):
        read_image(tmp_path / "b1.dcm", series="1.2.11")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d, v: (d / "2.dcm").unlink(), r"equal distances.* with 6 mm between 1\.dcm and 3\.dcm, where 3 mm"),
        (lambda d, v: (d / "4.dcm").write_bytes(dicom_bytes(v[4], position="0\\0\\14")), "with 5 mm between 3.dcm"),
        (lambda d, v: (d / "5.dcm").write_bytes(dicom_bytes(v[4], position="0\\0\\9")), "different places"),
        (lambda d, v: (d / "4.dcm").write_bytes(dicom_bytes(v[4, :3], position="0\\0\\12")), "one size and one"),
        (
            lambda d, v: (d / "4.dcm").write_bytes(dicom_bytes(v[4], position="0\\0\\12", pixel_spacing="1\\1")),
            r"one size and one spacing.*\[0.7, 1.0\] to \[1.0, 1.2\]",
        ),
        (
            lambda d, v: (d / "4.dcm").write_bytes(dicom_bytes(v[4], position="0\\0\\12", orientation=OBLIQUE)),
            "are parallel",
        ),
        (lambda d, v: (d / "4.dcm").write_bytes(dicom_bytes(v[4], position=None)), r"4\.dcm lacks them"),
        (lambda d, v: (d / "4.dcm").write_bytes(dicom_bytes(v[4])[:300]), r"whole .*4\.dcm"),
        (lambda d, v: (d / "4.dcm").write_bytes(dicom_bytes(v[4], position="0\\0\\12")[:-20]), r"4\.dcm.*7fe0,0010"),
        (lambda d, v: [p.unlink() for p in d.iterdir()], "in which no DICOM file lies"),
    ],
)
def test_what_is_no_volume_is_refused(tmp_path, volume, change, message):
    write_series(tmp_path, volume)
    change(tmp_path, volume)
    with pytest.raises(AcregError, match=message) as caught:
        read_image(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_x_rays_are_shown_with_bone_bright(tmp_path, volume):
    plane, path = volume[0], tmp_path / "a.dcm"
    path.write_bytes(dicom_bytes(plane, modality="DX"))
    np.testing.assert_array_equal(read_image(path).array, plane)
    path.write_bytes(dicom_bytes(plane, modality="DX", photometric="MONOCHROME1"))
    np.testing.assert_array_equal(read_image(path).array, -1 - plane)  # the range of signed numbers, turned
    path.write_bytes(dicom_bytes(plane, modality="CT", photometric="MONOCHROME1"))
    with pytest.raises(AcregError, match="CT in MONOCHROME1"):
        read_image(path)


def test_a_series_of_one_slice_is_a_2d_image(tmp_path, volume):
    write_series(tmp_path, volume[:1], position=None)
    image = read_image(tmp_path)
    np.testing.assert_array_equal(image.array, volume[0])
    assert image.grid.spacing == pytest.approx((1.2, 0.7))


def test_an_element_that_claims_gigabytes_is_refused_before_it_is_read(tmp_path, volume):
    """GDCM takes 4 GB and 15 seconds for such a file."""
    content = dicom_bytes(volume[0])
    slope = content.index(b"\x28\x00\x53\x10DS")
    (tmp_path / "a.dcm").write_bytes(content[:slope] + b"\x28\x00\x53\x10UN\x00\x00\xf0\xff\xff\xff" + content[slope:])
    with pytest.raises(AcregError, match=r"\(0028,1053\) claims 4294967280 bytes, where \d+ are left"):
        read_image(tmp_path / "a.dcm")


@pytest.mark.parametrize("syntax", ["implicit", "big", "jpeg2000", "sequences"])
def test_other_encodings_pass_the_walk_through_the_elements(tmp_path, volume, syntax):
    plane, path = np.abs(volume[0]), tmp_path / "a.dcm"
    if syntax == "jpeg2000":
        writer = sitk.ImageFileWriter()
        writer.SetFileName(str(path))
        writer.SetUseCompression(True)
        plane = np.tile(plane % 256, (10, 10)).astype(np.uint8)
        writer.Execute(sitk.GetImageFromArray(plane[None]))
    else:
        path.write_bytes(recoded(dicom_bytes(plane), syntax))
    np.testing.assert_array_equal(read_image(path).array, plane)


def recoded(content, syntax):
    """The elements of an explicit little-endian file in another encoding, or after sequences of all sorts."""
    import struct

    start = content.index(b"\x08\x00\x16\x00")
    uids = {"implicit": "1.2.840.10008.1.2", "big": "1.2.840.10008.1.2.2", "sequences": "1.2.840.10008.1.2.1"}
    old, new = b"UI\x14\x001.2.840.10008.1.2.1\0", uids[syntax].encode()
    new += b"\0" * (len(new) % 2)
    meta = content[:start].replace(old, b"UI" + struct.pack("<H", len(new)) + new)
    meta = meta[:140] + struct.pack("<I", len(meta) - 144) + meta[144:]
    if syntax == "sequences":
        item = b"\x08\x00\x50\x11UI\x04\x001.2\0"
        defined = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(item)) + item
        undefined = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + item + b"\xfe\xff\x0d\xe0\0\0\0\0"
        first = b"\x08\x00\x40\x11SQ\0\0" + struct.pack("<I", len(defined + undefined)) + defined + undefined
        second = b"\x08\x00\x99\x21SQ\0\0\xff\xff\xff\xff" + defined + undefined + b"\xfe\xff\xdd\xe0\0\0\0\0"
        at = content.index(b"\x08\x00\x60\x00CS") if b"\x08\x00\x60\x00CS" in content else start
        at += 8 + struct.unpack_from("<H", content, at + 6)[0]
        at += 8 + struct.unpack_from("<H", content, at + 6)[0]  # after the description
        return meta + content[start:at] + first + second + content[at:]
    body, at = b"", start
    while at < len(content):
        group, tag, kind = struct.unpack_from("<HH2s", content, at)
        wide = kind == b"OW"
        length = struct.unpack_from("<I" if wide else "<H", content, at + (8 if wide else 6))[0]
        at += 12 if wide else 8
        value, at = content[at : at + length], at + length
        if syntax == "implicit":
            body += struct.pack("<HHI", group, tag, length) + value
        else:
            value = np.frombuffer(value, "<u2").astype(">u2").tobytes() if kind in (b"US", b"OW") else value
            head = struct.pack(">HH2s", group, tag, kind)
            body += head + (struct.pack(">HI", 0, length) if wide else struct.pack(">H", length)) + value
    return meta + body


def test_a_file_that_the_system_cannot_read(tmp_path, monkeypatch):
    """As on a failing disk; whether it is DICOM is not known by its name."""
    path = tmp_path / "IM0001"
    path.write_bytes(bytes(200))

    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "open", fail)
    for where in (path, tmp_path):
        with pytest.raises(AcregError, match=r"whole DICOM image.*IM0001.*Input/output error"):
            read_image(where)


def test_a_series_that_begins_at_zero_has_a_place(tmp_path, volume):
    """Its header says so, as often for phantoms; only projections do not say where they lie."""
    for name, start in (("a", (0, 0, 0)), ("b", (5, 5, 5))):
        (tmp_path / name).mkdir()
        write_series(tmp_path / name, volume, start=start)
    a, b = (read_image(tmp_path / name) for name in "ab")
    assert a.has_place and b.has_place and not any(a.grid.origin)
    np.testing.assert_array_equal(unregistered(fixed=a, moving=b).affine_part.matrix, np.eye(4))
