"""Physical space: what acreg does on rotated, anisotropic grids against SimpleITK, and points against images."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np
import SimpleITK as sitk
from scipy import ndimage
from scipy.spatial.transform import Rotation

from acreg.applications.verification import samples
from acreg.applications.verification.check import Check, Measured
from acreg.geometry import Grid
from acreg.io import Image, read_image, write_image

Kind = Literal["displacement", "velocity", "affine"]


def _warped(rank: int, kind: Kind) -> Measured:
    transform = samples.transform(rank, kind)
    image = samples.moving_image(transform.moving)
    expected = samples.itk_resampled(samples.itk_transform(transform), transform.fixed, image)
    compared = samples.away_from_border(transform)
    apart = np.abs(transform.warp_image(image).array - expected)[compared]
    return Measured(apart.size, float(apart.max() / np.ptp(image.array)))


def _labels(rank: int) -> Measured:
    """But for voxels that look within 0.001 voxels of the middle between two voxels."""
    transform = samples.transform(rank, "displacement")
    labels = samples.labels_on(transform.moving)
    expected = samples.itk_resampled(samples.itk_transform(transform), transform.fixed, labels, nearest=True)
    places = samples.looked_up(transform)
    tie = (np.abs(places - np.floor(places) - 0.5) < 1e-3).any(axis=1).reshape(transform.fixed.shape)
    compared = samples.away_from_border(transform) & ~tie
    differ = (transform.warp_labels(labels, "nearest").array != expected)[compared]
    return Measured(differ.size, float(np.count_nonzero(differ)))


def _points(rank: int) -> Measured:
    """Through two transforms, one after the other."""
    there = samples.transform(rank, "displacement")
    back = samples.transform(rank, "affine").inverse()
    points = samples.some_points(there.fixed)
    first, second = samples.itk_transform(there), samples.itk_transform(back)
    expected = samples.itk_points(second, samples.itk_points(first, points))
    apart = there.fixed.to_index(there.compose(back).warp_points(points, to="moving")) - there.fixed.to_index(expected)
    return Measured(len(points), float(np.linalg.norm(apart, axis=1).max()))


def _coordinates(rank: int) -> Measured:
    """An image that holds its own indices says, once warped, where each fixed voxel looks."""
    transform = samples.transform(rank, "displacement")
    moving, places = transform.moving, samples.looked_up(transform)
    inside = ((places >= 0) & (places <= np.array(moving.shape) - 1)).all(axis=1)
    apart = [
        transform.warp_image(Image(along.astype(np.float32), moving)).array.ravel()[inside] - places[inside, axis]
        for axis, along in enumerate(np.indices(moving.shape))
    ]
    return Measured(int(inside.sum()), float(np.abs(apart).max()))


def _landmarks(rank: int, count: int = 8) -> Measured:
    """The middle of a spot, drawn into the moving image, in the warped image; and where the landmark itself goes."""
    width = {2: 1.0, 3: 2.0}[rank]  # mm: a smaller spot is sampled badly, a larger one is bent by the field
    transform = samples.transform(rank, "displacement")
    fixed, moving = transform.fixed, transform.moving
    middle = fixed.to_world((np.array(fixed.shape) - 1) / 2)
    around = middle + np.random.default_rng(5).uniform(-6, 6, (count, rank))  # mm, so that each spot is seen whole
    landmarks = transform.warp_points(around, to="moving")
    apart = []
    world = moving.to_world(np.moveaxis(np.indices(moving.shape), 0, -1))
    for landmark, goes in zip(landmarks, transform.warp_points(landmarks, to="fixed"), strict=True):
        spot = np.exp(-0.5 * ((world - landmark) ** 2).sum(axis=-1) / width**2)
        seen = ndimage.center_of_mass(transform.warp_image(Image(spot, moving)).array)
        apart.append(np.linalg.norm(np.array(seen) - fixed.to_index(goes)))
    return Measured(count, float(max(apart)))


def _orientations(rank: int) -> Iterator[Image]:
    """An image in each of the 8 (2-D) or 48 (3-D) orders and senses of axes, turned by some degrees."""
    shape, spacing, origin = ((5, 6, 7), (2.0, 0.7, 1.3), (-40.0, 25.0, 130.0))
    turn = Rotation.from_euler("xyz", (0.1, -0.2, 0.3)).as_matrix() if rank == 3 else np.array([[0.8, -0.6], [0.6, 0.8]])
    for order in itertools.permutations(range(rank)):
        for signs in itertools.product((1, -1), repeat=rank):
            direction = turn[:, order] * signs
            grid = Grid(shape[:rank], spacing[:rank], origin[:rank], direction)
            values = np.random.default_rng(len(shape)).integers(-100, 1000, grid.shape)
            yield Image(values.astype(np.float32), grid)


def _corners(shape: tuple[int, ...]) -> np.ndarray:
    return np.array(list(itertools.product(*((0, n - 1) for n in shape))), float)


def _places(path: Path, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """By nibabel or SimpleITK: the array of a file, and where its voxels `corners` lie, in acreg's order of axes."""
    if path.suffix in (".nii", ".gz"):
        loaded: Any = nibabel.load(path)
        ras = corners[:, ::-1] @ loaded.affine[:3, :3].T + loaded.affine[:3, 3]
        return np.asarray(loaded.dataobj).T, (ras * [-1, -1, 1])[:, ::-1]
    loaded = sitk.ReadImage(str(path))
    world = [loaded.TransformContinuousIndexToPhysicalPoint(corner[::-1].tolist())[::-1] for corner in corners]
    return sitk.GetArrayFromImage(loaded), np.array(world)


