"""Evaluation of presets and other methods on pairs of a dataset: `acreg.evaluate`."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acreg._moved import warn_of_old_name
from acreg.data.manifest import Dataset, dataset_folder
from acreg.data.tables.pair_files import PAIRS_NAME, Pair
from acreg.errors import DoubtfulResult, UsageError, argument
from acreg.evaluation.method_result import MethodResult
from acreg.evaluation.pairs import choose_pairs, counted, labelled_pairs, true_transforms
from acreg.evaluation.run import evaluate as run
from acreg.evaluation.tables import order_methods, summary_table
from acreg.geometry.display import table_html
from acreg.geometry.transform import Border
from acreg.io import sole_writer
from acreg.names import some
from acreg.progress import Progress, notebook_bars
from acreg.registration import methods as registering
from acreg.registration.background import border_and_fill
from acreg.registration.methods import Method, Unregistered


@dataclass(eq=False, repr=False)
class Evaluation:
    """Methods measured on the same pairs. A notebook shows the table of means.

    Attributes:
        results: the results of the methods, the best first (`order_methods`).
        dataset: the dataset of the pairs.
        split: the split of the dataset.
        pairs: the subjects of the pairs, (fixed, moving).
        labelled: the number of pairs in which both images have labels.
        folder: the folder with `pairs.csv` and `summary.json` of each method, an argument of `acreg.compare`.
        doubtful: concerns about the results, one sentence for each method and concern.
        notes: failures, missing inverses and absent labels, one sentence each.
    """

    results: list[MethodResult]
    dataset: Dataset
    split: str
    pairs: list[Pair]
    labelled: int
    folder: Path
    doubtful: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        """Dataset, split and number of pairs, on one line."""
        some_labelled = "" if self.labelled == len(self.pairs) else f", {self.labelled} with labels"
        number = counted(len(self.pairs), self.results[0].request)
        return f"{self.dataset.name}, {self.split}, {number}{some_labelled}"

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Columns and rows of text, see `acreg.evaluation.tables.summary_table`."""
        return summary_table(self.results)

    def __repr__(self) -> str:
        return f"Evaluation({self.title}: {', '.join(result.name for result in self.results)})"

    def _repr_html_(self) -> str:
        columns, rows = summary_table(self.results, bold="{}".format)
        return table_html(rows, columns, f"{self.title}: mean (SD)")


