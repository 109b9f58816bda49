"""Display of a registered pair: as text, as the picture of preview.png, and in a notebook."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from acreg.geometry.display import picture, png_or_none, reason, safely, table_html
from acreg.geometry.planes import CONVENTION
from acreg.geometry.thinning import thinned
from acreg.metrics import mean_over_labels
from acreg.plotting.preview import preview_figure, preview_png
from acreg.plotting.warped_pair import PairView, view_pair

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from acreg.registration.pair import Registration

VOXELS = 2**20
"""Voxels of each image that are used for the picture in a notebook, at most; it then takes about a second."""


def describe(result: Registration) -> str:
    """Two lines: the method and its measures, then the images."""
    rows = ", ".join(f"{name} {value}" for name, value in _numbers(result))
    doubts = ", ".join(concern.name for concern in result.concerns)
    return (
        f"Registration({result.method}: {rows}{f', {result.verdict}' if result.verdict else ''}"
        f"{f' ({doubts})' if doubts else ''},\n"
        f"  fixed {result.fixed!r}, moving {result.moving!r})"
    )


def html(result: Registration) -> str:
    """The picture, subsampled if the images are large, and a table of the measures and concerns."""
    return safely(lambda: _html(result))


def _html(result: Registration) -> str:
    caption = f"axial slice, {CONVENTION}" if result.fixed.grid.rank == 3 else ""
    drawn = picture(lambda: _thin_png(result), "fixed, moving and warped image", caption)
    rows = [("method", result.method), ("fixed", repr(result.fixed)), ("moving", repr(result.moving))]
    try:
        rows += _numbers(result)
        rows += [("verdict", result.verdict)] if result.verdict else []
    except Exception as error:  # a display never raises
        rows.append(("measures", f"not known: {reason(error)}"))
    return drawn + table_html([*rows, *((f"{each.verdict}: {each.name}", each.text) for each in result.concerns)])


def png(result: Registration) -> bytes | None:
    """The picture alone; None if it cannot be drawn."""
    return png_or_none(lambda: _thin_png(result))


def stage_lines(result: Registration) -> list[str]:
    """A line for each stage of an optimisation: what it compared, from which value to which, and its time."""
    lines = []
    for stage in result.stages:
        names = stage.get("similarity", ())
        parts = [str(stage["kind"])] if "kind" in stage else []
        parts.append(", ".join([names] if isinstance(names, str) else names))
        if isinstance(stage.get("before"), float) and isinstance(stage.get("after"), float):
            parts[-1] += f" {stage['before']:.4f} to {stage['after']:.4f}"
        if "mean_mm" in stage:
            parts.append(f"moved by {stage['mean_mm']:.2f} mm on average")
        if levels := stage.get("levels"):
            parts.append(f"images of {result.contrast} contrast{'s' if result.contrast == 'two' else ''}")
            finest = " x ".join(f"{side:g}" for side in levels[-1]["spacing"][::-1])
            parts.append(f"{len(levels)} levels down to {finest}, {sum(each['steps'] for each in levels)} steps")
        if "seconds" in stage:
            parts.append(f"{stage['seconds']:.2f} s")
        lines.append(f"{stage['stage']}: {', '.join(part for part in parts if part)}")
    return lines


def preview(result: Registration) -> Figure:
    """The picture of preview.png as a Matplotlib figure."""
    return preview_figure(_view(result))


def _thin_png(result: Registration) -> bytes:
    return preview_png(_view(result, VOXELS))


def _view(result: Registration, voxels: int | None = None) -> PairView:
    """What the picture shows, from at most `voxels` voxels of each image."""

    def small(image: Any) -> Any:
        return image if image is None or voxels is None else thinned(image, voxels)

    fixed, moving = small(result.fixed), small(result.moving)
    return view_pair(
        dataclasses.replace(result.sampled, fixed=fixed.grid, moving=moving.grid),
        fixed=fixed,
        moving=moving,
        fixed_labels=small(result.fixed_labels),
        moving_labels=small(result.moving_labels),
    )


def _numbers(result: Registration) -> list[tuple[str, str]]:
    rows = [("NCC", f"{result.before.ncc:.4f} -> {result.after.ncc:.4f}")]
    if result.scores_before and result.scores_after:
        dice = [mean_over_labels(scores)["dsc"] for scores in (result.scores_before, result.scores_after)]
        rows.append(("Dice", f"{dice[0]:.4f} -> {dice[1]:.4f}"))
    return [
        *rows,
        ("folded", f"{result.regularity['folded_percent']:.3f} %"),
        ("SDlogJ", f"{result.regularity['sd_log_j']:.3f}"),
        *([("inverse error", str(result.inverse_error))] if result.inverse_error else []),
        ("time", f"{result.seconds:.2f} s"),
    ]
