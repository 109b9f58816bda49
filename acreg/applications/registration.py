"""Registering one pair and writing what came of it."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import acreg
from acreg.applications.concerns import Concern, Likeness, Usual, concerns
from acreg.baselines import baseline
from acreg.errors import AcregError, images_by_name
from acreg.geometry import Grid, Transform, labels_on
from acreg.geometry.transform import Border
from acreg.io import Image, all_or_none, write_displacement, write_image
from acreg.io.colour import reason_against, warp_channels, write_channels
from acreg.io.files import PICTURES
from acreg.io.transforms import write_inverse, write_transform
from acreg.report.drawing import unregistered, view_pair
from acreg.report.preview import write_preview
from acreg.report.results import write_json

RECORD_NAME = "registration.json"
RESULT_NAMES = (
    RECORD_NAME,
    "warped.png",
    "warped.nii.gz",
    "warped_labels.png",
    "warped_labels.nii.gz",
    "mask.png",
    "mask.nii.gz",
    "displacement.nii.gz",
    "transform.h5",
    "transform.h5.check.json",
    "inverse_transform.h5",
    "inverse_transform.h5.check.json",
    "preview.png",
)
INVERSE_NAMES = ("inverse_transform.h5", "inverse_transform.h5.check.json")
SAVED = ("labels", "displacement", "transform", "images")
"""What can be saved of a registered pair."""


class Method(Protocol):
    """Anything that registers: a model, or a classical program behind the same two names."""

    name: str

    def register(self, *, fixed: Image, moving: Image) -> Transform:
        """The transform that pulls `moving` onto the grid of `fixed`."""
        ...


class Unregistered:
    """Zero displacement: what the images look like before any registration."""

    name = "unregistered"

    @images_by_name
    def register(self, *, fixed: Image, moving: Image) -> Transform:
        """The identity, the two extents laid over each other."""
        return unregistered(fixed=fixed, moving=moving)


class PresetMethod:
    """A model from a preset, under a name of one's own.

    Args:
        model: the name of a shipped preset or a preset's folder.
        name: what tables call it; the preset's name if left out, followed by "-refined" where it is refined.
        refine: at most so many steps of refinement for each pair, see `RegistrationModel.refine`.

    Raises:
        AcregError: the preset cannot be loaded, or does not register (an autoencoder).
    """

    def __init__(self, model: str, name: str = "", refine: int = 0) -> None:
        from acreg.models import from_preset
        from acreg.models.presets import preset_digest, preset_folder

        self._model: Any = from_preset(model)
        self.preset = model
        self.refine = refine
        self.name = name or preset_name(model) + ("-refined" if refine else "")
        if not hasattr(self._model, "register"):
            raise AcregError(
                f"A model that registers is needed. Received: {model}, a {type(self._model).__name__}. "
                "Give the preset of a registration network."
            )
        self.sha256 = preset_digest(model)
        self.usual = Usual.of_preset(preset_folder(model))
        self.deforms = True

    def affine_part(self) -> PresetMethod | None:
        """The model's affine part alone, as a method of the same name followed by "-affine"; None if it has none."""
        if getattr(self._model, "affine", "none") == "none":
            return None
        part = copy(self)
        part._model, part.refine, part.name = self._model.affine_part(), 0, f"{self.name}-affine"
        part.usual, part.deforms = None, False  # what is usual is that of the whole
        return part

    @images_by_name
    def register(self, *, fixed: Image, moving: Image) -> Transform:
        """Register with the model."""
        if self.refine:
            return self._model.refine(fixed=fixed, moving=moving, steps=self.refine)
        return self._model.register(fixed=fixed, moving=moving)

    @images_by_name
    def register_many(self, *, fixed: Sequence[Image], moving: Sequence[Image]) -> list[Transform]:
        """Register pairs by one batch through the network; one by one where they are refined."""
        if self.refine:
            return [self.register(fixed=one, moving=other) for one, other in zip(fixed, moving, strict=True)]
        return self._model.register_many(fixed=fixed, moving=moving)

    def sees(self, image: Image) -> Grid:
        """The network's grid in an image."""
        return self._model.preprocessing.grid(image)

    @images_by_name
    def segment(self, *, fixed: Image, moving: Image) -> Image | None:
        """The model's mask of the fixed image, None of a model that makes none."""
        return self._model.segment(fixed=fixed, moving=moving) if hasattr(self._model, "segment") else None


