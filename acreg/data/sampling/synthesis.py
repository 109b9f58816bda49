"""``acreg data synthesize``: pairs made from single images, stored with the true displacement between them.

It writes ``dataset.json`` (with the settings), then the files of each pair, then ``pairs.csv`` and, last,
``manifest.csv``. Every file is written atomically. So a folder with a manifest is complete; one without is from
an interrupted run, which the same call continues: pairs with existing files are kept if the settings are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops

from acreg.data.manifest import Dataset
from acreg.data.records import DatasetInfo, Record, read_info, write_info
from acreg.data.resuming import FILES, check_least
from acreg.data.sampling.deformation import RandomDeformation, check_mask
from acreg.data.tables.pair_files import PAIRS_NAME, write_pairs
from acreg.errors import AcregError, UsageError, quiet
from acreg.geometry import Displacement, Transform
from acreg.io import Image, check_empty, write_image, writes_into
from acreg.io.claims import occupied
from acreg.io.image_files import contents_digest
from acreg.io.transforms import write_transform
from acreg.layers import ThinPlateSplineAugmentation
from acreg.progress import Progress, counted

VERSION = 1
"""Version of the method that makes pairs; with another version, an interrupted run starts over."""
LIMITS = ("max_rotation", "max_translation", "max_deformation", "control_points", "gamma", "brightness")
"""The arguments of the layer that can be set."""


@dataclass(frozen=True)
class _Pair:
    """The files of a pair that is made from the image of `source` by the layer with this seed."""

    name: str
    source: Record
    seed: int
    out: Path

    @property
    def fixed(self) -> Record:
        return self._record("fixed")

    @property
    def moving(self) -> Record:
        return self._record("moving")

    @property
    def transform(self) -> Path:
        return self.out / "transforms" / f"{self.name}.h5"

    @property
    def complete(self) -> bool:
        files = [self.transform, *(path for r in (self.fixed, self.moving) for path in (r.image, r.labels))]
        return all(path is None or path.is_file() for path in files)

    def _record(self, role: str) -> Record:
        subject, source = f"{self.name}_{role}", self.source
        labels = None if source.labels is None else self.out / "labels" / f"{subject}.nii.gz"
        image = self.out / "images" / f"{subject}.nii.gz"
        return Record(subject, image, labels, source.split, group=source.group or source.subject)


@writes_into("out")
def synthesize(
    dataset: Dataset,
    out: Path | str,
    split: str = "test",
    count: int | None = None,
    seed: int = 0,
    limits: Mapping[str, Any] | None = None,
    deformed: RandomDeformation | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Make pairs from the single images of a split, once, and write them as a dataset with a ``pairs.csv``.

    By default, `acreg.layers.ThinPlateSplineAugmentation` makes a pair on the image's own grid: the moving image
    is the subject's own image, the fixed image is the same image warped by a random displacement, and
    ``transforms/<pair>.h5`` maps fixed points to moving points. The layer changes the intensities of both within the
    range of the subject's image. The fixed labels are the moving labels, warped by the true displacement as in an
    evaluation.

    Subjects are used in turn: the n-th pair of a subject is called ``<subject>_<n>`` and depends only on the seed, the
    position of the subject in the split, and n, so a larger count gives the same pairs and additional ones.

    Args:
        dataset: a dataset of labelled or unlabelled images.
        out: folder to write.
        split: the split whose subjects are used; the pairs are in the same split.
        count: total number of pairs; None for one per subject.
        seed: at least 0.
        limits: limits of the layer, by the names in `LIMITS`, in mm and degrees; others have their defaults.
        deformed: make pairs as for training JRS-Net instead, from labelled 2-D images: the fixed image is the subject's
            own image, the moving image a copy that is rotated, translated and deformed until the labels hardly overlap;
            intensities are not changed, and ``limits`` have no effect.
        progress: called with (text, done, total).

    Returns:
        The dataset. If ``out`` already holds it completely with the same settings, nothing is done.
        ``preparation["doubtful"]`` lists the pairs whose labels leave the image or whose displacement folds.

    Raises:
        UsageError: an unknown split or limit, a limit out of range, a split without subjects, or a negative seed.
        AcregError: unreadable files, or an ``out`` in use.
        OSError: files cannot be written (disk full, permission); the pairs finished so far are kept.
    """
    out, records = Path(out), dataset.used_split(split)
    count = len(records) if count is None else count
    check_least(count=(count, 1), seed=(seed, 0))
    limits = _checked(limits or {})
    preparation = {
        "version": VERSION,
        "steps": f"pairs made from single images of {dataset.name} by random "
        f"{'thin-plate splines' if deformed is None else 'turns, shifts and B-splines'}",
        "split": records[0].split,
        "count": count,
        "seed": seed,
        **(limits if deformed is None else deformed.model_dump(mode="json")),
        FILES: contents_digest(path for record in records[:count] for path in (record.image, record.labels)),
        "doubtful": {},
    }
    info = dataset.info().model_copy(update={"name": f"{dataset.name}-synthetic", "preparation": preparation})
    if _complete(out, info):
        return Dataset.load(out)
    write_info(out, info)
    pairs = []
    for number in counted(range(count), "Making pairs", count, progress):
        turn, position = divmod(number, len(records))
        source = records[position]
        pair_seed = int(np.random.SeedSequence([seed, position, turn]).generate_state(1)[0] >> 1)
        pair = _Pair(f"{source.subject}_{turn + 1}", source, pair_seed, out)
        pairs.append(pair)
        if not pair.complete:
            doubt = _make(pair, dataset, limits, deformed)
            if doubt:
                info.preparation["doubtful"][pair.name] = doubt
                write_info(out, info)
    write_pairs(out / PAIRS_NAME, {(pair.fixed.subject, pair.moving.subject): pair.transform for pair in pairs})
    made = Dataset.from_info(out, info, [record for pair in pairs for record in (pair.fixed, pair.moving)])
    made.save()
    return made


