"""MetaImage and NRRD: each header is read as SimpleITK reads it, or refused; no voxel is anything but the file's."""

import bz2
import gzip
import os
import zlib

import numpy as np
import pytest
import SimpleITK as sitk

from acreg.errors import AcregError
from acreg.geometry import Grid
from acreg.io import read_image

VALUES = np.arange(100, 124, dtype="<i2").reshape(4, 3, 2)
DATA = VALUES.tobytes()
META = "ObjectType = Image\nNDims = 3\nDimSize = 2 3 4\nElementType = MET_SHORT\n{}ElementDataFile = {}\n"
NRRD = "NRRD0004\ntype: short\ndimension: 3\nsizes: 2 3 4\nendian: little\nencoding: {}\n{}"
ROTATED = "0.8 0.6 0 -0.6 0.8 0 0 0 1"


def meta(fields="", place="LOCAL", data=DATA):
    return META.format(fields, place).encode() + data


def nrrd(fields="", encoding="raw", data=DATA):
    return NRRD.format(encoding, fields).encode() + (b"\n" + data if data is not None else b"")


def packed(data=DATA):
    return zlib.compress(data)


@pytest.fixture
def parts(tmp_path):
    """Slices `s0.raw` to `s3.raw`, halves `h0.raw` and `h1.raw`, the whole `w.raw`, and a file out of the folder."""
    folder = tmp_path / "case"
    folder.mkdir()
    for k in range(4):
        (folder / f"s{k}.raw").write_bytes(DATA[12 * k : 12 * k + 12])
        (folder / f"p{k:02d}.raw").write_bytes(DATA[12 * k : 12 * k + 12])
    for k in range(2):
        (folder / f"h{k}.raw").write_bytes(DATA[24 * k : 24 * k + 24])
    (folder / "w.raw").write_bytes(DATA)
    (folder / "head.raw").write_bytes(b"a line\nxx" + DATA)
    (folder / "w.raw.gz").write_bytes(gzip.compress(DATA))
    (folder / "below").mkdir()
    (folder / "below" / "w.raw").write_bytes(DATA)
    (tmp_path / "secret").write_bytes(DATA)
    return folder


