"""Description of any file or folder that acreg handles."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

from acreg.applications.inspection.images import inspect_image
from acreg.applications.inspection.transforms import inspect_transform
from acreg.errors import AcregError, UsageError
from acreg.io.dicom.format import Headers, by_series, read_headers
from acreg.io.dicom.frames import read_frames
from acreg.io.dicom.header import check_image, class_name, text
from acreg.io.formats import FORMATS, HDF5, by_suffix, suffix
from acreg.io.guards import check_file, decoding, format_of
from acreg.io.hdf5 import read_datasets
from acreg.io.points import read_points
from acreg.io.points.formats import FORMATS as POINTS
from acreg.io.preprocessing import Preprocessing
from acreg.io.preset_config import check_weights_file, read_preset_config
from acreg.io.transforms.parts import READ as TRANSFORMS

RECIPES = (".yaml", ".yml")
LONGEST_LINE = 2**16
"""Bytes of a table's first line that are examined."""


def inspect(path: Path) -> dict[str, Any]:
    """Describe a file or folder.

    Args:
        path: an image, a displacement field, an ITK transform, points, a manifest, a recipe; or the folder of a preset,
            of a prepared dataset, or of DICOM files.

    Returns:
        `kind`, in words, then facts by name: plain values, lists of them, and lists of such dictionaries. Names with
        `_xyz` are in ITK's order and LPS, names with `_zyx` in array-axis order; units come last: `spacing_xyz_mm`.

    Raises:
        AcregError: the file does not exist, is damaged, or is none of these.
    """
    path = Path(path)
    found = _folder(path) if path.is_dir() else _file(path)
    if found is None:
        raise AcregError(
            f"What can be inspected is an image ({', '.join(known.name for known in FORMATS)}), a displacement field, "
            f"an ITK transform ({', '.join(TRANSFORMS)}), points ({', '.join(POINTS)}), a manifest "
            "CSV, a recipe YAML, or the folder of a preset, a dataset or DICOM files. "
            f"Received: {path}, which is none of these. Check its name, or convert it."
        )
    return found


def _file(path: Path) -> dict[str, Any] | None:
    if path.name.lower().endswith(POINTS):
        return _table(path) if suffix(path) == ".csv" else _points(path)
    if suffix(path) in RECIPES:
        return _recipe(path)
    if suffix(path) in TRANSFORMS and not _holds_images(path):
        return inspect_transform(path)
    return inspect_image(path) if not path.exists() or format_of(path) is not None else None


def _holds_images(path: Path) -> bool:
    """Whether an .h5 file is HDF5 with arrays and not an ITK transform."""
    if by_suffix(path) is not HDF5 or not path.is_file() or path.stat().st_size == 0:
        return False
    with decoding(path, "HDF5 file"):
        return not any(name.startswith("TransformGroup/") for name in read_datasets(path))


def _folder(path: Path) -> dict[str, Any] | None:
    if (path / "config.json").is_file() and (path / "preprocessing.json").is_file():
        return _preset(path)
    if (path / "manifest.csv").is_file():
        return _manifest(path / "manifest.csv")
    return _dicom(path)


def _points(path: Path) -> dict[str, Any]:
    points = read_points(path)
    low, high = points.positions.min(axis=0), points.positions.max(axis=0)
    axes = "xyz"[: points.positions.shape[1]]
    return {
        "kind": "points",
        "format": path.name.lower()[path.name.index(".") :],
        "coordinate_system": " and ".join(sorted(set(points.source.systems))) if points.source else "LPS",
        "points": len(points.positions),
        "names": [name for name in points.names if name],
        f"lowest_{axes}_mm": low[::-1].tolist(),
        f"highest_{axes}_mm": high[::-1].tolist(),
    }


def _table(path: Path) -> dict[str, Any] | None:
    """Describe a CSV: a manifest, or points."""
    check_file(path)
    try:
        with path.open("rb") as file:
            first = file.readline(LONGEST_LINE).decode("utf-8-sig")
        header = {cell.strip().lower() for cell in next(csv.reader([first]), [])}
    except (UnicodeDecodeError, csv.Error):
        return None
    if {"subject", "image"} <= header:
        return _manifest(path)
    return _points(path) if {"x", "y"} <= header else None


def _manifest(path: Path) -> dict[str, Any]:
    from acreg.data.records import SPLITS, read_info, read_records

    records = read_records(path)
    splits = Counter(record.split for record in records)
    facts: dict[str, Any] = {
        "kind": "manifest of a dataset",
        "subjects": len(records),
        **{name: splits[name] for name in SPLITS},
        "with_labels": sum(record.labels is not None for record in records),
        "first_image": str(records[0].image),
    }
    if (path.parent / "dataset.json").is_file():
        info = read_info(path.parent / "dataset.json")
        facts |= {"name": info.name, "labels": [f"{value} {name}" for value, name in info.labels.items()]}
    return facts


def _recipe(path: Path) -> dict[str, Any]:
    from acreg.training.recipe import load_recipe

    check_file(path)
    try:
        recipe = load_recipe(path)
    except UsageError as error:
        raise AcregError(
            f"A YAML file that acreg knows is a recipe. Received: {path}, which is none. {error}"
        ) from error
    return {
        "kind": "recipe of a training",
        "name": recipe.name,
        "description": recipe.description,
        "model": recipe.model.class_name,
        "dataset": recipe.data.dataset,
        "shape": list(recipe.data.shape),
        "steps": recipe.training.steps,
        "batch_size": recipe.training.batch_size,
        "seed": recipe.seed,
    }


def _preset(folder: Path) -> dict[str, Any]:
    content = read_preset_config(folder)
    facts = {"class": content.class_name, "acreg": content.acreg, "rank": content.config.get("rank")}
    preprocessing = Preprocessing.from_json(folder / "preprocessing.json")
    names = [f"{value} {preprocessing.label_names.get(value, '')}".strip() for value in preprocessing.label_values]
    weights = check_weights_file(folder, content.weights_sha256)
    return {
        "kind": "preset",
        **{name: fact for name, fact in facts.items() if fact is not None},
        "shape": list(preprocessing.shape),
        "intensity": preprocessing.intensity,
        "labels": names,
        "weights": f"{weights.stat().st_size / 2**20:.1f} MiB",
    }


def _dicom(folder: Path) -> dict[str, Any] | None:
    """Describe the series in a folder, if it has DICOM files. Patient data are not read."""
    headers = read_headers(folder)
    if not headers:
        return None
    return {"kind": "folder of DICOM files", "series": [_series(*found) for found in by_series(headers).items()]}


def _series(identity: str, headers: Headers) -> dict[str, Any]:
    path, header = next(iter(headers.items()))
    facts: dict[str, Any] = {"files": len(headers)}
    try:
        with decoding(path):
            words = {"modality": text(header, "Modality"), "description": text(header, "SeriesDescription")}
            facts = {name: word for name, word in words.items() if word} | facts
            check_image(header, path)
            frame = read_frames(path, header, needs_spacing=False)[0]
        facts["size_xy"] = list(frame.size[::-1])
        facts["spacing_xy_mm"] = None if frame.spacing is None else list(frame.spacing[::-1])
    except AcregError as error:
        facts |= {"class": class_name(header), "why_not_read": str(error)}
    return facts | {"series": identity}
