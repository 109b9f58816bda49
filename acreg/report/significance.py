"""The significance tests of the HTML report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from html import escape

from acreg.evaluation.method_result import MethodResult
from acreg.evaluation.statistics import DESCRIPTIONS, EFFECT_SYMBOLS, SIDES, Comparison
from acreg.evaluation.tables import DIGITS, LEVEL, format_p, leader, metric_title
from acreg.plotting import page
from acreg.report.plots import forest_plots

BESIDE = 3
"""Largest number of methods with which the tables of two metrics are placed side by side."""
DEPENDENT = "Image pairs that share a subject are not independent, so p is a guide, not a proof."


def significance(results: Sequence[MethodResult], comparisons: Sequence[Comparison]) -> str:
    """The section on tests of means over labels: charts, and a matrix of methods for each metric."""
    if not comparisons:
        return page.section("significance", "Significance", "<p>One method: nothing to compare.</p>")
    found = {(c.metric, c.first, c.second): c for c in comparisons}
    names = [result.name for result in results]
    symbol = EFFECT_SYMBOLS[comparisons[0].test]
    draw = partial(forest_plots, results, comparisons)
    chart = page.themed_chart(draw, "Difference of each two methods, first - second, by metric")
    body = ""
    for metric in dict.fromkeys(c.metric for c in comparisons):
        rows = ""
        for number, row in enumerate(names):
            cells = "".join(_cell(found, metric, row, column, page.about(n)) for n, column in enumerate(names))
            rows += f"<tr{page.about(number)}><th>{escape(row)}</th>{cells}</tr>"
        head = "".join(f"<th{page.about(number)}>{escape(name)}</th>" for number, name in enumerate(names))
        body += (
            f"<div><h3>{escape(metric_title(metric, results[0].unit))}</h3>"
            f"{page.scrolled('matrix', f'<th></th>{head}', rows)}</div>"
        )
    note = (
        f"{_described(comparisons[0])} Charts: first method - second; a dot has the colour of the method that is "
        f"better at p < {LEVEL}, and is open if neither is better. Tables: mean difference row - column, p, the effect "
        f"{symbol}, and the share of pairs in which the row is better; green where the row is better at p < {LEVEL}, "
        f"red where it is worse. {DEPENDENT}"
    )
    kind = "matrices many" if len(names) > BESIDE else "matrices"
    return page.section("significance", "Significance", f'{chart}<div class="{kind}">{body}</div>', note)


def label_tests(results: Sequence[MethodResult], comparisons: Sequence[Comparison]) -> str:
    """The section on tests of single labels: one row per label and pair of methods, one column per metric."""
    found = {(c.label, c.metric, c.first, c.second): c for c in comparisons}
    couples = list(dict.fromkeys((c.first, c.second) for c in comparisons))
    metrics = list(dict.fromkeys(c.metric for c in comparisons))
    numbers = {result.name: number for number, result in enumerate(results)}
    rows = ""
    for label in dict.fromkeys(c.label for c in comparisons):
        for couple in couples:
            cells = "".join(_shown(found[(label, metric, *couple)], 1) for metric in metrics)
            first = escape(label) if couple == couples[0] else f'<span class="again">{escape(label)}</span>'
            methods = page.about(*(numbers[name] for name in couple))
            rows += f"<tr{methods}><th>{first}</th><th>{escape(' - '.join(couple))}</th>{cells}</tr>"
    head = "".join(f"<th>{escape(metric_title(metric, results[0].unit))}</th>" for metric in metrics)
    body = page.scrolled("matrix grouped sortable", f"<th>Label</th><th>Methods</th>{head}", rows)
    note = (
        f"{_described(comparisons[0])} Mean difference, p, the effect {EFFECT_SYMBOLS[comparisons[0].test]}, and the "
        f"share of pairs in which the first method is better; green where it is better at p < {LEVEL}, red where it is "
        f"worse. {DEPENDENT}"
    )
    return page.section("label-tests", "Tests by label", body, note)


def _described(comparison: Comparison) -> str:
    """A sentence on the test, its side and the correction."""
    title, meaning = DESCRIPTIONS[comparison.test]
    return f"{title}, {SIDES[comparison.alternative]}, within a metric; {meaning.format(n=comparison.comparisons)}."


def _cell(found: dict[tuple[str, str, str], Comparison], metric: str, row: str, column: str, attributes: str) -> str:
    if (metric, row, column) in found:
        return _shown(found[metric, row, column], 1, attributes)
    turned = found.get((metric, column, row))
    if turned is not None and turned.alternative == "two-sided":  # a one-sided p is not that of the methods exchanged
        return _shown(turned, -1, attributes)
    return f"<td{attributes}></td>"


def _shown(comparison: Comparison, sign: int, attributes: str = "") -> str:
    """A cell with these attributes; if `sign` is -1, it compares the second with the first method."""
    difference = sign * comparison.mean_difference
    kind = {1: "better", -1: "worse", 0: "same"}[sign * leader(comparison)]
    shown = f"{difference:+.{DIGITS[comparison.metric]}f}".replace("-", "&minus;") if math.isfinite(difference) else "–"
    p = format_p(comparison.p_corrected)
    effect = f"{sign * comparison.effect:+.2f}".replace("-", "&minus;") if math.isfinite(comparison.effect) else "–"
    effect = f"{EFFECT_SYMBOLS[comparison.test]} {effect}"
    shown += f'<span class="sub">p {escape(p if p.startswith("<") else "= " + p)}, {effect}</span>'
    share = comparison.first_better if sign == 1 else comparison.second_better
    if math.isfinite(share):
        shown += f'<span class="sub">better in {100 * share:.0f}%</span>'
    return f'<td{attributes} class="{kind}">{shown}</td>'
