"""Description of an ITK transform."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.linalg import polar
from scipy.spatial.transform import Rotation

from acreg.io.guards import check_file
from acreg.io.transforms.parts import FIELDS, FIRST_LINE, LINEAR, Part, read_parts


def inspect_transform(path: Path) -> dict[str, Any] | None:
    """Kind, rank and parts of an ITK transform; None for any other text file.

    Raises:
        AcregError: the file is missing, empty or damaged.
    """
    check_file(path)
    if path.suffix.lower() == ".txt":
        with path.open("rb") as file:
            if not file.read(len(FIRST_LINE)) == FIRST_LINE:
                return None
    parts = read_parts(path)
    return {"kind": "transform", "rank": parts[0].rank if parts else 0, "parts": [_part(part) for part in parts]}


def _part(part: Part) -> dict[str, Any]:
    name = {"type": part.kind}
    if part.kind in FIELDS:
        grid = part.grid()
        lengths = np.linalg.norm(part.parameters.reshape(-1, part.rank).astype(float), axis=-1)
        axes = "xyz"[: part.rank]
        return {
            **name,
            f"shape_{axes}": list(grid.shape[::-1]),
            f"spacing_{axes}_mm": list(grid.spacing[::-1]),
            "mean_length_mm": float(lengths.mean()),
            "largest_length_mm": float(lengths.max()),
        }
    if part.kind not in LINEAR[part.rank]:
        return {**name, "parameters": len(part.parameters), "note": "acreg cannot apply this kind"}
    return {**name, **_linear(part.linear().matrix)}


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
        facts["rotation_xyz_degrees"] = [float(x), float(y), float(z)]  # like ITK's Euler3DTransform: Rz Rx Ry
    facts[f"stretch_{axes}"] = np.diag(stretch).tolist()
    facts["shear"] = float(np.abs(stretch - np.diag(np.diag(stretch))).max())
    return facts
