"""The table of formats, and the laws that each of its entries keeps."""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path

import numpy as np
import pytest

from acreg._moved import MOVED
from acreg.errors import AcregError, UsageError
from acreg.geometry import Grid
from acreg.io import Image, read_image, read_labels, write_image
from acreg.io.colour import reason_against
from acreg.io.formats import FORMATS, READ, WRITTEN, WRITTEN_PICTURES, by_suffix, is_picture, stem, suffix
from tests.io.samples import write_samples

NAMES = [known.name for known in FORMATS]
GRID = Grid((5, 6), (1.5, 0.75))


@pytest.mark.parametrize("known", FORMATS, ids=NAMES)
def test_an_entry_names_a_module_with_the_functions_of_a_format(known):
    def parameters(name):
        return tuple(inspect.signature(getattr(known.module, name)).parameters)

    assert parameters("read") == ("path", "labels", "needs_spacing")
    if known.written:
        assert set(known.written) <= set(known.suffixes) and parameters("write") == ("image", "path")
    optional = {"write_channels": ("channels", "path"), "reason_against": ("channels",), "inspect": ("path",)}
    for name, expected in {**optional, "holds_labels": ("path",)}.items():
        assert not hasattr(known.module, name) or parameters(name) == expected


def test_a_suffix_is_of_one_format():
    assert len(set(READ)) == len(READ) and all(s == s.lower() and s.startswith(".") for s in READ)


@pytest.mark.parametrize(
    ("name", "ending", "rest", "known"),
    [
        ("a/b.NII.GZ", ".nii.gz", "a/b", "NIfTI"),
        ("b.gz", ".gz", "b", None),
        ("v1.2.mha", ".mha", "v1.2", "MetaImage"),
        ("IM0001", "", "IM0001", None),
        (".png", "", ".png", None),
    ],
)
def test_names_of_files(name, ending, rest, known):
    assert suffix(Path(name)) == ending and stem(name) == rest
    found = by_suffix(Path(name))
    assert (None if found is None else found.name) == known


@pytest.mark.parametrize("ending", WRITTEN)
@pytest.mark.parametrize("kind", ["intensity", "labels"])
def test_what_is_written_is_read_back(tmp_path, ending, kind):
    known = by_suffix(Path(f"a{ending}"))
    array = np.zeros(GRID.shape)
    array[1:3, 2:5], array[3:, :2] = 1, 200
    write_image(Image(array, GRID, kind), tmp_path / f"a{ending}")
    found = (read_labels if kind == "labels" else read_image)(tmp_path / f"a{ending}")
    np.testing.assert_array_equal(found.array, array)
    np.testing.assert_allclose(found.grid.spacing, (1, 1) if known.picture else GRID.spacing, rtol=1e-6)
    assert found.has_place == known.has_place  # the grid's origin and direction are the default


@pytest.mark.parametrize("known", [known for known in FORMATS if known.written], ids=lambda known: known.name)
def test_a_colour_volume_is_held_or_there_is_a_reason(known):
    volume = [Image(np.ones((2, 3, 4)), Grid((2, 3, 4)))] * 3
    reason = reason_against(volume, Path(f"a{known.written[0]}"))
    if not hasattr(known.module, "write_channels"):
        assert reason == f"An image in {known.name} has one value a voxel."
    else:
        assert reason == (
            f"{WRITTEN_PICTURES} hold 2-D images, and grey with alpha in 8 bits." if known.picture else ""
        )


def test_messages_list_the_formats(tmp_path):
    (tmp_path / "a.xyz").write_bytes(b"something")
    with pytest.raises(UsageError, match=f"Images are read from {', '.join(READ)}. Received: .*a.xyz"):
        read_image(tmp_path / "a.xyz")
    with pytest.raises(UsageError, match=f"Images are written as {', '.join(WRITTEN)}. Received: .*a.jpg"):
        write_image(Image.from_array(np.ones((4, 5))), tmp_path / "a.jpg")
    with pytest.raises(AcregError, match=f"{WRITTEN_PICTURES} hold 2-D images"):
        write_image(Image.from_array(np.ones((3, 4, 5))), tmp_path / "a.png")
    assert is_picture(Path("a.JPEG")) and not is_picture(Path("a.nii"))


def test_the_documented_table_is_this_one(repository):
    def listed(suffixes):
        return ", ".join(f"`{ending}`" for ending in suffixes) or "no"

    page = (repository / "docs" / "how-to" / "data.md").read_text(encoding="utf-8")
    table = page.partition("| format | read | written |\n|---|---|---|\n")[2].partition("\n\n")[0]
    assert table.splitlines() == [f"| {f.name} | {listed(f.suffixes)} | {listed(f.written)} |" for f in FORMATS]


def test_each_format_has_whole_files_in_samples(tmp_path):
    """The tests of damaged files then cover the format."""
    found = [by_suffix(path) for path in write_samples(tmp_path)]
    assert [known.name for known in FORMATS if known not in found] == []


@pytest.mark.parametrize("old", [old for old in MOVED if old.startswith("acreg.io.")])
def test_old_names_of_modules(old):
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=f"{old} is now {MOVED[old]}"):
        assert importlib.import_module(old) is importlib.import_module(MOVED[old])


@pytest.mark.parametrize("name", ["dicom.load_dicom", "dicom.load_series", "nifti.load_nifti", "volumes.save_itk"])
def test_old_names_in_packages_that_took_them(name):
    package, _, function = name.partition(".")
    with pytest.warns(DeprecationWarning, match=rf"acreg.io.{package}.{function} is now acreg.io.{package}\."):
        assert callable(getattr(importlib.import_module(f"acreg.io.{package}"), function))
