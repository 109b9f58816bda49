"""The files of a registered pair."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from pathlib import Path

from acreg.data.records import label_names_near
from acreg.errors import AcregError, UsageError, images_by_name
from acreg.geometry import Image
from acreg.geometry.transform import Border
from acreg.io import all_or_none, check_free, sole_writer, write_displacement, write_image
from acreg.io.channels import fits_pixels
from acreg.io.colour import reason_against, warp_channels, write_channels
from acreg.io.documents import write_json
from acreg.io.formats import is_picture
from acreg.io.slicer.scene import write_scene
from acreg.io.transforms import write_inverse, write_transform
from acreg.names import some
from acreg.plotting.preview import preview_png
from acreg.plotting.warped_pair import view_pair
from acreg.registration.background import background_note, border_and_fill
from acreg.registration.further import earlier_names, further_names
from acreg.registration.pair import SAVEABLE, SAVED, Registration
from acreg.registration.record import RECORD_NAME, record_of
from acreg.registration.views import VIEW_NAME, view_result

RESULT_NAMES = (
    RECORD_NAME,
    "registration.json",  # the name until version 0.3
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
    VIEW_NAME,
    "scene.mrb",
)
INVERSE_NAMES = ("inverse_transform.h5", "inverse_transform.h5.check.json")


def result_name(stem: str, source: str, rank: int, images: Iterable[Image] = ()) -> str:
    """`stem` with .png if `source` is a 2-D picture file, of whole numbers from 0 to 65535; otherwise with .nii.gz.

    Args:
        stem: the name without suffix.
        source: name of the file that the result is made of.
        rank: number of axes of the result.
        images: what was read from it; if they are left out, their values are taken for those of a PNG.
    """
    picture = rank == 2 and is_picture(Path(source)) and all(fits_pixels(one.array) for one in images)
    return stem + (".png" if picture else ".nii.gz")


def check_saved(what: Collection[str]) -> None:
    """Raise `UsageError` for words that are not in `SAVEABLE`."""
    unknown = sorted(set(what) - set(SAVEABLE))
    if unknown:
        raise UsageError(f"What can be saved is {', '.join(SAVEABLE)}. Received: {', '.join(unknown)}. Correct it.")


def save_result(
    result: Registration,
    folder: Path,
    what: Collection[str],
    border: Border | None,
    fill: float | None,
    overwrite: bool,
) -> list[Path]:
    """See `Registration.save`."""
    check_saved(what)
    channels = result.channels or [result.moving]
    target = Path(result_name("warped", result.moving.name, result.fixed.grid.rank, channels))
    outside = border_and_fill(border, fill, target)
    with sole_writer(folder):
        check_free(folder, [*RESULT_NAMES, *further_names(one.stem for one in result.also)], overwrite)
        _check_inputs(folder, result)
        written = save_registration(
            folder,
            result,
            fixed=result.fixed,
            moving=result.moving,
            moving_labels=result.moving_labels,
            fixed_labels=result.fixed_labels,
            what=what,
            border=outside[0],
            fill=outside[1],
            channels=result.channels,
            method=result.method,
            overwrite=overwrite,
        )
    notes = []
    if len(result.channels) > 1 and (reason := reason_against(result.channels, target)):
        name = result.moving.name
        notes.append(f"{target} has the luminance of {name} only. {reason} acreg warp --out x.nrrd keeps the colours.")
    if result.inexact:
        notes.append(f"inverse_transform.h5 is an approximation: {result.inexact}.")
    if result.no_inverse:
        notes.append(f"No inverse was written. {result.no_inverse}")
    notes.append(background_note(result.moving, outside[0], fill, float(result.inside.mean())))
    result.notes += [note for note in notes if note]
    return written


def _check_inputs(folder: Path, result: Registration) -> None:
    """Raise `AcregError` if a result would replace an image that was registered."""
    images = [result.fixed, result.moving, result.fixed_labels, result.moving_labels]
    further = [one.channels[0] for one in result.also]
    inputs = {os.path.realpath(each.name) for each in [*images, *further] if each is not None and each.name}
    names = [*RESULT_NAMES, *further_names(one.stem for one in result.also), *earlier_names(folder / RECORD_NAME)]
    lost = [name for name in names if os.path.realpath(folder / name) in inputs and (folder / name).exists()]
    if lost:
        raise AcregError(
            f"Results do not replace the images that were registered. Received: {folder}, whose {some(lost)} was one "
            "of them. Choose another folder."
        )


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

    With `view` in `what`, also view.html, see `acreg.view`; with `slicer`, scene.mrb (`acreg.io.slicer.scene`), where
    labels have the names of their prepared dataset.

    Other programs can open the transform (`acreg.io.transforms`); the record of its check and its inverse
    (`inverse_transform.h5`) are beside it. If there is no inverse, the other files are written and `result.no_inverse`
    gives the reason. Images are written as .png or .nii.gz, see `result_name`.
    Outside the moving image they have the values of `border` and `fill`, see `Transform.warp_image`. `channels` are
    those of a moving colour image, and `moving` is its luminance. With the name of the method, result.json is
    also written (`record_of`). The files appear all together, see `acreg.io.all_or_none`; with `overwrite`, all
    files of an earlier registration are removed at that moment, even those that the new one does not have.
    """
    old = [folder / name for name in (*RESULT_NAMES, *earlier_names(folder / RECORD_NAME)) if overwrite]
    with all_or_none(folder, replaced=old) as staged:
        names = _write(staged, result, fixed, moving, moving_labels, fixed_labels, what, border, fill, channels)
        if method:
            write_json(staged / RECORD_NAME, record_of(method, result))
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

    @cache
    def warped() -> Image:
        return result.sampled.warp_image(moving, border, fill)

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
        write_image(result.warped_labels, path(result_name("warped_labels", source, rank, [result.warped_labels])))
    if "labels" in what and result.mask is not None:
        write_image(result.mask, path(result_name("mask", fixed.name, rank)))
    if "images" in what:
        target = path(result_name("warped", moving.name, rank, channels or [moving]))
        if len(channels) > 1 and not reason_against(channels, target):
            write_channels(warp_channels(channels, result.sampled, border, fill), target)
        else:
            write_image(warped(), target)
        view = view_pair(
            result.sampled,
            fixed=fixed,
            moving=moving,
            fixed_labels=fixed_labels,
            moving_labels=moving_labels,
            border=border,
            fill=fill,
        )
        path("preview.png").write_bytes(preview_png(view))
        for one in result.also:
            one.write(result.sampled, path(one.file_name(rank)), border, fill)
    if "view" in what:
        viewed = dataclasses.replace(result, moving_labels=moving_labels, fixed_labels=fixed_labels)
        view_result(viewed, border=border, fill=fill or None).save(path(VIEW_NAME))
    if "slicer" in what:
        known = [each for each in (moving_labels, fixed_labels) if each is not None]
        write_scene(
            path("scene.mrb"),
            result.transform,
            fixed=fixed,
            moving=moving,
            warped=warped(),
            fixed_labels=fixed_labels,
            moving_labels=moving_labels,
            label_names={value: name for each in known for value, name in label_names_near(each.name).items()},
            border=border,
            fill=fill,
            written=folder / "transform.h5" if "transform" in what else None,
        )
    return written
