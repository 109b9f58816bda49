"""What an ITK transform is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from scipy.linalg import polar
from scipy.spatial.transform import Rotation

from acreg.io.files import check_file
from acreg.io.itk import from_itk


def inspect_transform(path: Path) -> dict[str, Any] | None:
    """Kind, rank and parts of an ITK transform; None if the file is no such.

    Raises:
        AcregError: the file is missing or empty.
    """
    check_file(path)
    try:
        found = sitk.ReadTransform(str(path))
    except RuntimeError:
        return None
    rank = found.GetDimension()
    parts = [_part(part, path) for part in _flat(found)]
    return {"kind": "transform", "rank": rank, "parts": parts}


def _flat(found: Any) -> list[Any]:
    """The parts of a transform in the order in which a point of the fixed image goes through them."""
    found = found.Downcast()
    if not isinstance(found, sitk.CompositeTransform):
        return [found]
    parts = [found.GetNthTransform(i) for i in reversed(range(found.GetNumberOfTransforms()))]
    return [part for nested in parts for part in _flat(nested)]


def _part(found: Any, path: Path) -> dict[str, Any]:
    name = {"type": found.GetName()}
    if isinstance(found, sitk.DisplacementFieldTransform):
        field = found.GetDisplacementField()
        lengths = np.linalg.norm(sitk.GetArrayFromImage(field), axis=-1)
        axes = "xyz"[: found.GetDimension()]
        return {
            **name,
            f"shape_{axes}": list(field.GetSize()),
            f"spacing_{axes}_mm": list(field.GetSpacing()),
            "mean_length_mm": float(lengths.mean()),
            "largest_length_mm": float(lengths.max()),
        }
    if not found.IsLinear():
        return {**name, "parameters": found.GetNumberOfParameters(), "note": "acreg cannot apply this kind"}
    (part,) = from_itk(found, path)
    return {**name, **_linear(part.matrix)}  # type: ignore[union-attr]


def _linear(matrix: np.ndarray) -> dict[str, Any]:
    """An affine map `x -> A x + t` in ITK's axes; A is a rotation after a stretch (polar decomposition)."""
    a, t = matrix[:-1, :-1][::-1, ::-1], matrix[:-1, -1][::-1]
    axes = "xyz"[: len(a)]
    facts: dict[str, Any] = {f"matrix_{axes}": a.tolist(), f"offset_{axes}_mm": t.tolist()}
    facts["volume_factor"] = float(np.linalg.det(a))
    if facts["volume_factor"] < 0:
        return {**facts, "mirrored": True}
    rotation, stretch = polar(a)
    if len(a) == 2:
        facts["rotation_degrees"] = float(np.degrees(np.arctan2(rotation[1, 0], rotation[0, 0])))
    else:
        turn = Rotation.from_matrix(rotation)
        z, x, y = turn.as_euler("ZXY", degrees=True)
        facts["rotation_degrees"] = float(np.degrees(turn.magnitude()))
        facts["rotation_xyz_degrees"] = [float(x), float(y), float(z)]  # as ITK's Euler3DTransform: Rz Rx Ry
    facts[f"stretch_{axes}"] = np.diag(stretch).tolist()
    facts["shear"] = float(np.abs(stretch - np.diag(np.diag(stretch))).max())
    return facts
