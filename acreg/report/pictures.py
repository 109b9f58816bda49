"""Pictures of single pairs for the report, drawn from the dataset and the saved displacement."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from acreg.data.manifest import Dataset
from acreg.errors import AcregError
from acreg.evaluation.largest_error import LargestError, largest_error
from acreg.evaluation.method_result import MethodResult, PairScores
from acreg.geometry import Displacement, Transform, unregistered
from acreg.geometry.thinning import every, thinned, thinned_grid
from acreg.io import Image, read_displacement
from acreg.names import pair_folder
from acreg.plotting.drawing import (
    FIXED_COLOUR,
    WARPED_COLOUR,
    checkerboard,
    draw_contours,
    draw_determinant,
    draw_grid,
    draw_image,
    draw_mark,
    draw_sides,
)
from acreg.plotting.figures import to_png
from acreg.plotting.warped_pair import SIDES, PairView, WarpedPair, warp_pair
from acreg.registration.concerns import foreground

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PIXELS = 340  # of a panel's longer side
WIDTH = 260  # of a panel with the planes of a volume
GAP = 6  # between planes, in pixels
COLOURS = 160  # of a panel's palette: a third of the bytes, no difference to the eye
MARGIN = 0.04  # around what is seen in a volume, as a share of the volume
BOX_VOXELS = 2**18  # in which the foreground of a volume is looked for
KEPT = 8
"""Number of subjects whose images are kept in memory, since pairs share subjects."""


Box = tuple[tuple[int, int], ...]
"""The first and the last voxel along each axis."""


class Shown(NamedTuple):
    """What a panel shows: a pair in 2-D or a plane of a volume, and the sides of the plane.

    `mark` is the place of the ring; `box` and `moving_box` are the rows and columns in which there is something to see,
    None for all.
    """

    view: PairView
    sides: Sequence[str] = ()
    mark: tuple[int, int] | None = None
    box: Box | None = None
    moving_box: Box | None = None


@dataclass
class PairPictures:
    """The pictures of one pair.

    Attributes:
        panels: (caption, PNG) of each panel.
        reason: the reason why there are no panels.
        place: what the planes pass through, or what the ring marks; "" if it is unknown.
        pair: the pair, None if it could not be read.
        error: the place of its largest error, None for a failed pair.
    """

    panels: list[tuple[str, bytes]] = field(default_factory=list)
    reason: str = ""
    place: str = ""
    pair: WarpedPair | None = None
    error: LargestError | None = None

    @property
    def planes(self) -> bool:
        """Whether the panels show planes of a volume."""
        return self.pair is not None and self.pair.fixed.grid.rank == 3


class PictureSource:
    """Draws pairs of results; each dataset is read once.

    A pair can be drawn if the folder of the dataset that `summary.json` names can be read and the displacement was
    saved. Otherwise, a saved `preview.png` is shown.
    """

    def __init__(self) -> None:
        self._datasets: dict[str, Dataset] = {}
        self._images: dict[tuple[str, str], tuple[Image, Image | None]] = {}

    def draw(self, result: MethodResult, pair: PairScores) -> PairPictures:
        """The pictures of a pair of a method. A failed pair shows its two images."""
        if result.folder is None:
            return PairPictures(reason="the results were not read from a folder")
        folder = result.folder / pair_folder(pair.fixed, pair.moving)
        try:
            warped = self._warped(result, pair, folder)
            error = None if pair.failure else largest_error(warped, _largest_label(pair) or list(result.label_names))
            shown = _shown(warped, error)
        except (AcregError, OSError) as refused:
            preview = folder / "preview.png"
            if preview.is_file():
                return PairPictures([("Preview saved by the evaluation", preview.read_bytes())])
            return PairPictures(reason=str(refused))
        bold = None if error is None else error.label
        panels = [(caption, _small_png(each)) for caption, each in panel_figures(shown, not pair.failure, bold)]
        return PairPictures(panels, "", _place(error, result), warped, error)

    def _warped(self, result: MethodResult, pair: PairScores, folder: Path) -> WarpedPair:
        source = str(result.summary.get("dataset", {}).get("folder", ""))
        fixed, fixed_labels = self._read(source, pair.fixed)
        moving, moving_labels = self._read(source, pair.moving)
        transform = unregistered(fixed=fixed, moving=moving, align=result.align)
        if not pair.failure and not result.is_baseline:
            displacement = read_displacement(folder / "displacement.nii.gz")
            transform = Transform(fixed.grid, moving.grid, (Displacement(displacement, fixed.grid),))
        return warp_pair(transform, fixed=fixed, moving=moving, fixed_labels=fixed_labels, moving_labels=moving_labels)

    def _read(self, source: str, subject: str) -> tuple[Image, Image | None]:
        if not source:
            raise AcregError("the results do not name the dataset's folder")
        if source not in self._datasets:
            self._datasets[source] = Dataset.load(Path(source))
        key = (source, subject)
        if key not in self._images:
            dataset = self._datasets[source]
            record = dataset.record(subject)
            found = (dataset.read_image(record), None) if record.labels is None else dataset.read_labelled(record)
            if len(self._images) == KEPT:
                del self._images[next(iter(self._images))]
            self._images[key] = found
        return self._images[key]


def _largest_label(pair: PairScores) -> list[int]:
    """The label with the largest Hausdorff distance by the scores; none if it is not known."""
    known = {label: scores["hd"] for label, scores in pair.labels.items() if math.isfinite(scores["hd"])}
    return [max(known, key=known.__getitem__)] if known else []


def _place(error: LargestError | None, result: MethodResult) -> str:
    """A sentence on the place that is shown."""
    if error is None:
        return ""
    what = error.text(result.label_names, result.unit)
    if len(error.voxel) == 2:
        return f"Ring: {what}."
    letters = (("L", "R"), ("P", "A"), ("S", "I"))  # of positive and negative coordinates
    where = (f"{pair[int(value < 0)]} {abs(value):.1f}" for pair, value in zip(letters, error.point[::-1], strict=True))
    return f"Planes through {what}, at {', '.join(where)} mm."


def _shown(pair: WarpedPair, error: LargestError | None) -> list[Shown]:
    """The pair, or the three planes of a volume through the place of its largest error, or else through its middle."""
    if pair.fixed.grid.rank == 2:
        return [Shown(pair.picture(), mark=None if error is None else (error.voxel[0], error.voxel[1]))]
    voxel = pair.middle() if error is None else error.voxel
    moved: Sequence[int | None] = (None, None, None)
    if error is not None:
        index = pair.moving.grid.to_index(pair.transform.warp_points(error.point[np.newaxis], to="moving"))[0]
        moved = np.clip(np.rint(index), 0, np.array(pair.moving.grid.shape) - 1).astype(int).tolist()
    box, moving_box = _box(pair.fixed, pair.fixed_labels, voxel), _box(pair.moving, pair.moving_labels)
    return [
        Shown(
            pair.plane(axis, voxel[axis], moved[axis]),
            SIDES[axis],
            None if error is None else pair.place(axis, voxel),
            _in_plane(axis, box, pair.fixed.grid.shape[0]),
            _in_plane(axis, moving_box, pair.moving.grid.shape[0]),
        )
        for axis in range(3)
    ]


def _box(image: Image, labels: np.ndarray | None, voxel: Sequence[int] | None = None) -> Box:
    """The voxels around the foreground of a volume, its labels and a voxel, with a margin."""
    steps = thinned_grid(image.grid, BOX_VOXELS)[1]
    seen = foreground(thinned(image, BOX_VOXELS))
    if labels is not None:
        seen |= labels[every(steps)] != 0
    box = []
    for axis, size in enumerate(image.grid.shape):
        along = np.flatnonzero(seen.any(axis=tuple(n for n in range(3) if n != axis))) * steps[axis]
        if not len(along):
            along = np.array([0, size - 1])
        if voxel is not None:
            along = np.append(along, voxel[axis])
        margin = round(MARGIN * size) + steps[axis]
        box.append((max(int(along.min()) - margin, 0), min(int(along.max()) + margin, size - 1)))
    return tuple(box)


def _in_plane(axis: int, box: Box, height: int) -> Box:
    """The rows and columns of a box in a plane; `height` is the number of voxels along the first axis."""
    rows, columns = (box[n] for n in range(3) if n != axis)
    return ((height - 1 - rows[1], height - 1 - rows[0]) if axis else rows), columns


def panel_figures(shown: Sequence[Shown], registered: bool = True, bold: int | None = None) -> list[tuple[str, Figure]]:
    """(caption, figure): fixed, moving, warped, label outlines, checkerboard, deformed grid, Jacobian determinant.

    Each figure has the planes below each other, on one scale. Among the outlines, that of the label `bold` is bold.
    """

    def fixed(axes: Axes, view: PairView) -> None:
        draw_image(axes, view.fixed, view.aspect)
        draw_contours(axes, view.fixed_labels, FIXED_COLOUR)

    def moving(axes: Axes, view: PairView) -> None:
        draw_image(axes, view.moving, view.moving_aspect)
        draw_contours(axes, view.moving_labels, WARPED_COLOUR)

    def warped(axes: Axes, view: PairView) -> None:
        draw_image(axes, view.warped, view.aspect)

    def outlines(axes: Axes, view: PairView) -> None:
        draw_image(axes, view.fixed, view.aspect)
        draw_contours(axes, view.fixed_labels, FIXED_COLOUR, bold)
        draw_contours(axes, view.warped_labels, WARPED_COLOUR, bold)

    def board(axes: Axes, view: PairView) -> None:
        axes.imshow(checkerboard(view.fixed, view.warped), cmap="gray", vmin=0, vmax=1, aspect=view.aspect)

    def grid(axes: Axes, view: PairView) -> None:
        draw_grid(axes, view.displacement, view.aspect)

    def determinant(axes: Axes, view: PairView) -> None:
        draw_determinant(axes, view.determinant, view.aspect)

    views = [each.view for each in shown]
    before = [("Fixed", _panel(fixed, shown)), ("Moving", _panel(moving, shown, of_moving=True))]
    if not registered:
        return before
    low, high = min(view.determinant.min() for view in views), max(view.determinant.max() for view in views)
    labelled = any(view.fixed_labels is not None or view.warped_labels is not None for view in views)
    return [
        *before,
        ("Warped", _panel(warped, shown)),
        *([("Labels: fixed green, warped orange", _panel(outlines, shown, marked=True))] if labelled else []),
        ("Checkerboard: fixed and warped", _panel(board, shown, marked=not labelled)),
        ("Deformed grid", _panel(grid, shown)),
        (f"det J from {low:.2f} to {high:.2f}", _panel(determinant, shown)),
    ]


def _panel(
    draw: Callable[[Axes, PairView], None], shown: Sequence[Shown], of_moving: bool = False, marked: bool = False
) -> Figure:
    """Draw on axes without frames, below each other, that fill the picture."""
    from acreg.geometry.notebook_figure import NotebookFigure

    sizes, boxes = [], []
    for view, _, _, box, moving_box in shown:
        aspect, step = (view.moving_aspect, view.moving_step) if of_moving else (view.aspect, view.step)
        whole = tuple((0, n - 1) for n in (view.moving if of_moving else view.fixed).shape)
        boxes.append((moving_box if of_moving else box) or whole)
        rows, columns = (last - first + 1 for first, last in boxes[-1])
        sizes.append((rows * aspect * step, columns * step))
    widest = max(width for _, width in sizes)
    scale = WIDTH / widest if len(sizes) > 1 else PIXELS / max(*sizes[0])
    sizes = [(max(height * scale, 8), max(width * scale, 8)) for height, width in sizes]
    across = max(widest * scale, 40)
    down = max(sum(height for height, _ in sizes) + GAP * (len(sizes) - 1), 40)
    figure = NotebookFigure(figsize=(across / 100, down / 100), dpi=100, facecolor="black")
    top = down
    for (view, sides, mark, *_), (height, width), (rows, columns) in zip(shown, sizes, boxes, strict=True):
        axes = figure.add_axes(
            ((across - width) / 2 / across, (top - height) / down, width / across, height / down), xticks=[], yticks=[]
        )
        draw(axes, view)
        draw_sides(axes, sides)
        if marked and mark:
            draw_mark(axes, *mark)
        axes.set(xlim=(columns[0] - 0.5, columns[1] + 0.5), ylim=(rows[1] + 0.5, rows[0] - 0.5))
        for spine in axes.spines.values():
            spine.set_visible(False)
        top -= height + GAP
    return figure


def _small_png(figure: Figure) -> bytes:
    """A PNG with a reduced number of colours."""
    from PIL import Image as Picture

    stream = io.BytesIO()
    picture = Picture.open(io.BytesIO(to_png(figure))).convert("RGB")
    picture.quantize(COLOURS).save(stream, format="PNG", optimize=True)
    return stream.getvalue()
