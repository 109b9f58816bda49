"""What ``acreg segment`` and ``acreg quality`` share: options, and a run with its progress and its tally."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from acreg.cli.console import hold, note, out, progress
from acreg.cli.register import METHODS
from acreg.errors import AcregError, UsageError

if TYPE_CHECKING:
    from acreg.applications.batch.items import Item
    from acreg.applications.batch.run import Engine
    from acreg.applications.batch.tasks import QualityTask, SegmentTask
    from acreg.data.manifest import Dataset

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
    """The dataset, and the arguments that both tasks have."""
    from acreg.applications.batch.tasks import MethodChoice
    from acreg.data.manifest import Dataset, dataset_folder

    if (model is None) == (method is None):
        raise UsageError(
            f"Images are registered by a model or by a classical method. Received: --model {model}, --method {method}. "
            "Give one of them."
        )
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
    """Work on the images, a batch of pairs at a time, and say how many are done."""
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
    with progress(task.table, len(items)) as advance:
        seen = 0

        def show(tried: int, failed: int) -> None:
            nonlocal seen
            advance(tried - seen, f"{failed} failed" if failed else "")
            seen = tried

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
