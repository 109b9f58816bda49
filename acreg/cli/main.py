"""The ``acreg`` program: it finds the command, runs it, and turns errors into one paragraph and an exit code.

Each command is a module in this folder and is imported on first use. The module exposes a function with the module's
name or, if it has sub-commands, a ``typer.Typer`` called ``app``. Modules import heavy packages inside their functions,
so that ``acreg --help`` answers at once.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
import textwrap
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from acreg import __version__
from acreg.cli import _logs, _streams, console
from acreg.errors import AcregError, Requeue, UsageError, options_named
from acreg.names import one_line

COMMANDS = (
    "demo",
    "doctor",
    "verify",
    "data",
    "recipe",
    "train",
    "register",
    "warp",
    "view",
    "jacobian",
    "inspect",
    "template",
    "segment",
    "quality",
    "classify",
    "surfaces",
    "evaluate",
    "compare",
    "convert",
    "export",
    "plausibility",
)


class Commands(TyperGroup):
    """The group of commands, each imported on first use."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            close = get_close_matches(cmd_name, COMMANDS)
            hint = f"Did you mean {' or '.join(close)}?" if close else f"Commands: {', '.join(COMMANDS)}."
            ctx.fail(f"There is no command {cmd_name!r}. {hint}")
        module = importlib.import_module(f"acreg.cli.{cmd_name}")
        if hasattr(module, "app"):
            module.app.rich_markup_mode = None
            return typer.main.get_group(module.app)
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(cmd_name)(getattr(module, cmd_name))
        return typer.main.get_command(single)


app = typer.Typer(
    name="acreg",
    cls=Commands,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        console.out(f"acreg {__version__}")
        raise typer.Exit


@app.callback()
def acreg(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print no notes and no progress bars.")] = False,
    engine: Annotated[
        Literal["onnx", "keras"] | None,
        typer.Option(
            help="What runs the networks of presets. Default: the environment variable ACREG_ENGINE, or else onnx for "
            "presets that have a network in ONNX, as those that ship to register, and keras for others.",
            show_default=False,
        ),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback if a command fails.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Register medical images with anatomically constrained networks.

    \b
    Examples:
      acreg demo
      acreg register --model acregnet-jsrt --fixed a.png --moving b.png --out result
      acreg train --help
    """
    console.set_quiet(quiet)
    if engine is not None:
        os.environ["ACREG_ENGINE"] = engine  # for the processes of workers, too
    if not debug:
        _logs.silence_frameworks()


def describe(error: Exception) -> str:
    """One paragraph for an error: the rule, what was received, what to do."""
    if isinstance(error, AcregError):
        return str(error)
    if isinstance(error, OSError):
        return _describe_os_error(error)
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in ("tensorflow", "keras"):
        return (
            f"This needs TensorFlow and Keras. Received: an installation without {error.name}. Install them with "
            "`pip install acreg`. Without them, acreg registers with presets that have a network in ONNX."
        )
    if isinstance(error, MemoryError):
        return "There was not enough memory. Use smaller images, a smaller batch or a larger machine."
    return (
        f"acreg failed in a way that it does not foresee. Received: {type(error).__name__}: {error}. "
        "Run `acreg --debug ...` for the traceback, and please report it."
    )


def _describe_os_error(error: OSError) -> str:
    name = error.filename2 or error.filename
    text = os.fspath(name) if isinstance(name, (str, os.PathLike)) else ""
    received = f"Received: {text if len(text) <= 300 else f'{text[:140]}...{text[-140:]}'!r}. " if text else ""
    match error.errno:
        case errno.ENOENT:
            return f"A file or folder that is named must exist. {received}Check the path."
        case errno.ENOSPC | errno.EDQUOT:
            return f"The disk is full. {received}Free some space or choose another folder, then run the command again."
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return f"A file or folder must be readable, or writable where results go. {received}Check its permissions."
        case errno.EISDIR:
            return f"A file is needed here, not a folder. {received}Name the file."
        case errno.ENOTDIR | errno.EEXIST:
            return f"A folder is needed here, and something else has that name. {received}Choose another name."
        case errno.ENAMETOOLONG:
            return f"A name of a file or folder has the length that the system allows. {received}Choose a shorter one."
        case _:
            return f"A file could not be read or written. {received}The system says: {error.strerror or error}."


def _report(message: str) -> None:
    paragraph = "Error: " + one_line(message)
    if sys.stderr.isatty():
        # Long words are paths: broken they would be useless.
        paragraph = textwrap.fill(paragraph, width=100, break_long_words=False, break_on_hyphens=False)
    print(paragraph, file=sys.stderr, flush=True)


def _check_words(arguments: Sequence[str]) -> None:
    """Refuse an empty word, which an unset shell variable leaves: as a path it would mean the current folder."""
    for before, word in zip(["", *arguments], arguments):
        if not word or (word.startswith("--") and word.endswith("=")):
            raise UsageError(
                f"What is given on the command line is not empty. Received: {word or f'an empty word after {before}'}. "
                "Give a value, or leave the option out."
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: the words after ``acreg`` on the command line; by default ``sys.argv[1:]``.

    Returns:
        The exit code: 0 for success, 1 for failure, 2 for wrong use, 75 for a run that SIGTERM stopped and that can be
        continued, 130 for an interrupt.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    _logs.set_environment()
    options = arguments[: next((i for i, word in enumerate(arguments) if not word.startswith("-")), len(arguments))]
    debug = "--debug" in options
    try:
        _check_words(arguments)
        with console.plain_warnings(), console.holding(), options_named():
            app(args=arguments, prog_name="acreg")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except Requeue as stopped:
        console.note(str(stopped))
        return stopped.exit_code
    except Exception as error:
        if debug:
            traceback.print_exc()
        _report(describe(error))
        return error.exit_code if isinstance(error, AcregError) else 1
    finally:
        console.set_quiet(False)
    return 0


def run() -> None:
    """The console script."""
    _streams.mend()
    sys.exit(main())


if __name__ == "__main__":
    run()
