"""Segmentation of many images, and its predicted quality: `acreg.segment` and `acreg.quality`."""

from __future__ import annotations

import csv
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from acreg.applications.atlases.label_fusion import Fusion
from acreg.applications.atlases.multi_atlas import Similarity
from acreg.applications.atlases.quality import THRESHOLD
from acreg.applications.batch.items import Item, find_items
from acreg.applications.batch.run import FAILURES, AnyItem, Engine, Tally, Task, local
from acreg.applications.batch.run import run as run_items
from acreg.applications.batch.segmenter_task import SegmenterTask, unlike_images
from acreg.applications.batch.tasks import MethodChoice, QualityTask, SegmentTask
from acreg.data.manifest import Dataset, dataset_folder
from acreg.data.records import DatasetInfo, write_info
from acreg.errors import AcregError, DoubtfulResult, UsageError, argument
from acreg.evaluation.predicted_quality import PredictedDice
from acreg.geometry.display import table_html
from acreg.inference.presets import preset_folder
from acreg.io import Preprocessing, atomic_path, sole_writer
from acreg.io.documents import write_json
from acreg.io.formats import is_picture
from acreg.plotting.figures import to_png
from acreg.progress import Progress, notebook_bars
from acreg.registration.methods import check_one_method
from acreg.registration.presets import is_segmenter
from acreg.report.quality import quality_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EngineName = Literal["local", "ray"]
PathLike = str | os.PathLike[str]
SHOWN = 20
"""Number of rows that a notebook shows."""


@dataclass(eq=False, repr=False)
class BatchRun:
    """The results of a run over many images. A notebook shows the first rows of the table.

    Attributes:
        table: a CSV file with a row for each processed image; that of `acreg segment` is a dataset, too.
        tally: the numbers of images that were requested, done before, done now, and failed.
        lines: a summary of the results, one sentence each.
        unit: what is counted.
    """

    table: Path
    tally: Tally
    lines: list[str] = field(default_factory=list)
    unit: str = "images"

    @property
    def rows(self) -> list[dict[str, str]]:
        """The table's cells by column."""
        with self.table.open(newline="", encoding="utf-8") as stream:
            return list(csv.DictReader(stream))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.done})"

    @property
    def done(self) -> str:
        """How many are done, and the table."""
        return f"{self.tally.done + self.tally.before} of {self.tally.images} {self.unit}: {self.table}"

    def _repr_html_(self) -> str:
        rows = self.rows
        title = " ".join([repr(self), *self.lines])
        return table_html([list(row.values()) for row in rows[:SHOWN]], list(rows[0]) if rows else [], title)


@dataclass(eq=False, repr=False)
class QualityRun(BatchRun):
    """A `BatchRun` of predicted Dice; `threshold` is the smallest value at which a segmentation is accepted."""

    threshold: float = THRESHOLD

    @property
    def predicted(self) -> PredictedDice:
        """The table's numbers and their summary."""
        return PredictedDice.read(self.table, self.threshold)

    def figure(self) -> Figure:
        """The histogram of the predicted Dice, with examples."""
        return quality_figure(self.predicted)


