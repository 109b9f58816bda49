"""Schematic short-axis heart MR of many subjects, with labels and the exact displacement between any two of them.

The design is that of the chest phantoms (`acreg.data.phantoms.chests`), in 3-D: one template, a scene drawn by
formulas, here in mm, and for each subject a smooth, invertible map to it, with its own contrast, bias field and noise.

Array axes are (z, y, x). The first slices lie above the base of the heart, the last below its apex; rows go from
anterior to posterior and columns from the patient's right to left, so that the right ventricle is on the left of the
picture. Both ventricles are open at the base, where the labels end in a plane, and their walls are closed around the
apex.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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

LABEL_NAMES = {
    0: "background",
    1: "left ventricle blood pool",
    2: "left ventricle myocardium",
    3: "right ventricle blood pool",
    4: "right ventricle myocardium",
}
EXTENT_MM = (128.0, 112.0, 112.0)
SHAPE = (16, 64, 64)

# The template, mm from the corner of its extent.
_BASE, _LENGTH = 22.0, 84.0  # the plane where the labels begin, and the distance from there to the apex
_AXIS = (58.0, 70.0)  # (y, x) of the left ventricle's long axis
_OUTER, _INNER, _WALL = 26.5, 17.0, 12.0  # radii of the left ventricle at the base, and its wall at the apex
_TAPER = 2.2  # exponent of the narrowing towards the apex: 2 is an ellipsoid
_RIGHT_LENGTH, _RIGHT_WALL = 73.0, 5.0
_RIGHT_RADII = (27.0, 29.0)  # (y, x), at the base


def _draw_anatomy(rng: np.random.Generator) -> Anatomy:
    extent = np.array(EXTENT_MM)

    def normal(sd: float) -> float:
        return limited_normal(rng, sd)

    def bump(
        centre: tuple[float, ...], width: tuple[float, ...], stretch: tuple[float, ...], shift: tuple[float, ...]
    ) -> Array:
        return np.concatenate([centre / extent, width / extent, stretch, shift / extent])

    size, length, aspect = normal(0.08), normal(0.05), normal(0.05)
    turns = [(1, 2, normal(0.16)), (0, 1, normal(0.05)), (0, 2, normal(0.05))]  # in the plane, and two tilts
    matrix = np.diag(np.exp([size + length, size + aspect, size - aspect]))
    for first, second, angle in turns:
        turn = np.eye(3)
        turn[[first, second], [first, second]] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    offset = np.array([normal(2.5), normal(3.0), normal(3.0)]) / extent
    dilation, growth = normal(0.24), normal(0.10)
    left = [
        bump((60, *_AXIS), (60, 14, 14), (0, dilation, dilation), (0, 0, 0)),  # the cavity, hence the wall's thickness
        bump((60, *_AXIS), (60, 32, 32), (0, growth, growth), (0, 0, 0)),
    ]
    right = [
        bump((55, 54, 32), (55, 26, 18), (0, normal(0.14), normal(0.18)), (0, normal(2.0), normal(3.0))),
        bump((60, 58, 45), (45, 18, 11), (0, 0, 0), (0, 0, normal(1.8))),  # the septum
        bump((102, 58, 64), (26, 32, 32), (0, 0, 0), (normal(3.5), normal(3.0), normal(3.5))),  # the apex
        bump((22, 56, 56), (22, 60, 60), (0, 0, 0), (normal(2.0), 0, 0)),  # the base
    ]
    waves = [
        (*rng.uniform(-1.5, 1.5, 3), rng.uniform(0.0, 1.0), *(normal(mm) / e for mm, e in zip((0.6, 0.5, 0.5), extent)))
        for _ in range(6)
    ]
    return Anatomy(matrix, offset, [np.array(left), np.array(right)], np.array(waves))


def _ventricle(z: Array, y: Array, x: Array, length: float, radii: tuple[float, float]) -> Array:
    """The approximate distance in mm to the surface of a paraboloid-like body, positive inside; y and x from its axis.

    Above the base it continues as a cylinder.
    """
    down = np.clip(z - _BASE, 0.0, None) / length
    value = 1.0 - (y / radii[0]) ** 2 - (x / radii[1]) ** 2 - down**_TAPER
    slope = np.sqrt(
        (2 * y / radii[0] ** 2) ** 2 + (2 * x / radii[1] ** 2) ** 2 + (_TAPER * down ** (_TAPER - 1) / length) ** 2
    )
    return value / np.maximum(slope, 0.5 / max(radii))


def _texture(place: Array, period: float) -> Array:
    """A fixed irregular pattern of waves with about this period in mm, with a standard deviation of about 1."""
    total = np.zeros(place.shape[1:])
    for number in range(1, 10):
        turn, wave = 2.4 * number, 2 * np.pi / (period * (0.7 + 0.07 * number))
        along = np.cos(turn) * place[1] + np.sin(turn) * place[2] + 0.3 * np.sin(3.7 * number) * place[0]
        total += np.sin(wave * along + 1.7 * number)
    return total * np.sqrt(2.0) / 3.0


def _scene(points: Array, edge: float) -> tuple[list[tuple[str, Array]], NDArray[np.int32]]:
    """The template at `points` `(3, ...)` in unit coordinates: tissues with the share of each voxel that they cover,
    each drawn over the previous ones, and the labels. `edge` is the softness of their borders in mm."""
    place = points * np.reshape(EXTENT_MM, (3, *(1,) * (points.ndim - 1)))
    z, y, x = place
    down = np.clip(z - _BASE, 0.0, None)
    rows, columns = y - _AXIS[0], x - _AXIS[1]
    left = _ventricle(z, rows, columns, _LENGTH, (_OUTER, _OUTER))
    left_pool = _ventricle(z, rows, columns, _LENGTH - _WALL, (_INNER, _INNER))
    right = _ventricle(z, y - 54.0, x - 48.0 - 0.13 * down, _RIGHT_LENGTH, _RIGHT_RADII)
    right_pool = right - _RIGHT_WALL

    heart = z >= _BASE
    labels = np.zeros(z.shape, np.int32)
    labels[heart & (right > 0)] = 4
    labels[heart & (right_pool > 0)] = 3
    labels[heart & (left > 0)] = 2
    labels[heart & (left_pool > 0)] = 1

    below = soft_step(z - _BASE, 4.0)  # above the base, the atria: blood in a thin wall
    atria = soft_step(np.maximum(left - 4.0, right - 3.0), edge) * (1 - below)
    around = np.maximum(left, right)
    papillary = np.zeros(z.shape)
    for side in (-8.5, 8.5):
        muscle = 4.0 - np.hypot(rows - side, columns - 7.0) - 0.12 * np.clip(np.abs(z - 66.0) - 16.0, 0.0, None) ** 2
        papillary = np.maximum(papillary, soft_step(muscle, 2 * edge))
    diaphragm = y - 96.0 + 0.33 * (z - 60.0) + 0.06 * (x - 56.0)
    chest_wall = 16.0 - y + 0.10 * (x - 56.0) + 0.002 * (x - 56.0) ** 2
    ribs = 0.5 + 0.5 * np.sin(2 * np.pi * (x + 0.8 * z) / 30.0)
    airways = np.clip(_texture(place, 22.0) - 1.0, 0.0, None)
    return [
        ("lung", np.ones(z.shape)),
        ("vessels", 0.35 * np.clip(airways, 0.0, 1.0)),
        ("mediastinum", soft_step(32.0 - np.hypot((y - 84.0) / 0.8, x - 44.0), 4.0)),
        ("fat", soft_step(around + 4.5 + 1.8 * _texture(place, 45.0), 2 * edge)),
        ("chest wall", soft_step(chest_wall, edge)),
        ("ribs", soft_step(chest_wall - 3.0, 3.0) * soft_step(ribs - 0.45, 0.3)),
        ("liver", soft_step(diaphragm, edge) * soft_step(72.0 - x, 8.0)),
        ("stomach", soft_step(diaphragm - 2.0, edge) * soft_step(x - 72.0, 8.0)),
        ("spine", soft_step(16.0 - np.hypot(y - 114.0, x - 62.0), 2 * edge)),
        ("aorta", soft_step(9.0 - np.hypot(y - 96.0, x - 84.0), edge)),
        ("myocardium", soft_step(around, edge)),
        ("blood", soft_step(np.maximum(left_pool, np.minimum(right_pool, -left)), edge) * below),
        ("blood", atria),
        ("myocardium", papillary * soft_step(left_pool, edge) * below),
    ], labels


# Brightness, its variation between subjects, and the contrast of the texture.
_TISSUES = {
    "lung": (0.07, 0.03, 0.10), "vessels": (0.50, 0.08, 0.0), "mediastinum": (0.40, 0.08, 0.10),
    "fat": (0.62, 0.12, 0.06), "chest wall": (0.52, 0.10, 0.14), "ribs": (0.24, 0.06, 0.05),
    "liver": (0.34, 0.07, 0.07), "stomach": (0.45, 0.18, 0.12), "spine": (0.36, 0.06, 0.10),
    "aorta": (0.80, 0.08, 0.02), "myocardium": (0.30, 0.05, 0.05), "blood": (0.80, 0.08, 0.05),
}  # fmt: skip


def _expose(scene: list[tuple[str, Array]], texture: Array, rng: np.random.Generator | None) -> NDArray[np.float32]:
    """The image of a scene in 0..255; without `rng`, with the brightness of the template and no noise."""
    drawn = {name: 0.0 if rng is None else float(rng.uniform(-1.0, 1.0)) for name in [*_TISSUES, "gamma", "noise"]}
    shape = texture.shape
    value = np.zeros(shape)
    for name, cover in scene:
        level, spread, contrast = _TISSUES[name]
        value += cover * ((level + spread * drawn[name]) * (1.0 + contrast * texture) - value)
    if rng is not None:
        value *= np.exp(0.14 * smooth_noise(rng, (1,), shape, 2)[0].astype(np.float64))
    value = np.clip(value, 0.0, 1.0) ** np.exp(0.20 * drawn["gamma"])
    if rng is not None:
        value += (0.022 + 0.010 * drawn["noise"]) * rng.standard_normal(shape)
    return (255.0 * np.clip(value, 0.0, 1.0)).astype(np.float32)


def _draw(seed: Seed, shape: tuple[int, int, int], appearance: bool) -> tuple[Phantom, Anatomy]:
    if len(shape) != 3 or min(shape) < 8 or min(shape[1:]) < 32:
        raise AcregError(
            "A heart phantom has 8 slices or more of at least 32 x 32 voxels, so that its walls are seen. Received: "
            f"shape={tuple(shape)}."
        )
    anatomy_rng, appearance_rng = streams(seed)
    anatomy = _draw_anatomy(anatomy_rng)
    places = anatomy.to_template(unit_grid(shape))
    scene, labels = _scene(places, max(1.5, EXTENT_MM[1] / shape[1], EXTENT_MM[2] / shape[2]))
    texture = _texture(places * np.reshape(EXTENT_MM, (3, 1, 1, 1)), 12.0)
    return Phantom(_expose(scene, texture, appearance_rng if appearance else None), labels), anatomy


def heart_phantom(seed: Seed, shape: tuple[int, int, int] = SHAPE, appearance: bool = True) -> Phantom:
    """The schematic short-axis stack of a subject with its labels, the ids of `LABEL_NAMES`; it is reproducible.

    Arguments:
        seed: the subject, as one number or several, such as (dataset, subject).
        shape: (slices, rows, columns), at least (8, 32, 32); the extent is 128 x 112 x 112 mm.
        appearance: False leaves out the subject's own contrast, bias field and noise; the anatomy stays the same.

    Raises:
        AcregError: a negative seed, or a shape that is too small.
    """
    return _draw(seed, shape, appearance)[0]


def heart_pair(
    seed_fixed: Seed, seed_moving: Seed, shape: tuple[int, int, int] = SHAPE, appearance: bool = True
) -> tuple[Phantom, Phantom, NDArray[np.float32]]:
    """Two subjects (fixed, moving) and the exact displacement `(*shape, 3)` in voxels of the fixed grid.

    The point p of the fixed subject corresponds to the point p + displacement(p) of the moving subject, as in
    `acreg.data.phantom_pair`. Slices are thick, and the moving labels between two slices are unknown, so that warped
    labels equal the fixed labels only approximately.

    Raises:
        AcregError: see `heart_phantom`.
    """
    return with_displacement(_draw(seed_fixed, shape, appearance), _draw(seed_moving, shape, appearance))


def make_heart_dataset(
    folder: Path | str,
    subjects: int = 60,
    shape: tuple[int, int, int] = SHAPE,
    seed: int = 0,
    progress: Progress | None = None,
) -> Dataset:
    """Write heart phantoms as a prepared dataset: NIfTI images and labels, `dataset.json`, then `manifest.csv`.

    The first 60 % of the subjects are the training split, the next 20 % validation, the rest test. The slices are
    ordered downwards in space, as stated in the affine of the files. `progress` is called with (text, done, total).

    Raises:
        AcregError: fewer than 10 subjects, a negative seed, or a shape that is too small.
        OSError: the folder cannot be written.
    """
    direction = ((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    return write_phantoms(
        Path(folder),
        "heart-phantoms",
        lambda number: heart_phantom((seed, number), shape),
        subjects,
        Grid(shape, tuple(e / n for e, n in zip(EXTENT_MM, shape)), direction=direction),
        ".nii.gz",
        LABEL_NAMES,
        f"acreg.data.phantoms.hearts.make_heart_dataset(subjects={subjects}, shape={tuple(shape)}, seed={seed})",
        progress,
    )
