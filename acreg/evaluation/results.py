"""The result files of an evaluation: `pairs.csv` and `summary.json`, one folder per method.

`pairs.csv` has one row per pair and label; values of the pair (folding, seconds, failure) are repeated in its rows. A
pair without labels has one row; if no pair has labels, there are no label columns.
Numbers are written in full precision, missing ones as `nan`. `summary.json` has means over pairs, counts, failures and
settings.
"""

from __future__ import annotations

import csv
import fnmatch
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from acreg._moved import forward
from acreg.errors import AcregError, UsageError
from acreg.evaluation.completeness import check_complete
from acreg.evaluation.method_result import (
    FIELD_VALUES,
    NAN,
    OPTIONAL_METRICS,
    PAIR_VALUES,
    SIGNS,
    MethodResult,
    PairScores,
    measured,
    summarise,
)
from acreg.io.csv_tables import read_dicts, write_table
from acreg.io.documents import read_json, read_text, write_json
from acreg.metrics import MAP_METRICS
from acreg.registration.methods import Unregistered

__getattr__ = forward(__name__, "acreg.evaluation.method_result")


def write_method(result: MethodResult, folder: Path) -> None:
    """Write `pairs.csv`, then `summary.json` (the numbers of `summarise` and the settings in `result.summary`)."""
    metrics = measured([result])
    label_columns = ["label", "label_name"] if result.label_names else []
    rows: list[list[object]] = [
        ["fixed", "moving", *label_columns, *metrics, *PAIR_VALUES, *SIGNS, "verdict", "concerns", "failure"]
    ]
    for pair in result.pairs:
        named: list[tuple[Any, str]] = list(result.label_names.items()) if pair.labels or pair.failure else []
        for label, name in named or [("", "")]:
            scores = pair.labels.get(label, {})
            rows.append(
                [pair.fixed, pair.moving, *([label, name] if label_columns else [])]
                + [repr(float(scores.get(m, NAN))) for m in metrics]
                + [repr(pair.value(v)) for v in (*PAIR_VALUES, *SIGNS)]
                + [pair.verdict, " ".join(pair.concerns), pair.failure]
            )
    write_table(folder / "pairs.csv", rows)
    write_json(folder / "summary.json", {**summarise(result), **result.summary})
    result.folder = folder


def read_method(folder: Path) -> MethodResult:
    """Read the folder of a method; metrics that older versions did not measure, or measured otherwise, are NaN.

    Results without "measures" in their summary (see `MEASURES`) have the centroid error, which they called TRE, and the
    images with aligned extents, which they called unregistered, under their present names.

    Raises:
        AcregError: a file is missing, truncated, or lacks a column.
    """
    try:
        summary = read_json(folder / "summary.json", "summary")
        rows = read_dicts(io.StringIO(read_text(folder / "pairs.csv", "table of pairs"), newline=""))
        older = "measures" not in summary
        pairs: dict[tuple[str, str], PairScores] = {}
        names: dict[int, str] = {}
        if rows and summary.get("per_label") and "label" not in rows[0]:
            raise KeyError("label")
        for row in rows:
            key = row["fixed"], row["moving"]
            pair = pairs.setdefault(key, PairScores(*key, failure=row.get("failure") or ""))
            pair.concerns = tuple((row.get("concerns") or "").split())
            pair.verdict = row.get("verdict") or ""
            for value in SIGNS:
                number = float(row.get(value, NAN))
                setattr(pair, value, number if math.isfinite(number) else None)
            for value in PAIR_VALUES:
                setattr(pair, value, float(row[value] if value in FIELD_VALUES else row.get(value, NAN)))
            if not row.get("label"):
                continue
            label = int(row["label"])
            names[label] = row["label_name"]
            if older and "tre" in row:
                row["centroid_error"] = row.pop("tre")
            scores = {m: float(row[m] if m in MAP_METRICS else row.get(m, NAN)) for m in (*MAP_METRICS, "tre")}
            scores |= {m: float(row[m]) for m in OPTIONAL_METRICS if m in row}
            if not pair.failure:
                pair.labels[label] = scores
        if not rows:
            raise ValueError("no rows")
        if any(set(pair.labels) != set(names) for pair in pairs.values() if pair.labels):
            raise ValueError("a pair lacks a label")
        if any(_is_uncounted(scores) for pair in pairs.values() for scores in pair.labels.values()):
            raise ValueError("an older version left lost labels out of the mean Dice, where they count as 0")
        name = str(summary["method"])
        if older and name == Unregistered.name:
            name = Unregistered("extents").name
        return MethodResult(name, names, list(pairs.values()), summary, folder)
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        what = f"no column or key {error}" if isinstance(error, KeyError) else str(error)
        raise AcregError(
            "A result folder holds the summary.json and the pairs.csv that `acreg evaluate` wrote. "
            f"Received: {folder} ({what}). Run the evaluation again, with --overwrite."
        ) from error


