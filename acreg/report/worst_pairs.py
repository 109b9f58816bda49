"""Pictures and scores of the worst pairs of each method: a section of the HTML report."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from acreg.evaluation.method_result import MethodResult, PairScores
from acreg.evaluation.tables import DIGITS, metric_title, metrics_shown
from acreg.plotting import page
from acreg.progress import Progress
from acreg.report.pictures import PictureSource

LISTED = 40
"""Maximum number of pairs that are listed for each method."""


def worst_pairs(results: Sequence[MethodResult], worst: int, progress: Progress | None) -> str:
    """The section, as HTML.

    Args:
        results: results of the methods on the same pairs.
        worst: number of pairs of each method that are shown in pictures.
        progress: called with (text, done, total) before each picture.
    """
    shown = [result for result in results if not result.is_baseline] or list(results)
    pictures, body = PictureSource(), ""
    total = sum(min(worst, len(result.pairs)) for result in shown)
    done = 0
    for result in shown:
        inner = ""
        for rank, pair in enumerate(result.worst_first()[:worst], start=1):
            if progress:
                progress(f"Drawing: {result.name}", done, total)
            done += 1
            inner += _pair(result, pair, rank, pictures)
        metrics = metrics_shown([result])
        rows = [_pair_row(pair, metrics) for pair in result.worst_first()[:LISTED]]
        columns = ["Fixed <- moving", *(metric_title(m, result.unit) for m in metrics), "Verdict"]
        listed = f"The {len(rows)} worst of {len(result.pairs)} pairs"
        inner += f"<details><summary>{listed}</summary>{page.html_table(columns, rows)}</details>"
        opened = " open" if result is shown[0] else ""
        about = page.about(next(number for number, each in enumerate(results) if each is result))
        body += f"<details{about}{opened}><summary>{escape(result.name)}</summary>{inner}</details>"
    if progress:
        progress("Drawing", total, total)
    note = (
        "Pairs are sorted by Dice, the worst first; failed ones come before all others, and pairs without labels last, "
        "sorted by NCC. Outlines: fixed labels are green, moving and warped ones orange. Grid: a regular grid of the "
        "fixed image, mapped to the moving image. det J: white is 1, red above 1, blue below 1, magenta folded (0 or "
        "less). Of volumes, the axial, coronal and sagittal planes through the place of the largest error are shown in "
        "radiological view: the patient's right side is on the left. R, L, A, P, S, I: right, left, anterior, "
        "posterior, superior, inferior. The ring marks that place: where the surfaces of a label, whose outline is "
        "bold, are farthest apart, or, without labels, where the smoothed images differ most."
    )
    return page.section("worst", "Worst pairs", body, note)


def _pair(result: MethodResult, pair: PairScores, rank: int, pictures: PictureSource) -> str:
    found = pictures.draw(result, pair)
    scores = f"failed: {pair.failure}" if pair.failure else _scores(result, pair)
    drawn = "".join(
        f"<figure>{page.image(png, f'{caption}, {pair.fixed} <- {pair.moving}')}"
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for caption, png in found.panels
    )
    if not found.panels:
        drawn = f'<p class="soft small">No picture: {escape(found.reason)}</p>'
    place = f'<div class="soft small">{escape(found.place)}</div>' if found.place else ""
    kind = "panels planes" if found.planes else "panels"
    return (
        f'<div class="pair"><div><b>{rank}. {escape(pair.fixed)} &larr; {escape(pair.moving)}</b> '
        f'<span class="soft small">{escape(scores)}</span></div>{place}<div class="{kind}">{drawn}</div></div>'
    )


def _scores(result: MethodResult, pair: PairScores) -> str:
    metrics = [metric for metric in metrics_shown([result]) if metric != "seconds"]
    shown = [f"{metric_title(m, result.unit)} {_number(pair.value(m), m)}" for m in metrics]
    labels = [f"{result.label_names[k]} {_number(scores['dsc'], 'dsc')}" for k, scores in pair.labels.items()]
    verdict = f"; {_verdict(pair)}" if pair.verdict else ""
    return ", ".join(shown) + (f"; DSC of {', '.join(labels)}" if len(labels) > 1 else "") + verdict


def _verdict(pair: PairScores) -> str:
    """ "look at it (folding, spread)", or "ok"."""
    return pair.verdict + (f" ({', '.join(pair.concerns)})" if pair.concerns else "")


def _pair_row(pair: PairScores, metrics: Sequence[str]) -> list[str]:
    numbers = (_number(pair.value(m), m) for m in metrics)
    return [f"{escape(pair.fixed)} &larr; {escape(pair.moving)}", *numbers, escape(_verdict(pair) or "–")]


def _number(value: float, metric: str) -> str:
    return f"{value:.{DIGITS[metric]}f}" if np.isfinite(value) else "–"