def named_method(name: str, threads: int, seed: int) -> Method:
    """A method that needs no preset: `identity`, which is `Unregistered`, or a classical one (see `acreg.baselines`).

    Raises:
        AcregError: as `acreg.baselines.baseline`.
    """
    return Unregistered() if name == "identity" else baseline(name, threads, seed)


def preset_name(model: str) -> str:
    """The name of a preset; a run's folder for `runs/<name>/preset`."""
    path = Path(model).resolve()
    return path.parent.name if path.name == "preset" and path.parent.name else path.name


def register_many(method: Method, pairs: Sequence[tuple[Image, Image]], at_once: int = 1) -> list[Transform]:
    """Register pairs (fixed, moving), so many at once as the method can; a classical one takes them one by one."""
    many = getattr(method, "register_many", None)
    if many is None:
        return [method.register(fixed=fixed, moving=moving) for fixed, moving in pairs]
    parts = [pairs[n : n + at_once] for n in range(0, len(pairs), at_once)]
    return [found for part in parts for found in many(fixed=[f for f, _ in part], moving=[m for _, m in part])]


@dataclass
class Registration:
    """A registered pair, everything on the fixed grid; `sampled` is the transform as it was evaluated there, once.

    Attributes:
        warped: what is measured; outside of the moving image it has edge values.
        inside: which voxels look inside of the moving image, `(*spatial)`; beyond it `warped` is made up.
        before, after: how alike the images are inside, unregistered (the extents laid over each other) and registered.
        regularity: of the field, see `acreg.geometry.folding`.
        seconds: of the registration alone.
        mask: what the method itself makes the fixed image's foreground to be, where it segments.
        concerns: what speaks against the result, see `acreg.applications.concerns`.
        no_inverse: why no inverse was saved with the transform.
        inexact: what makes the inverse that was saved an approximation.
    """

    transform: Transform
    sampled: Transform
    warped: Image
    warped_labels: Image | None
    inside: np.ndarray
    before: Likeness
    after: Likeness
    regularity: dict[str, float]
    seconds: float
    mask: Image | None = None
    concerns: list[Concern] = field(default_factory=list)
    no_inverse: str = ""
    inexact: str = ""


@images_by_name
def register_pair(method: Method, *, fixed: Image, moving: Image, moving_labels: Image | None = None) -> Registration:
    """Register, warp, and say what speaks against the result.

    Raises:
        AcregError: an axis has one voxel, the method's result is not on the fixed grid, the labels cannot lie on the
            moving image's (see `acreg.geometry.labels_on`), or what the method raises.
    """
    for image, role in ((fixed, "fixed"), (moving, "moving")):
        if min(image.grid.shape) < 2:
            raise AcregError(
                f"Images to register have at least 2 voxels along each axis. Received: {image.name or role}, the "
                f"{role} image, of shape {image.grid.shape}. A slice is read as a 2-D image where the axis of one "
                "voxel is the last of the file: store it so."
            )
    moving_labels = None if moving_labels is None else labels_on(moving_labels, moving)
    start = time.perf_counter()
    transform = method.register(fixed=fixed, moving=moving)
    seconds = time.perf_counter() - start
    if transform.fixed != fixed.grid:
        raise AcregError(
            "A method's result lies on the fixed image's grid. "
            f"Received: {method.name} with a result on {transform.fixed}, fixed image on {fixed.grid}."
        )
    sampled = transform.sampled()
    labels = None if moving_labels is None else sampled.warp_labels(moving_labels)
    segment = getattr(method, "segment", None)  # which few methods have
    warped, inside = sampled.warp_image(moving, border="edge"), sampled.inside(moving.grid)
    start_image = unregistered(fixed=fixed, moving=moving).warp_image(moving, border="edge")
    result = Registration(
        transform=transform,
        sampled=sampled,
        warped=warped,
        warped_labels=labels,
        inside=inside,
        before=Likeness.of(fixed, start_image, np.ones(fixed.grid.shape, bool)),
        after=Likeness.of(fixed, warped, inside),
        regularity=sampled.folding(),
        seconds=seconds,
        mask=None if segment is None else segment(fixed=fixed, moving=moving),
    )
    if not isinstance(method, Unregistered):
        usual, sees = getattr(method, "usual", None), getattr(method, "sees", None)
        grids = None if sees is None else (sees(fixed), sees(moving))
        deforms = getattr(method, "deforms", True)
        result.concerns = concerns(result, fixed=fixed, moving=moving, usual=usual, sees=grids, deforms=deforms)
    return result