def _is_uncounted(scores: dict[str, float]) -> bool:
    """Whether a label of the fixed map has no Dice, as in older versions, which did not count a lost label."""
    of_fixed = (scores.get(metric, NAN) for metric in ("lcc", "label_sd_log_j", "tre_true"))
    return not math.isfinite(scores["dsc"]) and any(map(math.isfinite, of_fixed))


def load_results(folders: Sequence[Path]) -> list[MethodResult]:
    """Read folders of methods, or of evaluations with several methods; equal names are distinguished by their folder.

    Raises:
        AcregError: a folder has no results, or lacks results of a method of its evaluation.
    """
    found: list[Path] = []
    for folder in folders:
        if (folder / "summary.json").is_file() or (folder / "pairs.csv").is_file():
            inside = [folder]
        else:
            check_complete(folder)
            inside = sorted(path.parent for path in folder.glob("*/summary.json"))
        if not inside:
            raise AcregError(
                "Results are read from a method's folder or from an evaluation folder that holds several. "
                f"Received: {folder}, in which there is no summary.json. Name what `acreg evaluate --out` wrote."
            )
        found += [path for path in inside if path.resolve() not in {p.resolve() for p in found}]
    results: list[MethodResult] = []
    for folder in found:
        result = read_method(folder)
        # Every evaluation has its own unregistered row: one is enough for the same pairs of the same data.
        if not any(result.is_baseline and other.is_baseline and _same_scores(result, other) for other in results):
            results.append(result)
    found = [result.folder or Path() for result in results]
    names = [result.name for result in results]
    for result, folder in zip(results, found):
        if names.count(result.name) > 1:
            result.name = f"{folder.resolve().parent.name}/{result.name}"
    if len({result.name for result in results}) < len(results):
        for result, folder in zip(results, found):
            result.name = str(folder)
    return results


def _same_scores(a: MethodResult, b: MethodResult) -> bool:
    return a.name == b.name and a.label_names == b.label_names and sorted(a.keys) == sorted(b.keys)


def check_same_pairs(results: Sequence[MethodResult]) -> None:
    """Check that all results have the same dataset, unit, labels and pairs, so that they can be compared.

    Raises:
        AcregError: names the first difference.
    """
    first = results[0]
    for other in results[1:]:
        for what in ("name", "split", "unit", "spacing"):
            a, b = (r.summary.get("dataset", {}).get(what) for r in (first, other))
            if a != b:
                _refuse(first, other, f"the dataset's {what} is {a!r} in one and {b!r} in the other")
        if first.label_names != other.label_names:
            _refuse(first, other, f"the labels are {first.label_names} in one and {other.label_names} in the other")
        mine, theirs = set(first.keys), set(other.keys)
        if mine != theirs:
            only = [f"{len(mine)} pairs against {len(theirs)}"]
            for result, extra in ((first, mine - theirs), (other, theirs - mine)):
                if extra:
                    shown = ", ".join(f"{fixed} <- {moving}" for fixed, moving in sorted(extra)[:3])
                    more = f" and {len(extra) - 3} more" if len(extra) > 3 else ""
                    only.append(f"only in {result.name}: {shown}{more}")
            _refuse(first, other, "; ".join(only))
        order = {key: index for index, key in enumerate(first.keys)}
        other.pairs.sort(key=lambda pair: order[(pair.fixed, pair.moving)])


def keep_pairs(results: Sequence[MethodResult], fixed: str) -> None:
    """Keep only the pairs whose fixed subject matches a pattern with `*`, `?` and `[...]`.

    Raises:
        UsageError: no pair is left.
    """
    names = sorted({name for name, _ in results[0].keys})
    if not any(fnmatch.fnmatchcase(name, fixed) for name in names):
        raise UsageError(
            f"The pairs that are compared are those whose fixed subject's name is like the pattern. Received: {fixed}, "
            f"which none of the {len(names)} is, such as {', '.join(names[:3])}. Correct the pattern."
        )
    for result in results:
        result.pairs = [pair for pair in result.pairs if fnmatch.fnmatchcase(pair.fixed, fixed)]


def _refuse(first: MethodResult, other: MethodResult, difference: str) -> None:
    raise AcregError(
        "Methods are compared on the same pairs of the same data. "
        f"Received: {first.name} and {other.name}: {difference}. "
        "Evaluate them together, or give `acreg evaluate --pairs` the pairs_used.csv of the other evaluation."
    )