def _checked(limits: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(limits) - set(LIMITS))
    if unknown:
        raise UsageError(f"What can be set is {', '.join(LIMITS)}. Received: {', '.join(unknown)}. Correct the name.")
    try:
        config = ThinPlateSplineAugmentation(**limits).get_config()
    except ValueError as error:
        raise UsageError(f"{error}. Correct it.") from error
    return {name: config[name] for name in LIMITS}


def _complete(out: Path, info: DatasetInfo) -> bool:
    """Whether ``out`` holds this complete dataset; other contents are refused, notes of an interrupted run are kept."""
    settings = out / "dataset.json"
    if settings.is_file():
        old = read_info(settings)
        doubtful = old.preparation.get("doubtful", {})
        known = {FILES: info.preparation[FILES], **old.preparation, "doubtful": {}}
        if old.model_copy(update={"preparation": known}) == info:
            info.preparation["doubtful"] = doubtful
            return (out / "manifest.csv").is_file()
        raise occupied(out, "something else or pairs of other settings", "delete this one")
    check_empty(out, "something else", "delete it")
    return False


def _make(pair: _Pair, dataset: Dataset, limits: Mapping[str, Any], deformed: RandomDeformation | None) -> str:
    """Write a pair; returns what is doubtful about it, if anything."""
    labels = None
    if pair.source.labels is None:
        image = dataset.read_image(pair.source)
    else:
        image, labels = dataset.read_labelled(pair.source)
    if deformed is None:
        made, truth = _by_spline(image, limits, pair.seed)
        both = None if labels is None else {"fixed": truth.warp_labels(labels), "moving": labels}
    else:
        made, both, truth = _by_deformation(image, labels, deformed, pair)
    images = {role: Image(array, image.grid, name=f"{pair.name}_{role}") for role, array in made.items()}
    write_image(images["fixed"], pair.fixed.image)
    write_image(images["moving"], pair.moving.image)
    doubts = []
    if both is not None and pair.moving.labels is not None and pair.fixed.labels is not None:
        write_image(both["moving"], pair.moving.labels)
        write_image(both["fixed"], pair.fixed.labels)
        original, copy = ("moving", "fixed") if deformed is None else ("fixed", "moving")
        lost = np.setdiff1d(both[original].array, both[copy].array)
        if lost.size:
            doubts.append(f"lost {', '.join(dataset.label_names[value] for value in lost.tolist())}")
    write_transform(truth, pair.transform, images["moving"])
    folded = truth.folding()["folded_percent"]
    if folded > 0:
        doubts.append(f"folds in {folded:.2g} % of the voxels")
    return ", ".join(doubts)


def _by_spline(image: Image, limits: Mapping[str, Any], seed: int) -> tuple[dict[str, np.ndarray], Transform]:
    if limits["max_deformation"] and min(image.grid.shape) < limits["control_points"]:
        raise UsageError(
            "Along each axis an image has at least as many voxels as there are control points. Received: "
            f"{image.name or 'an image'} of shape {image.grid.shape} for control_points={limits['control_points']}. "
            "Lower --control-points, set --max-deformation 0, or leave such images out."
        )
    layer = ThinPlateSplineAugmentation(**limits, return_displacement=True, seed=seed)
    with quiet(UserWarning):  # that control points are too close; whether it folds is measured
        made = layer({"image": image.array[None, ..., None], "spacing": np.array([image.grid.spacing], np.float32)})
    values = {name: ops.convert_to_numpy(value)[0] for name, value in made.items()}
    truth = Transform(image.grid, image.grid, (Displacement(values["displacement"], image.grid),))
    low, high = float(image.array.min()), float(image.array.max())
    return {role: low + values[role][..., 0] * (high - low) for role in ("fixed", "moving")}, truth


def _by_deformation(
    image: Image, labels: Image | None, random: RandomDeformation, pair: _Pair
) -> tuple[dict[str, np.ndarray], dict[str, Image], Transform]:
    if labels is None or image.grid.rank != 2:
        raise AcregError(
            "Deformed pairs are made of labelled 2-D images. Received: "
            f"{pair.source.subject} with {image.grid.rank} axes and {'no ' if labels is None else ''}labels. Make "
            "pairs by splines (without --deformed) of others."
        )
    check_mask(labels.array[..., None], f"the labels of {pair.source.subject}")
    deformation = random.draw(labels.array[..., None], np.random.default_rng(pair.seed))
    moved = Image(deformation.apply_labels(labels.array[..., None])[..., 0], image.grid, "labels")
    made = {"fixed": image.array, "moving": deformation.apply(image.array[..., None])[..., 0]}
    truth = Transform(image.grid, image.grid, (Displacement(deformation.displacement, image.grid),))
    return made, {"fixed": labels, "moving": moved}, truth
