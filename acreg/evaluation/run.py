"""Evaluation of registration methods on pairs of images, with or without labels."""

from __future__ import annotations

import hashlib
import heapq
import io
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import acreg
from acreg.baselines import Baseline
from acreg.data.manifest import Dataset
from acreg.data.sampling.pairs import fixed_pairs
from acreg.data.subjects import Subjects
from acreg.data.tables.pair_files import Pair, read_pairs, write_pairs
from acreg.errors import AcregError, UsageError
from acreg.evaluation.completeness import METHODS_NAME, has_results, identity, listed_methods
from acreg.evaluation.results import MethodResult, read_method, worst_key, write_method
from acreg.evaluation.scoring import score_pair
from acreg.geometry.transform import Border
from acreg.io import all_or_none, check_free, writes_into
from acreg.io.csv_tables import read_dicts
from acreg.io.documents import read_text, write_json
from acreg.io.transforms import read_transform
from acreg.names import folded, pair_folder, safe_name
from acreg.progress import Progress
from acreg.registration.methods import Method, Unregistered
from acreg.registration.saving import RESULT_NAMES, SAVED, save_registration
from acreg.versions import package_versions, program_versions

KEPT_WORST = 6
"""Number of worst pairs whose displacements are always saved, for the pictures in the report."""


def choose_pairs(request: str, subjects: Sequence[str], seed: int) -> list[Pair]:
    """The pairs (fixed, moving) that `request` asks for.

    Args:
        request: a number; `N`, `2N` and so on, a multiple of the number of subjects, or all pairs if there are fewer;
            or a file (see `acreg.data.tables.pair_files`).
        subjects: names in the split.
        seed: for drawing the pairs.

    Raises:
        UsageError: the request is none of these, or asks for more pairs than there are.
        AcregError: as `read_pairs`.
    """
    times = re.fullmatch(r"([0-9]{0,9})N", request)
    if times or re.fullmatch(r"[0-9]{1,9}", request):
        most = len(subjects) * (len(subjects) - 1)
        count = min(int(times[1] or 1) * len(subjects), most) if times else int(request)
        if not most:
            raise UsageError(
                f"A pair is of two subjects. Received: a split of {len(subjects)}. Choose another one, or add subjects."
            )
        if not 0 < count <= most:
            raise UsageError(
                "The number of pairs is at least 1 and at most that of ordered pairs of different subjects. "
                f"Received: --pairs {request}, that is {count}, and {most} possible. Choose another number."
            )
        return fixed_pairs(subjects, count, seed)
    path = Path(request)
    if not path.is_file():
        raise UsageError(
            "Pairs are a number, a multiple of the number of subjects such as 2N, or a CSV file with columns "
            f"fixed,moving. Received: {request[:80]!r}, which is no number and no file. Correct --pairs."
        )
    return list(read_pairs(path, subjects))


