"""The program as such: help, versions, exit codes, and errors as one paragraph."""

from __future__ import annotations

import errno
import importlib
import os
import subprocess
import sys
import types
import warnings
from pathlib import Path
from typing import Annotated, Literal

import pytest
import typer

from acreg import __version__
from acreg.cli import console
from acreg.cli.main import COMMANDS, main
from acreg.errors import AcregError, UsageError


@pytest.fixture
def fake_command(monkeypatch: pytest.MonkeyPatch):
    """Let `acreg demo` run another function."""

    def install(function) -> None:
        module = types.ModuleType("acreg.cli.demo")
        module.demo = function
        monkeypatch.setitem(sys.modules, "acreg.cli.demo", module)

    return install


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out
    assert "doctor" in listed
    assert "acreg register --model acregnet-jsrt" in listed


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(f"acreg.cli.{name}")
    commands = [[name]]
    if hasattr(module, "app"):
        assert main([name, "--help"]) == 0
        commands = [[name, str(command.name)] for command in module.app.registered_commands]
    for command in commands:
        capsys.readouterr()
        assert main([*command, "--help"]) == 0
        usage, text = capsys.readouterr().out.split("\n", 1)
        assert usage.startswith(f"Usage: acreg {' '.join(command)} ")
        assert f"  acreg {' '.join(command)}" in text, "the example"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"acreg {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["regster"], "Did you mean register?"),
        (["xyzzy"], "Commands: demo, doctor"),
        (["doctor", "--gpus"], "--gpu"),
        (["--silent"], "--silent"),
        (["doctor", "surplus"], "surplus"),
    ],
)
def test_wrong_use_exits_with_2(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


def test_unknown_choice_exits_with_2(fake_command, capsys: pytest.CaptureFixture[str]) -> None:
    def demo(border: Annotated[Literal["edge", "constant"], typer.Option()] = "edge") -> None:
        pass

    fake_command(demo)
    assert main(["demo", "--border", "edge"]) == 0
    assert main(["demo", "--border", "mirror"]) == 2
    assert "mirror" in capsys.readouterr().err


def raising(error: BaseException):
    def demo() -> None:
        raise error

    return demo


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (AcregError("A rule. Received: x=1. Do this."), 1, "A rule. Received: x=1. Do this."),
        (UsageError("A rule.\nReceived: y."), 2, "A rule. Received: y."),
        (FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "a/b.png"), 1, "must exist. Received: 'a/b.png'"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out.png"), 1, "The disk is full. Received: 'out.png'"),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES), "c.png"), 1, "Received: 'c.png'. Check its perm"),
        (IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), "d"), 1, "A file is needed here, not a folder"),
        (OSError("truncated file"), 1, "could not be read or written. The system says: truncated file"),
        (MemoryError(), 1, "not enough memory"),
        (KeyError("lost"), 1, "KeyError: 'lost'"),
    ],
)
def test_errors_are_one_paragraph(
    error: BaseException, code: int, said: str, fake_command, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_command(raising(error))
    assert main(["demo"]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
    assert printed.err.startswith("Error: ")
    assert printed.err.count("\n") == 1


def test_debug_shows_the_traceback(fake_command, capsys: pytest.CaptureFixture[str]) -> None:
    fake_command(raising(AcregError("A rule.")))
    assert main(["--debug", "demo"]) == 1
    printed = capsys.readouterr().err
    assert "Traceback (most recent call last)" in printed
    assert printed.endswith("Error: A rule.\n")


def test_interrupt_exits_with_130(fake_command) -> None:
    fake_command(raising(KeyboardInterrupt()))
    assert main(["demo"]) == 130


def test_quiet_silences_notes_and_bars_but_no_results(fake_command, capsys: pytest.CaptureFixture[str]) -> None:
    def demo() -> None:
        console.note("a note")
        with console.bars() as show:
            assert show is None, "nothing is drawn where stderr is no terminal"
        console.table("Scores", ("method", "DSC"), [("RegNet", "0.9"), ("ACRegNet", "0.943")])

    fake_command(demo)
    assert main(["demo"]) == 0
    assert capsys.readouterr().err == "a note\n"
    assert main(["--quiet", "demo"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.splitlines() == [
        "Scores",
        "method      DSC",
        "--------  -----",
        "RegNet      0.9",
        "ACRegNet  0.943",
    ]
    assert not console.is_quiet()


def test_a_warning_of_the_library_is_a_paragraph_without_its_place_in_the_code(fake_command, capsys) -> None:
    """Also one that names something of the data, with a control character in it."""
    before = warnings.showwarning
    fake_command(lambda: warnings.warn("the labels of a\x1b[2J have\nanother grid", stacklevel=1))
    assert main(["--quiet", "demo"]) == 0 and warnings.showwarning is before
    assert capsys.readouterr().err == "Warning: the labels of a\\x1b[2J have another grid\n"


def test_table_on_a_terminal_keeps_square_brackets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    console.table("T", ("method", "mean"), [("[bold]a", "1")])
    assert "[bold]a" in capsys.readouterr().out


def test_closed_pipe_is_no_crash(repository: Path) -> None:
    script = "import sys; from acreg.cli.main import main; sys.exit(main(['--help']))"
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None and program.stderr is not None
        program.stdout.close()
        assert "Traceback" not in program.stderr.read()


def test_tensorflow_import_prints_nothing(repository: Path) -> None:
    pytest.importorskip("tensorflow")
    script = "from acreg.cli import _logs; _logs.set_environment(); _logs.silence_frameworks(); import tensorflow"
    done = subprocess.run([sys.executable, "-c", script], cwd=repository, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
