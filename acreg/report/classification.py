"""The files that ``acreg classify`` writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sklearn.metrics import roc_curve

from acreg.evaluation.classification import CrossValidation
from acreg.io.atomic import atomic_path
from acreg.io.csv_tables import write_table
from acreg.io.documents import write_json
from acreg.plotting.figures import to_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_classification(
    found: Mapping[str, CrossValidation], subjects: Sequence[str], folder: Path, settings: Mapping[str, Any]
) -> None:
    """Write ``scores.csv`` (one row per subject, one column per kind of features), ``roc.png`` and ``summary.json``."""
    truth = next(iter(found.values())).truth
    rows: list[list[object]] = [["subject", "diseased", *found]]
    for number, subject in enumerate(subjects):
        rows.append([subject, int(truth[number]), *(float(one.scores[number]) for one in found.values())])
    write_table(folder / "scores.csv", rows)
    with atomic_path(folder / "roc.png") as temporary:
        temporary.write_bytes(to_png(roc_curves(found)))
    summary = {
        name: {
            "accuracy": one.accuracy,
            "accuracy_interval": one.accuracy_interval,
            "auc": one.auc,
            "auc_interval": one.auc_interval,
        }
        for name, one in found.items()
    }
    counts = {"diseased": int(truth.sum()), "healthy": int((~truth).sum())}
    write_json(folder / "summary.json", {"settings": dict(settings), "subjects": counts, "features": summary})


def table_rows(found: Mapping[str, CrossValidation]) -> list[tuple[str, str, str, str, str]]:
    """Features, accuracy with its interval, area under the curve with its interval."""
    return [
        (name, f"{one.accuracy:.3f}", _interval(one.accuracy_interval), f"{one.auc:.3f}", _interval(one.auc_interval))
        for name, one in found.items()
    ]


def _interval(limits: tuple[float, float]) -> str:
    return f"{limits[0]:.3f} to {limits[1]:.3f}"


def roc_curves(found: Mapping[str, CrossValidation]) -> Figure:
    """One ROC curve for each kind of features."""
    from acreg.geometry.notebook_figure import NotebookFigure

    figure = NotebookFigure(figsize=(4.5, 4.5), dpi=150, layout="constrained")
    axes = figure.add_subplot(aspect="equal", xlim=(0, 1), ylim=(0, 1.005))
    axes.set_xlabel("1 - specificity")
    axes.set_ylabel("Sensitivity")
    for name, one in found.items():
        false, true, _ = roc_curve(one.truth, one.scores)
        axes.plot(false, true, label=f"{name}: {one.auc:.2f} ({_interval(one.auc_interval)})")
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=0.8, zorder=0)
    axes.legend(title="Area under the curve", loc="lower right", fontsize="small")
    return figure
