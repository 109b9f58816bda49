"""The interactive page of a registered pair: `acreg.view`."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from acreg.data.manifest import Dataset
from acreg.data.subjects import Subjects
from acreg.errors import AcregError, UsageError, argument, images_by_name
from acreg.geometry import Image, Transform
from acreg.geometry.transform import Border
from acreg.io.csv_tables import read_dicts
from acreg.io.documents import read_json, read_text
from acreg.io.inputs import ImageLike, as_image
from acreg.names import pair_folder
from acreg.registration.background import border_and_fill
from acreg.registration.pair import Registration, check_ranks
from acreg.registration.record import RECORD_NAME, record_of, rows_of
from acreg.registration.warping import PathLike, read_transforms, transform_list
from acreg.viewing import View
from acreg.viewing import view as view_pair

VIEW_NAME = "view.html"
TRANSFORMS = ("transform.h5", "displacement.nii.gz")
"""The files of a result folder from which the transform is read, the first that is there."""
IMAGES = ("fixed", "moving", "labels", "fixed_labels")


@images_by_name
def view(
    result: Registration | PathLike | None = None,
    *,
    fixed: ImageLike | None = None,
    moving: ImageLike | None = None,
    transform: PathLike | Transform | Sequence[PathLike | Transform] | None = None,
    labels: ImageLike | None = None,
    fixed_labels: ImageLike | None = None,
    border: Border | None = None,
    fill: float | None = None,
    at: Sequence[float] | None = None,
) -> View:
    """Make the interactive page of a registered pair, as `acreg view` does; a notebook shows it.

    ::

        acreg.view(acreg.register(fixed="a.nii.gz", moving="b.nii.gz"))
        acreg.view("result").save("view.html")
        acreg.view(fixed="a.nii.gz", moving="b.nii.gz", transform="transform.h5")

    Args:
        result: a registration, or the folder that `acreg register` or `Registration.save` wrote, or a folder of one
            pair in the results of `acreg evaluate`.
        fixed, moving: images as in `acreg.register`; instead of a result, or if the folder does not say where its
            images are.
        transform: instead of a result, one or several transforms or their files, as in `acreg.warp`.
        labels, fixed_labels: labels of the moving and of the fixed image.
        border, fill: values outside the moving image, see `Transform.warp_image`; by default, its lowest value.
        at: where the crosshair is at first, in mm by world axis (see `Grid`); by default, in the middle.

    Raises:
        UsageError: neither a result nor two images and a transform are given, or both; or a border, a fill or a place
            that is none.
        AcregError: a file is missing or cannot be read, the folder does not say where its images are, or they cannot be
            viewed (see `acreg.viewing.view`).
    """
    every = {"fixed": fixed, "moving": moving, "labels": labels, "fixed_labels": fixed_labels}
    given: dict[str, ImageLike] = {name: value for name, value in every.items() if value is not None}
    border_and_fill(border, fill)
    options: dict[str, Any] = {"border": border or "constant", "fill": fill, "at": at}
    if isinstance(result, Registration):
        if given or transform is not None:
            raise _one_of("a registration with images or a transform")
        return view_result(result, **options)
    if isinstance(result, (str, os.PathLike)):
        if transform is not None:
            raise _one_of(f"{argument('transform')} with the folder {result}")
        return _view_folder(Path(result), given, options)
    if result is not None:
        raise _one_of(f"a {type(result).__name__}")
    missing = [argument(name) for name in ("fixed", "moving") if name not in given]
    missing += [argument("transform")] if transform is None else []
    if transform is None or missing:
        raise _one_of(f"no {' and no '.join(missing)}")
    images = {name: _read(name, given.get(name)) for name in IMAGES}
    return _page({}, images, transform_list(transform), options)


def view_result(result: Registration, **options: Any) -> View:
    """The page of a registration; `options` are those of `acreg.viewing.view`."""
    images = {
        "fixed": result.fixed,
        "moving": result.moving,
        "labels": result.moving_labels,
        "fixed_labels": result.fixed_labels,
    }
    return _page(record_of(result.method, result), images, [result.transform], options)


def _one_of(received: str) -> UsageError:
    return UsageError(
        f"What is viewed is a result, or two images with a transform. Received: {received}. Give the folder of a "
        f"result alone, or {argument('fixed')}, {argument('moving')} and {argument('transform')}."
    )


def _view_folder(folder: Path, given: Mapping[str, ImageLike], options: dict[str, Any]) -> View:
    transform = next((folder / name for name in TRANSFORMS if (folder / name).is_file()), None)
    if transform is None:
        what = "no folder" if not folder.is_dir() else f"a folder without {' and without '.join(TRANSFORMS)}"
        raise AcregError(
            f"A result is a folder that `acreg register` wrote, with its transform. Received: {folder}, which is {what}"
            f". Name the folder of a registered pair, or give {argument('fixed')}, {argument('moving')} and "
            f"{argument('transform')}."
        )
    record = _object(folder / RECORD_NAME, "record of a registration")
    if {"fixed", "moving"} <= given.keys():
        images = {name: _read(name, given.get(name)) for name in IMAGES}
    elif (known := _evaluated(folder)) is not None:
        images = {**known, **{name: _read(name, value) for name, value in given.items()}}
    else:
        images = _recorded(folder, record, given)
    return _page(record, images, [transform], options)


def _recorded(folder: Path, record: Mapping[str, Any], given: Mapping[str, ImageLike]) -> dict[str, Image | None]:
    """The images of a result that its record names, or those that are given instead."""
    inputs = record.get("inputs")
    known = {name: inputs.get(name) for name in IMAGES} if isinstance(inputs, dict) else {}
    for name, source in known.items():
        if source is not None and name not in given and not (isinstance(source, str) and Path(source).exists()):
            raise _unknown(folder, f"names {source} as {argument(name)}, which is not there")
    sources: dict[str, Any] = {**known, **given}
    if sources.get("fixed") is None or sources.get("moving") is None:
        raise _unknown(folder, "does not name its images")
    return {name: _read(name, sources.get(name)) for name in IMAGES}


def _unknown(folder: Path, reason: str) -> AcregError:
    return AcregError(
        f"The images of a result are read from where its record says that they are. Received: {folder}, which "
        f"{reason}. Give {argument('fixed')} and {argument('moving')}, with {argument('labels')} and "
        f"{argument('fixed_labels')} if there are label maps."
    )


def _evaluated(folder: Path) -> dict[str, Image | None] | None:
    """The images of a pair of an evaluation; None if the folder is not that of such a pair."""
    table = folder.resolve().parent / "pairs.csv"
    dataset = _object(table.with_name("summary.json"), "summary of an evaluation").get("dataset")
    if not isinstance(dataset, dict) or not table.is_file():
        return None
    rows = read_dicts(io.StringIO(read_text(table, "table of pairs"), newline=""))
    pairs = {pair_folder(row.get("fixed", ""), row.get("moving", "")): row for row in rows}
    row = pairs.get(folder.resolve().name)
    if row is None or not isinstance(dataset.get("folder"), str):
        return None
    if not Path(dataset["folder"]).is_dir():
        raise _unknown(folder, f"belongs to the dataset {dataset['folder']}, which is not there")
    subjects = Subjects(Dataset.load(dataset["folder"]))
    (fixed, fixed_labels), (moving, labels) = subjects.get(row["fixed"]), subjects.get(row["moving"])
    return {"fixed": fixed, "moving": moving, "labels": labels, "fixed_labels": fixed_labels}


def _object(path: Path, what: str) -> dict[str, Any]:
    """The object in a JSON file; an empty one if the file is not there or holds something else."""
    content = read_json(path, what) if path.is_file() else {}
    return content if isinstance(content, dict) else {}


def _read(name: str, source: ImageLike | None) -> Image | None:
    return None if source is None else as_image(source, name, "labels" if name.endswith("labels") else "intensity")


def _page(
    record: Mapping[str, Any], images: Mapping[str, Image | None], transform: list[Any], options: Mapping[str, Any]
) -> View:
    fixed, moving = images["fixed"], images["moving"]
    if fixed is None or moving is None:
        raise AcregError("Two images are viewed. Received: one of them. Give both.")
    check_ranks(fixed=fixed, moving=moving)
    concerns = record.get("concerns")
    listed = concerns if isinstance(concerns, list) else []
    return view_pair(
        fixed=fixed,
        moving=moving,
        transform=read_transforms(transform, fixed.grid, moving.grid),
        moving_labels=images["labels"],
        fixed_labels=images["fixed_labels"],
        verdict=str(record.get("verdict") or ""),
        concerns=[str(each["text"]) for each in listed if isinstance(each, dict) and "text" in each],
        scores=rows_of(record),
        **options,
    )
