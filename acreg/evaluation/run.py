"""Evaluation of registration methods on pairs of images, with or without labels."""

from __future__ import annotations

import heapq
import io
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from acreg._moved import forward
from acreg.baselines import Baseline
from acreg.data.manifest import Dataset
from acreg.data.subjects import Subjects
from acreg.data.tables.pair_files import Pair, write_pairs
from acreg.errors import AcregError, UsageError, argument
from acreg.evaluation.completeness import METHODS_NAME, has_results, identity, listed_methods
from acreg.evaluation.method_result import MethodResult, best_key, worst_key
from acreg.evaluation.origin import is_known, origin_of
from acreg.evaluation.pairs import foreground, labelled_pairs
from acreg.evaluation.results import read_method, write_method
from acreg.evaluation.scoring import score_pair
from acreg.geometry.transform import Border
from acreg.io import all_or_none, check_free, write_displacement, writes_into
from acreg.io.csv_tables import read_dicts
from acreg.io.documents import read_text, write_json
from acreg.io.transforms import read_transform
from acreg.names import folded, pair_folder, safe_name
from acreg.progress import Progress
from acreg.registration.methods import Method, Unregistered
from acreg.registration.saving import RESULT_NAMES, check_saved, save_registration
from acreg.versions import package_versions, program_versions

__getattr__ = forward(__name__, "acreg.evaluation.pairs")

KEPT_WORST, KEPT_BEST = 6, 1
"""Numbers of worst and of best pairs whose displacements are always saved, for the pictures in the report."""


