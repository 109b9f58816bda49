"""Schematic chest X-rays of many subjects, with labels and the exact displacement between any two of them.

There is one template, a scene drawn by formulas in unit coordinates (row, column), from 0 to 1 between the edges. A
subject is a smooth, invertible map from its own coordinates to those of the template, with its own brightness, contrast
and noise. If f and m are the maps of a fixed and a moving subject, then the point p of the fixed subject corresponds to
m^-1(f(p)) in the moving subject: the displacement is known, not estimated.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from acreg.data.manifest import Dataset
from acreg.data.phantoms.common import (
    Anatomy,
    Array,
    Phantom,
    Seed,
    limited_normal,
    soft_step,
    streams,
    unit_grid,
    with_displacement,
    write_phantoms,
)
from acreg.data.sampling.augmentation import smooth_noise
from acreg.errors import AcregError
from acreg.geometry import Grid
from acreg.progress import Progress

LABEL_NAMES = {0: "background", 1: "left lung", 2: "right lung", 3: "heart"}
EXTENT_MM = 358.4

# Outlines of the template: points (row, column) around a centre, from which each outline is star-shaped.
# The patient's left is on the right of the picture.
_LEFT_LUNG = [
    (0.125, 0.615), (0.150, 0.690), (0.230, 0.755), (0.345, 0.805), (0.470, 0.837), (0.600, 0.860), (0.735, 0.880),
    (0.690, 0.800), (0.668, 0.720), (0.672, 0.620), (0.600, 0.575), (0.430, 0.580), (0.345, 0.592), (0.275, 0.582),
    (0.190, 0.562), (0.145, 0.575),
]  # fmt: skip
_RIGHT_LUNG = [
    (0.120, 0.375), (0.140, 0.425), (0.220, 0.440), (0.330, 0.432), (0.450, 0.418), (0.560, 0.410), (0.655, 0.405),
    (0.640, 0.320), (0.660, 0.230), (0.735, 0.140), (0.600, 0.152), (0.470, 0.165), (0.345, 0.200), (0.230, 0.255),
    (0.150, 0.320),
]  # fmt: skip
_HEART = [
    (0.425, 0.560), (0.430, 0.620), (0.490, 0.700), (0.570, 0.755), (0.650, 0.768), (0.705, 0.725), (0.718, 0.620),
    (0.708, 0.500), (0.665, 0.420), (0.570, 0.398), (0.480, 0.425), (0.435, 0.490),
]  # fmt: skip
_BODY = [
    (-0.30, 0.50), (-0.20, 0.60), (0.00, 0.615), (0.055, 0.700), (0.100, 0.850), (0.180, 0.985), (0.300, 1.030),
    (0.420, 0.985), (0.600, 0.960), (0.800, 0.955), (1.100, 0.970), (1.300, 0.50), (1.100, 0.030), (0.800, 0.045),
    (0.600, 0.040), (0.420, 0.015), (0.300, -0.030), (0.180, 0.015), (0.100, 0.150), (0.055, 0.300), (0.00, 0.385),
    (-0.20, 0.40),
]  # fmt: skip


class _Outline:
    """A smooth closed curve through given points, stored as its radius at each angle around a centre."""

    def __init__(self, places: list[tuple[float, float]], centre: tuple[float, float]) -> None:
        self.centre = centre
        corners = np.array([*places, places[0]]) - centre
        # knots at the square root of the distances: the curve then neither loops nor overshoots at sharp corners
        knots = np.append(0.0, np.cumsum(np.hypot(*np.diff(corners, axis=0).T) ** 0.5))
        curve = CubicSpline(knots, corners, bc_type="periodic")(np.linspace(0.0, knots[-1], 2000)[:-1])
        angles, radii = np.arctan2(curve[:, 0], curve[:, 1]), np.hypot(curve[:, 0], curve[:, 1])
        self._angles = np.linspace(-np.pi, np.pi, 1441)
        self._radii = np.interp(self._angles, angles[np.argsort(angles)], radii[np.argsort(angles)], period=2 * np.pi)
        self._slant = np.hypot(1.0, np.gradient(self._radii, self._angles) / self._radii)

    def inside(self, points: Array) -> Array:
        """The approximate distance of `points` `(2, ...)` from the curve, positive inside."""
        row, column = points[0] - self.centre[0], points[1] - self.centre[1]
        angle = np.arctan2(row, column)
        radius = np.interp(angle, self._angles, self._radii)
        return (radius - np.hypot(row, column)) / np.interp(angle, self._angles, self._slant)


_OUTLINES = {
    "left lung": _Outline(_LEFT_LUNG, (0.45, 0.70)),
    "right lung": _Outline(_RIGHT_LUNG, (0.45, 0.30)),
    "heart": _Outline(_HEART, (0.58, 0.58)),
    "body": _Outline(_BODY, (0.40, 0.50)),
}


def _draw_anatomy(rng: np.random.Generator) -> Anatomy:
    def normal(sd: float) -> float:
        return limited_normal(rng, sd)

    size, aspect, tilt = normal(0.055), normal(0.045), normal(0.045)
    turn = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
    matrix = turn @ np.diag(np.exp([size + aspect, size - aspect]))
    offset = np.array([normal(0.022), normal(0.022)])
    dilation = normal(0.14)
    heart = [(0.58, 0.58, 0.16, 0.18, 0.6 * dilation + normal(0.05), dilation, normal(0.012), normal(0.015))]
    lungs = [
        (0.74, 0.28, 0.13, 0.20, 0.0, 0.0, normal(0.026), 0.0),  # height of the right diaphragm
        (0.74, 0.76, 0.13, 0.20, 0.0, 0.0, normal(0.026), 0.0),  # and of the left one
        (0.48, 0.14, 0.26, 0.12, 0.0, 0.0, 0.0, normal(0.018)),  # side of the right lung
        (0.48, 0.88, 0.26, 0.12, 0.0, 0.0, 0.0, normal(0.018)),  # and of the left one
        (0.10, 0.35, 0.12, 0.12, 0.0, 0.0, normal(0.014), normal(0.014)),  # right apex
        (0.10, 0.65, 0.12, 0.12, 0.0, 0.0, normal(0.014), normal(0.014)),  # left apex
        (0.35, 0.50, 0.20, 0.10, 0.0, normal(0.18), 0.0, normal(0.010)),  # breadth of the mediastinum
    ]
    waves = [(*rng.uniform(-1.6, 1.6, 2), rng.uniform(0.0, 1.0), normal(0.0042), normal(0.0042)) for _ in range(6)]
    return Anatomy(matrix, offset, [np.array(heart), np.array(lungs)], np.array(waves))


def _blob(points: Array, row: float, column: float, height: float, width: float) -> Array:
    return np.exp(-0.5 * (((points[0] - row) / height) ** 2 + ((points[1] - column) / width) ** 2))


def _bands(phase: Array, share: float) -> Array:
    """Soft bright bands at integer phases, with a width of about `share` of the period."""
    wave = np.cos(2 * np.pi * phase) - np.cos(np.pi * share)
    return np.clip(0.5 + wave * 1.5, 0.0, 1.0)


def _scene(points: Array, edge: float) -> tuple[dict[str, Array], NDArray[np.int32]]:
    """The template at `points` `(2, ...)`: maps of absorbing tissues, each about 0..1, and the labels."""
    row, column = points
    inside = {name: outline.inside(points) for name, outline in _OUTLINES.items()}
    labels = np.zeros(row.shape, np.int32)
    for label, name in LABEL_NAMES.items():
        if label:
            labels[inside[name] > 0] = label
    lungs = np.maximum(inside["left lung"], inside["right lung"])
    heart = soft_step(inside["heart"], 2 * edge)
    air = soft_step(lungs, edge) * (0.62 + 0.38 * (1 - np.exp(-np.clip(lungs, 0, None) / 0.05)))
    side = np.abs(column - 0.5)
    chest = soft_step(1.0 - np.hypot((row - 0.47) / 0.45, side / 0.42), 0.12)
    posterior = _bands((row + 0.10 * side - 1.05 * side**2) / 0.074, 0.42) * soft_step(side - 0.05, 0.04)
    anterior = _bands((row + 0.75 * side) / 0.088, 0.40) * soft_step(side - 0.13, 0.08) * soft_step(row - 0.15, 0.1)
    collar = 0.165 - 0.28 * (side - 0.03) + 0.025 * np.sin(16 * side)
    clavicles = soft_step(0.014 - np.abs(row - collar), 0.012) * soft_step(side - 0.045, 0.02)
    clavicles *= soft_step(0.40 - side, 0.04)
    vessels = np.zeros_like(row)
    for origin, spokes in ((0.385, 9), (0.615, 7)):
        angle, distance = np.arctan2(row - 0.42, column - origin), np.hypot(row - 0.42, column - origin)
        spoke = np.clip(np.cos(spokes * (angle + 0.3 * np.sin(18 * distance))) - 0.45, 0.0, None)
        vessels += 1.3 * spoke * np.exp(-distance / 0.09) * soft_step(distance - 0.03, 0.04)
    vessels += 0.6 * _blob(points, 0.42, 0.40, 0.06, 0.03) + 0.6 * _blob(points, 0.40, 0.60, 0.055, 0.03)
    return {
        "body": soft_step(inside["body"], 0.02) * (0.80 + 0.20 * soft_step(inside["body"] - 0.06, 0.16)),
        "air": air * (1.0 - 0.80 * heart),
        "heart": heart * (0.6 + 0.4 * np.clip(inside["heart"] / 0.12, 0.0, 1.0)),
        "mediastinum": np.exp(-0.5 * (side / 0.055) ** 2) + 0.5 * _blob(points, 0.27, 0.56, 0.04, 0.035),
        "abdomen": soft_step(row - 0.74, 0.22),
        "spine": soft_step(0.036 - side, 0.016) * (0.55 + 0.45 * _bands(row / 0.056, 0.65)),
        "trachea": soft_step(0.020 - side, 0.016) * soft_step(0.34 - row, 0.10),
        "ribs": np.maximum(posterior, 0.5 * anterior) * chest * soft_step(0.80 - row, 0.16),
        "clavicles": clavicles,
        "vessels": vessels * air,
        "stomach": soft_step(1.0 - np.hypot((row - 0.79) / 0.035, (column - 0.70) / 0.06), 0.5),
    }, labels


_GAINS = {
    "body": 0.62, "air": -0.42, "heart": 0.11, "mediastinum": 0.10, "abdomen": 0.16, "spine": 0.06, "trachea": -0.09,
    "ribs": 0.09, "clavicles": 0.08, "vessels": 0.13, "stomach": -0.12,
}  # fmt: skip


def _expose(scene: dict[str, Array], rng: np.random.Generator | None) -> NDArray[np.float32]:
    """The image of a scene in 0..255; without `rng`, with the brightness of the template and no noise."""
    shape = scene["body"].shape
    draw = {
        name: 0.0 if rng is None else float(rng.uniform(-1.0, 1.0)) for name in [*_GAINS, "gamma", "level", "noise"]
    }
    spread = {"body": 0.06, "air": 0.22, "stomach": 1.0}
    value = np.zeros(shape)
    for name, gain in _GAINS.items():
        value += gain * (1.0 + spread.get(name, 0.35) * draw[name]) * scene[name]
    value *= scene["body"]
    if rng is not None:
        field = smooth_noise(rng, (1,), shape, 3)[0].astype(np.float64)
        haze = smooth_noise(rng, (1,), shape, 24)[0]
        value = value * np.exp(0.06 * field) + scene["body"] * 0.012 * haze
    value = 0.04 + 0.04 * draw["level"] + 0.94 * value
    value = np.clip(value, 0.0, 1.0) ** np.exp(0.30 * draw["gamma"])
    if rng is not None:
        value += (0.014 + 0.008 * draw["noise"]) * rng.standard_normal(shape)
    return (255.0 * np.clip(value, 0.0, 1.0)).astype(np.float32)


def _check_shape(shape: tuple[int, int]) -> None:
    if len(shape) != 2 or min(shape) < 16:
        raise AcregError(f"A chest phantom has two sides of at least 16 pixels. Received: shape={tuple(shape)}.")


def _draw(seed: Seed, shape: tuple[int, int], appearance: bool) -> tuple[Phantom, Anatomy]:
    _check_shape(shape)
    anatomy_rng, appearance_rng = streams(seed)
    anatomy = _draw_anatomy(anatomy_rng)
    scene, labels = _scene(anatomy.to_template(unit_grid(shape)), max(0.008, 1.0 / min(shape)))
    return Phantom(_expose(scene, appearance_rng if appearance else None), labels), anatomy


def chest_phantom(seed: Seed, shape: tuple[int, int] = (256, 256), appearance: bool = True) -> Phantom:
    """The schematic chest X-ray of a subject with its labels; equal arguments give equal results.

    Arguments:
        seed: the subject, as one number or several, such as (dataset, subject).
        shape: (rows, columns) of the picture, at least 16 each.
        appearance: False leaves out the subject's own brightness, contrast and noise; the anatomy stays the same.

    Raises:
        AcregError: a negative seed, or a shape that is too small.
    """
    return _draw(seed, shape, appearance)[0]


def phantom_pair(
    seed_fixed: Seed, seed_moving: Seed, shape: tuple[int, int] = (256, 256), appearance: bool = True
) -> tuple[Phantom, Phantom, NDArray[np.float32]]:
    """Two subjects (fixed, moving) and the exact displacement `(rows, columns, 2)` in voxels of the fixed grid.

    The point p of the fixed subject corresponds to the point p + displacement(p) of the moving subject: the moving
    labels there equal the fixed labels, and so do the images with `appearance=False`.

    Raises:
        AcregError: see `chest_phantom`.
    """
    return with_displacement(_draw(seed_fixed, shape, appearance), _draw(seed_moving, shape, appearance))


def make_dataset(
    folder: Path | str,
    subjects: int = 60,
    shape: tuple[int, int] = (128, 128),
    seed: int = 0,
    progress: Progress | None = None,
) -> Dataset:
    """Write phantoms as a prepared dataset: PNG images and labels, `dataset.json`, then `manifest.csv`.

    The first 60 % of the subjects are the training split, the next 20 % validation, the rest test.
    `progress` is called with (text, done, total).

    Raises:
        AcregError: fewer than 10 subjects, a negative seed, or a shape that is too small.
        OSError: the folder cannot be written.
    """
    _check_shape(shape)
    return write_phantoms(
        Path(folder),
        "phantoms",
        lambda number: chest_phantom((seed, number), shape),
        subjects,
        Grid(shape, tuple(EXTENT_MM / size for size in shape)),
        ".png",
        LABEL_NAMES,
        f"acreg.data.phantoms.chests.make_dataset(subjects={subjects}, shape={tuple(shape)}, seed={seed})",
        progress,
    )