def write_record(folder: Path, method: str, result: Registration) -> None:
    """Write the numbers of a registration and what speaks against it, as JSON; `concerns` is empty where nothing does.

    NCC and mutual information ("nmi") are those of `Registration.before` and `after`.
    """
    content = {
        "method": method,
        "acreg": acreg.__version__,
        "seconds": result.seconds,
        "before": result.before._asdict(),
        "after": result.after._asdict(),
        "folded_percent": result.regularity["folded_percent"],
        "sd_log_j": result.regularity["sd_log_j"],
        "concerns": [concern._asdict() for concern in result.concerns],
    }
    write_json(folder / RECORD_NAME, content)


def result_name(stem: str, source: str, rank: int) -> str:
    """`stem` with .png when `source` is a 2-D picture file, else with .nii.gz."""
    return stem + (".png" if rank == 2 and Path(source).suffix.lower() in PICTURES else ".nii.gz")


@images_by_name
def save_registration(
    folder: Path,
    result: Registration,
    *,
    fixed: Image,
    moving: Image,
    moving_labels: Image | None = None,
    fixed_labels: Image | None = None,
    what: Collection[str] = SAVED,
    border: Border = "constant",
    fill: float = 0.0,
    channels: Sequence[Image] = (),
    method: str = "",
    overwrite: bool = False,
) -> list[Path]:
    """Write warped.*, preview.png (`images`), warped_labels.*, mask.* (`labels`), displacement.nii.gz, transform.h5.

    The transform is what other programs open (`acreg.io.transforms`), with the record of its check and its inverse
    (`inverse_transform.h5`) beside it. Where it has no inverse, the other files are written and `result.no_inverse`
    says why. Pictures are written as the kind of file that the moving image (the labels) came from; see `result_name`.
    Outside of the moving image they have `border` and `fill`, see `Transform.warp_image`. `channels` are those of a
    moving image in colour, of which `moving` is the luminance. With the name of the method registration.json is
    written, too (`write_record`). The files appear all together, see `acreg.io.all_or_none`; with `overwrite` those of
    an earlier registration go at that moment, also where the new one has none of their names.
    """
    old = [folder / name for name in RESULT_NAMES if overwrite]
    with all_or_none(folder, replaced=old) as staged:
        names = _write(staged, result, fixed, moving, moving_labels, fixed_labels, what, border, fill, channels)
        if method:
            write_record(staged, method, result)
            names.insert(0, RECORD_NAME)
    return [folder / name for name in names]


def _write(
    folder: Path,
    result: Registration,
    fixed: Image,
    moving: Image,
    moving_labels: Image | None,
    fixed_labels: Image | None,
    what: Collection[str],
    border: Border,
    fill: float,
    channels: Sequence[Image],
) -> list[str]:
    """The names of the files that were written, see `save_registration`."""
    written = []

    def path(name: str) -> Path:
        written.append(name)
        return folder / name

    rank = fixed.grid.rank
    if "displacement" in what:
        write_displacement(result.sampled.displacement, fixed.grid, path("displacement.nii.gz"))
    if "transform" in what:
        write_transform(result.transform, path("transform.h5"), moving, border, fill)
        written.append("transform.h5.check.json")
        try:
            result.inexact = write_inverse(result.transform, folder / INVERSE_NAMES[0], fixed, border, fill)
            written += INVERSE_NAMES
        except AcregError as error:
            result.no_inverse = str(error)
    if "labels" in what and result.warped_labels is not None:
        source = moving_labels.name if moving_labels is not None else ""
        write_image(result.warped_labels, path(result_name("warped_labels", source, rank)))
    if "labels" in what and result.mask is not None:
        write_image(result.mask, path(result_name("mask", fixed.name, rank)))
    if "images" in what:
        target = path(result_name("warped", moving.name, rank))
        if len(channels) > 1 and not reason_against(channels, target):
            write_channels(warp_channels(channels, result.sampled, border, fill), target)
        else:
            write_image(result.sampled.warp_image(moving, border, fill), target)
        view = view_pair(
            result.sampled,
            fixed=fixed,
            moving=moving,
            fixed_labels=fixed_labels,
            moving_labels=moving_labels,
            border=border,
            fill=fill,
        )
        write_preview(view, path("preview.png"))
    return written
