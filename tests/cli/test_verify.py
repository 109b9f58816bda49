"""`acreg verify`: its two files, what it prints, and its exit code. The checks are tested where they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from acreg.applications import verification
from acreg.applications.verification import Check, Measured
from acreg.cli.main import main


@pytest.fixture
def differences(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """The largest difference that each of two checks finds."""
    found = {"Warp, 2-D": 1e-6, "Warp, 3-D": 2e-6}

    def checks(quick: bool = False) -> list[Check]:
        return [
            Check("Warping", name, "SciPy", "voxels", "voxels", 1e-5, lambda name=name: Measured(10, found[name]))
            for name in (list(found)[:1] if quick else found)
        ]

    monkeypatch.setattr(verification, "all_checks", checks)
    return found


def test_checks_that_pass(differences: dict[str, float], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "Warping       2       0" in printed and "All 2 checks passed." in printed
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["verification.json", "verification.md"]
    assert "| Warp, 3-D | SciPy | 10 voxels | 2e-06 voxels | 1e-05 | passed |" in (
        tmp_path / "out" / "verification.md"
    ).read_text(encoding="utf-8")


def test_quick_leaves_checks_out_and_the_page_says_so(differences: dict[str, float], tmp_path: Path) -> None:
    assert main(["verify", "--quick", "--out", str(tmp_path)]) == 0
    page = (tmp_path / "verification.md").read_text(encoding="utf-8")
    assert "All 1 checks passed" in page and "The presets were left out" in page
    assert json.loads((tmp_path / "verification.json").read_text(encoding="utf-8"))["quick"] is True


def test_a_check_that_fails(differences: dict[str, float], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    differences["Warp, 2-D"] = 0.5
    assert main(["verify", "--out", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert "1 of 2 that failed: Warp, 2-D: the largest difference is 0.5 voxels, the limit 1e-05." in printed.err
    assert "Warping       2       1" in printed.out
    found = json.loads((tmp_path / "verification.json").read_text(encoding="utf-8"))
    assert [check["passed"] for check in found["checks"]] == [False, True]


def test_many_checks_that_fail_are_named_without_their_reasons(
    differences: dict[str, float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    differences.clear()
    differences.update({f"Warp {number}": 0.5 for number in range(6)})
    assert main(["verify", "--out", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "6 of 6 that failed: Warp 0; Warp 1; Warp 2; Warp 3; Warp 4; Warp 5. Run `acreg doctor`" in said


def test_results_are_replaced_only_if_that_is_asked_for(
    differences: dict[str, float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "verification.md").write_text("of last year", encoding="utf-8")
    assert main(["verify", "--out", str(tmp_path)]) == 1
    assert "which holds verification.md. Choose another folder, or give --overwrite" in capsys.readouterr().err
    assert main(["verify", "--out", str(tmp_path), "--overwrite"]) == 0
    assert "All 2 checks passed" in (tmp_path / "verification.md").read_text(encoding="utf-8")