def segment(
    images: PathLike,
    data: PathLike | None,
    out: PathLike,
    *,
    model: PathLike | None = None,
    method: str | None = None,
    atlases: int = 5,
    similarity: Similarity = "ncc",
    fusion: Fusion = "majority",
    probabilities: bool = False,
    flips: bool = False,
    split: str = "train",
    batch: int | None = None,
    threads: int = 1,
    seed: int = 0,
    engine: EngineName = "local",
    address: str | None = None,
    workers: int = 1,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> BatchRun:
    """Segment each image by a network, or by the most similar labelled images, as `acreg segment` does.

    Args:
        images: an image, a folder of images, or a CSV with a column image.
        data: a dataset with labels: a folder, or a name under ACREG_DATA; None for a segmenter, which needs none.
        out: folder of the results; to continue a killed run, repeat the call.
        model, method: the name or folder of a preset, or instead a method without one, see
            `acreg.registration.named_method`. The preset of an `acreg.models.Segmenter` segments each image itself;
            any other registers the atlases, and the following arguments but `probabilities` and `flips` are for these.
        atlases: number of atlases for each image, the most similar ones.
        similarity: the similarity measure that chooses them, see `ReducedImages.similarities`.
        fusion: how their labels are fused, see `label_shares`.
        probabilities: also write the probability of each label.
        flips: of a segmenter, see `Segmenter.probabilities`.
        split: the split of the dataset that provides the atlases.
        batch: number of pairs in one batch through a network; by default, 16 in 2-D and 1 in 3-D.
        threads, seed: threads of a classical method, and the random seed of the method.
        engine: "local" (this process) or "ray" (needs the extra `scale`).
        address, workers: address of the Ray cluster, by default one on this machine, and number of its actors.
        progress: called with (text, done, total).
        say: called with messages.

    Returns:
        The table `segmentations.csv`, a dataset's manifest, and the tally.

    Raises:
        UsageError: not exactly one of `model` and `method` is given, a dataset is missing or not needed, there is no
            image, or `out` holds a run with other settings.
        AcregError: the dataset or the preset cannot be read, or all images failed.
    """
    check_one_method(model, method)
    alone = model is not None and is_segmenter(os.fspath(model))
    if alone != (data is None) or (flips and not alone):
        chosen = argument("method", method) if model is None else argument("model", model)
        needs = "needs no dataset" if alone else "registers the images of a dataset, without mirror images of them"
        advice = "Give" if data is None else "Leave out"
        raise UsageError(
            "A segmenter segments an image by itself, any other model or method by labelled images. Received: "
            f"{argument('data', data)}, {argument('flips', flips)} with {chosen}, which {needs}. "
            f"{advice} {argument('data' if alone or data is None else 'flips')}."
        )
    task: SegmenterTask | SegmentTask
    if data is None:
        task = SegmenterTask(os.fspath(model or ""), Path(out).absolute(), flips, probabilities)
        names = Preprocessing.from_json(preset_folder(task.model) / "preprocessing.json").label_names
    else:
        dataset, arguments = _shared(data, split, model, method, threads, seed, out, atlases, similarity, batch)
        names = dataset.label_names
        task = SegmentTask(**arguments, fusion=fusion, probabilities=probabilities)
    with sole_writer(task.folder):
        items, tally = _run(task, images, engine, address, workers, progress, say)
        pictures = all(is_picture(item.image) for item in items)
        write_info(task.folder, DatasetInfo(name=task.folder.name, labels=names, unit="px" if pictures else "mm"))
    found = BatchRun(Path(out) / task.table, tally)
    if isinstance(task, SegmenterTask) and (unlike := unlike_images(task.model, found.rows)):
        warnings.warn(unlike, DoubtfulResult, stacklevel=2)
    return found


def quality(
    images: PathLike,
    data: PathLike,
    out: PathLike,
    *,
    model: PathLike | None = None,
    method: str | None = None,
    references: int = 10,
    similarity: Similarity = "ncc",
    threshold: float = THRESHOLD,
    split: str = "train",
    batch: int | None = None,
    threads: int = 1,
    seed: int = 0,
    engine: EngineName = "local",
    address: str | None = None,
    workers: int = 1,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> QualityRun:
    """Predict the quality of segmentations without ground truth, as `acreg quality` does.

    Args:
        images: a CSV with the columns image, labels and optionally truth, such as that of `segment`.
        references: number of references for each image, the most similar ones.
        threshold: the smallest predicted Dice at which a segmentation is accepted.
        data, out, model, method, similarity, split, batch, threads, seed, engine, address, workers, progress, say: as
            in `segment`.

    Returns:
        The table `quality.csv` and the summary. `summary.json` and `quality.png` are beside the table.

    Raises:
        UsageError, AcregError: as for `segment`.
    """
    dataset, arguments = _shared(data, split, model, method, threads, seed, out, references, similarity, batch)
    labels = tuple(value for value in dataset.label_values if value)
    task = QualityTask(**arguments, labels=labels, threshold=threshold)
    with sole_writer(task.folder):
        _, tally = _run(task, images, engine, address, workers, progress, say)
        found = QualityRun(Path(out) / task.table, tally, threshold=threshold)
        found.lines = found.predicted.lines
        write_json(task.folder / "summary.json", found.predicted.summary)
        with atomic_path(task.folder / "quality.png") as temporary:
            temporary.write_bytes(to_png(found.figure()))
    return found


def _shared(
    data: PathLike,
    split: str,
    model: PathLike | None,
    method: str | None,
    threads: int,
    seed: int,
    out: PathLike,
    count: int,
    measure: Similarity,
    batch: int | None,
) -> tuple[Dataset, dict[str, Any]]:
    """The dataset, and the arguments that both tasks share."""
    check_one_method(model, method)
    place = dataset_folder(os.fspath(data)).absolute()
    dataset = Dataset.load(place)
    if batch is None:
        batch = 16 if dataset.read_image(dataset.records[0]).grid.rank == 2 else 1
    chosen = MethodChoice(None if model is None else os.fspath(model), method, threads, seed)
    names = {"data": place, "split": split, "method": chosen, "folder": Path(out).absolute()}
    return dataset, {**names, "count": count, "measure": measure, "at_once": batch}


def _run(
    task: SegmenterTask | SegmentTask | QualityTask,
    images: PathLike,
    engine: EngineName,
    address: str | None,
    workers: int,
    progress: Progress | None,
    say: Callable[[str], None] | None,
) -> tuple[list[Item], Tally]:
    """Process the images, one batch of pairs at a time."""
    items = find_items(Path(images).absolute(), leave_out=task.folder)
    group = 1 if isinstance(task, SegmenterTask) else max(1, task.at_once // task.count)
    return items, process(task, items, task.folder, group, engine, address, workers, progress, say)


def process(
    task: Task,
    items: Sequence[AnyItem],
    folder: Path,
    group: int,
    engine: EngineName,
    address: str | None,
    workers: int,
    progress: Progress | None,
    say: Callable[[str], None] | None,
    unit: str = "images",
) -> Tally:
    """Process all items with the named engine, see `acreg.applications.batch.run.run`; `unit` is what they are.

    Raises:
        UsageError: the address of a cluster without the engine ray, or as for `run`.
        AcregError: all items failed, or as for `run`.
    """
    say = say or (lambda text: None)
    if engine == "local" and address is not None:
        raise UsageError(
            f"{argument('address')} is that of a Ray cluster. Received: {argument('engine', engine)}. Add "
            f"{argument('engine', 'ray')}, or leave it."
        )
    say(f"{len(items)} {unit}")
    chosen: Engine = local
    if engine == "ray":
        from acreg.applications.batch.ray_engine import RayEngine

        chosen = RayEngine(address, workers)
    tally = run_items(task, items, folder, chosen, group, progress or notebook_bars())
    if tally.before:
        say(f"{tally.before} of {tally.images} {unit} were done before.")
    if tally.failed:
        say(f"{tally.failed} of {tally.images} {unit} failed; the reasons: {folder / FAILURES}")
    if tally.failed and not tally.done + tally.before:
        raise AcregError(
            f"At least one of the {unit} must succeed. Received: {tally.images} {unit}, all of which failed, the first "
            f"as follows. {tally.reason} See {folder / FAILURES}, and correct the {unit}, the dataset or the model."
        )
    return tally
