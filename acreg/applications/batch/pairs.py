"""Registration of the pairs in a list, in one process or with Ray: `acreg.register_pairs`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acreg.applications.batch.commands import BatchRun, EngineName, PathLike, process
from acreg.applications.batch.items import OUT, PAIR_FILES, PairItem, find_pairs
from acreg.applications.batch.run import FAILURES, RUN, input_cells
from acreg.applications.batch.tasks import MethodChoice
from acreg.errors import AcregError, DoubtfulResult, quiet
from acreg.geometry.transform import Border
from acreg.io import sole_writer
from acreg.metrics import mean_over_labels
from acreg.names import folded, some
from acreg.optimisation.names import DEFAULT
from acreg.progress import Progress
from acreg.registration import Registration, register
from acreg.registration.background import border_and_fill
from acreg.registration.guiding import check_guided
from acreg.registration.methods import check_one_method
from acreg.registration.pair import SAVED
from acreg.registration.saving import result_name

REGISTRATIONS = "registrations.csv"


def register_pairs(
    pairs: PathLike,
    out: PathLike,
    *,
    model: PathLike | None = None,
    method: str | None = None,
    refine: int = 0,
    guide_labels: bool = False,
    both_ways: bool | None = None,
    border: Border | None = None,
    fill: float | None = None,
    view: bool = False,
    slicer: bool = False,
    threads: int = 1,
    seed: int = 0,
    engine: EngineName = "local",
    address: str | None = None,
    workers: int = 1,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> BatchRun:
    """Register each pair of a list, as `acreg register --pairs` does.

    Args:
        pairs: a CSV with the columns fixed and moving, see `acreg.applications.batch.items.find_pairs`.
        out: folder of the results; to continue a killed run, repeat the call. The results of each pair are in a folder
            of its name.
        model, method, refine, guide_labels, both_ways: as in `acreg.register`.
        border, fill: as in `Registration.save`.
        view: also write the interactive page of each pair, see `acreg.view`.
        slicer: also write a scene of each pair for 3D Slicer.
        threads, seed: threads of a classical method, and the random seed of the method.
        engine: "local" (this process) or "ray" (needs the extra `scale`). Each process makes one method, which keeps
            what it has compiled.
        address, workers: address of the Ray cluster, by default one on this machine, and number of its actors.
        progress: called with (text, done, total).
        say: called with messages.

    Returns:
        The table `registrations.csv`, with a row for each registered pair, and the tally. The pairs that failed are in
        `failures.csv`, each with the reason.

    Raises:
        UsageError: both `model` and `method` are given, there is no pair, the method takes no guides and the list has
            some, or `out` holds a run with other settings.
        AcregError: the list or the preset cannot be read, a pair has the name of a table, or all pairs failed.
    """
    if model is None and method is None:
        method = DEFAULT
    check_one_method(model, method, refine)
    items = find_pairs(Path(pairs).absolute())
    taken = [item.name for item in items if folded(item.name.split("/")[0]) in (REGISTRATIONS, FAILURES, RUN)]
    if taken:
        raise AcregError(
            f"The folders of pairs stand beside the tables of the run. Received: {pairs} with a pair named "
            f"{some(taken)}. Give it another name in the column {OUT}."
        )
    guides = {column for item in items for column in item.files} & {"fixed_mask", "moving_mask", "initial"}
    check_guided([*sorted(guides), *["guide_labels"] * guide_labels], model, method)
    chosen = MethodChoice(None if model is None else os.fspath(model), method, threads, seed, refine)
    task = PairTask(chosen, Path(out).absolute(), guide_labels, both_ways, border, fill, view, slicer)
    with sole_writer(task.folder):
        tally = process(task, items, task.folder, 1, engine, address, workers, progress, say, unit="pairs")
    found = BatchRun(Path(out) / task.table, tally, unit="pairs")
    verdicts = Counter(row["verdict"] for row in found.rows if row["verdict"])
    if verdicts:
        found.lines.append(f"Verdicts: {', '.join(f'{count} {verdict}' for verdict, count in verdicts.most_common())}")
    return found


@dataclass(frozen=True)
class PairTask:
    """Registration of pairs; see `acreg.applications.batch.run.Task`.

    Args:
        method: the registration method.
        folder: folder of the results.
        guide_labels, both_ways: see `acreg.register`.
        border, fill: see `Registration.save`.
        view, slicer: also write the interactive page, or the scene for 3D Slicer.
    """

    method: MethodChoice
    folder: Path
    guide_labels: bool = False
    both_ways: bool | None = None
    border: Border | None = None
    fill: float | None = None
    view: bool = False
    slicer: bool = False
    table: str = field(default=REGISTRATIONS, init=False)
    columns: tuple[str, ...] = field(
        default=(
            *(OUT, *PAIR_FILES, "seconds", "ncc_before", "ncc_after", "dice_before", "dice_after"),
            *("folded_percent", "sd_log_j", "verdict", "concerns"),
        ),
        init=False,
    )
    inputs: tuple[str, ...] = field(default=PAIR_FILES, init=False)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings that determine the results."""
        own = {"guide_labels": self.guide_labels, "both_ways": self.both_ways, "border": self.border, "fill": self.fill}
        return {**self.method.settings(), **own, **{name: True for name in self.further}}

    @property
    def further(self) -> list[str]:
        """What is saved besides `SAVED`."""
        return [*["view"] * self.view, *["slicer"] * self.slicer]

    def load(self) -> PairWorker:
        """The worker, with the method."""
        return PairWorker(self)


class PairWorker:
    """Registers pairs by one method; see `PairTask`."""

    def __init__(self, task: PairTask) -> None:
        self.task, self.method = task, task.method.load()

    def read(self, item: PairItem) -> None:
        """Read nothing: `acreg.register` reads the files of a pair."""

    def compute(self, items: Sequence[PairItem], contents: Sequence[None]) -> list[Registration]:
        """The registered pairs."""
        return [self._register(item) for item in items]

    def save(self, item: PairItem, result: Registration) -> list[str]:
        """Write the files of `acreg register` into the folder of the pair, and return the row."""
        task = self.task
        what = [*SAVED, *task.further]
        result.save(task.folder / item.name, what=what, border=task.border, fill=task.fill, overwrite=True)
        dice: list[float | None] = [None, None]
        if result.scores_after:
            dice = [mean_over_labels(scores)["dsc"] for scores in (result.scores_before, result.scores_after)]
        return [
            item.name,
            *input_cells(item, task.inputs),
            f"{result.seconds:.3f}",
            *(f"{value:.4f}" for value in (result.before.ncc, result.after.ncc)),
            *("" if value is None else f"{value:.4f}" for value in dice),
            *(f"{result.regularity[name]:.4f}" for name in ("folded_percent", "sd_log_j")),
            result.verdict or "",
            ";".join(concern.name for concern in result.concerns),
        ]

    def _register(self, item: PairItem) -> Registration:
        task, files = self.task, dict[str, Any](item.files)
        border_and_fill(task.border, task.fill, Path(result_name("warped", str(item.moving), 2)))
        with quiet(DoubtfulResult):  # the concerns are in the table and beside the results
            return register(**files, method=self.method, guide_labels=task.guide_labels, both_ways=task.both_ways)
