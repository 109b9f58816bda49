"""Arrays as text in a page: gzip, then base64."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Sequence
from typing import Any, NamedTuple

import nibabel
import numpy as np

from acreg.geometry.grid import Grid

LEVELS = 4095
"""Steps between the lowest and the highest value of an image: 12 bits compress far better than 16."""
HEADER = 352
"""Bytes before the voxels of a NIfTI file."""
REACH = 50
"""Values are kept up to so many times the shown range beyond it: then the range has at least 40 of the levels."""
DETERMINANT = 2.0
"""The highest determinant that has a colour of its own."""


class Encoded(NamedTuple):
    """A text, and what the page needs to read it."""

    text: str
    facts: dict[str, Any]


def encode_image(array: np.ndarray, grid: Grid, low: float, high: float) -> Encoded:
    """An image as NIfTI with whole numbers from 0 to `LEVELS`; `value = number * slope + lowest`.

    The axes of the NIfTI image are those of the screen; its header has the spacing and no position. After the header
    come the low bytes of all numbers, then the high bytes: so they take a third less. Values far outside of the shown
    range are cut off (`REACH`), because a few of them, such as those of metal or of padding, would take all levels.

    Args:
        array: `(*grid.shape)`.
        grid: its grid.
        low, high: the values that are shown black and white.
    """
    ends = lowest, highest = float(array.min()), float(array.max())
    exact = highest - lowest <= LEVELS and bool((array == np.rint(array)).all())
    if not exact:
        lowest, highest = max(lowest, low - REACH * (high - low)), min(highest, high + REACH * (high - low))
    slope = 1.0 if exact else (highest - lowest) / LEVELS or 1.0
    numbers = np.rint((np.clip(array.astype(float), lowest, highest) - lowest) / slope).astype(np.uint16)
    volume = numbers.reshape((1,) * (3 - array.ndim) + array.shape).T
    spacing = (*grid.spacing[::-1], 1.0)[:3]
    data = nibabel.Nifti1Image(volume, np.diag([*spacing, 1.0])).to_bytes()
    planes = np.frombuffer(data, np.uint8, offset=HEADER).reshape(-1, 2).T
    facts: dict[str, Any] = {"slope": slope, "lowest": lowest, "highest": highest, "low": low, "high": high}
    facts["header"] = HEADER
    facts["cut"] = [lowest > ends[0], highest < ends[1]]
    facts["digits"] = int(np.clip(np.ceil(np.log10(max(-lowest, highest, slope) / slope)) + 1, 5, 15))
    return Encoded(_packed(data[:HEADER] + planes.tobytes()), facts)


def encode_labels(labels: np.ndarray) -> Encoded:
    """Labels as places in the list `values`, 0 the background."""
    values, places = np.unique(labels, return_inverse=True)
    if 0 not in values:
        values, places = np.concatenate([[0], values]), places + 1
    order = np.argsort(values != 0, kind="stable")  # the background comes first, also before negative labels
    places = np.argsort(order)[places.reshape(labels.shape)]
    dtype = np.uint8 if len(values) <= 256 else np.uint16
    return Encoded(_packed(places.astype(dtype).tobytes()), {"values": values[order].tolist(), "bytes": dtype().nbytes})


def encode_displacement(displacement: np.ndarray, step: int) -> Encoded:
    """A displacement at every `step`-th voxel as 16-bit numbers, component x first; `voxels = number * scale`."""
    scale = float(np.abs(displacement).max()) / 32767 or 1.0
    numbers = np.rint(displacement[..., ::-1] / scale).astype("<i2")
    facts = {"scale": scale, "step": step, "shape": _sizes(displacement.shape[:-1])}
    return Encoded(_packed(numbers.tobytes()), facts)


def encode_determinant(determinant: np.ndarray, folded: int) -> Encoded:
    """Determinants as bytes: 0 where a voxel folds, otherwise 1 to 255 for 0 to `DETERMINANT`."""
    numbers = 1 + np.rint(np.clip(determinant / DETERMINANT, 0, 1) * 254)
    numbers[~(determinant > 0)] = 0
    facts = {
        "high": DETERMINANT,
        "folded": folded,
        "voxels": determinant.size,
        "lowest": float(determinant.min()),
        "highest": float(determinant.max()),
    }
    return Encoded(_packed(numbers.astype(np.uint8).tobytes()), facts)


def grid_facts(grid: Grid, fixed: Grid, has_place: bool, at: Sequence[float] | None) -> dict[str, Any]:
    """The geometry of the shown grid, everything in the order x, y, z.

    `world` takes a shown voxel to RAS mm, or to (x, y) mm of a picture, which has no position in a patient; `index`
    takes it to the voxel of the fixed image, counted from 0.
    """
    patient = grid.rank == 3 or bool(grid.plane)
    index = np.linalg.solve(fixed.matrix, grid.matrix)
    centre = (np.array(grid.shape) - 1) / 2
    start = centre if at is None else np.clip(grid.to_index(np.asarray(at, float)), 0, np.array(grid.shape) - 1)
    return {
        "rank": grid.rank,
        "shape": _sizes(grid.shape),
        "spacing": list(grid.spacing[::-1]) + [1.0] * (3 - grid.rank),
        "patient": patient,
        "unit": "mm" if patient or has_place or set(fixed.spacing) != {1.0} else "px",
        "world": _homogeneous(grid.affine() if patient else _reversed(grid.matrix)),
        "index": _homogeneous(_reversed(index)),
        "at": [*np.rint(start)[::-1].tolist(), 0.0][:3],
        "letters": _letters(grid),
    }


def _letters(grid: Grid) -> list[str]:
    """What is to the left, right, top and bottom of the screen, of a slice of a patient."""
    if not grid.plane:
        return []
    names = ("IS", "AP", "RL")  # of the world's axes (superior, posterior, left): toward low and high coordinates
    ends: list[str] = []
    for axis in (1, 0):
        way = np.asarray(grid.plane)[:, 1:3] @ np.asarray(grid.direction)[:, axis]
        world = int(np.abs(way).argmax())
        ends += names[world] if way[world] > 0 else names[world][::-1]
    left, right, bottom, top = ends
    return [left, right, top, bottom]


def _reversed(matrix: np.ndarray) -> np.ndarray:
    """A homogeneous matrix in the order x, y, z instead of z, y, x, or back."""
    rank = len(matrix) - 1
    order = [*range(rank)[::-1], rank]
    return matrix[np.ix_(order, order)]


def _homogeneous(matrix: np.ndarray) -> list[list[float]]:
    """As 4 x 4; a picture has a third axis of its own."""
    whole = np.eye(4)
    kept = [*range(len(matrix) - 1), 3]
    whole[np.ix_(kept, kept)] = matrix
    return whole.tolist()


def _sizes(shape: tuple[int, ...]) -> list[int]:
    return [*shape[::-1], 1][:3]


def _packed(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, 6, mtime=0)).decode("ascii")
