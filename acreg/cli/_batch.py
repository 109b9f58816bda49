"""What ``acreg segment`` and ``acreg quality`` share: options, and what is said at the end."""

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
    typer.Option("--data", help="Dataset with labels: a folder, or a name under $ACREG_DATA.", show_default=False),
]
Out = Annotated[Path, typer.Option("--out", help="Folder for the results; a killed run goes on.", show_default=False)]
Model = Annotated[str | None, typer.Option(help="Preset name or folder.", show_default=False)]
MethodName = Annotated[
    str | None, typer.Option(help=f"Classical method: {METHODS}.", metavar="TOOL:KIND", show_default=False)
]
Threads = Annotated[int, typer.Option(min=1, help="Threads of a classical method.", metavar="N")]
Seed = Annotated[int, typer.Option(min=0, help="Of a classical method.")]
Split = Annotated[str, typer.Option(help="Its subjects that are used: train, validation or test.")]
SimilarityName = Annotated[
    Literal["ncc", "mutual_information", "mean_squares"], typer.Option(help="By which they are chosen.")
]
Batch = Annotated[
    int | None,
    typer.Option(min=1, help="Pairs at once through a network; 16 in 2-D and 1 in 3-D.", show_default=False),
]
EngineName = Annotated[Literal["local", "ray"], typer.Option(help="This process, or actors of Ray (extra 'scale').")]
Address = Annotated[
    str | None, typer.Option(help="Of a Ray cluster; without one a cluster on this machine.", show_default=False)
]
Workers = Annotated[int, typer.Option(min=1, help="Actors of Ray, each with the model.")]


def say_done(found: BatchRun) -> None:
    """Print how many images are done, and what came of them."""
    tally = found.tally
    out(f"{tally.done + tally.before} of {tally.images} images: {found.table}")
    for line in found.lines:
        out(line)
