"""The results of the benchmarks, as a page of Markdown with plots."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from acreg.errors import AcregError
from acreg.io import atomic_path
from benchmarks.measure import COPY, exponent, quartiles, ratio

Result = dict[str, Any]
LEAST_MB = 100.0
"""A smaller increase above the smallest size depends on the allocator's state, not on growth."""
READING = "## What the figures say"
"""The heading of the page's last section, which is written by hand and kept when the page is rewritten."""
HOW = """Each row is a program that runs in its own process. Before anything is timed, all programs compute the same
input. The column *difference* gives the largest difference from acreg's result as a share of the largest value; a
program that differs by more than a tolerance is refused. The programs then take turns, round after round, after a
first call that is not counted. A turn is one call, or as many calls as together take 0.1 seconds. Times are medians
per call over the rounds, with the quartiles in brackets; where a call makes several pairs, they are of one pair. Ratios
are computed within a round: 2 means twice acreg's time. CPU is the time of all threads together. Memory is the peak of
the process, followed by the increase of the peak during the timed calls above what frameworks and input occupy between
calls; for commands, both numbers are the peak of the command. The growth of memory is that of the peak above the peak
of the smallest size, if this is more than 100 MB. "Not compiled" is the same code as Keras runs it on a CPU, where
XLA compiles only the functions that acreg compiles itself."""