@writes_into("out")
def evaluate(
    methods: Sequence[Method],
    dataset: Dataset,
    split: str,
    pairs: Sequence[Pair],
    out: Path,
    *,
    truths: Mapping[Pair, Path] | None = None,
    save: Collection[str] = (),
    settings: dict[str, Any] | None = None,
    border: Border = "constant",
    fill: float = 0.0,
    overwrite: bool = False,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> list[MethodResult]:
    """Register all pairs with all methods, measure, and write `out/<method>/` (see `acreg.evaluation.results`).

    Labels are compared on the native grid of the fixed image, in the unit of the dataset. If an image of a pair has no
    labels, only metrics that need no labels are measured, and `summary.json` gives the number of pairs with labels. If
    a registration raises an error, it is recorded with its reason and the evaluation continues; a label that one of the
    maps lacks is also recorded. Each model registers the first pair once before timing begins.

    The files of a method appear all together when it is complete. The same call continues an interrupted evaluation: it
    keeps methods whose results were made by the same version of acreg with the same weights, dataset,
    pairs and settings, and runs the others from their first pair. The results of a caller's own method, whose settings
    are not known, are not kept but refused, like other results. `evaluation.json` lists all methods, complete or not.

    Args:
        methods: each with `name` and `register(fixed, moving) -> Transform`; names must differ.
        dataset: the dataset with the subjects.
        split: for the record.
        pairs: (fixed, moving) subject names, the same for every method.
        out: folder; a folder with results on other pairs is refused.
        truths: files of the true transforms from fixed to moving, for the pairs where it is known; see `score_pair`.
        save: any of `SAVEABLE` (see `save_registration`): written to `out/<method>/<fixed>__<moving>/`.
        settings: recorded in `summary.json` under "settings" (the seed, the request for pairs); those of a
            classical method or of an optimisation are recorded under "baseline".
        border, fill: values of saved images outside the moving image. Scores are computed with edge values there.
        overwrite: replace existing results.
        progress: called with (text, done, total).
        say: called with messages.

    Raises:
        UsageError: unknown `save`, or names that do not differ.
        AcregError: there are results with other settings, another process writes into the folder, or data or a true
            transform cannot be read.
    """
    check_saved(save)
    folders = [out / safe_name(method.name) for method in methods]
    if len({folded(str(folder)) for folder in folders}) < len(folders):
        names = ", ".join(method.name for method in methods)
        raise UsageError(
            f"Methods need different names. Received: {names}. Name them, as in {argument('model', 'NAME=PRESET')}."
        )
    settings = {**(settings or {}), **({"border": border, "fill": fill} if "images" in save else {})}
    origins = [origin_of(method, dataset, split, pairs, save, settings, truths or {}) for method in methods]
    kept = [
        folder
        for method, folder, origin in zip(methods, folders, origins)
        if not overwrite and is_known(method) and has_results(folder, identity(origin))
    ]
    _refuse_other_results([f for f in folders if f not in kept], methods, out, pairs, overwrite)
    subjects, truths = Subjects(dataset), truths or {}
    listed = {folder.name: identity(origin) for folder, origin in zip(folders, origins)}
    write_json(out / METHODS_NAME, {"methods": {**listed_methods(out), **listed}})
    write_pairs(out / "pairs_used.csv", {pair: truths.get(pair) for pair in pairs})
    results: list[MethodResult] = []
    for method, folder, origin in zip(methods, folders, origins):
        if folder in kept:
            results.append(read_method(folder))
            if say:
                say(f"{method.name}: complete before, kept")
            continue

        def show(text: str, done: int) -> None:
            if progress:
                progress(f"Evaluating: {text}", len(results) * len(pairs) + done, len(methods) * len(pairs))

        results.append(_measure(method, origin, folder, dataset, subjects, pairs, truths, save, border, fill, show))
    if progress:
        progress("Evaluating", len(methods) * len(pairs), len(methods) * len(pairs))
    return results


def _measure(
    method: Method,
    origin: dict[str, Any],
    final: Path,
    dataset: Dataset,
    subjects: Subjects,
    pairs: Sequence[Pair],
    truths: Mapping[Pair, Path],
    save: Collection[str],
    border: Border,
    fill: float,
    progress: Callable[[str, int], None],
) -> MethodResult:
    """Register and score all pairs with a method, and write its folder `final`; see `evaluate`."""
    labelled = labelled_pairs(dataset, pairs)
    with all_or_none(final.parent, replaced=_earlier(final)) as staged:
        folder = staged / final.name
        label_names = foreground(dataset) if labelled else {}
        result, started = MethodResult(method.name, label_names, []), datetime.now(timezone.utc)
        kept: list[list[tuple[float, float, int, Any]]] = [[], []]
        no_inverse: list[str] = []
        if not isinstance(method, Baseline):  # nothing is compiled in them, and a registration may take minutes
            _warm_up(method, subjects, pairs[0])
        for done, (fixed, moving) in enumerate(pairs):
            progress(method.name, done)
            truth = None
            if (fixed, moving) in truths:
                grids = subjects.get(fixed)[0].grid, subjects.get(moving)[0].grid
                truth = read_transform(truths[fixed, moving], *grids)
            scores, registration = score_pair(
                method,
                (fixed, moving),
                fixed=subjects.get(fixed),
                moving=subjects.get(moving),
                label_values=dataset.label_values,
                truth=truth,
            )
            result.pairs.append(scores)
            if registration is None:
                continue
            target = folder / pair_folder(fixed, moving)
            if save:
                (fixed_image, fixed_labels), (moving_image, moving_labels) = subjects.get(fixed), subjects.get(moving)
                save_registration(
                    target,
                    registration,
                    fixed=fixed_image,
                    moving=moving_image,
                    moving_labels=moving_labels,
                    fixed_labels=fixed_labels,
                    what=save,
                    border=border,
                    fill=fill,
                )
                no_inverse += [registration.no_inverse] if registration.no_inverse else []
            if not isinstance(method, Unregistered) and "displacement" not in save:
                for heap, (first, value), count in zip(
                    kept, (worst_key(scores), best_key(scores)), (KEPT_WORST, KEPT_BEST), strict=True
                ):
                    item = (-first, -value, done, (target, registration.sampled))
                    (heapq.heappush if len(heap) < count else heapq.heappushpop)(heap, item)
        for target, transform in {item[-1][0]: item[-1][1] for heap in kept for item in heap}.items():
            target.mkdir(parents=True, exist_ok=True)
            write_displacement(transform.displacement, transform.fixed, target / "displacement.nii.gz")
        result.summary = {
            **origin,
            "labelled_pairs": labelled,
            **({"no_inverse": {"pairs": len(no_inverse), "first": no_inverse[0]}} if no_inverse else {}),
            "environment": {**program_versions(), **package_versions()},
            "started": started.isoformat(timespec="seconds"),
        }
        write_method(result, folder)
    result.folder = final
    return result


def _warm_up(method: Method, subjects: Subjects, pair: Pair) -> None:
    """Register once without timing, to exclude compilation and first-use costs; a failure recurs in the timed call."""
    (fixed, labels), (moving, _) = (subjects.get(name) for name in pair)
    mask = {"fixed_mask": labels} if getattr(method, "takes_mask", False) else {}
    try:
        method.register(fixed=fixed, moving=moving, **mask)
    except Exception:
        return


def _refuse_other_results(
    folders: Sequence[Path], methods: Sequence[Method], out: Path, pairs: Sequence[Pair], overwrite: bool
) -> None:
    if overwrite:
        return
    registering = {out / safe_name(method.name) for method in methods if not isinstance(method, Unregistered)}
    for folder in registering.intersection(folders):
        check_free(folder, ["summary.json"], holds="some of other weights, data, pairs or settings, or versions")
    used = out / "pairs_used.csv"
    if used.is_file():
        rows = read_dicts(io.StringIO(read_text(used, "table of pairs"), newline=""))
        before = [(row.get("fixed"), row.get("moving")) for row in rows]
        if before != list(pairs):
            raise AcregError(
                f"An evaluation folder holds methods that saw the same pairs. Received: {out}, whose pairs_used.csv "
                f"lists {len(before)} others. Choose another {argument('out')}, give {argument('pairs', used)}, or "
                f"{argument('overwrite', True)}."
            )


def _earlier(folder: Path) -> Iterator[Path]:
    """The files of an earlier evaluation, to be removed: a picture of an old field beside new scores would mislead."""
    yield from (folder / name for name in ("summary.json", "pairs.csv"))
    for name in RESULT_NAMES:
        yield from folder.glob(f"*__*/{name}")
