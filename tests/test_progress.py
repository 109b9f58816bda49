"""Progress in a notebook: one output that is updated; and where nothing is drawn."""

from __future__ import annotations

import sys

import pytest

from acreg import progress
from acreg.progress import NotebookBars, below_kernel, counted, in_kernel, notebook_bars
from tests.kernel import Outputs


def test_without_a_notebook_there_are_no_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    assert notebook_bars() is None
    monkeypatch.setitem(sys.modules, "IPython", None)  # not installed
    assert not in_kernel()


def test_bars_are_one_output_that_is_updated(kernel: Outputs, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(range(100))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(times)))
    bars = notebook_bars()
    assert isinstance(bars, NotebookBars)
    assert list(counted("ab", "Reading <images>", 2, bars)) == ["a", "b"]
    for step in (7, 8):  # a run that is resumed: six steps were done before
        bars(f"network: loss 0.{step}", step, 10)
    bars.say("The discriminators have won.")
    assert len(kernel.shown) == 1
    (found,) = kernel.shown.values()
    assert found["text/plain"].splitlines() == [
        "Reading <images>: 2/2, 0:00:02",
        "network: 8/10, 0:00:02 left, loss 0.8",
        "The discriminators have won.",
    ]
    page = found["text/html"]
    assert "<th style='text-align:left'>Reading &lt;images&gt;</th><td><progress value='2' max='2'></progress>" in page
    assert "<progress value='8' max='10'></progress>" in page and page.count("<tr>") == 2


def test_a_notebook_is_not_flooded(kernel: Outputs) -> None:
    bars = NotebookBars()
    for step in range(1, 10001):
        bars("network: loss 1", step, 10000)
    assert 2 <= kernel.messages < 20
    (found,) = kernel.shown.values()
    assert "10000/10000" in found["text/plain"], "the end is shown"


def test_work_of_unknown_length_has_a_bar_without_an_end(kernel: Outputs) -> None:
    bars = NotebookBars()
    bars("training", 3, 0)
    (found,) = kernel.shown.values()
    assert "<progress></progress>" in found["text/html"] and "3/?" in found["text/plain"]


@pytest.mark.parametrize(
    "variable, value", [("JPY_PARENT_PID", "12"), ("MPLBACKEND", "module://matplotlib_inline.backend_inline")]
)
def test_a_command_in_a_cell_is_known(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not below_kernel()
    monkeypatch.setenv(variable, value)
    assert below_kernel()
