"""The verification page in Markdown, and the same results as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from acreg.applications.verification.check import Outcome, by_section, failed
from acreg.io import atomic_path
from acreg.plotting.page import markdown

PAGE = "verification.md"
"""Name of the page that `write_page` writes into a folder."""
RESULTS = "verification.json"
"""Name of the file beside it with the same results for programs."""
COLUMNS = ("check", "compared with", "compared", "largest difference", "limit", "result")
HEAD = """`acreg verify --out DIR` wrote this page. It runs the checks below on the machine where acreg is installed.
What acreg computes is compared with other programs, with laws that hold for every transform, and with what the presets
predicted when they were released. All inputs are made from fixed seeds: the checks need no data and no network. A check
passes if the largest of all differences is within its limit."""
NOTES = """Voxels that are mapped to within 0.01 voxels of the border of the moving image are not compared with
SimpleITK's: there, rounding determines whether a position is inside the image. Presets are compared at a coarse sample
of voxels and with a tolerance, because processors round the sums of a convolution differently."""


def write_page(folder: Path, outcomes: Sequence[Outcome], environment: Mapping[str, str], quick: bool = False) -> None:
    """Write `verification.md` and `verification.json`.

    Args:
        folder: folder of the two files.
        outcomes: outcomes of all checks, in their order.
        environment: result of `machine.environment`.
        quick: whether the presets were omitted.
    """
    made = datetime.now(timezone.utc).date().isoformat()
    with atomic_path(folder / PAGE) as temporary:
        temporary.write_text(page(outcomes, environment, made, quick), encoding="utf-8")
    content = {
        "passed": not failed(outcomes),
        "date": made,
        "quick": quick,
        "environment": dict(environment),
        "checks": [_entry(outcome) for outcome in outcomes],
    }
    with atomic_path(folder / RESULTS) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def page(outcomes: Sequence[Outcome], environment: Mapping[str, str], made: str, quick: bool = False) -> str:
    """The page as Markdown; `made` is the date, the others are as in `write_page`."""
    wrong = failed(outcomes)
    result = f"{len(wrong)} of {len(outcomes)} checks failed" if wrong else f"All {len(outcomes)} checks passed"
    parts = [f"# Verification of acreg {environment['acreg']}", HEAD, f"**{result}** on {made}."]
    if quick:
        parts.append("The presets were left out (`--quick`).")
    if wrong:
        parts.append("\n".join(f"- {_text(outcome.check.name)}: {_text(outcome.reason)}" for outcome in wrong))
    parts += ["## Versions", markdown(("what", "version"), list(environment.items()), (0, 1)).rstrip()]
    for section, group in by_section(outcomes).items():
        parts += [f"## {section}", markdown(COLUMNS, [_row(outcome) for outcome in group], (0, 1)).rstrip()]
    return "\n\n".join([*parts, "## Notes", NOTES]) + "\n"


def _row(outcome: Outcome) -> tuple[str, ...]:
    check, measured = outcome.check, outcome.measured
    return (
        check.name,
        check.reference,
        f"{measured.cases:,} {check.counted.removesuffix('s' * (measured.cases == 1))}" if measured else "",
        f"{measured.largest:.2g} {check.unit}".rstrip() if measured else "an error",
        f"{check.limit:g}",
        "passed" if outcome.passed else "**failed**",
    )


def _entry(outcome: Outcome) -> dict[str, Any]:
    check, measured = outcome.check, outcome.measured
    largest = measured.largest if measured and math.isfinite(measured.largest) else None
    return {
        "section": check.section,
        "name": check.name,
        "reference": check.reference,
        "cases": measured.cases if measured else 0,
        "counted": check.counted,
        "largest_difference": largest,
        "unit": check.unit,
        "limit": check.limit,
        "passed": outcome.passed,
        "reason": outcome.reason,
        "seconds": round(outcome.seconds, 3),
    }


def _text(text: str) -> str:
    """Text escaped for Markdown, so that an error's brackets and signs are shown unchanged."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in text)
