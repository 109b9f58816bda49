"""The plots of the page: the peers' times as multiples of acreg's time, and the growth on logarithmic axes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from acreg.plotting.figures import COLOURS
from benchmarks.measure import quartiles, ratio
from benchmarks.report import Result, first, growth_exponents, measured, peers

GROWTHS = {"2d": "Growth with the image, 2-D", "3d": "Growth with the image, 3-D", "labels": "Growth with the labels"}


def draw(results: Sequence[Result]) -> dict[str, tuple[str, bytes]]:
    """(title, PNG) by name; plots without measurements are omitted."""
    compared = [r for r in results if not r["size_name"] and r["within"] is None and first(r) and peers(r)]
    made = {"ratios": ("Time as a multiple of acreg's", _ratios(compared))} if compared else {}
    for end, title in GROWTHS.items():
        grown = [r for r in results if r["size_name"] and r["name"].endswith(end) and len(measured(r)) > 1]
        if grown:
            made[f"growth-{end}"] = (title, _growth(grown))
    return made


def _ratios(results: Sequence[Result]) -> bytes:
    """One row per benchmark, one dot per peer with its quartiles; right of 1, acreg is faster."""
    from matplotlib.figure import Figure

    figure = Figure((9, 1.2 + 0.32 * len(results)), layout="constrained")
    axes = figure.subplots()
    names = list(dict.fromkeys(name for result in results for name in peers(result)))
    for number, name in enumerate(names):
        rows = [(row, result) for row, result in enumerate(results) if name in peers(result)]
        spread = [
            ratio(peers(r)[name]["seconds"], r["contenders"][next(iter(r["contenders"]))]["seconds"]) for _, r in rows
        ]
        middle = [q[1] for q in spread]
        error = [[q[1] - q[0] for q in spread], [q[2] - q[1] for q in spread]]
        marker = "osD^v<>"[number // len(COLOURS) % 7]
        style: dict[str, Any] = {"fmt": marker, "color": COLOURS[number % len(COLOURS)], "markersize": 5, "capsize": 2}
        axes.errorbar(middle, [row for row, _ in rows], xerr=error, label=name, **style)
    axes.axvline(1, color="0.4", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yticks(range(len(results)), [result["name"] for result in results])
    axes.set_ylim(len(results) - 0.5, -0.5)
    axes.set_xlabel("time as a multiple of acreg's")
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    return _png(figure)


def _growth(results: Sequence[Result]) -> bytes:
    """Time and memory, one line per benchmark, with the fitted exponents in the legends."""
    from matplotlib.figure import Figure

    figure = Figure((9, 5), layout="constrained")
    for axes, what, unit in zip(figure.subplots(1, 2), ("Time", "Memory"), ("s", "MB, peak of the process")):
        for colour, result in zip(COLOURS, results):
            points = [
                (one["size"], quartiles(one["seconds"])[1] if what == "Time" else one["memory_mb"])
                for one in measured(result).values()
            ]
            power = growth_exponents(result).get(what)
            title = result["title"].split(": ", 1)[1]
            label = title if power is None else f"{title}: {power:.2f}"
            axes.plot(*zip(*points), "o-", color=colour, markersize=4, label=label)
        axes.set_xscale("log")
        axes.set_yscale("log")
        sizes = {one["size"]: name.removeprefix("acreg ") for r in results for name, one in measured(r).items()}
        axes.set_xticks(list(sizes), list(sizes.values()), fontsize=8)
        axes.set_xticks([], minor=True)
        axes.set_ylabel(f"{what.lower()}, {unit}")
        axes.grid(alpha=0.3, which="both")
        style = {"fontsize": 8, "title_fontsize": 8, "frameon": False}
        axes.legend(title="fitted exponent", loc="lower center", bbox_to_anchor=(0.5, 1.0), **style)
    return _png(figure)


def _png(figure: Any) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
