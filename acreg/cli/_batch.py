"""Options and final messages that ``acreg segment`` and ``acreg quality`` share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from acreg.cli.console import out
from acreg.cli.register import METHODS

if TYPE_CHECKING:
    from acreg.applications.batch.commands import BatchRun

Data = Annotated[
    str,
    typer.Option("--data", help="Labelled dataset: a folder, or a name under $ACREG_DATA.", show_default=False),
]
Out = Annotated[
    Path,
    typer.Option("--out", help="Folder for the results; an interrupted run in it is continued.", show_default=False),
]
Model = Annotated[str | None, typer.Option(help="Name or folder of a preset.", show_default=False)]
MethodName = Annotated[
    str | None,
    typer.Option(help=f"Method, instead of a model: {METHODS}.", metavar="TOOL:KIND", show_default=False),
]
Threads = Annotated[int, typer.Option(min=1, help="Threads for a classical method.", metavar="N")]
Seed = Annotated[int, typer.Option(min=0, help="Random seed of the method.")]
Split = Annotated[str, typer.Option(help="Split of the dataset whose subjects are used: train, validation or test.")]
SimilarityName = Annotated[
    Literal["ncc", "mutual_information", "mean_squares"],
    typer.Option(help="Image similarity by which the most similar subjects are chosen."),
]
Batch = Annotated[
    int | None,
    typer.Option(
        min=1, help="Number of pairs in one batch through a network. Default: 16 in 2-D, 1 in 3-D.", show_default=False
    ),
]
EngineName = Annotated[
    Literal["local", "ray"], typer.Option(help="Where to run: in this process, or on Ray (needs the extra 'scale').")
]
Address = Annotated[
    str | None,
    typer.Option(help="Address of a Ray cluster. Default: start one on this machine.", show_default=False),
]
Workers = Annotated[int, typer.Option(min=1, help="Number of Ray actors; each loads the model.")]


def say_done(found: BatchRun) -> None:
    """Print how many images or pairs are done, and a summary of the results."""
    out(found.done)
    for line in found.lines:
        out(line)
