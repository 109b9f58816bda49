"""What ``acreg segment`` and ``acreg quality`` share: their options, and running a task with progress and a tally."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from acreg.cli.console import bars, hold, note, out
from acreg.cli.register import METHODS, check_one
from acreg.errors import AcregError, UsageError

if TYPE_CHECKING:
    from acreg.applications.batch.items import Item
    from acreg.applications.batch.run import Engine
    from acreg.applications.batch.tasks import QualityTask, SegmentTask
    from acreg.data.manifest import Dataset

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
    typer.Option(help=f"Classical method, instead of a model: {METHODS}.", metavar="TOOL:KIND", show_default=False),
]
Threads = Annotated[int, typer.Option(min=1, help="Threads for a classical method.", metavar="N")]
Seed = Annotated[int, typer.Option(min=0, help="Random seed of a classical method.")]
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


def shared(
    data: str,
    split: str,
    model: str | None,
    method: str | None,
    threads: int,
    seed: int,
    folder: Path,
    count: int,
    measure: str,
    batch: int | None,
) -> tuple[Dataset, dict[str, Any]]:
    """The dataset, and the arguments that both tasks take."""
    from acreg.applications.batch.tasks import MethodChoice
    from acreg.data.manifest import Dataset, dataset_folder

    check_one(model, method)
    place = dataset_folder(data).absolute()
    dataset = Dataset.load(place)
    if batch is None:
        batch = 16 if dataset.read_image(dataset.records[0]).grid.rank == 2 else 1
    chosen = MethodChoice(model, method, threads, seed)
    names = {"data": place, "split": split, "method": chosen, "folder": folder.absolute()}
    return dataset, {**names, "count": count, "measure": measure, "at_once": batch}


def run_task(
    task: SegmentTask | QualityTask, images: Path, engine: str, address: str | None, workers: int
) -> list[Item]:
    """Process the images, a batch of pairs at a time, and report how many are done."""
    from acreg.applications.batch.items import find_items
    from acreg.applications.batch.run import FAILURES, local, run

    if engine == "local" and address is not None:
        raise UsageError("--address is that of a Ray cluster. Received: --engine local. Add --engine ray, or leave it.")
    folder = task.folder
    hold(folder)
    items = find_items(images.absolute(), leave_out=folder)
    note(f"{len(items)} images")
    chosen: Engine = local
    if engine == "ray":
        from acreg.applications.batch.ray_engine import RayEngine

        chosen = RayEngine(address, workers)
    with bars() as show:
        tally = run(task, items, folder, chosen, max(1, task.at_once // task.count), show)
    if tally.before:
        note(f"{tally.before} of {tally.images} images were done before.")
    if tally.failed:
        note(f"{tally.failed} of {tally.images} images failed; the reasons: {folder / FAILURES}")
    if tally.failed and not tally.done + tally.before:
        raise AcregError(
            f"Some image at least must be worked on. Received: {tally.images} images, all of which failed, the first "
            f"as follows. {tally.reason} See {folder / FAILURES}, and correct the images, the dataset or the model."
        )
    out(f"{tally.done + tally.before} of {tally.images} images: {folder / task.table}")
    return items
