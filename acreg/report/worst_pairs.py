"""Pictures and scores of the worst pairs and of the best pair of each method: a section of the HTML report."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from acreg.errors import AcregError
from acreg.evaluation.method_result import MethodResult, PairScores
from acreg.evaluation.tables import DIGITS, metric_title, metrics_shown
from acreg.plotting import page
from acreg.progress import Progress
from acreg.report.pair_views import save_view, view_folders
from acreg.report.pictures import PairPictures, PictureSource

TITLE = "Worst pairs and the best"

LISTED = 40
"""Maximum number of pairs that are listed for each method."""
MANY = 8
"""With more labels than this, the Dice of each label is shown on request."""


def worst_pairs(
    results: Sequence[MethodResult], worst: int, progress: Progress | None, folder: Path | None = None
) -> str:
    """The section, as HTML.

    Args:
        results: results of the methods on the same pairs.
        worst: number of the worst pairs of each method that are shown in pictures, and after them the best pair; if it
            is 0, no pair is shown.
        progress: called with (text, done, total) before each picture.
        folder: where the report will lie; views of the pairs shown are written there, if it is given.
    """
    shown = [(n, result) for n, result in enumerate(results) if not result.is_baseline] or list(enumerate(results))
    source, folders, body, done = PictureSource(), view_folders(results), "", 0
    chosen = [_chosen(result, worst) for _, result in shown]
    total = sum(map(len, chosen))
    for (number, result), pairs in zip(shown, chosen, strict=True):
        inner = ""
        for rank, pair in pairs:
            if progress:
                progress(f"Drawing: {result.name}", done, total)
            done += 1
            inner += _pair(result, pair, rank, source, folder, folders[number])
        metrics = metrics_shown([result])
        rows = [_pair_row(pair, metrics) for pair in result.worst_first()[:LISTED]]
        columns = ["Fixed <- moving", *(metric_title(m, result.unit) for m in metrics), "Verdict"]
        listed = f"The {len(rows)} worst of {len(result.pairs)} pairs"
        inner += f"<details><summary>{listed}</summary>{page.html_table(columns, rows)}</details>"
        opened = " open" if number == shown[0][0] else ""
        body += f"<details{page.about(number)}{opened}><summary>{escape(result.name)}</summary>{inner}</details>"
    if progress:
        progress("Drawing", total, total)
    note = (
        "Pairs are sorted by Dice, the worst first; failed ones come before all others, and pairs without labels last, "
        "sorted by NCC. The best pair has the highest Dice, or, if no pair has labels, the highest NCC. Outlines: "
        "fixed labels are green, moving and warped ones orange. Grid: a regular grid of the fixed image, mapped to the "
        "moving image. det J: white is 1, red above 1, blue below 1, magenta folded (0 or less). Of volumes, the "
        "axial, coronal and sagittal planes through the place of the largest error are shown in radiological view: "
        "the patient's right side is on the left. R, L, A, P, S, I: right, left, anterior, posterior, superior, "
        "inferior. The ring marks that place: where the surfaces of a label, whose outline is bold, are farthest "
        "apart, or, without labels, where the smoothed images differ most."
    )
    return page.section("worst", TITLE, body, note)


def _chosen(result: MethodResult, worst: int) -> list[tuple[str, PairScores]]:
    """The pairs that are shown, with their ranks; the best pair only if it is not among the worst."""
    ranked = [(f"{rank}.", pair) for rank, pair in enumerate(result.worst_first()[:worst], start=1)]
    best = result.best_first()[0]
    shown = any(pair is best for _, pair in ranked)
    return ranked if shown or best.failure or not worst else [*ranked, ("Best:", best)]


def _pair(
    result: MethodResult, pair: PairScores, rank: str, source: PictureSource, folder: Path | None, inside: str
) -> str:
    found = source.draw(result, pair)
    scores = f"failed: {pair.failure}" if pair.failure else _scores(result, pair)
    drawn = "".join(
        f"<figure>{page.image(png, f'{caption}, {pair.fixed} <- {pair.moving}')}"
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for caption, png in found.panels
    )
    if not found.panels:
        drawn = f'<p class="soft small">No picture: {escape(found.reason)}</p>'
    below = f"{escape(found.place)} {_link(result, pair, found, folder, inside)}".strip()
    below = f'<div class="soft small">{below}</div>' if below else ""
    kind = ("panels planes" if found.planes else "panels") if found.panels else "none"
    head = f"<b>{rank} {escape(pair.fixed)} &larr; {escape(pair.moving)}</b>"
    return (
        f'<div class="pair"><div>{head} <span class="soft small">{escape(scores)}</span></div>'
        f'{_by_label(result, pair)}{below}<div class="{kind}">{drawn}</div></div>'
    )


def _link(result: MethodResult, pair: PairScores, found: PairPictures, folder: Path | None, inside: str) -> str:
    """The link to the view of a pair, or the reason why there is none."""
    if folder is None or not found.inputs:
        return ""
    try:
        address = save_view(folder, inside, result, pair, found)
    except AcregError as error:
        return f"No interactive view: {escape(str(error))}"
    return f'<a href="{escape(address)}">Open the interactive view</a>'


def _scores(result: MethodResult, pair: PairScores) -> str:
    metrics = [metric for metric in metrics_shown([result]) if metric != "seconds"]
    shown = [f"{metric_title(m, result.unit)} {_number(pair.value(m), m)}" for m in metrics]
    labels = f"; DSC of {_labels(result, pair)}" if 1 < len(pair.labels) <= MANY else ""
    verdict = f"; {_verdict(pair)}" if pair.verdict else ""
    return ", ".join(shown) + labels + verdict


def _by_label(result: MethodResult, pair: PairScores) -> str:
    """The Dice of many labels, on request."""
    if len(pair.labels) <= MANY:
        return ""
    text = escape(_labels(result, pair))
    return f'<details class="labels small"><summary>DSC of {len(pair.labels)} labels</summary>{text}</details>'


def _labels(result: MethodResult, pair: PairScores) -> str:
    return ", ".join(f"{result.label_names[k]} {_number(scores['dsc'], 'dsc')}" for k, scores in pair.labels.items())


def _verdict(pair: PairScores) -> str:
    """ "look at it (folding, spread)", or "ok"."""
    return pair.verdict + (f" ({', '.join(pair.concerns)})" if pair.concerns else "")


def _pair_row(pair: PairScores, metrics: Sequence[str]) -> list[str]:
    numbers = (_number(pair.value(m), m) for m in metrics)
    return [f"{escape(pair.fixed)} &larr; {escape(pair.moving)}", *numbers, escape(_verdict(pair) or "–")]


def _number(value: float, metric: str) -> str:
    return f"{value:.{DIGITS[metric]}f}" if np.isfinite(value) else "–"
