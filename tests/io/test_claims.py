"""What results may be written where: others are not replaced unasked, and a run goes on as it began."""

from __future__ import annotations

from pathlib import Path

import pytest

from acreg.errors import AcregError, UsageError
from acreg.io.claims import check_claim, check_empty, check_free, claim
from acreg.io.folders import LOCK

RULE = r"^Results are not replaced unasked, nor mixed with other files\. Received: "


def test_results_in_a_folder_are_replaced_only_when_asked(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    check_free(tmp_path, ["a.csv", "b.csv"])
    (tmp_path / "b.csv").touch()
    with pytest.raises(AcregError, match=RULE + r".*, which holds b\.csv\. Choose another folder, or give --overwrite"):
        check_free(tmp_path, ["a.csv", "b.csv"])
    check_free(tmp_path, ["a.csv", "b.csv"], overwrite=True)


def test_a_file_is_replaced_only_when_asked(tmp_path: Path) -> None:
    check_free(tmp_path / "new" / "a.csv")
    assert not (tmp_path / "new").exists()
    (tmp_path / "a.csv").touch()
    with pytest.raises(AcregError, match=RULE + r".*a\.csv, which exists\. Choose another name, or give --overwrite"):
        check_free(tmp_path / "a.csv")
    check_free(tmp_path / "a.csv", overwrite=True)
    with pytest.raises(AcregError, match="Results are written to a folder that is there"):
        check_free(tmp_path / "a.csv" / "b.csv")


def test_a_folder_of_its_own_is_new_or_empty(tmp_path: Path) -> None:
    check_empty(tmp_path / "new")
    (tmp_path / LOCK).touch()  # left by a killed process
    check_empty(tmp_path)
    (tmp_path / "mine.txt").touch()
    with pytest.raises(UsageError, match=RULE + r".*, which holds mine\.txt\. Choose a new or empty folder\.$"):
        check_empty(tmp_path)


def test_a_run_goes_on_with_its_settings_alone(tmp_path: Path) -> None:
    claim(tmp_path / "run", "run.json", {"power": 2, "names": ["a"]})
    claim(tmp_path / "run", "run.json", {"names": ["a"], "power": 2})
    with pytest.raises(UsageError, match=r"goes on with the settings .*, with power 2 there and 3 here; names \['a'\]"):
        check_claim(tmp_path / "run", "run.json", {"power": 3})
    (tmp_path / "mine.txt").touch()
    with pytest.raises(UsageError, match=RULE + r".*, which holds other files and no run\.json\."):
        claim(tmp_path, "run.json", {})
    assert not (tmp_path / "run.json").exists()
