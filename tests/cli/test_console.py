"""Progress bars, as they look on a terminal."""

from __future__ import annotations

import io
import re
import sys

import pytest

from acreg.cli import console
from acreg.progress import counted


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal in the place of stderr. No fixture: pytest sets stderr again between a test and its fixtures."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("COLUMNS", "120")
    return stream


def test_each_piece_of_work_has_a_bar_with_its_details_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = terminal(monkeypatch)
    with console.bars() as show:
        for subject in counted("abc", "Reading images", 3, show):
            assert subject in "abc"
        for step in (7, 8):  # a run that is resumed: six steps were done before
            show(f"network: loss 0.{step}", step, 10)
    assert re.search(r"Reading images .*3/3", stderr.getvalue())
    assert re.search(r"network .*2/4.* loss 0\.8", stderr.getvalue())


def test_no_bar_is_drawn_when_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = terminal(monkeypatch)
    console.set_quiet(True)
    try:
        with console.bars() as show:
            assert show is None
            assert list(counted("ab", "Reading images", 2, show)) == ["a", "b"]
    finally:
        console.set_quiet(False)
    assert not stderr.getvalue()


def test_a_command_that_a_cell_of_a_notebook_runs_draws_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = terminal(monkeypatch)  # as IPython gives it to commands
    monkeypatch.setenv("JPY_PARENT_PID", "12")
    with console.bars() as show:
        assert show is None
    assert not stderr.getvalue()


def test_progress_is_told_after_the_work_on_each_piece() -> None:
    told: list[object] = []
    for item in counted("ab", "Reading", 2, lambda *what: told.append(what)):
        told.append(item)
    assert told == ["a", ("Reading", 1, 2), "b", ("Reading", 2, 2)]
