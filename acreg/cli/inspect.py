"""`acreg inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from acreg.cli.console import out

AXES = ("xyz", "zyx", "xy", "yx")
UNITS = ("mm", "voxels", "degrees")
LABELS = {
    "orientation_towards": "orientation (towards, as nibabel says it)",
    "orientation_from": "orientation (from, as ITK-SNAP says it)",
    "parts": "parts (in the order in which points of the fixed image go through them)",
}


def inspect(
    file: Annotated[Path, typer.Argument(help="File or folder to describe.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print the description as JSON.")] = False,
) -> None:
    """Describe a file or folder.

    Recognises images and label maps, displacement fields (in mm, or in voxels as acreg and Learn2Reg write them), ITK
    transforms, points, manifests, recipes, and folders of presets, datasets and DICOM files. Values marked (x, y, z)
    are in the order of ITK, in LPS; values marked (z, y, x) are in the order of the array axes. The exit code is 1 if
    acreg does not recognise the file.

    \b
    Examples:
      acreg inspect scan.nii.gz
      acreg inspect 0GenericAffine.mat
      acreg inspect runs/mine/preset --json
    """
    from acreg.applications.inspection.files import inspect as library

    facts = {"file": str(file), **library(file)}
    if as_json:
        import json

        out(json.dumps(facts, indent=2))
    else:
        _print(facts)


def _print(facts: dict[str, Any], indent: str = "") -> None:
    plain = {_label(name): fact for name, fact in facts.items() if not _is_nested(fact)}
    width = max(map(len, plain))
    for label, fact in plain.items():
        out(f"{indent}{label.ljust(width)}  {_text(fact)}")
    for name, fact in facts.items():
        if _is_nested(fact):
            out(f"{indent}{_label(name)}")
            for number, part in enumerate(fact, 1):
                out(f"{indent}  {number}")
                _print(part, indent + "    ")


def _is_nested(fact: Any) -> bool:
    return isinstance(fact, list) and bool(fact) and isinstance(fact[0], dict)


def _label(name: str) -> str:
    """`spacing_xyz_mm` as `spacing (x, y, z; mm)`."""
    if name in LABELS:
        return LABELS[name]
    words = name.split("_")
    notes: list[str] = []
    while len(words) > 1 and words[-1] in AXES + UNITS:
        word = words.pop()
        notes.insert(0, ", ".join(word) if word in AXES else word)
    return " ".join(words) + (f" ({'; '.join(notes)})" if notes else "")


def _text(fact: Any) -> str:
    if fact is None:
        return "none in the file"
    if isinstance(fact, bool):
        return "yes" if fact else "no"
    if isinstance(fact, float):
        return f"{round(fact, 9) + 0.0:.6g}"  # neither 1e-17 nor -0
    if isinstance(fact, list):
        return (" | " if fact and isinstance(fact[0], list) else ", ").join(map(_text, fact)) or "none"
    return str(fact)
