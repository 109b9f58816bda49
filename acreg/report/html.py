"""The HTML report of a comparison."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import partial
from html import escape
from pathlib import Path

import numpy as np

from acreg.data.tables.region_table import RegionTable
from acreg.evaluation.method_result import MethodResult, compared_by, measured, statistics_of
from acreg.evaluation.pairs import counted
from acreg.evaluation.ranking import rank_methods
from acreg.evaluation.regions import absent_note, region_note, region_table
from acreg.evaluation.statistics import Comparison
from acreg.evaluation.tables import (
    DIGITS,
    LEVEL,
    WINS_NOTE,
    format_p,
    metric_title,
    order_methods,
    summary_table,
    text_of,
    wins_table,
)
from acreg.metrics import is_lost
from acreg.plotting import page
from acreg.progress import Progress
from acreg.report.overview_plots import cost_plots, ranking_plot
from acreg.report.plots import MethodStyle, box_plots, label_box_plots, method_styles
from acreg.report.significance import label_tests, significance
from acreg.report.worst_pairs import TITLE, worst_pairs

RANKED = ("dsc", "assd", "ncc")
"""Metrics by which methods are ranked, if they are compared by them."""


def build_report(
    results: Sequence[MethodResult],
    comparisons: Sequence[Comparison],
    worst: int = 4,
    progress: Progress | None = None,
    regions: RegionTable | None = None,
    label_comparisons: Sequence[Comparison] = (),
    folder: Path | None = None,
) -> str:
    """The report as one HTML document, which needs no other file.

    Args:
        results: methods on the same pairs (`check_same_pairs`), in any order.
        comparisons: the result of `compare_methods`.
        worst: number of worst pairs to show in pictures for each method, and after them the best pair; 0 for none.
        progress: called with (text, done, total) before the plots and each picture.
        regions: regions of labels (`check_regions`), for a table of regions; None for no table.
        label_comparisons: the result of `compare_methods` for single labels, for a table of labels.
        folder: where the document will lie. If it is given, interactive views of the pairs shown are written to its
            folder "views", and the report links to them.
    """
    if progress:
        progress("Drawing: plots", 0, 1)
    results = order_methods(results)
    dataset = results[0].summary.get("dataset", {})
    title = f"Registration of {dataset.get('name', 'images')}"
    parts = [
        ("summary", "Summary", _summary(results)),
        ("overview", "Overview", _overview(results)),
        ("plots", "Box plots", _plots(results)),
        ("significance", "Significance", significance(results, comparisons)),
        ("worst", TITLE, worst_pairs(results, worst, progress, folder)),
        *([("regions", "Regions", _regions(results, regions))] if regions else []),
        *([("labels", "Labels", _labels(results))] if results[0].label_names else []),
        *([("label-tests", "Tests by label", label_tests(results, label_comparisons))] if label_comparisons else []),
        ("failures", "Failures and warnings", _failures(results)),
        ("settings", "Settings", _settings(results)),
    ]
    links = "".join(f'<a href="#{anchor}">{escape(name)}</a>' for anchor, name, _ in parts)
    pairs, labelled = len(results[0].pairs), results[0].labelled_pairs
    some = "" if labelled >= pairs else f" ({labelled} of them with labels)"
    about = (
        f"{dataset.get('split', '?')} split, {counted(pairs, results[0].request)}{some}, {len(results)} methods, "
        f"distances in {results[0].unit}"
    )
    body = f'<header><h1>{escape(title)}</h1><div class="soft">{escape(about)}</div></header><nav>{links}</nav>'
    body += _choice(results) + _tiles(results) + "".join(html for *_, html in parts)
    return page.page(title, body + f"<footer>acreg {escape(str(_environment(results[0]).get('acreg', '')))}</footer>")


def _environment(result: MethodResult) -> dict[str, str]:
    found = result.summary.get("environment", {})
    return found if isinstance(found, dict) else {}


def _name(result: MethodResult, styles: dict[str, MethodStyle]) -> str:
    dot = f'<span class="dot" style="background:{styles[result.name].colour}"></span>'
    return f'<span class="method">{dot}<span>{escape(result.name)}</span></span>'


def _choice(results: Sequence[MethodResult]) -> str:
    if len(results) == 1:
        return ""
    styles = method_styles(results)
    note = (
        "A hidden method is left out of the tables and of the pairs shown. Charts, best values, ranks and tests are "
        "still those of all methods."
    )
    return page.method_choice([_name(result, styles) for result in results], note)


def _tiles(results: Sequence[MethodResult]) -> str:
    best = results[0]
    first, *_ = compared_by(results)
    tiles = [(f"highest {'Dice' if first == 'dsc' else metric_title(first, '')}", best.name)]
    for metric in dict.fromkeys((first, "hd", "folded_percent")):
        numbers = statistics_of(best.values(metric))
        if numbers["mean"] is not None:
            tiles.append(
                (
                    f"its {metric_title(metric, best.unit).replace('Folded', 'folded')}",
                    f"{numbers['mean']:.{DIGITS[metric]}f}",
                )
            )
    tiles.append(("failed registrations", str(sum(len(result.failures) for result in results))))
    cells = "".join(
        f'<div class="tile"><b>{escape(v)}</b><span class="soft small">{escape(k)}</span></div>' for k, v in tiles
    )
    return f'<div class="tiles">{cells}</div>'


def _summary(results: Sequence[MethodResult]) -> str:
    columns, rows = summary_table(results, bold="<strong>{}</strong>".format)
    styles = method_styles(results)
    rows = [[_name(result, styles), *row[1:]] for result, row in zip(results, rows)]
    rows = [[re.sub(r" (\([\d.]+\))", r'<span class="sd">\1</span>', cell) for cell in row] for row in rows]
    note = "Mean (population SD) over pairs. Failed registrations have no scores and are counted, not averaged."
    if results[0].label_names:
        note += (
            " A pair's score is the unweighted mean over its foreground labels. The best mean of a column is bold. "
            "Absent: number of labels, over all pairs, that one of the two maps lacks. Their Dice is 0; they have no "
            "distances and are left out of the mean distances. A label that both maps lack has no Dice, either."
        )
    if results[0].labelled_pairs < len(results[0].pairs):
        note += (
            f" {results[0].labelled_pairs} of {len(results[0].pairs)} pairs have labels; scores of labels are means "
            "over these pairs."
        )
    if "Warned" in columns:
        note += (
            " Warned: number of pairs with doubtful results, see Failures and warnings; judged failed: those of them "
            "whose verdict is that the transform is useless."
        )
    table = page.html_table(columns, rows, kind="wide", methods=range(len(results)))
    return page.section("summary", "Summary", table, note)


def _plots(results: Sequence[MethodResult]) -> str:
    body = page.themed_chart(partial(box_plots, results), "Box plots of each metric by method")
    for metric in measured(results):
        body += f"<h3>{escape(metric_title(metric, results[0].unit))} by label</h3>"
        draw = partial(label_box_plots, results, metric)
        body += page.themed_chart(draw, f"Box plots of {metric} by label and method")
    note = "Box: quartiles and median; diamond: mean; whiskers: 1.5 interquartile ranges. Dots: pairs."
    return page.section("plots", "Box plots", body, note)


def _overview(results: Sequence[MethodResult]) -> str:
    body = page.themed_chart(partial(cost_plots, results), "Accuracy against time and against folding")
    title = metric_title(compared_by(results)[0], "")
    note = f"Dots: mean {title} (SD over pairs) against the mean cost; dashed: no registration."
    compared = [result for result in results if not result.is_baseline]
    if len(compared) < 2:
        return page.section("overview", "Accuracy, time, folding", body, note)
    for metric in (metric for metric in RANKED if metric in compared_by(results)):
        ranking = rank_methods(compared, metric)
        name = metric_title(metric, results[0].unit)
        body += f"<h3>Ranks by {escape(name)}</h3>"
        if np.isfinite(ranking.friedman_p):
            body += f'<p class="soft small">Friedman\'s test: p {escape(format_p(ranking.friedman_p))}.</p>'
        body += page.themed_chart(partial(ranking_plot, results, ranking), f"Mean rank of each method by {name}")
    note += (
        " Ranks are means over pairs; a failed registration has the last rank. Methods joined by a bar at the right do "
        f"not differ significantly (paired Wilcoxon test with Holm's correction, p < {LEVEL})."
    )
    return page.section("overview", "Accuracy, time, folding, ranks", body, note)


def _labels(results: Sequence[MethodResult]) -> str:
    metrics = measured(results)
    columns = ["Label", "Method", *(metric_title(m, results[0].unit) for m in metrics), "Pairs", "Absent"]
    styles = method_styles(results)
    rows: list[list[str]] = []
    for label, name in results[0].label_names.items():
        for index, result in enumerate(results):
            cells = []
            for metric in metrics:
                cells.append(text_of(statistics_of(result.values(metric, label)), metric))
            count = str(statistics_of(result.values("dsc", label))["n"])
            rows.append([_group(name, index), _name(result, styles), *cells, count, str(result.absent()[label])])
    methods = [*range(len(results))] * len(results[0].label_names)
    body = page.html_table(columns, rows, kind="wide grouped", methods=methods)
    if len(results) > 1:
        names, counts = wins_table(results)
        won = [[_name(result, styles), *row[1:]] for result, row in zip(results, counts, strict=True)]
        note = f'<p class="soft small">{escape(WINS_NOTE)}</p>'
        table = page.html_table(names, won, methods=range(len(results)))
        body = f"<h3>Labels won</h3>{note}{table}<h3>Each label</h3>{body}"
    return page.section("labels", "Labels", body)


def _group(title: str, index: int) -> str:
    """The first cell of a row in a group; repeated titles are less prominent, but a row says what it is when sorted."""
    return f'<span class="again">{escape(title)}</span>' if index else f"<b>{escape(title)}</b>"


def _regions(results: Sequence[MethodResult], regions: RegionTable) -> str:
    columns, rows = region_table(results, regions, bold="<strong>{}</strong>".format)
    styles = method_styles(results)
    methods = [index % len(results) for index in range(len(rows))]
    title = ""
    for row, method in zip(rows, methods, strict=True):
        title = row[0] or title
        row[0], row[1] = _group(title, method), _name(results[method], styles)
    note = (
        "Mean (population SD) over pairs; a pair's score is the unweighted mean over the region's labels. The best "
        f"mean of a region and metric is bold. {region_note(results, regions)}{absent_note(results)}"
    )
    table = page.html_table(columns, rows, kind="wide grouped", methods=methods)
    return page.section("regions", f"Regions ({regions.name})", table, note)


def _failures(results: Sequence[MethodResult]) -> str:
    found = [(number, pair, escape(pair.failure)) for number, result in enumerate(results) for pair in result.failures]
    for number, result in enumerate(results):
        found += [
            (
                number,
                pair,
                f"{escape(name)} is absent in "
                + ("one of the maps: Dice 0, no distances" if is_lost(pair.labels[label]) else "both maps: no scores"),
            )
            for pair in result.pairs
            for label, name in result.label_names.items()
            if pair.labels and not np.isfinite(pair.labels[label]["hd"])
        ]
        found += [
            (
                number,
                pairs[0],
                f"warning: {escape(name)} ({len(pairs)} of {len(result.pairs)} pairs have this warning)",
            )
            for name, pairs in result.concerned.items()
        ]
    if not found:
        return page.section("failures", "Failures and warnings", "<p>None.</p>")
    rows = [[escape(results[n].name), escape(pair.fixed), escape(pair.moving), text] for n, pair, text in found]
    table = page.html_table(
        ["Method", "Fixed", "Moving", "What happened"],
        rows[:200],
        text_columns=[1, 2, 3],
        kind="wide",
        methods=[number for number, *_ in found],
    )
    more = f"<p>{len(rows) - 200} more are in the pairs.csv files.</p>" if len(rows) > 200 else ""
    return page.section("failures", "Failures and warnings", table + more)


def _settings(results: Sequence[MethodResult]) -> str:
    first = results[0].summary
    rows = [
        [escape(f"{group} {key}"), f"<code>{escape(_text(value))}</code>"]
        for group in ("dataset", "settings", "environment")
        for key, value in (first.get(group) or {}).items()
    ]
    body = page.html_table(["Setting", "Value"], rows, text_columns=[1], kind="wide")
    rows = [
        [
            escape(r.name),
            f"<code>{escape(str(r.summary.get('preset', '') or '–'))}</code>",
            escape(str(r.summary.get("started", ""))),
            escape(", ".join(f"{k} {v}" for k, v in _environment(r).items() if k in ("acreg", "keras", "tensorflow"))),
        ]
        for r in results
    ]
    return page.section(
        "settings",
        "Settings",
        page.html_table(
            ["Method", "Preset", "Started", "Versions"],
            rows,
            text_columns=[1, 2, 3],
            kind="wide",
            methods=range(len(results)),
        )
        + "<br>"
        + body,
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