READ = {
    "plain.mha": meta(),
    "byte_order.mha": meta("BinaryDataByteOrderMSB = True\n", data=VALUES.astype(">i2").tobytes()),
    "element_order.mha": meta("ElementByteOrderMSB = True\n", data=VALUES.astype(">i2").tobytes()),
    "geometry.mha": meta(f"TransformMatrix = {ROTATED}\nOffset = 1 2 3\nElementSpacing = 0.5 0.6 0.7\n"),
    "synonyms.mha": meta(f"Orientation = {ROTATED}\nOrigin = 1 2 3\nElementSize = 0.5 0.6 0.7\n"),
    "both.mha": meta("ElementSize = 5 5 5\nElementSpacing = 0.5 0.6 0.7\nCenterOfRotation = 9 9 9\n"),
    "unknown.mha": meta("Patient Weight = 70 kg\nAnatomicalOrientation = LPI\nDistanceUnits = mm\n"),
    "colons.mha": meta("Offset : 1 2 3\n\n  BinaryDataByteOrderMSB: True\n", data=VALUES.astype(">i2").tobytes()),
    "texts.mha": meta("0008|0005 = ISO_IR 100\nA note = two = 2\nlines\nspace = foo\n"),
    "packed.mha": meta(f"CompressedData = True\nCompressedDataSize = {len(packed())}\n", data=packed()),
    "packed_no_size.mha": meta("CompressedData = True\n", data=packed()),
    "from_end.mha": meta("HeaderSize = -1\n", data=b"some more" + DATA),
    "crlf.mha": META.format("", "LOCAL").replace("\n", "\r\n").encode() + DATA,
    "other.mhd": meta(place="w.raw", data=b""),
    "below.mhd": meta(place="below/w.raw", data=b""),
    "skipped.mhd": meta("HeaderSize = 9\n", "head.raw", b""),
    "skipped_from_end.mhd": meta("HeaderSize = -1\n", "head.raw", b""),
    "list.mhd": meta(place="LIST\ns0.raw\ns1.raw\ns2.raw\ns3.raw", data=b""),
    "list_of_planes.mhd": meta(place="LIST 2D\ns0.raw\ns1.raw\ns2.raw\ns3.raw", data=b""),
    "pattern.mhd": meta(place="s%d.raw 0 3 1", data=b""),
    "pattern_wide.mhd": meta(place="p%02d.raw 0 3 1", data=b""),
    "pattern_first.mhd": meta(place="s%d.raw 0", data=b""),
    "plain.nrrd": nrrd(),
    "big.nrrd": nrrd(data=VALUES.astype(">i2").tobytes()).replace(b"little", b"big"),
    "ras.nrrd": nrrd("space: RAS\nspace directions: (0.4,0.3,0) (-0.3,0.4,0) (0,0,2)\nspace origin: (1,2,3)\n"),
    "lps.nrrd": nrrd("space: LPS\nspace directions: (0.4,0.3,0) (-0.3,0.4,0) (0,0,2)\nspace origin: (1,2,3)\n"),
    "las.nrrd": nrrd("space: left-anterior-superior\nspace directions: (1,0,0) (0,1,0) (0,0,2)\n"),
    "dimension.nrrd": nrrd("space dimension: 3\nspace directions: (1,0,0) (0,1,0) (0,0,2)\n"),
    "spacings.nrrd": nrrd("spacings: 0.5 0.6 0.7\naxis mins: 1 2 3\n"),
    "cells.nrrd": nrrd("spacings: 0.5 0.6 0.7\naxis mins: 1 2 3\ncenters: cell cell cell\n"),
    "nodes.nrrd": nrrd("spacings: 0.5 0.6 0.7\naxis mins: 1 2 3\ncenters: node node node\n"),
    "texts.nrrd": nrrd('# a comment\nkey:=value: x\ncontent: head\nunits: "mm" "mm" "mm"\n'),
    "capitals.nrrd": nrrd("Space: RAS\nSPACE DIRECTIONS: (1,0,0) (0,1,0) (0,0,2)\nSpace Origin: (1,2,3)\n"),
    "key.nrrd": nrrd("sizes:=5 5 5\nnote:=spacings: 9 9 9\n"),
    "gzip.nrrd": nrrd(encoding="gzip", data=gzip.compress(DATA)),
    "bzip2.nrrd": nrrd(encoding="bz2", data=bz2.compress(DATA)),
    "hex.nrrd": nrrd(encoding="hex", data=DATA.hex().encode()),
    "ascii.nrrd": nrrd(encoding="ascii", data=" ".join(map(str, VALUES.ravel())).encode()),
    "ascii_zeros.nrrd": nrrd(encoding="ascii", data=b"0 " * 24).replace(b"short", b"double"),
    "bytes_gzip.nrrd": nrrd("byte skip: 3\n", "gzip", gzip.compress(b"xxx" + DATA)),
    "lines_gzip.nrrd": nrrd("line skip: 1\n", "gzip", b"a line\n" + gzip.compress(DATA)),
    "lines.nrrd": nrrd("line skip: 1\nbyte skip: 2\n", data=b"a line\nxx" + DATA),
    "from_end.nrrd": nrrd("byte skip: -1\n", data=b"anything" + DATA),
    "other.nhdr": nrrd("data file: ./w.raw\n", data=None),
    "old.nhdr": nrrd("datafile: w.raw\n", data=None),
    "gzip.nhdr": nrrd("data file: w.raw.gz\n", "gzip", None),
    "lines.nhdr": nrrd("line skip: 1\nbyte skip: 2\ndata file: head.raw\n", data=None),
    "end.nhdr": nrrd("byte skip: -1\ndata file: head.raw\n", data=None),
    "pattern.nhdr": nrrd("data file: s%d.raw 0 3 1\n", data=None),
    "backwards.nhdr": nrrd("data file: s%d.raw 3 0 -1\n", data=None),
    "slabs.nhdr": nrrd("data file: h%d.raw 0 1 1 3\n", data=None),
    "list.nhdr": nrrd("data file: LIST\ns0.raw\ns1.raw\ns2.raw\ns3.raw\n", data=None),
    "list_of_slabs.nhdr": nrrd("data file: LIST 3\nh0.raw\nh1.raw\n", data=None),
}


ALONE = ("packed_no_size.mha", "bzip2.nrrd")
"""What SimpleITK does not read."""


