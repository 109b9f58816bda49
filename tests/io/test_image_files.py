"""A run notices that an image has changed, in whichever of its files that happened."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from acreg.geometry import Grid
from acreg.io import Image, write_image
from acreg.io.image_files import contents_digest, file_states, image_files


def headed(folder: Path, kind: str) -> tuple[Path, Path]:
    """An image, and the last of its files."""
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    if kind in (".mhd", ".nhdr"):
        sitk.WriteImage(sitk.GetImageFromArray(array), folder / f"a{kind}")
        return folder / f"a{kind}", folder / "a.raw"
    if kind == "numbered":
        for number, plane in enumerate(array, 1):
            plane.tofile(folder / f"slice{number}.raw")
        header = "ObjectType = Image\nNDims = 3\nDimSize = 4 3 2\nElementType = MET_SHORT\nElementDataFile = "
        (folder / "a.mhd").write_text(f"{header}slice%d.raw 1 2 1\n", encoding="utf-8")
        return folder / "a.mhd", folder / "slice2.raw"
    if kind == "folder":
        (folder / "series" / "below").mkdir(parents=True)
        (folder / "series" / "1.dcm").write_bytes(b"one")
        (folder / "series" / "below" / "2.dcm").write_bytes(b"two")
        return folder / "series", folder / "series" / "below" / "2.dcm"
    write_image(Image(array.astype(np.float32), Grid(array.shape)), folder / f"a{kind}")
    return folder / f"a{kind}", folder / f"a{kind}"


@pytest.mark.parametrize("kind", [".mhd", ".nhdr", "numbered", "folder", ".nii.gz", ".nrrd", ".mha"])
def test_a_change_of_the_last_file_is_a_change_of_the_image(tmp_path: Path, kind: str) -> None:
    image, last = headed(tmp_path, kind)
    assert image_files(image)[-1] == last
    before = contents_digest([image]), file_states([image])
    assert before == (contents_digest([image]), file_states([image]))
    os.utime(last, ns=(0, 0))
    assert contents_digest([image]) == before[0] and file_states([image]) != before[1]
    last.write_bytes(last.read_bytes()[:-1] + b"\x7f")
    assert contents_digest([image]) != before[0]


def test_what_is_absent_or_damaged_has_a_digest_too(tmp_path: Path) -> None:
    absent, damaged = tmp_path / "absent.nii.gz", tmp_path / "damaged.mhd"
    damaged.write_text("NDims = x\n", encoding="utf-8")
    (tmp_path / "notes.txt").write_text("notes", encoding="utf-8")
    assert image_files(absent) == [] and image_files(damaged) == [damaged]
    assert image_files(tmp_path / "notes.txt") == [tmp_path / "notes.txt"]
    assert contents_digest([absent]) == contents_digest([None]) != contents_digest([damaged])
    assert contents_digest([None, damaged]) != contents_digest([damaged, None])
    assert file_states([absent, None]) == []
