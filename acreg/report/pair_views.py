"""Interactive views of the pairs that the report shows, one page each in a folder beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from acreg.evaluation.method_result import MethodResult, PairScores
from acreg.evaluation.tables import DIGITS, metric_title, metrics_shown
from acreg.names import folded, pair_folder, safe_name
from acreg.report.pictures import PairPictures
from acreg.viewing import view

FOLDER = "views"


def view_folders(results: Sequence[MethodResult]) -> list[str]:
    """The name of the folder with each method's views; names that are the same in a file system get a number."""
    names = [safe_name(result.name) for result in results]
    same = [folded(name) for name in names]
    return [f"{name}-{n + 1}" if same.count(folded(name)) > 1 else name for n, name in enumerate(names)]


def save_view(folder: Path, inside: str, result: MethodResult, pair: PairScores, drawn: PairPictures) -> str:
    """Write the view of a pair that was drawn, and return its address relative to `folder`, where the report lies.

    Raises:
        AcregError: the pair cannot be viewed, see `acreg.viewing.view`.
    """
    numbers = [(metric_title(m, result.unit), pair.value(m), DIGITS[m]) for m in metrics_shown([result])]
    page = view(
        **drawn.inputs,
        title=f"{pair.moving} on {pair.fixed}: {result.name}",
        verdict="failed" if pair.failure else pair.verdict,
        concerns=[f"No transform: {pair.failure}"] if pair.failure else pair.concerns,
        scores=[(name, f"{value:.{digits}f}") for name, value, digits in numbers if value == value],
        at=None if drawn.error is None else drawn.error.point.tolist(),
    )
    path = Path(FOLDER) / inside / f"{pair_folder(pair.fixed, pair.moving)}.html"
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    page.save(folder / path)
    return quote(path.as_posix())