@pytest.mark.parametrize("name", ["Größe 1.mhd", "患者.mhd", "Größe.nhdr", "患者 1.nhdr"])
def test_names_of_voxel_files_are_utf8(tmp_path, name):
    sitk.WriteImage(sitk.GetImageFromArray(VALUES), str(tmp_path / name))
    np.testing.assert_array_equal(read_image(tmp_path / name).array, VALUES)


def test_lists_name_voxel_files_in_utf8(parts):
    for k in range(4):
        (parts / f"s{k}.raw").rename(parts / f"é{k}.raw")
    names = "".join(f"é{k}.raw\r\n" for k in range(4)).encode()
    (parts / "a.mhd").write_bytes(meta(place="LIST", data=names))
    (parts / "a.nhdr").write_bytes(nrrd("data file: LIST\n", data=None) + names)
    for name in ("a.mhd", "a.nhdr"):
        np.testing.assert_array_equal(read_image(parts / name).array, VALUES)


@pytest.mark.parametrize("name", READ)
def test_headers_that_are_read_as_by_simpleitk(parts, name):
    path = parts / name
    path.write_bytes(READ[name])
    if name in ALONE:
        np.testing.assert_array_equal(read_image(path).array, VALUES)
        return
    theirs = sitk.ReadImage(str(path))
    ours = read_image(path)
    np.testing.assert_array_equal(ours.array, sitk.GetArrayFromImage(theirs))
    assert ours.grid == Grid.from_itk(theirs)


