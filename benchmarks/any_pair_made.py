"""Images that are made from others: turned by a known angle, of another contrast, deformed by a known velocity."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage
from scipy.spatial.transform import Rotation

from acreg.geometry import Image, Transform
from acreg.geometry.maps import Affine, Velocity

ANGLES = (20.0, 180.0)
"""Degrees by which images are turned."""
LARGEST_SHIFT = 10.0
"""The largest velocity in the labels, mm per unit time."""
SMOOTHNESS = ((30.0, 1.0), (15.0, 0.5))
"""Standard deviations of the Gaussians that smooth the velocity, mm, and the share of each."""
NEAR_BRAIN = 6.0
"""Distance from the labels up to which unlabelled voxels have the contrast of the brain, mm."""
MARGIN = 2
"""Voxels around the content of a turned image."""


def turned(image: Image, labels: Image, rng: np.random.Generator) -> tuple[Image, Image]:
    """A 3-D image and its labels, turned about the centre of the image about a random axis.

    The result has the axes and the spacing of the image, and holds all voxels that are not 0.
    """
    grid = image.grid
    axis = rng.normal(size=3)
    turn = Rotation.from_rotvec(np.deg2rad(rng.uniform(*ANGLES)) * axis / np.linalg.norm(axis)).as_matrix()
    centre = grid.to_world((np.array(grid.shape) - 1) / 2)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn, centre - turn @ centre
    forth = Affine(matrix)
    content = ndimage.find_objects(((image.array != 0) | (labels.array != 0)).astype(np.int8))[0]
    corners = np.array(list(product(*((part.start - MARGIN, part.stop - 1 + MARGIN) for part in content))))
    places = grid.to_index(forth(grid.to_world(corners)))
    start, stop = np.floor(places.min(axis=0)).astype(int), np.ceil(places.max(axis=0)).astype(int)
    back = Transform(grid.part(start, (stop - start + 1).tolist()), grid, (forth.inverse(),))
    return back.warp_image(image), back.warp_labels(labels, interpolation="nearest")


def smooth_velocity(labels: Image, rng: np.random.Generator) -> Velocity:
    """A random smooth velocity on the grid of labels, whose largest vector in them is `LARGEST_SHIFT`."""
    grid = labels.grid
    field = np.zeros((*grid.shape, grid.rank))
    for deviation, share in SMOOTHNESS:
        noise = rng.normal(size=field.shape)
        smooth = ndimage.gaussian_filter(noise, (*np.divide(deviation, grid.spacing), 0.0), mode="nearest")
        field += share * smooth / smooth.std()
    field *= LARGEST_SHIFT / np.linalg.norm(field, axis=-1)[labels.array != 0].max()
    return Velocity(field / grid.spacing, grid)  # components are along the array axes, where spacing is uniform


def second_contrast(image: Image, labels: Image, rng: np.random.Generator) -> Image:
    """The image of a T1-weighted head as if T2-weighted: fluid is bright, white matter darker than grey matter.

    Each region has a falling line of its own with a random slope and offset. Around the brain the line is the mean one,
    but air and bone stay dark; farther away, fat is grey. A smooth factor stands for another coil.
    """
    t1 = image.array / np.percentile(image.array[labels.array != 0], 95)
    regions = np.unique(labels.array)
    number = np.searchsorted(regions, labels.array)
    mean = ndimage.mean(t1, number, np.arange(len(regions)))
    slope, offset = rng.uniform(0.6, 1.1, len(regions)), rng.uniform(-0.08, 0.08, len(regions))
    brain = _falling(mean)[number] + offset[number] - slope[number] * (t1 - mean[number])
    fluid = float(_falling(0.2))
    near = np.interp(t1, (0.0, 0.1, 0.2), (0.0, 0.1, fluid)) + np.minimum(_falling(t1) - fluid, 0.0)
    far = np.interp(t1, (0.0, 0.1, 0.4, 0.8, 1.5), (0.0, 0.1, 0.25, 0.5, 0.6))
    distance = ndimage.distance_transform_edt(labels.array == 0, sampling=image.grid.spacing)
    made = np.where(labels.array != 0, brain, np.where(distance <= NEAR_BRAIN, near, far))
    coil = ndimage.gaussian_filter(rng.normal(size=made.shape), np.divide(40.0, image.grid.spacing), mode="nearest")
    made = np.maximum(made, 0.0) * np.exp(0.15 * coil / coil.std())
    return replace(image, array=(1000.0 * made).astype(np.float32), name=f"{image.name} as T2")


def _falling(t1: ArrayLike) -> np.ndarray:
    """The mean T2-like intensity of a tissue of the brain for its T1-weighted one."""
    return 1.15 - 0.95 * np.asarray(t1)
