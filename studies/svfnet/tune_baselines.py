"""Options of the classical methods that SVF-Net is compared with, searched on pairs of the training set.

The paper's baseline, the LCC log-demons, has parameters "optimized in a trial and error approach on a subset of the
training set". That program is on no package index; `acreg:lcc-demons` implements its algorithm. greedy's stationary
velocities with local correlation are the nearest of the programs, and SimpleITK's demons the other two here. The images
are rigidly aligned already, so none has an affine stage.

Run as::

    python -m studies.svfnet.tune_baselines --data DATASET --split train --pairs 8 --seed 0 --out DIR

The highest mean Dice wins among the settings that fold little and never fail. ``DIR/settings.csv`` has a row a setting,
the best of each method first, and ``DIR/best.json`` the names of the best, for ``acreg evaluate --method NAME``. What
was finished is kept: the same command goes on after an interruption. ``acreg compare DIR`` reads all of it.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from acreg.baselines import Baseline
from acreg.baselines.options import Value, with_options
from acreg.data.manifest import Dataset, dataset_folder
from acreg.data.tables.pair_files import Pair
from acreg.errors import AcregError
from acreg.evaluation.method_result import MethodResult, statistics_of
from acreg.evaluation.pairs import choose_pairs
from acreg.evaluation.results import read_method, write_method
from acreg.evaluation.scoring import score_pair
from acreg.evaluation.tables import metrics_shown
from acreg.io.csv_tables import write_table
from acreg.io.documents import write_json
from acreg.names import safe_name
from acreg.registration.methods import Unregistered, named_method
from acreg.registration.optimised import Optimised

_DEMONS: dict[str, tuple[Value, ...]] = {
    "affine": (False,),
    "iterations": ((100, 50, 25), (200, 100, 50)),
    "smoothing": (0.7, 1.0, 1.5, 2.0),
}
GRIDS: Mapping[str, Mapping[str, tuple[Value, ...]]] = {
    "acreg:lcc-demons": {"linear": ("none",), "window": (2.0, 4.0), "smoothing": (0.7, 1.0, 1.5, 2.0)},
    "greedy:svf": {
        "affine": (False,),
        "radius": (2, 4),
        "update_smoothing": (1.7, 3.0),
        "smoothing": (0.5, 1.0, 2.0),
    },
    "sitk:diffeomorphic-demons": _DEMONS,
    "sitk:symmetric-demons": _DEMONS,
}
"""Of each method, the values of its options that are tried in all combinations."""
FOLDED_PERCENT = 0.1


def candidates(method: str) -> list[str]:
    """The names of a method's settings, see `GRIDS`."""
    grid = GRIDS[method]
    return [with_options(method, dict(zip(grid, values, strict=True))) for values in itertools.product(*grid.values())]