REFUSED = {
    "short.mha": (meta(data=DATA[:-1]), "announces 48 bytes, where short.mha holds 47|where 153 bytes are stored"),
    "long.mha": (meta(data=DATA + b"abc"), "where long.mha holds more"),
    "packed_short.mha": (meta("CompressedData = True\n", data=packed(DATA[:-6])), "holds 42"),
    "packed_long.mha": (meta("CompressedData = True\n", data=packed(DATA + DATA)), "holds more"),
    "packed_cut.mha": (meta("CompressedData = True\n", data=packed()[:-9]), "end early"),
    "packed_sum.mha": (meta("CompressedData = True\n", data=packed()[:-1] + b"\0"), "incorrect data check"),
    "list_short.mhd": (meta(place="LIST\ns0.raw\ns1.raw", data=b""), "lists 2 files of voxels, where 4 belong"),
    "list_none.mhd": (meta(place="LIST", data=b""), "lists 0 files"),
    "list_gap.mhd": (meta(place="LIST\ns0.raw\ns1.raw\ns2.raw\ns9.raw", data=b""), "no file .*s9.raw"),
    "list_size.mhd": (meta(place="LIST\ns0.raw\ns1.raw\ns2.raw\nw.raw", data=b""), "w.raw holds more"),
    "crash.mhd": (meta(place="%s%s%s%n 1 7 1", data=b""), "a name with one %d"),
    "crash_wide.mhd": (meta(place="s%999999999d.raw 0 3 1", data=b""), "a name with one %d"),
    "crash_step.mhd": (meta(place="s%d.raw 0 3", data=b""), "without a step"),
    "zero_step.mhd": (meta(place="s%d.raw 0 3 0", data=b""), "step other than 0"),
    "pattern_short.mhd": (meta(place="s%d.raw 0 2 1", data=b""), "3 files, where 4 belong"),
    "many.mhd": (meta(place="s%d.raw 0 999999999 1", data=b""), "more than 65536 files"),
    "device.mhd": (meta(place="/dev/zero", data=b""), "lie in the folder of their header"),
    "passwd.mha": (meta(place="/etc/passwd", data=b""), "lie in the folder of their header"),
    "up.mhd": (meta(place="../secret", data=b""), "lie in the folder of their header"),
    "down_up.mhd": (meta(place="below/../../secret", data=b""), "lie in the folder of their header"),
    "linked.mhd": (meta(place="link.raw", data=b""), "lie in the folder of their header"),
    "linked_folder.mhd": (meta(place="linked/secret", data=b""), "lie in the folder of their header"),
    "list_up.mhd": (meta(place="LIST\ns0.raw\ns1.raw\ns2.raw\n../secret", data=b""), "lie in the folder"),
    "pattern_up.mhd": (meta(place="../s%d.raw 0 3 1", data=b""), "lie in the folder of their header"),
    "drive.mhd": (meta(place="C:\\w.raw", data=b""), "lie in the folder of their header"),
    "fifo.mhd": (meta(place="fifo", data=b""), "no file .*fifo"),
    "folder.mhd": (meta(place="below", data=b""), "no file .*below"),
    "nul.mhd": (meta(place="w.raw\0", data=b""), "`name = value` belongs"),
    "twice.mha": (meta("DimSize = 2 3 4\n"), "says dimsize twice"),
    "origins.mha": (meta("Offset = 1 2 3\nPosition = 1 2 4\n"), "offset and position differ"),
    "orders.mha": (meta("ElementByteOrderMSB = True\nBinaryDataByteOrderMSB = False\n"), "differ"),
    "loose.mha": (meta("junk\nOffset = 1 2 3\n"), "the line 'junk' before Offset"),
    "case.mha": (meta("offset = 1 2 3\n"), "'offset' for Offset"),
    "nan.mha": (meta("ElementSpacing = nan 1 1\n"), "elementspacing = 'nan 1 1'"),
    "few.mha": (meta("Offset = 1 2\n"), "where 3 numbers belong"),
    "negative.mha": (meta("ElementSpacing = -2 1 1\n"), "spacing of a grid is positive"),
    "metres.mha": (meta("DistanceUnits = m\n"), "in mm.*the unit 'm'"),
    "scaled.mha": (meta("ElementToIntensityFunctionSlope = 2\n"), "some programs apply and ITK does not"),
    "sizes.mha": (meta().replace(b"2 3 4", b"2 3 0"), "DimSize = '2 3 0'"),
    "huge.mha": (meta().replace(b"2 3 4", b"2 3 99999999999999999999"), "whole numbers belong"),
    "type.mha": (meta().replace(b"MET_SHORT", b"MET_OTHER"), "'met_other'|'MET_OTHER'"),
    "tube.mha": (meta().replace(b"ObjectType = Image", b"ObjectType = Tube"), "'Tube', no image"),
    "offset.mha": (meta("HeaderSize = 4\n"), "HeaderSize = 4"),
    "no_place.mha": (b"ObjectType = Image\nNDims = 3\nDimSize = 2 3 4\nElementType = MET_SHORT\n", "without Elem"),
    "short.nrrd": (nrrd(data=DATA[:-1]), "announces 48 bytes, where short.nrrd holds 47|bytes are stored"),
    "long.nrrd": (nrrd(data=DATA + b"abc"), "holds more"),
    "gzip_short.nrrd": (nrrd(encoding="gzip", data=gzip.compress(DATA[:-6])), "holds 42"),
    "gzip_sum.nrrd": (nrrd(encoding="gzip", data=gzip.compress(DATA)[:-8] + bytes(8)), "CRC check failed"),
    "gzip_cut.nrrd": (nrrd(encoding="gzip", data=gzip.compress(DATA)[:-12]), "ended before"),
    "bzip2_short.nrrd": (nrrd(encoding="bz2", data=bz2.compress(DATA[:-6])), "holds 42"),
    "bzip2_cut.nrrd": (nrrd(encoding="bz2", data=bz2.compress(DATA)[:-5]), "ended before"),
    "ascii_short.nrrd": (nrrd(encoding="ascii", data=b"1 2 3" + b" " * 99), "holds 6"),
    "ascii_word.nrrd": (nrrd(encoding="ascii", data=b"1 " * 23 + b"x"), "a word is no number"),
    "ascii_joined.nrrd": (nrrd(encoding="ascii", data=b"1 " * 22 + b"1-2"), "unmatched data|could not convert"),
    "ascii_wide.nrrd": (nrrd(encoding="ascii", data=b"1 " * 23 + b"99999"), "does not fit into int16"),
    "ascii_empty.nrrd": (nrrd(encoding="ascii", data=b" " * 99), "holds 0"),
    "hex_short.nrrd": (nrrd(encoding="hex", data=b"0102" + b" " * 99), "holds 2"),
    "skip.nrrd": (nrrd("byte skip: 2\n"), "holds 46"),
    "skip_all.nrrd": (nrrd("byte skip: 1000000\n"), "holds 0"),
    "skip_lines.nrrd": (nrrd("line skip: 999999999\n"), "line skip 999999999"),
    "skip_packed.nrrd": (nrrd("byte skip: 99999999999\n", "gzip", gzip.compress(DATA)), "byte skip 99999999999"),
    "skip_far.nrrd": (nrrd("byte skip: 99999999999\n"), "byte skip 99999999999"),
    "skip_none.nrrd": (nrrd("line skip: 99\n"), "behind 99 lines, where there are fewer"),
    "ascii_long.nrrd": (nrrd(encoding="ascii", data=b" " * 70_000), "more than 67072 bytes of text for 24 values"),
    "skip_back.nrrd": (nrrd("byte skip: -2\n"), "byte skip -2"),
    "end.nrrd": (nrrd("byte skip: -1\n", data=DATA[:-5]), "holds|stored"),
    "up.nhdr": (nrrd("data file: ../secret\n", data=None), "lie in the folder of their header"),
    "passwd.nrrd": (nrrd("data file: /etc/passwd\n", data=None), "lie in the folder of their header"),
    "pattern_up.nhdr": (nrrd("data file: ../s%d.raw 0 3 1\n", data=None), "lie in the folder of their header"),
    "crash.nhdr": (nrrd("data file: %s%n 0 3 1\n", data=None), "a name with one %d"),
    "list_up.nhdr": (nrrd("data file: LIST\ns0.raw\ns1.raw\ns2.raw\n../secret\n", data=None), "lie in the folder"),
    "list_short.nhdr": (nrrd("data file: LIST\ns0.raw\ns1.raw\n", data=None), "in 2 files, where 4 belong"),
    "dimension.nrrd": (nrrd().replace(b"dimension: 3", b"dimension: 16"), "with 16 as dimension"),
    "field.nrrd": (nrrd("foo: bar\n"), "line 'foo: bar'"),
    "twice.nrrd": (nrrd("type: float\n"), "says type twice"),
    "endian.nrrd": (nrrd().replace(b"endian: little\n", b""), "without endian"),
    "both.nrrd": (nrrd("spacings: 1 2 3 := x\n"), "spacings = '1 2 3 := x'"),
    "nan.nrrd": (nrrd("spacings: nan 1 1\n"), "spacings = 'nan 1 1'"),
    "words.nrrd": (nrrd("space: RAS\nspace directions: x (0,1,0) (0,0,1)\n"), "vectors such as"),
    "infinite.nrrd": (nrrd("space: RAS\nspace origin: (inf,0,0)\n"), "spaceorigin"),
    "metres.nrrd": (nrrd('space: RAS\nspace units: "um" "um" "um"\n'), "the unit 'um'"),
    "units.nrrd": (nrrd('units: "cm" "cm" "cm"\n'), "the unit 'cm'"),
    "handed.nrrd": (nrrd("space: 3D-left-handed\n"), "does not say where right and left are"),
    "kinds.nrrd": (nrrd("kinds: domain\n"), "where 3 belong"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_headers_that_are_refused(parts, name):
    content, message = REFUSED[name]
    (parts / name).write_bytes(content)
    (parts / "link.raw").symlink_to("../secret")
    (parts / "linked").symlink_to("..")
    os.mkfifo(parts / "fifo")
    with pytest.raises(AcregError, match=message) as caught:
        read_image(parts / name)
    assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kinds", "shape"), [("vector domain domain", (4, 3)), ("domain vector domain", None), ("domain domain list", None)]
)
def test_the_axis_of_the_channels(parts, kinds, shape):
    """Which axis holds colours is told by its kind, as to SimpleITK; more than four make no colour."""
    sizes = {"vector domain domain": "3 2 4", "domain vector domain": "2 3 4", "domain domain list": "2 4 3"}[kinds]
    (parts / "a.nrrd").write_bytes(nrrd(f"kinds: {kinds}\n").replace(b"sizes: 2 3 4", f"sizes: {sizes}".encode()))
    theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(parts / "a.nrrd"))).astype(float)
    np.testing.assert_allclose(read_image(parts / "a.nrrd").array, theirs @ (0.299, 0.587, 0.114), rtol=1e-6)


def test_links_to_a_header_and_its_voxels_in_a_store(parts, tmp_path):
    (parts / "a.mhd").write_bytes(meta(place="w.raw", data=b""))
    links = tmp_path / "links"
    links.mkdir()
    for name in ("a.mhd", "w.raw"):
        (links / name).symlink_to(parts / name)
    np.testing.assert_array_equal(read_image(links / "a.mhd").array, VALUES)
    (links / "w.raw").unlink()
    (links / "w.raw").symlink_to(tmp_path / "secret")
    with pytest.raises(AcregError, match="lie in the folder of their header"):
        read_image(links / "a.mhd")
