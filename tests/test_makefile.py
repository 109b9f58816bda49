"""The choice of a Python by the Makefile, without installing anything."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not on this machine")


def make(folder: Path, repository: Path, candidates: list[Path | str]) -> subprocess.CompletedProcess[str]:
    shutil.copy(repository / "Makefile", folder)
    names = " ".join(map(str, candidates))
    return subprocess.run(
        ["make", ".venv/.created", f"CANDIDATES={names}"], cwd=folder, capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A command of the right name that does not run, as version managers leave behind."""
    command = tmp_path / "python3.12"
    command.write_text("#!/bin/sh\necho 'python3.12: command not found' >&2\nexit 127\n")
    command.chmod(0o755)
    return command


def test_no_suitable_python_is_said_clearly(tmp_path: Path, repository: Path, broken: Path) -> None:
    done = make(tmp_path, repository, [broken, "no-such-python"])
    assert done.returncode != 0
    assert "acreg needs Python 3.10, 3.11, 3.12 or 3.13" in done.stderr
    assert "make PYTHON=/path/to/python3.12" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_the_first_python_that_runs_is_taken(tmp_path: Path, repository: Path, broken: Path) -> None:
    done = make(tmp_path, repository, [broken, sys.executable])
    assert done.returncode == 0, done.stderr
    assert sys.executable in done.stdout
    assert (tmp_path / ".venv" / ".created").exists()
    assert make(tmp_path, repository, [broken]).returncode == 0  # made once, taken again
