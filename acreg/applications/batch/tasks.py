"""What `acreg segment` and `acreg quality` do to each image of a run; see `acreg.applications.batch.run`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from acreg.applications.atlases.label_fusion import Fusion
from acreg.applications.atlases.multi_atlas import Atlases, AtlasSegmentation, Similarity, segment_by_atlases
from acreg.applications.atlases.quality import THRESHOLD, PredictedQuality, label_dice, predict_quality
from acreg.applications.batch.items import Item
from acreg.applications.batch.run import input_cells
from acreg.applications.batch.segmentations import SEGMENTATIONS, agreement, saved
from acreg.baselines.options import split_name
from acreg.data.manifest import Dataset
from acreg.data.records import manifest_path
from acreg.errors import AcregError
from acreg.evaluation.predicted_quality import QUALITY
from acreg.geometry import Grid
from acreg.io import Image, read_image, read_labelled
from acreg.io.formats import is_picture
from acreg.io.image_files import contents_digest
from acreg.registration.methods import Method, Unregistered, named_method, preset_method
from acreg.registration.optimised import preset_digests


@dataclass(frozen=True)
class MethodChoice:
    """A registration method, given as a preset or as the name of another method.

    Args:
        model: name or folder of a preset, or None.
        method: see `named_method`, or None.
        threads, seed: for a method without a preset.
        refine: maximum number of refinement steps of a model.
    """

    model: str | None = None
    method: str | None = None
    threads: int = 1
    seed: int = 0
    refine: int = 0

    def load(self) -> Method:
        """Load the method. Errors as for `preset_method` and `named_method`."""
        if self.model is not None:
            return preset_method(self.model, refine=self.refine, seed=self.seed)
        return named_method(self.method or Unregistered.name, self.threads, self.seed)

    def settings(self) -> dict[str, Any]:
        """The settings that its results depend on."""
        if self.model is None:
            options = [part.partition("=") for part in split_name(self.method or "")[1].split(",")]
            given = {key.strip(): value.strip() for key, _, value in options}
            digests = preset_digests({role: given.get(role, "") for role in ("features", "start")})
            return {"method": self.method, "threads": self.threads, "seed": self.seed, **digests}
        from acreg.inference.presets import preset_digest

        refine = {"refine": self.refine} if self.refine else {}
        return {"model": Path(self.model).name, "model_sha256": preset_digest(self.model), **refine}


@dataclass(frozen=True)
class _AtlasTask:
    """A task that registers each image with the most similar subjects of a dataset.

    Args:
        data: the dataset's folder or manifest.
        split: the split whose subjects are used.
        method: the registration method.
        count: number of subjects used for each image.
        measure: the measure of similarity.
        at_once: pairs in one batch through a network.
        folder: folder of the results.
    """

    data: Path
    split: str
    method: MethodChoice
    folder: Path
    count: int = 5
    measure: Similarity = "ncc"
    at_once: int = 16

    def _settings(self) -> dict[str, Any]:
        manifest, dataset = manifest_path(self.data), Dataset.load(self.data)
        atlases = [path for record in dataset.split(self.split) for path in (record.image, record.labels)]
        return {
            "data": dataset.name,
            "data_sha256": contents_digest([manifest, manifest.with_name("dataset.json"), *atlases]),
            "split": self.split,
            **self.method.settings(),
            "atlases": self.count,
            "similarity": self.measure,
        }


class _AtlasWorker:
    def __init__(self, task: _AtlasTask) -> None:
        self.task = task
        self.method = task.method.load()
        self.atlases = Atlases(Dataset.load(task.data), task.split)
        self._grid = self.atlases[self.atlases.records[0].subject][0].grid

    def sized(self, image: Image) -> Image:
        """The image; a picture file, which has no spacing, is scaled to the atlases' size, keeping its proportions.

        Otherwise tools that register in physical space would see a body many times larger or smaller than the atlases'.
        """
        grid = self._grid
        if not is_picture(Path(image.name)) or image.grid.rank != grid.rank:
            return image
        spacing = max(n * s / own for n, s, own in zip(grid.shape, grid.spacing, image.grid.shape, strict=True))
        return replace(image, grid=Grid(image.grid.shape, (spacing,) * grid.rank))


@dataclass(frozen=True)
class SegmentTask(_AtlasTask):
    """Segmentation by atlases: a label map for each image and, optionally, the probability of each label.

    Its table is also the manifest of a dataset with these label maps.

    Args:
        fusion: see `label_shares`.
        probabilities: whether to write the probabilities.
    """

    fusion: Fusion = "majority"
    probabilities: bool = False
    table: str = field(default=SEGMENTATIONS, init=False)
    columns: tuple[str, ...] = field(
        default=("subject", "image", "labels", "split", "atlases", "similarities", "agreement"), init=False
    )
    inputs: tuple[str, ...] = field(default=("image",), init=False)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings that determine the results."""
        return {**self._settings(), "fusion": self.fusion, "probabilities": self.probabilities}

    def load(self) -> SegmentWorker:
        """The worker, with the model and the atlases."""
        return SegmentWorker(self)


