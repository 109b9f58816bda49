"""Disease flags by names and from CSV files, the NIH's list among them."""

from __future__ import annotations

from pathlib import Path

import pytest

from acreg.data.tables.disease_flags import flags_by_name, read_flags
from acreg.errors import AcregError, UsageError

NAMES = ["MCUCXR_0001_0", "MCUCXR_0002_1", "MCUCXR_0010_1"]
NIH = "Image Index,Finding Labels,Follow-up #\na.png,Cardiomegaly|Effusion,0\nb.png,No Finding,0\nc.png,Effusion,1\n"


def test_by_name() -> None:
    assert list(flags_by_name(NAMES, "MCUCXR_*_1").values()) == [False, True, True]
    for pattern, found in (("*", "all"), ("*_2", "none")):
        with pytest.raises(UsageError, match=f"which {found} of 3 names match, such as MCUCXR_0001_0"):
            flags_by_name(NAMES, pattern)


def test_own_list(tmp_path: Path) -> None:
    path = tmp_path / "flags.csv"
    path.write_text("subject,age,diseased\nb,3,Yes\na,4,0\nelsewhere,5,1\n", encoding="utf-8-sig")
    assert read_flags(path, ["a", "b", "c"]) == {"b": True, "a": False}


def test_the_nihs_list(tmp_path: Path) -> None:
    path = tmp_path / "Data_Entry_2017.csv"
    path.write_text(NIH)
    assert read_flags(path, ["a", "b", "c", "d"], "Effusion") == {"a": True, "b": False, "c": True}
    assert read_flags(path, ["a.png", "b.png"], "Cardiomegaly") == {"a.png": True, "b.png": False}
    for finding in ("", "Cardio"):
        with pytest.raises(UsageError, match="--finding from Cardiomegaly, Effusion, No Finding"):
            read_flags(path, ["a"], finding)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("name,diseased\na,1\n", "with name, diseased. Rename"),
        ("", "with none. Rename"),
        ("subject,diseased\na,maybe\n", "'maybe' for a in"),
        ("subject,diseased\na\n", "'' for a in"),
        ("subject,diseased\na,1\na,1\n", "a twice in"),
        ("subject,diseased\nx,1\n", "which has none of its 1, such as a"),
    ],
)
def test_wrong_lists(tmp_path: Path, text: str, found: str) -> None:
    path = tmp_path / "flags.csv"
    path.write_text(text)
    with pytest.raises(AcregError, match=found):
        read_flags(path, ["a"])
    with pytest.raises(AcregError, match="none.csv"):
        read_flags(tmp_path / "none.csv", ["a"])