def true_transforms(request: str, subjects: Sequence[str]) -> dict[Pair, Path]:
    """The files of the true transforms of the requested pairs; empty if `request` is not a file or names none.

    Raises:
        AcregError: as `choose_pairs`.
    """
    if re.fullmatch(r"[0-9]{1,9}|[0-9]{0,9}N", request):
        return {}
    return {pair: file for pair, file in read_pairs(request, subjects).items() if file is not None}


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
        save: any of `SAVED` (see `save_registration`): written to `out/<method>/<fixed>__<moving>/`.
        settings: recorded in `summary.json` under "settings" (the seed, the request for pairs); those of a
            classical method are recorded under "baseline".
        border, fill: values of saved images outside the moving image. Scores are computed with edge values there.
        overwrite: replace existing results.
        progress: called with (text, done, total).
        say: called with messages.

    Raises:
        UsageError: unknown `save`, or names that do not differ.
        AcregError: there are results with other settings, another process writes into the folder, or data or a true
            transform cannot be read.
    """
    unknown = sorted(set(save) - set(SAVED))
    if unknown:
        raise UsageError(f"What can be saved is {', '.join(SAVED)}. Received: {', '.join(unknown)}. Correct --save.")
    folders = [out / safe_name(method.name) for method in methods]
    if len({folded(str(folder)) for folder in folders}) < len(folders):
        names = ", ".join(method.name for method in methods)
        raise UsageError(f"Methods need different names. Received: {names}. Name them, as in --model NAME=PRESET.")
    settings = {**(settings or {}), **({"border": border, "fill": fill} if "images" in save else {})}
    origins = [_origin(method, dataset, split, pairs, save, settings) for method in methods]
    kept = [
        folder
        for method, folder, origin in zip(methods, folders, origins)
        if not overwrite and _is_known(method) and has_results(folder, identity(origin))
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
        label_names = _foreground(dataset) if labelled else {}
        result, started = MethodResult(method.name, label_names, []), datetime.now(timezone.utc)
        worst: list[tuple[float, float, int, Any]] = []
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
                registration.warped_labels = None
                first, value = worst_key(scores)
                item = (-first, -value, done, (target, registration))
                (heapq.heappush if len(worst) < KEPT_WORST else heapq.heappushpop)(worst, item)
        for *_, done, (target, registration) in worst:
            fixed_image, moving_image = (subjects.get(name)[0] for name in pairs[done])
            save_registration(target, registration, fixed=fixed_image, moving=moving_image, what=["displacement"])
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


def _origin(
    method: Method, dataset: Dataset, split: str, pairs: Sequence[Pair], save: Collection[str], settings: dict[str, Any]
) -> dict[str, Any]:
    """All that determines the results of a method, as recorded in `summary.json`."""
    files = [dataset.folder / name for name in ("manifest.csv", "dataset.json")]
    data = b"".join(path.read_bytes() for path in files if path.is_file())
    return {
        "method": method.name,
        "registers": not isinstance(method, Unregistered),
        "preset": str(getattr(method, "preset", "")),
        "dataset": _describe(dataset, split),
        "settings": {
            **settings,
            **({"baseline": method.settings} if isinstance(method, Baseline) else {}),
            "preset_sha256": getattr(method, "sha256", ""),
            "data_sha256": hashlib.sha256(data).hexdigest(),
            "pairs_sha256": _digest(pairs),
            "saved": sorted(save),
            "acreg": acreg.__version__,
        },
    }


def _is_known(method: Method) -> bool:
    """Whether name and settings determine the results, which is not the case for a caller's own object."""
    return isinstance(method, (Baseline, Unregistered)) or hasattr(method, "sha256")


def labelled_pairs(dataset: Dataset, pairs: Sequence[Pair]) -> int:
    """The number of pairs in which both images have labels; 0 if the dataset has no labels except the background."""
    has = {record.subject: record.labels is not None for record in dataset.records}
    return (
        sum(has.get(fixed, False) and has.get(moving, False) for fixed, moving in pairs) if _foreground(dataset) else 0
    )


def _warm_up(method: Method, subjects: Subjects, pair: Pair) -> None:
    """Register once without timing, to exclude compilation and first-use costs; a failure recurs in the timed call."""
    fixed, moving = (subjects.get(name)[0] for name in pair)
    try:
        method.register(fixed=fixed, moving=moving)
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
                f"lists {len(before)} others. Choose another --out, give --pairs {used}, or --overwrite."
            )


def _earlier(folder: Path) -> Iterator[Path]:
    """The files of an earlier evaluation, to be removed: a picture of an old field beside new scores would mislead."""
    yield from (folder / name for name in ("summary.json", "pairs.csv"))
    for name in RESULT_NAMES:
        yield from folder.glob(f"*__*/{name}")


def _digest(pairs: Sequence[Pair]) -> str:
    return hashlib.sha256("\n".join(f"{fixed},{moving}" for fixed, moving in pairs).encode()).hexdigest()


def _foreground(dataset: Dataset) -> dict[int, str]:
    return {value: dataset.label_names[value] for value in dataset.label_values if value != 0}


def _describe(dataset: Dataset, split: str) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "folder": str(dataset.folder.resolve()),
        "split": split,
        "unit": dataset.unit,
        "spacing": None if dataset.spacing is None else list(dataset.spacing),
        "licence": dataset.licence,
        "labels": {str(value): name for value, name in _foreground(dataset).items()},
    }