class SegmentWorker(_AtlasWorker):
    """Segments images; see `SegmentTask`."""

    task: SegmentTask

    def read(self, item: Item) -> Image:
        """An item's image."""
        return self.sized(read_image(item.image))

    def compute(self, items: Sequence[Item], contents: Sequence[Image]) -> list[AtlasSegmentation]:
        """The segmentations."""
        task = self.task
        return segment_by_atlases(
            contents,
            self.atlases,
            self.method,
            task.count,
            task.measure,
            task.fusion,
            at_once=task.at_once,
        )

    def save(self, item: Item, result: AtlasSegmentation) -> list[str]:
        """Write the label map and, if requested, the probabilities.

        The row's agreement is the mean probability of the winning label over the voxels that are not background: 1 if
        all atlases agree.
        """
        shares = dict(zip(result.values, result.shares, strict=True)) if self.task.probabilities else {}
        return [
            *saved(self.task.folder, item, result.labels, shares),
            ";".join(result.atlases),
            ";".join(f"{similarity:.4f}" for similarity in result.similarities),
            agreement(result.labels, result.shares),
        ]


@dataclass(frozen=True)
class QualityTask(_AtlasTask):
    """Predicted quality of segmentations, and their true quality where the truth is known.

    Args:
        labels: the foreground values.
        threshold: predicted Dice below which a segmentation is rejected.
    """

    labels: tuple[int, ...] = ()
    threshold: float = THRESHOLD
    table: str = field(default=QUALITY, init=False)
    inputs: tuple[str, ...] = field(default=("image", "labels"), init=False)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the table."""
        return (
            *("subject", "image", "labels", "predicted_dice", "mean_dice", "accepted"),
            *(f"predicted_dice_{value}" for value in self.labels),
            "true_dice",
            *(f"true_dice_{value}" for value in self.labels),
            "references",
        )

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings that determine the results."""
        return {**self._settings(), "threshold": self.threshold}

    def load(self) -> QualityWorker:
        """The worker, with the model and the references."""
        return QualityWorker(self)


class QualityWorker(_AtlasWorker):
    """Judges segmentations; see `QualityTask`."""

    task: QualityTask

    def read(self, item: Item) -> tuple[Image, Image, Image | None]:
        """An item's image, its segmentation and, where there is one, the truth."""
        if item.labels is None:
            raise AcregError(
                "A segmentation is judged. Received: an image without one. Fill the column labels of the list of "
                "images."
            )
        known = (0, *self.task.labels)  # a bad segmentation may contain noise, which is no reason to refuse it
        image, labels = read_labelled(item.image, item.labels, known)
        truth = None if item.truth is None else read_labelled(item.image, item.truth, known)[1]
        image = self.sized(image)
        return image, replace(labels, grid=image.grid), truth

    def compute(
        self, items: Sequence[Item], contents: Sequence[tuple[Image, Image, Image | None]]
    ) -> list[tuple[PredictedQuality, np.ndarray | None]]:
        """The predicted and, where there is a truth, the true Dice of each label."""
        task = self.task
        predicted = predict_quality(
            [(image, labels) for image, labels, _ in contents],
            self.atlases,
            self.method,
            task.count,
            task.measure,
            at_once=task.at_once,
        )
        true = [None if t is None else label_dice(s.array, t.array, task.labels) for _, s, t in contents]
        return list(zip(predicted, true, strict=True))

    def save(self, item: Item, result: tuple[PredictedQuality, np.ndarray | None]) -> list[str]:
        """Return the row; no file is written."""
        found, true = result
        known = true is not None and np.isfinite(true).any()
        return [
            item.name,
            *input_cells(item, self.task.inputs),
            _number(found.maximum),
            _number(found.mean),
            str(int(found.accepted(self.task.threshold))),
            *(_number(found.per_label[value]) for value in self.task.labels),
            _number(float(np.nanmean(true))) if true is not None and known else "",
            *(_number(value) for value in (true if true is not None else [np.nan] * len(self.task.labels))),
            ";".join(found.references),
        ]


def _number(value: float) -> str:
    return f"{value:.4f}" if np.isfinite(value) else ""