def evaluate(
    data: str | os.PathLike[str] | Dataset,
    out: str | os.PathLike[str],
    *,
    model: Any = (),
    method: str | Method | Sequence[str | Method] = (),
    threads: int = 1,
    split: str = "test",
    pairs: int | str | os.PathLike[str] | None = None,
    seed: int = 0,
    refine: int = 0,
    affine_part: bool = False,
    save: str | Iterable[str] = (),
    unregistered: bool = True,
    border: Border | None = None,
    fill: float | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> Evaluation:
    """Register the same pairs with every method and measure the results, as `acreg evaluate` does.

    ::

        found = acreg.evaluate("jsrt", "results/jsrt", model="acregnet-jsrt", method=["sitk:affine", "ants:SyN"])
        acreg.compare("results/jsrt").save("results/jsrt")

    Args:
        data: a prepared dataset, its folder, or its name under ACREG_DATA.
        out: folder of the results; `acreg.evaluation.run.evaluate` describes its allowed contents, and how a run is
            continued.
        model: one or several of: the name or folder of a preset, "NAME=PRESET", a loaded model.
        method: one or several of: a method without a preset (see `acreg.registration.named_method`), "NAME=TOOL:KIND",
            an object with `name` and `register(*, fixed, moving) -> Transform`.
        threads: threads of the classical methods.
        split: "train", "validation" or "test".
        pairs: "2N" (twice the number of subjects, at most all), a number, "all" (the ordered pairs of different
            subjects), "within-groups" (in each group of the manifest, the first subject is fixed and each of the others
            moving, such as the visits of a patient), or a CSV file with columns fixed, moving and optionally transform.
            By default, the dataset's own pairs.csv if there is one, else "2N".
        seed: random seed for drawing pairs and of the methods.
        refine: maximum number of refinement steps of the models for each pair.
        affine_part: add a row for the affine part of each model that has one.
        save: the results to save for each pair: any of `acreg.registration.pair.SAVEABLE`, in a list or with commas.
        unregistered: add a row without registration; the methods "unregistered[align=extents]" and
            "unregistered[align=centres]" are further ones, see `acreg.geometry.unregistered`.
        border, fill: values of the saved images outside the moving image.
        overwrite: replace existing results.
        progress: called with (text, done, total).
        say: called with messages.

    Raises:
        UsageError: there is no method, two names are equal, the split has no subjects or fewer pairs than requested,
            `save` has an unknown word, or `refine` or `affine_part` is given without a model.
        AcregError: a preset or the data cannot be read, or `out` holds other results.

    Warns:
        DoubtfulResult: for each method and concern; see `Evaluation.doubtful`.
    """
    say = say or (lambda text: None)
    outside, out = border_and_fill(border, fill), Path(out)
    with sole_writer(out):
        dataset = data if isinstance(data, Dataset) else Dataset.load(dataset_folder(os.fspath(data)))
        records = dataset.used_split(split)
        subjects = [record.subject for record in records]
        own = dataset.folder / PAIRS_NAME
        which = str(pairs) if pairs is not None else str(own) if own.is_file() else "2N"
        chosen = choose_pairs(which, subjects, seed, [record.group for record in records])
        truths = true_transforms(which, subjects)
        methods = _methods(_listed(model), _listed(method), threads, seed, refine, affine_part, unregistered, say)
        labelled = labelled_pairs(dataset, chosen)
        known = f", {len(truths)} with a true transform" if truths else ""
        if labelled < len(chosen):
            known += f", {labelled or 'none'} with labels"
        say(
            f"{counted(len(chosen), which)}{f' of {own}' if which == str(own) else ''} of {dataset.name} ({split}, "
            f"{len(subjects)} subjects){known}, {len(methods)} methods"
        )
        words = save.split(",") if isinstance(save, str) else save
        results = run(
            methods,
            dataset,
            split,
            chosen,
            out,
            truths=truths,
            save=[word.strip() for word in words if word.strip()],
            settings={"pairs": which, "seed": seed, "refine": refine},
            border=outside[0],
            fill=outside[1],
            overwrite=overwrite,
            progress=progress or notebook_bars(),
            say=say,
        )
    found = Evaluation(order_methods(results), dataset, split, chosen, labelled, out)
    for result in results:
        _remark(result, found)
    for text in found.doubtful:
        warnings.warn(text, DoubtfulResult, stacklevel=2)
    return found


def _methods(
    models: Sequence[Any],
    classical: Sequence[str | Method],
    threads: int,
    seed: int,
    refine: int,
    affine_part: bool,
    unregistered: bool,
    say: Callable[[str], None],
) -> list[Method]:
    """The methods in the order of the requests; the row without registration is the last."""
    found: list[Method] = []
    laid: list[Method] = []
    for request in models:
        if isinstance(request, str) and request == Unregistered.name:
            name = Unregistered.name
            warn_of_old_name(argument("model", name), argument("method", name), stacklevel=4)
            unregistered = True
            continue
        name, sign, preset = request.partition("=") if isinstance(request, str) else ("", "", "")
        if sign and name and not Path(request).exists():
            learned = registering.preset_method(preset, name, refine, seed)
        else:
            learned = registering.preset_method(request, refine=refine, seed=seed)
        part = learned.affine_part() if affine_part and isinstance(learned, registering.PresetMethod) else None
        found += [learned] if part is None else [part, learned]
        if affine_part and part is None:
            say(f"{learned.name} has no affine part.")
    for asked in classical:
        if not isinstance(asked, str):
            found.append(asked)
            continue
        called = re.fullmatch(r"([^=\[\]]+)=(.+)", asked)  # an option's = comes after its bracket
        one = registering.named_method(called[2] if called else asked, threads, seed)
        if isinstance(one, Unregistered):
            if called:
                raise UsageError(
                    "Rows without registration keep their name, by which they are known as such. Received: "
                    f"{argument('method')} {asked}. Leave out {called[1]}=."
                )
            unregistered |= one.name == Unregistered.name
            laid += [] if one.name == Unregistered.name else [one]
        else:
            one.name = called[1] if called else one.name
            found.append(one)
    found += [*laid, *([Unregistered()] if unregistered else [])]
    if not found:
        raise UsageError(
            f"Something must be evaluated. Received: no {argument('model')} and no {argument('method')}. Give one of "
            "them."
        )
    idle = [argument(name) for name, given in (("refine", refine), ("affine_part", affine_part)) if given]
    if idle and all(isinstance(request, str) and request == Unregistered.name for request in models):
        raise UsageError(
            f"Models alone have this. Received: {' and '.join(idle)} without {argument('model')}. Leave it out."
        )
    return found


def _listed(requests: Any) -> list[Any]:
    """The requests as a list, without repeated names."""
    several = requests if isinstance(requests, (list, tuple)) else [requests]
    names = dict.fromkeys(one for one in several if isinstance(one, str))
    return [*names, *(one for one in several if not isinstance(one, str))]


def _remark(result: MethodResult, found: Evaluation) -> None:
    """Add the notes and concerns about the results of a method."""
    if result.failures:
        first = result.failures[0]
        found.notes.append(
            f"{result.name} failed on {len(result.failures)} pairs, first {first.fixed} <- {first.moving}: "
            f"{first.failure}"
        )
    if "no_inverse" in result.summary:
        lacking = result.summary["no_inverse"]
        found.notes.append(f"{result.name}: no inverse was written for {lacking['pairs']} pairs. {lacking['first']}")
    for name, concerned in result.concerned.items():
        first = concerned[0]
        found.doubtful.append(
            f"{result.name}: {name} in {len(concerned)} pairs, first {first.fixed} <- {first.moving}."
        )
    absent = [f"{result.label_names[label]} in {count}" for label, count in result.absent().items() if count]
    if absent:
        found.notes.append(
            f"{result.name}: absent in one of the maps, so with Dice 0 and no distances, or in both, so without "
            f"scores: {some(absent)} of {len(result.pairs)} pairs"
        )