def _write_as_others(image: Image, path: Path) -> None:
    if path.suffix in (".nii", ".gz"):
        turned = np.diag([-1.0, -1.0, 1.0, 1.0])
        lps = np.eye(4)
        lps[:3, :3] = (np.asarray(image.grid.direction) * image.grid.spacing)[::-1, ::-1]
        lps[:3, 3] = image.grid.origin[::-1]
        nibabel.save(nibabel.Nifti1Image(image.array.T, turned @ lps), path)
    else:
        sitk.WriteImage(samples.itk_image(image.array, image.grid), str(path))


def _written(image: Image, path: Path) -> tuple[np.ndarray, np.ndarray]:
    write_image(image, path)
    return _places(path, _corners(image.grid.shape))


def _read(image: Image, path: Path) -> tuple[np.ndarray, np.ndarray]:
    _write_as_others(image, path)
    found = read_image(path)
    return found.array, found.grid.to_world(_corners(image.grid.shape))


def _exchange(rank: int, suffix: str, way: Callable[[Image, Path], tuple[np.ndarray, np.ndarray]]) -> Measured:
    """Positions of corners, where the values agree."""
    largest, count = 0.0, 0
    with tempfile.TemporaryDirectory(prefix="acreg-") as folder:
        for count, image in enumerate(_orientations(rank), 1):
            array, places = way(image, Path(folder) / f"{count}{suffix}")
            if array.shape != image.array.shape or not np.array_equal(array, image.array):
                raise ValueError(f"the values of image {count} of the {suffix} files differ")
            expected = image.grid.to_world(_corners(image.grid.shape))
            largest = max(largest, float(np.linalg.norm(places - expected, axis=1).max()))
    return Measured(count, largest)


def _checks(rank: int) -> Iterator[Check]:
    section, itk = "Physical space", "SimpleITK's Resample"
    for kind, what in (("displacement", "displacement, affine map"), ("velocity", "affine map, velocity")):
        name, measure = f"Warped image: {what}, {rank}-D", partial(_warped, rank, kind)
        yield Check(section, name, itk, "voxels", "of the intensity range", 1e-4, measure)
    yield Check(section, f"Warped labels, nearest, {rank}-D", f"{itk}, nearest", "voxels", "voxels that differ", 0,
                partial(_labels, rank))  # fmt: skip
    yield Check(section, f"Points through a composition, {rank}-D", "SimpleITK's TransformPoint", "points", "voxels",
                1e-3, partial(_points, rank))  # fmt: skip
    yield Check(section, f"Where the warped image looks, {rank}-D", "where the points go", "voxels", "voxels", 1e-3,
                partial(_coordinates, rank))  # fmt: skip
    yield Check(section, f"Landmarks moved to the fixed image, {rank}-D", "spots at the landmarks, warped",
                "landmarks", "voxels", 0.3, partial(_landmarks, rank))  # fmt: skip
    formats = {2: {".nrrd": "SimpleITK", ".mha": "SimpleITK"}}
    formats[3] = {".nii.gz": "nibabel", **formats[2]}
    for suffix, program in formats[rank].items():
        for way, verb in ((_written, "read by"), (_read, "written by")):
            yield Check("Orientation in files", f"{suffix} {verb} {program}, {rank}-D", "the same grid, equal values",
                        "orientations", "mm", 1e-3, partial(_exchange, rank, suffix, way))  # fmt: skip


CHECKS = [check for rank in (2, 3) for check in _checks(rank)]
