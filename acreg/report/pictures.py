"""Pictures of single pairs for the report, drawn from the dataset and the saved displacement."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from acreg.data.manifest import Dataset
from acreg.errors import AcregError
from acreg.evaluation.method_result import MethodResult, PairScores
from acreg.geometry import Displacement, Transform, unregistered
from acreg.io import Image, read_displacement
from acreg.names import pair_folder
from acreg.plotting.drawing import (
    FIXED_COLOUR,
    WARPED_COLOUR,
    PairView,
    checkerboard,
    draw_contours,
    draw_determinant,
    draw_grid,
    draw_image,
    view_pair,
)
from acreg.plotting.figures import to_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PIXELS = 340  # of a panel's longer side
COLOURS = 160  # of a panel's palette: a third of the bytes, no difference to the eye


class PairPictures:
    """Draws pairs of results; each dataset and image is read once.

    A pair can be drawn if the folder of the dataset that `summary.json` names can be read and the displacement was
    saved. Otherwise, a saved `preview.png` is shown.
    """

    def __init__(self) -> None:
        self._datasets: dict[str, Dataset] = {}
        self._images: dict[tuple[str, str], tuple[Image, Image | None]] = {}

    def panels(self, result: MethodResult, pair: PairScores) -> tuple[list[tuple[str, bytes]], str]:
        """(caption, PNG) of each panel, and the reason if there are none. A failed pair shows its two images."""
        if result.folder is None:
            return [], "the results were not read from a folder"
        folder = result.folder / pair_folder(pair.fixed, pair.moving)
        try:
            source = str(result.summary.get("dataset", {}).get("folder", ""))
            fixed, fixed_labels = self._read(source, pair.fixed)
            moving, moving_labels = self._read(source, pair.moving)
            transform = unregistered(fixed=fixed, moving=moving, align=result.align)
            if not pair.failure and not result.is_baseline:
                displacement = read_displacement(folder / "displacement.nii.gz")
                transform = Transform(fixed.grid, moving.grid, (Displacement(displacement, fixed.grid),))
            view = view_pair(
                transform, fixed=fixed, moving=moving, fixed_labels=fixed_labels, moving_labels=moving_labels
            )
        except (AcregError, OSError) as error:
            preview = folder / "preview.png"
            if preview.is_file():
                return [("Preview saved by the evaluation", preview.read_bytes())], ""
            return [], str(error)
        return [(caption, _small_png(each)) for caption, each in panel_figures(view, registered=not pair.failure)], ""

    def _read(self, source: str, subject: str) -> tuple[Image, Image | None]:
        if not source:
            raise AcregError("the results do not name the dataset's folder")
        if source not in self._datasets:
            self._datasets[source] = Dataset.load(Path(source))
        key = (source, subject)
        if key not in self._images:
            dataset = self._datasets[source]
            record = dataset.record(subject)
            self._images[key] = (
                (dataset.read_image(record), None) if record.labels is None else dataset.read_labelled(record)
            )
        return self._images[key]


def panel_figures(view: PairView, registered: bool = True) -> list[tuple[str, Figure]]:
    """(caption, figure): fixed, moving, warped, label outlines, checkerboard, deformed grid, Jacobian determinant."""
    shape, aspect = view.fixed.shape, view.aspect

    def fixed(axes: Axes) -> None:
        draw_image(axes, view.fixed, aspect)
        draw_contours(axes, view.fixed_labels, FIXED_COLOUR)

    def moving(axes: Axes) -> None:
        draw_image(axes, view.moving, view.moving_aspect)
        draw_contours(axes, view.moving_labels, WARPED_COLOUR)

    def outlines(axes: Axes) -> None:
        draw_image(axes, view.fixed, aspect)
        draw_contours(axes, view.fixed_labels, FIXED_COLOUR)
        draw_contours(axes, view.warped_labels, WARPED_COLOUR)

    def board(axes: Axes) -> None:
        axes.imshow(checkerboard(view.fixed, view.warped), cmap="gray", vmin=0, vmax=1, aspect=aspect)

    before = [
        ("Fixed", _panel(fixed, shape, aspect)),
        ("Moving", _panel(moving, view.moving.shape, view.moving_aspect)),
    ]
    if not registered:
        return before
    low, high = float(view.determinant.min()), float(view.determinant.max())
    labelled = view.fixed_labels is not None or view.warped_labels is not None
    return [
        *before,
        ("Warped", _panel(lambda axes: draw_image(axes, view.warped, aspect), shape, aspect)),
        *([("Labels: fixed green, warped orange", _panel(outlines, shape, aspect))] if labelled else []),
        ("Checkerboard: fixed and warped", _panel(board, shape, aspect)),
        ("Deformed grid", _panel(lambda axes: draw_grid(axes, view.displacement, aspect), shape, aspect)),
        (
            f"det J from {low:.2f} to {high:.2f}",
            _panel(lambda axes: draw_determinant(axes, view.determinant, aspect), shape, aspect),
        ),
    ]


def _panel(draw: Callable[[Axes], object], shape: tuple[int, ...], aspect: float) -> Figure:
    """Draw on axes without a frame that fill the picture."""
    from acreg.geometry.notebook_figure import NotebookFigure

    height, width = shape[0] * aspect, float(shape[1])
    scale = PIXELS / max(height, width)
    size = max(width * scale, 40) / 100, max(height * scale, 40) / 100
    figure = NotebookFigure(figsize=size, dpi=100, facecolor="black")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xticks([])
    axes.set_yticks([])
    draw(axes)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def _small_png(figure: Figure) -> bytes:
    """A PNG with a reduced number of colours."""
    from PIL import Image as Picture

    stream = io.BytesIO()
    picture = Picture.open(io.BytesIO(to_png(figure))).convert("RGB")
    picture.quantize(COLOURS).save(stream, format="PNG", optimize=True)
    return stream.getvalue()
