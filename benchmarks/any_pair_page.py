"""The page of the benchmark of registration without a trained network."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from acreg.errors import AcregError
from acreg.registration.methods import Unregistered
from benchmarks.any_pair_scores import LOST, METRICS
from benchmarks.any_pair_sets import SETS
from benchmarks.measure import machine
from benchmarks.report import rewrite

FOLDERS = re.compile(r"(?<![\w./\\])(?:[A-Za-z]:)?[/\\](?:[^\s/\\]+[/\\])+")
"""The folders of an absolute path; the page names files alone."""
Results = Sequence[Mapping[str, Any]]
COMMAND = "python -m benchmarks.any_pair --out runs/any-pair --page docs/any_pair.md --convexadam PYTHON"
HEAD = ("method", "Dice", "HD95, mm", "TRE, mm", "folded, %", "SD log J", "CPU, s", "lost", "failed")
HOW = f"""Each row is a method, and means are over the pairs of the set. The Dice and the HD95 of a pair are unweighted
means over the labels that both images have; a label that vanishes has a Dice of 0 and no distance. *Folded* is the
share of the fixed image's voxels in which the transform folds; *SD log J* is the standard deviation of the log-Jacobian
determinant within a label, averaged over labels. *CPU* is the seconds of all threads of a registration, from images in
memory to the transform, in any process, with one thread in one process for each method; the first pair, for which some
methods compile, counts as every other. Start-up, reading and scoring do not count. A pair is *lost* if its Dice is
below {LOST:g}. A pair on which a method *failed* counts with the Dice and distances of the unregistered images.
*Unregistered* images are aligned by their extents."""


def scores(results: Results, unregistered: Results, metric: str) -> np.ndarray:
    """A metric of each pair, `(pairs,)`; a failed pair has that of the unregistered images, NaN if there is none."""
    chosen = [other if one["failure"] else one for one, other in zip(results, unregistered, strict=True)]
    return np.array([one["scores"][metric] for one in chosen], float)  # None is NaN


def row(name: str, results: Results, unregistered: Results) -> list[str]:
    """A row of the table."""
    means = {}
    for metric in METRICS:
        values = scores(results, unregistered, metric)
        means[metric] = float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
    lost = int(np.sum(scores(results, unregistered, "dice") < LOST))
    cpu = [one["cpu_seconds"] for one in results if one["cpu_seconds"] is not None]
    failed = sum(bool(one["failure"]) for one in results)
    none = name == Unregistered.name
    return [
        name if none else f"`{name}`",
        f"{means['dice']:.3f}",
        f"{means['hd95']:.1f}",
        "" if np.isnan(means["tre"]) else f"{means['tre']:.2f}",
        "" if np.isnan(means["folded_percent"]) else f"{means['folded_percent']:.3f}",
        "" if np.isnan(means["label_sd_log_j"]) else f"{means['label_sd_log_j']:.3f}",
        "" if none else f"{np.mean(cpu):.1f}" if cpu else "",
        str(lost),
        str(failed),
    ]


def table(found: Mapping[str, Results]) -> list[str]:
    """The lines of a set's table.

    Raises:
        AcregError: the results without registration are missing.
    """
    if Unregistered.name not in found:
        raise AcregError(
            f"Failures count with the unregistered images' scores. Received: no results of {Unregistered.name}. "
            "Measure it first."
        )
    rows = [row(name, results, found[Unregistered.name]) for name, results in found.items()]
    lines = ["| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|"]
    return [*lines, *("| " + " | ".join(one) + " |" for one in rows)]


def failures(found: Mapping[str, Results]) -> list[str]:
    """A sentence for each method that failed, with its first reason; files are named without their folders."""
    lines = []
    for name, results in found.items():
        reasons = [one["failure"] for one in results if one["failure"]]
        if reasons:
            first = textwrap.shorten(FOLDERS.sub("", reasons[0]), 300)
            lines.append(f"- `{name}` failed on {len(reasons)} of {len(results)} pairs; first: {first}")
    return ["", *lines] if lines else []


def write_page(target: Path, results: Mapping[str, Mapping[str, Results]], split: str) -> None:
    """Write the page; its last section is kept, see `rewrite`.

    Raises:
        AcregError: as `table`, or there are no results.
    """
    if not results:
        raise AcregError("The page shows results. Received: none that are complete. Measure first.")
    about = machine()
    versions: dict[str, str] = {}
    for found in results.values():
        for one in found.values():
            versions |= {name: version for name, version in one[0]["versions"].items() if version}
    parts = ["# Registration of any pair, without a trained network", "", f"    {COMMAND}", "", HOW, ""]
    parts += [f"Measured with {about['cpu']}, {about['system']}, Python {about['python']}: "]
    parts[-1] += ", ".join(f"{name} {version}" for name, version in versions.items()) + "."
    if split != "test":
        parts += ["", "**These are pairs to choose settings on, not test pairs.**"]
    for name, found in results.items():
        count = len(next(iter(found.values())))
        parts += ["", f"## {SETS[name].title}: {count} pairs", "", SETS[name].note, "", *table(found), *failures(found)]
    rewrite(target, [*parts, ""])