def measure(
    method: Baseline | Optimised | Unregistered, dataset: Dataset, split: str, pairs: Sequence[Pair], folder: Path
) -> MethodResult:
    """The scores of one setting on all pairs, written to `folder`; read from there if they are complete.

    Raises:
        AcregError: `folder` holds the scores of other pairs, or data that cannot be read.
    """
    if (folder / "summary.json").is_file():
        result = read_method(folder)
        if result.keys != list(pairs) or result.summary["settings"]["baseline"] != _plain(method.settings):
            raise AcregError(
                "All settings are tried on the same pairs, with the same seed and version of the program. "
                f"Received: {folder}, which holds results of others. Choose another --out."
            )
        return result
    names = {value: dataset.label_names[value] for value in dataset.label_values if value}
    about = {"name": dataset.name, "split": split, "unit": dataset.unit, "folder": str(dataset.folder.resolve())}
    settings = {"baseline": _plain(method.settings)}
    result = MethodResult(method.name, names, [], {"registers": True, "dataset": about, "settings": settings})
    for fixed, moving in pairs:
        records = dataset.record(fixed), dataset.record(moving)
        first, second = (dataset.read_labelled(record) for record in records)
        scores, _ = score_pair(method, (fixed, moving), fixed=first, moving=second, label_values=dataset.label_values)
        result.pairs.append(scores)
    write_method(result, folder)
    return result


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as JSON gives them back."""
    options = {name: list(v) if isinstance(v, tuple) else v for name, v in settings["options"].items()}
    return {name: value for name, value in settings.items() if name != "parameters"} | {"options": options}


def mean(result: MethodResult, metric: str) -> float:
    """Over pairs; NaN without any value."""
    found = statistics_of(result.values(metric))["mean"]
    return float("nan") if found is None else float(found)


def is_allowed(result: MethodResult, limit: float) -> bool:
    """No registration failed, and on average at most `limit` percent of the voxels are folded."""
    return not result.failures and mean(result, "folded_percent") <= limit


def rank(results: Sequence[MethodResult], limit: float) -> list[MethodResult]:
    """Those that are allowed first, by descending mean Dice; those without any value last."""

    def key(result: MethodResult) -> tuple[bool, float]:
        dice = mean(result, "dsc")
        return not is_allowed(result, limit), -dice if dice == dice else 1.0

    return sorted(results, key=key)


def search(
    methods: Sequence[str],
    dataset: Dataset,
    split: str,
    pairs: Sequence[Pair],
    out: Path,
    *,
    limit: float = FOLDED_PERCENT,
    threads: int = 1,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> dict[str, str | None]:
    """Try all settings of the methods and write `settings.csv`, `best.json` and a folder a setting.

    Args:
        methods: keys of `GRIDS`.
        dataset, split, pairs: what is registered.
        out: folder; results in it are gone on with.
        limit: the largest mean share of folded voxels of a setting that may win, in percent.
        threads, seed: for the methods.
        say: told each setting's mean Dice and folding.

    Returns:
        The name of each method's best setting; None where none is allowed (see `is_allowed`).

    Raises:
        AcregError: a method's package is not installed; as `measure`.
    """
    made = {method: [named_method(name, threads, seed) for name in candidates(method)] for method in methods}
    best: dict[str, str | None] = {}
    rows = []
    for method in methods:
        results = []
        for one in made[method]:
            results.append(measure(one, dataset, split, pairs, out / safe_name(one.name)))
            dice, folded = (mean(results[-1], metric) for metric in ("dsc", "folded_percent"))
            say(f"{one.name}: Dice {dice:.4f}, {folded:.3f}% folded, {len(results[-1].failures)} failed")
        ranked = rank(results, limit)
        best[method] = ranked[0].name if is_allowed(ranked[0], limit) else None
        metrics = metrics_shown(results)
        for place, result in enumerate(ranked, start=1):
            values = {metric: mean(result, metric) for metric in metrics}
            row = {"method": method, "rank": place, "name": result.name, "allowed": is_allowed(result, limit)}
            rows.append({**row, "failed": len(result.failures), **values})
    columns = list(dict.fromkeys(column for row in rows for column in row))
    table = [[row.get(column, float("nan")) for column in columns] for row in rows]
    write_table(out / "settings.csv", [columns, *table])
    about = {"dataset": dataset.name, "split": split, "pairs": [list(pair) for pair in pairs], "folded_percent": limit}
    write_json(out / "best.json", {"best": best, **about, "seed": seed})
    return best


def main(arguments: Sequence[str] | None = None) -> None:
    """Search, and print the best settings."""
    parser = argparse.ArgumentParser(prog="tune_baselines", description="Options of the baselines of SVF-Net.")
    parser.add_argument("--data", required=True, help="prepared dataset: folder, or name under ACREG_DATA")
    parser.add_argument("--split", default="train", help="whose pairs are registered")
    parser.add_argument("--pairs", default="8", help="as of acreg evaluate: a number, 2N, or a CSV file")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of pairs and of the methods")
    parser.add_argument("--out", required=True, type=Path, help="folder of the results")
    parser.add_argument("--methods", nargs="+", choices=list(GRIDS), default=list(GRIDS), help="which to tune")
    parser.add_argument("--folded", type=float, default=FOLDED_PERCENT, help="percent of voxels that may fold")
    parser.add_argument("--threads", type=int, default=1, help="of the methods")
    given = parser.parse_args(arguments)
    dataset = Dataset.load(dataset_folder(given.data))
    pairs = choose_pairs(given.pairs, [record.subject for record in dataset.split(given.split)], given.seed)
    best = search(
        given.methods,
        dataset,
        given.split,
        pairs,
        given.out,
        limit=given.folded,
        threads=given.threads,
        seed=given.seed,
        say=lambda text: print(text, flush=True),
    )
    for method, name in best.items():
        print(f"{method}: " + (f"--method '{name}'" if name else f"no setting folds at most {given.folded}%"))


if __name__ == "__main__":
    main()
