"""Images found in folders and lists: their names, their order, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from acreg.applications.batch.items import Item, PairItem, find_items, find_pairs
from acreg.errors import AcregError, UsageError
from acreg.geometry import Grid
from acreg.io import Image, write_image


def write(path: Path) -> Path:
    write_image(Image(np.eye(4, dtype=np.float32), Grid((4, 4))), path)
    return path


def test_a_folder_with_its_sub_folders_but_not_the_results(tmp_path: Path) -> None:
    for name in ("b.png", "a.nii.gz", "deep/er/a.png", ".hidden.png", ".git/c.png", "out/labels/b.png"):
        write(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    found = find_items(tmp_path, leave_out=tmp_path / "out")
    assert [item.name for item in found] == ["a", "b", "deep/er/a"]
    assert found[0] == Item("a", tmp_path / "a.nii.gz")


def test_one_image(tmp_path: Path) -> None:
    assert find_items(write(tmp_path / "x.y.nii.gz")) == [Item("x.y", tmp_path / "x.y.nii.gz")]


def test_a_list(tmp_path: Path) -> None:
    for name in ("a.png", "s.png", "t.png"):
        write(tmp_path / name)
    table = tmp_path / "list.csv"
    table.write_text(f"image,truth,labels,subject\na.png,t.png,s.png,first\n{tmp_path / 'b.png'},,,\n")
    first, second = find_items(table)
    assert first == Item("first", tmp_path / "a.png", tmp_path / "s.png", tmp_path / "t.png")
    assert second == Item("b", tmp_path / "b.png")  # an image that is missing is a failure of the run, not of the list


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "with nothing. Correct"),
        ("file\na.png\n", "with file. Correct"),
        ("image,subject\n,a\n", "in row 1"),
        ("image,subject\na.png,../a\n", "in row 1"),
        ("image,subject\na.png,x\nb.png,X\n", "with x more than once"),
        ("image,labels\na.png,none.png\n", "must exist.*none.png"),
        ("image\n../../a.png\n", "stays in the manifest's folder"),
    ],
)
def test_a_list_that_is_refused(tmp_path: Path, content: str, said: str) -> None:
    table = tmp_path / "list.csv"
    table.write_text(content)
    with pytest.raises(AcregError, match=said):
        find_items(table)


def test_nothing_to_work_on(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="in which none is"):
        find_items(tmp_path)
    with pytest.raises(UsageError, match="which does not exist"):
        find_items(tmp_path / "none")
    write(tmp_path / "a.png"), write(tmp_path / "a.nii.gz")
    with pytest.raises(AcregError, match="with a more than once"):
        find_items(tmp_path)


def test_a_list_of_pairs(tmp_path: Path) -> None:
    """Files need not exist: a pair without its files fails alone, in the run."""
    table = tmp_path / "pairs.csv"
    table.write_text(
        f"moving,fixed,labels,out,initial\nm.nii.gz,f.png,l.nrrd,s1/t1,\n{tmp_path / 'a.b.mha'},f.png,,,t.h5\n"
    )
    first, second = find_pairs(table)
    assert first == PairItem("s1/t1", tmp_path / "f.png", tmp_path / "m.nii.gz", labels=tmp_path / "l.nrrd")
    assert second.name == "a.b_to_f" and second.files.keys() == {"fixed", "moving", "initial"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "with nothing. Correct"),
        ("fixed\na.png\n", "with fixed. Correct"),
        (
            "fixed,moving,mask\na,b,c\n",
            "columns fixed and moving, and may have labels, .*initial, out.*fixed, moving, mask",
        ),
        ("fixed,moving\n", "in which none is"),
        ("fixed,moving\na.png,\n", "in row 1"),
        ("fixed,moving,out\na.png,b.png,../x\n", "in row 1"),
        ("fixed,moving\na.png,b.png\nA.nrrd,b.nrrd\n", "with b_to_a more than once. Give each pair another name in a"),
    ],
)
def test_a_list_of_pairs_that_is_refused(tmp_path: Path, content: str, said: str) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text(content)
    with pytest.raises(AcregError, match=said):
        find_pairs(table)
    with pytest.raises(UsageError, match="which is none"):
        find_pairs(tmp_path / "none.csv")