def read_results(folder: Path) -> list[Result]:
    """All results of a folder, in the order of their numbers.

    Raises:
        AcregError: there is no result, or one is truncated.
    """
    results = []
    for path in sorted(folder.glob("*.json")):
        try:
            results.append(json.loads(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise AcregError(f"Results are JSON. Received: {path}, {error}. Remove it and measure again.") from error
    if not results:
        raise AcregError(f"A page is made of results. Received: {folder} without any. Measure first.")
    return sorted(results, key=lambda result: result["number"])


def measured(result: Result) -> dict[str, dict[str, Any]]:
    """The contenders that were timed."""
    return {name: one for name, one in result["contenders"].items() if one["state"] == "measured"}


def peers(result: Result) -> dict[str, dict[str, Any]]:
    """The contenders that are neither acreg's own nor the copy."""
    return {name: one for name, one in measured(result).items() if not name.startswith("acreg") and name != COPY}


def first(result: Result) -> dict[str, Any] | None:
    """The contender that the others are compared with, None if it was not timed."""
    name = next(iter(result["contenders"]), "")
    return measured(result).get(name)


def time_text(seconds: float) -> str:
    """Three digits and a unit."""
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}" if seconds * factor < 1000 else f"{seconds * factor:.0f} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def verdict(result: Result) -> str:
    """A sentence on whether the target is met; empty if there is no target."""
    own = first(result)
    if result["within"] is not None:
        if own is None:
            return f"Target: within {result['within']:g} s. Not measured."
        middle = quartiles(own["seconds"])[1]
        return f"Target: within {result['within']:g} s; {'met' if middle <= result['within'] else 'missed'}."
    if result["faster"] is None:
        return ""
    text = f"Target: the fastest peer takes at least {result['faster']:g} times acreg's time; "
    others = peers(result)
    if own is None or not others:
        return text + "not measured."
    name = min(others, key=lambda name: quartiles(others[name]["seconds"])[1])
    low, middle, high = ratio(others[name]["seconds"], own["seconds"])
    word = "met" if middle >= result["faster"] else "missed"
    return text + f"{word}: {name} takes {middle:.2f} ({low:.2f} to {high:.2f})."


def _comparison(result: Result) -> list[str]:
    own = first(result)
    copy = measured(result).get(COPY)
    head = ["", "time", "times acreg's", "CPU", "memory, MB"]
    head += [f"{result['item']}s/s", f"{result['item']}s/CPU s"] if result.get("item") else []
    head += ["difference"] if result["tolerance"] is not None else []
    head += ["GB/s", "of the copy"] if copy else []
    rows = [head, ["---"] * len(head)]
    for name, one in measured(result).items():
        low, middle, high = quartiles(one["seconds"])
        row = [name, f"{time_text(middle)} ({time_text(low)} to {time_text(high)})", ""]
        if own is not None and one is not own and name != COPY:
            low, middle, high = ratio(one["seconds"], own["seconds"])
            row[-1] = f"{middle:.2f} ({low:.2f} to {high:.2f})"
        row += [time_text(quartiles(one["cpu_seconds"])[1]), f"{one['memory_mb']:.0f}, {one['work_mb']:.0f}"]
        if result.get("item"):
            row += [f"{1 / quartiles(one[key])[1]:.3g}" for key in ("seconds", "cpu_seconds")]
        if result["tolerance"] is not None:
            row.append("" if one is own or name == COPY else f"{one['difference']:.1g}")
        if copy:
            speed = [c["moved"] / quartiles(c["seconds"])[1] for c in (one, copy)]
            row += [f"{speed[0] / 1e9:.0f}", f"{speed[0] / speed[1]:.0%}"]
        rows.append(row)
    return ["| " + " | ".join(row) + " |" for row in rows]


def _growth(result: Result) -> list[str]:
    rows = [[result["size_name"], "time", "memory, MB"], ["---"] * 3]
    for one in measured(result).values():
        low, middle, high = quartiles(one["seconds"])
        time = f"{time_text(middle)} ({time_text(low)} to {time_text(high)})"
        rows.append([f"{one['size']:.0f}", time, f"{one['memory_mb']:.0f}, {one['work_mb']:.0f}"])
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    powers = growth_exponents(result)
    if powers:
        lines += ["", " ".join(f"{what} grows as {result['size_name']}^{p:.2f}." for what, p in powers.items())]
    return lines


def growth_exponents(result: Result) -> dict[str, float]:
    """The fitted exponents of time, and of the memory peak above that of the smallest size, over the size.

    Exponents with fewer than two values are omitted.
    """
    ones = sorted(measured(result).values(), key=lambda one: one["size"])
    least = ones[0]
    points = {
        "Time": [(one["size"], quartiles(one["seconds"])[1]) for one in ones],
        "Memory": [
            (one["size"] - least["size"], above)
            for one in ones
            if (above := one["memory_mb"] - least["memory_mb"]) > LEAST_MB
        ],
    }
    return {what: exponent(*zip(*each)) for what, each in points.items() if len(each) > 1}


def table(result: Result) -> str:
    """A section about one benchmark."""
    lines = [f"## {result['title']}", "", f"`{result['name']}`. {result['note']}".strip(), ""]
    if result.get("skipped"):
        return "\n".join([*lines, f"Not measured: {result['skipped']}."])
    if measured(result):
        lines += _growth(result) if result["size_name"] else _comparison(result)
    unmeasured = {n: one for n, one in result["contenders"].items() if one["state"] != "measured"}
    lines += [""] if unmeasured else []
    lines += [f"- {name} is not measured, {one['state']}: {one['why']}." for name, one in unmeasured.items()]
    said = verdict(result)
    return "\n".join([*lines, *(["", said] if said else [])])


def _machines(results: Sequence[Result]) -> list[str]:
    """Each machine with the benchmarks that were measured there; results of one run share a description."""
    about: dict[str, list[str]] = {}
    for result in results:
        m = result["machine"]
        versions = ", ".join(f"{name} {version}" for name, version in m["versions"].items())
        gpu = f", {m['gpu']}" if m.get("gpu") else ""
        text = (
            f"{m['cpu']}, {m['cpus']} CPUs, {m['memory_gib']:g} GiB{gpu}, {m['system']}, Python {m['python']}; "
            f"{result['threads']} threads on CPUs; {versions}."
        )
        about.setdefault(text, []).append(result["name"])
    if len(about) == 1:
        return list(about)
    return [f"- {', '.join(names)}: {text}" for text, names in about.items()]


def page(results: Sequence[Result], command: str, pictures: Mapping[str, str], before: str = "") -> str:
    """The whole page; `pictures` are paths relative to it by their titles, `before` is the previous page."""
    minutes = sum(result["took"] for result in results) / 60
    loads = [result["machine"]["load"] for result in results]
    parts = ["# Performance", "", "This page is written by", "", f"    {command}", ""]
    parts += [f"The measurements below took {minutes:.0f} minutes.", ""]
    if any(result["quick"] for result in results):
        parts += ["Some inputs are the small ones of `--quick`: their figures mean nothing.", ""]
    parts += [HOW, "", *_machines(results), ""]
    parts += [f"As each benchmark began the load of the machine was {min(loads):.1f} to {max(loads):.1f}.", ""]
    for title, path in pictures.items():
        parts += [f"![{title}]({path})", ""]
    parts += ["\n\n".join(table(result) for result in results), ""]
    return with_reading("\n".join(parts), before)


def with_reading(text: str, before: str) -> str:
    """A page with the part of the previous page from the heading `READING` on, which is written by hand."""
    _, heading, reading = before.partition(READING)
    return f"{text}\n{heading}{reading}" if heading else text


def rewrite(page: Path, lines: Sequence[str]) -> None:
    """Write a page anew; see `with_reading`."""
    before = page.read_text(encoding="utf-8") if page.is_file() else ""
    with atomic_path(page) as temporary:
        temporary.write_text(with_reading("\n".join(lines), before), encoding="utf-8")


def _section_names(text: str) -> list[str]:
    """The benchmarks of a page, in its order."""
    return re.findall(r"^## .*\n\n`([a-z0-9-]+)`\.", text, re.MULTILINE)


def with_sections(before: str, results: Sequence[Result]) -> str:
    """The previous page with the sections of these results, which are replaced, or added after the last one."""
    text, _, reading = before.partition(READING)
    head, *sections = re.split(r"(?m)^(?=## )", text)
    for result in results:
        machine, load = _machines([result])[0], result["machine"]["load"]
        new = f"{table(result)}\n\nMeasured later than the page, at a load of {load:.1f}: {machine}\n\n"
        places = [place for place, old in enumerate(sections) if _section_names(old) == [result["name"]]]
        if places:
            sections[places[0]] = new
        else:
            sections.append(new)
    return head + "".join(sections) + READING + reading


def write(folder: Path, command: str, target: Path | None = None) -> Path:
    """Write the page of all results of a folder, into it or to `target`, with the plots in ``images`` beside it.

    The part of the page from the heading `READING` on is kept. If the page has sections of benchmarks that are not in
    the folder, these and its head with the plots are kept, too.
    """
    from benchmarks.plots import draw

    results = read_results(folder)
    target = target or folder / "performance.md"
    before = target.read_text(encoding="utf-8") if target.is_file() else ""
    if READING in before and set(_section_names(before)) - {result["name"] for result in results}:
        text = with_sections(before, results)
    else:
        pictures = {}
        for name, (title, png) in draw(results).items():
            with atomic_path(target.parent / "images" / f"performance-{name}.png") as temporary:
                temporary.write_bytes(png)
            pictures[title] = f"images/performance-{name}.png"
        text = page(results, command, pictures, before)
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return target
