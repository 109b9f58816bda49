"""The record of a registration: result.json."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import acreg
from acreg.geometry import Image
from acreg.metrics import mean_over_labels
from acreg.registration.concerns import overlap
from acreg.registration.pair import Registration

RECORD_NAME = "result.json"


def record_of(method: str, result: Registration) -> dict[str, Any]:
    """The verdict, its reasons (`concerns`, which may be empty) and the numbers of a registration.

    NCC and mutual information ("nmi") are those of `Registration.before` and `after`; `inverse_error` (in mm) is null
    if there was no registration in the other direction, `unlikeness` if the training images are not known, and `dice`,
    the mean over labels, without labels of both images. `inputs` has the paths of images and labels that were read from
    files, for `acreg view`.
    """
    what, share = overlap(result, fixed=result.fixed, moving=result.moving)
    dice = None
    if result.scores_before and result.scores_after:
        dice = [mean_over_labels(scores)["dsc"] for scores in (result.scores_before, result.scores_after)]
        dice = dice if all(math.isfinite(value) for value in dice) else None
    images = {
        "fixed": result.fixed,
        "moving": result.moving,
        "labels": result.moving_labels,
        "fixed_labels": result.fixed_labels,
    }
    content: dict[str, Any] = {
        "verdict": result.verdict,
        "concerns": [concern._asdict() for concern in result.concerns],
        "method": method,
        "acreg": acreg.__version__,
        "seconds": result.seconds,
        "before": result.before._asdict(),
        "after": result.after._asdict(),
        "folded_percent": result.regularity["folded_percent"],
        "sd_log_j": result.regularity["sd_log_j"],
        "overlap": {"of": what, "share": share},
        "inverse_error": None if result.inverse_error is None else result.inverse_error._asdict(),
        "unlikeness": result.unlikeness or None,
        "dice": None if dice is None else dict(zip(("before", "after"), dice)),
        "inputs": {role: _file(image) for role, image in images.items()},
    }
    if result.stages:
        content |= {"contrast": result.contrast, "stages": result.stages}
    if result.also:
        content["also"] = [one.file_name(result.fixed.grid.rank) for one in result.also]
    return content


def rows_of(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The numbers of a record that a reader of the result looks for, as names and texts; missing ones are left out."""
    rows = [("method", record["method"])] if isinstance(record.get("method"), str) else []
    for name, keys in (
        ("NCC", (("before", "ncc"), ("after", "ncc"))),
        ("Dice", (("dice", "before"), ("dice", "after"))),
    ):
        before, after = (_number(record, *each) for each in keys)
        if before is not None and after is not None:
            rows.append((name, f"{before:.4f} before, {after:.4f} after"))
    for key, name, form in (("folded_percent", "folded", "{:.3f} %"), ("sd_log_j", "SDlogJ", "{:.3f}")):
        if (number := _number(record, key)) is not None:
            rows.append((name, form.format(number)))
    if (seconds := _number(record, "seconds")) is not None:
        rows.append(("time", f"{seconds:.2f} s"))
    return rows


def _number(record: Any, *keys: str) -> float | None:
    """A number of a record that someone may have changed."""
    for key in keys:
        record = record.get(key) if isinstance(record, Mapping) else None
    return float(record) if isinstance(record, (int, float)) and not isinstance(record, bool) else None


def _file(image: Image | None) -> str | None:
    """The absolute path of an image that was read from a file."""
    if image is None or not image.name or not Path(image.name).exists():
        return None
    return os.path.abspath(image.name)
