"""Pictures of single pairs for the report, drawn from the dataset and the saved displacement."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acreg.data.manifest import Dataset
from acreg.errors import AcregError
from acreg.evaluation.largest_error import LargestError, largest_error
from acreg.evaluation.method_result import MethodResult, PairScores
from acreg.geometry import Displacement, Transform, unregistered
from acreg.io import Image, read_displacement
from acreg.names import pair_folder
from acreg.plotting.warped_pair import warp_pair
from acreg.report.panels import panel_figures, small_png, what_is_shown

KEPT = 8
"""Number of subjects whose images are kept in memory, since pairs share subjects."""


@dataclass
class PairPictures:
    """The pictures of one pair.

    Attributes:
        panels: (caption, PNG) of each panel.
        reason: the reason why there are no panels.
        place: what the planes pass through, or what the ring marks; "" if it is unknown.
        inputs: the pair, as arguments of `acreg.viewing.view`; empty if it could not be read.
        error: the place of its largest error, None for a failed pair.
    """

    panels: list[tuple[str, bytes]] = field(default_factory=list)
    reason: str = ""
    place: str = ""
    inputs: dict[str, Any] = field(default_factory=dict)
    error: LargestError | None = None

    @property
    def planes(self) -> bool:
        """Whether the panels show planes of a volume."""
        return bool(self.inputs) and self.inputs["fixed"].grid.rank == 3


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
            inputs = self._inputs(result, pair, folder)
            warped = warp_pair(**inputs)
            error = None if pair.failure else largest_error(warped, _largest_label(pair) or list(result.label_names))
            shown = what_is_shown(warped, error)
        except (AcregError, OSError) as refused:
            preview = folder / "preview.png"
            if preview.is_file():
                return PairPictures([("Preview saved by the evaluation", preview.read_bytes())])
            return PairPictures(reason=str(refused))
        bold = None if error is None else error.label
        panels = [(caption, small_png(each)) for caption, each in panel_figures(shown, not pair.failure, bold)]
        return PairPictures(panels, "", _place(error, result), inputs, error)

    def _inputs(self, result: MethodResult, pair: PairScores, folder: Path) -> dict[str, Any]:
        source = str(result.summary.get("dataset", {}).get("folder", ""))
        fixed, fixed_labels = self._read(source, pair.fixed)
        moving, moving_labels = self._read(source, pair.moving)
        transform = unregistered(fixed=fixed, moving=moving, align=result.align)
        if not pair.failure and not result.is_baseline:
            displacement = read_displacement(folder / "displacement.nii.gz")
            transform = Transform(fixed.grid, moving.grid, (Displacement(displacement, fixed.grid),))
        images = {"fixed": fixed, "moving": moving, "fixed_labels": fixed_labels, "moving_labels": moving_labels}
        return {"transform": transform, **images}

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
