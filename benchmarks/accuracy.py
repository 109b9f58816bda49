"""The accuracy of presets, of registration by predicted anatomy and of classical methods: writes docs/accuracy.md.

Run as ``python -m benchmarks.accuracy --out RESULTS --page docs/accuracy.md`` with the extra baselines; the variable
ACREG_DATA names the folder of the prepared datasets (docs/how-to/data.md; those of heads are described in
docs/models/segmenter.md). A method
that is complete is kept, so that an interrupted run is continued.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import acreg
from acreg.data.manifest import Dataset, dataset_folder
from acreg.data.subjects import Subjects
from acreg.errors import AcregError
from acreg.evaluation.method_result import FIELD_VALUES, PairScores
from acreg.evaluation.results import load_results
from acreg.io.documents import read_json, write_json
from acreg.metrics import label_metrics, mean_over_labels
from benchmarks.processes import THREADS
from benchmarks.report import rewrite

COLUMNS = {
    "dsc": "Dice",
    "hd": "HD",
    "assd": "ASSD",
    "folded_percent": "folded, %",
    "label_sd_log_j": "SDlogJ in labels",
    "seconds": "seconds",
}
"""Metrics of a pair and their titles."""
DRAWS = 2000
"""Bootstrap samples of an interval."""
HOW = """Random pairs of the test split (seed 0), in the sizes in which the datasets are prepared. No labels are used
when a pair is registered; a segmenter (`segmenter-...`) registers by those that it predicts. A cell is the mean over
the pairs with its 95 % interval, from 2,000 bootstrap samples of the pairs; the Dice of a pair is the mean over its
labels, and a label that is lost counts 0. Distances are in the unit of the dataset. Seconds are those of one thread,
without the start. *Segmenter alone* is the Dice of its label maps of the test images: what registering by them can
reach at best."""


@dataclass(frozen=True)
class Set:
    """A dataset and what is compared on it: networks, a segmenter, which registers as well, and other methods.

    `segmented` is the dataset with the labels of the segmenter, if that is another one.
    """

    data: str
    title: str
    pairs: int
    networks: tuple[str, ...]
    segmenter: str
    segmented: str = ""
    methods: tuple[str, ...] = ("acreg:deformable", "ants:SyN", "greedy:deformable")

    @property
    def models(self) -> tuple[str, ...]:
        """All presets that register."""
        return (*self.networks, self.segmenter)


SETS = (
    Set(
        "jsrt",
        "JSRT: lungs and heart, mm",
        100,
        ("acregnet-jsrt", "acregnet-jsrt-diffeomorphic"),
        "segmenter-jsrt",
    ),
    Set(
        "montgomery",
        "Montgomery: lungs, mm",
        56,
        ("acregnet-montgomery",),
        "segmenter-montgomery",
    ),
    Set("shenzhen", "Shenzhen: lungs, pixels", 220, ("acregnet-shenzhen-diffeomorphic",), "segmenter-shenzhen"),
    Set("hippocampus", "Hippocampus: both parts, mm", 100, ("ddmr-hippocampus",), "segmenter-hippocampus"),
    Set(
        "oasis-trt",
        "OASIS-TRT, brains without skull: 63 manual regions, mm",
        12,
        ("affine-deformable-brain",),
        "segmenter-heads",
        "heads",
    ),
    Set(
        "ixi-148",
        "IXI, heads with skull: 148 automatic regions, mm",
        12,
        ("affine-deformable-brain",),
        "segmenter-heads",
        "heads",
    ),
    Set("sunnybrook", "Sunnybrook, hearts: left myocardium, mm", 42, ("svfnet-hearts",), "segmenter-hearts"),
)


def measure(one: Set, out: Path, threads: int) -> None:
    """Register the pairs by all methods, and segment the test images."""
    acreg.evaluate(
        one.data,
        out / one.data,
        model=one.models,
        method=list(one.methods),
        pairs=one.pairs,
        seed=0,
        threads=threads,
        say=lambda text: print(text, flush=True),
    )
    path = out / f"{one.data}-segmenter.json"
    if not path.is_file():
        write_json(path, {"dsc": segmented(one)})


def segmented(one: Set) -> list[float]:
    """The Dice of a segmenter's label map of each test image."""
    from acreg.models import from_preset

    model: Any = from_preset(one.segmenter)
    dataset = Dataset.load(dataset_folder(one.segmented or one.data))
    subjects, found = Subjects(dataset), []
    for record in dataset.split("test"):
        image, labels = subjects[record.subject]
        values = [value for value in dataset.label_values if value]
        scores = label_metrics(model.segment(image).array, labels.array, values, labels.grid.spacing)
        found.append(float(mean_over_labels(scores)["dsc"]))
    return found


def interval(values: Sequence[float]) -> str:
    """The mean of the known values with its interval, as a cell."""
    known = np.array([value for value in values if np.isfinite(value)])
    if not known.size:
        return "–"
    draws = np.random.default_rng(0).integers(0, known.size, (DRAWS, known.size))
    low, high = np.percentile(known[draws].mean(axis=1), (2.5, 97.5))
    digits = 3 if known.max() <= 1 else 2
    return f"{known.mean():.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def table(one: Set, out: Path) -> list[str]:
    """The lines of a set's section."""
    lines = [f"## {one.title}", "", f"{one.pairs} pairs.", ""]
    lines += ["| method | " + " | ".join(COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for result in load_results([out / one.data]):
        cells = [
            "–"
            if result.is_baseline and column in FIELD_VALUES
            else interval([_value(p, column) for p in result.pairs])
            for column in COLUMNS
        ]
        lines.append(f"| `{result.name}` | " + " | ".join(cells) + " |")
    alone = read_json(out / f"{one.data}-segmenter.json", "result")["dsc"]
    on = " of IXI, with the 38 labels that it was trained on" if one.segmented else ""
    return [*lines, "", f"Segmenter alone, {len(alone)} images{on}: Dice {interval(alone)}.", ""]


def _value(pair: PairScores, column: str) -> float:
    """A metric of a pair; a registration that failed has a Dice of 0."""
    return 0.0 if pair.failure and column == "dsc" else pair.value(column)


def write_page(page: Path, out: Path) -> None:
    """Write the sections of all sets that are complete."""
    lines = [
        "# Accuracy",
        "",
        "This page is written by",
        "",
        "    python -m benchmarks.accuracy --page docs/accuracy.md",
        "",
        HOW,
        "",
    ]
    for one in SETS:
        if (out / f"{one.data}-segmenter.json").is_file():
            lines += table(one, out)
    rewrite(page, lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit code."""
    parser = argparse.ArgumentParser(prog="accuracy", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/accuracy"), help="folder of the results")
    parser.add_argument("--page", type=Path, help="where the page is written; in the folder if left out")
    parser.add_argument("--sets", nargs="+", default=[one.data for one in SETS], metavar="SET", help="some sets")
    parser.add_argument("--threads", type=int, default=1, help="of each method")
    given = parser.parse_args(arguments)
    os.environ.update(dict.fromkeys(THREADS, str(given.threads)))  # TensorFlow, which reads it, is not yet imported
    try:
        for one in SETS:
            if one.data in given.sets:
                measure(one, given.out, given.threads)
        write_page(given.page or given.out / "accuracy.md", given.out)
    except AcregError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
