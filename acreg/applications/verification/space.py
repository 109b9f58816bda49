"""Physical space: acreg on rotated, anisotropic grids compared with SimpleITK, and points compared with images."""

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
from acreg.applications.verification.check import Measured, compare, distance, in_each_rank, together
from acreg.geometry import Grid, Image
from acreg.geometry.displacement import voxel_indices
from acreg.io import read_image, write_image

Kind = Literal["displacement", "velocity", "affine"]


def _warped(rank: int, kind: Kind) -> Measured:
    transform = samples.transform(rank, kind)
    image = samples.moving_image(transform.moving)
    expected = samples.itk_resampled(samples.itk_transform(transform), transform.fixed, image)
    compared = samples.away_from_border(transform)
    range_ = np.ptp(image.array)
    return compare(transform.warp_image(image).array[compared] / range_, expected[compared] / range_)


def _labels(rank: int) -> Measured:
    """Compare all voxels except those mapped to within 0.001 voxels of the midpoint between two voxels."""
    transform = samples.transform(rank, "displacement")
    labels = samples.labels_on(transform.moving)
    expected = samples.itk_resampled(samples.itk_transform(transform), transform.fixed, labels, nearest=True)
    places = samples.looked_up(transform)
    tie = (np.abs(places - np.floor(places) - 0.5) < 1e-3).any(axis=1).reshape(transform.fixed.shape)
    compared = samples.away_from_border(transform) & ~tie
    differ = (transform.warp_labels(labels, "nearest").array != expected)[compared]
    return Measured(differ.size, float(np.count_nonzero(differ)))


def _points(rank: int) -> Measured:
    """Map points through two transforms, one after the other."""
    there = samples.transform(rank, "displacement")
    back = samples.transform(rank, "affine").inverse()
    points = samples.some_points(there.fixed)
    first, second = samples.itk_transform(there), samples.itk_transform(back)
    expected = samples.itk_points(second, samples.itk_points(first, points))
    found = there.compose(back).warp_points(points, to="moving")
    return distance(there.fixed.to_index(found), there.fixed.to_index(expected))


def _coordinates(rank: int) -> Measured:
    """An image of its own indices, once warped, shows where each fixed voxel is mapped to."""
    transform = samples.transform(rank, "displacement")
    moving, places = transform.moving, samples.looked_up(transform)
    inside = ((places >= 0) & (places <= np.array(moving.shape) - 1)).all(axis=1)
    found = [transform.warp_image(Image(along, moving)).array.ravel()[inside] for along in np.indices(moving.shape)]
    return distance(np.stack(found, axis=1), places[inside])


def _landmarks(rank: int, count: int = 8) -> Measured:
    """Compare the centre of a spot, drawn into the moving image and warped, with the mapped landmark."""
    width = {2: 1.0, 3: 2.0}[rank]  # mm: a smaller spot is sampled poorly, a larger one is bent by the field
    transform = samples.transform(rank, "displacement")
    fixed, moving = transform.fixed, transform.moving
    middle = fixed.to_world((np.array(fixed.shape) - 1) / 2)
    around = middle + np.random.default_rng(5).uniform(-6, 6, (count, rank))  # mm: each spot is completely inside
    landmarks = transform.warp_points(around, to="moving")
    seen = []
    world = moving.to_world(voxel_indices(moving.shape))
    for landmark in landmarks:
        spot = np.exp(-0.5 * ((world - landmark) ** 2).sum(axis=-1) / width**2)
        seen.append(ndimage.center_of_mass(transform.warp_image(Image(spot, moving)).array))
    return distance(seen, fixed.to_index(transform.warp_points(landmarks, to="fixed")))


def _orientations(rank: int) -> Iterator[Image]:
    """Check an image in each of the 8 (2-D) or 48 (3-D) orders and directions of axes, rotated by some degrees."""
    shape, spacing, origin = ((5, 6, 7), (2.0, 0.7, 1.3), (-40.0, 25.0, 130.0))
    turn = Rotation.from_euler("xyz", (0.1, -0.2, 0.3)).as_matrix()
    if rank == 2:
        turn = np.array([[0.8, -0.6], [0.6, 0.8]])
    for order in itertools.permutations(range(rank)):
        for signs in itertools.product((1, -1), repeat=rank):
            direction = turn[:, order] * signs
            grid = Grid(shape[:rank], spacing[:rank], origin[:rank], direction)
            values = np.random.default_rng(0).integers(-100, 1000, grid.shape)
            yield Image(values.astype(np.float32), grid)


def _corners(shape: tuple[int, ...]) -> np.ndarray:
    return np.array(list(itertools.product(*((0, n - 1) for n in shape))), float)


def _places(path: Path, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The array of a file and the positions of its voxels `corners`, by nibabel or SimpleITK, in acreg's axis order."""
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
    """Compare the positions of corners after checking that the values agree."""
    found = []
    with tempfile.TemporaryDirectory(prefix="acreg-") as folder:
        for number, image in enumerate(_orientations(rank), 1):
            array, places = way(image, Path(folder) / f"{number}{suffix}")
            if not np.array_equal(array, image.array):
                raise ValueError(f"the values of image {number} differ")
            found.append(distance(places, image.grid.to_world(_corners(image.grid.shape))))
    return Measured(len(found), together(found).largest)


SPACE, FILES = "Physical space", "Orientation in files"
ITK, RANGE = "SimpleITK's Resample", "of the intensity range"
FIELD, FLOW = partial(_warped, kind="displacement"), partial(_warped, kind="velocity")
SPOTS = "spots at the landmarks, warped"
CHECKS = in_each_rank(
    (
        (SPACE, "Warped image: displacement, affine map", ITK, "voxels", RANGE, 1e-4, FIELD),
        (SPACE, "Warped image: affine map, velocity", ITK, "voxels", RANGE, 1e-4, FLOW),
        (SPACE, "Warped labels, nearest", ITK, "voxels", "voxels that differ", 0.0, _labels),
        (SPACE, "Points through a composition", "SimpleITK's TransformPoint", "points", "voxels", 1e-3, _points),
        (SPACE, "Where the warped image looks", "where the points go", "voxels", "voxels", 1e-3, _coordinates),
        (SPACE, "Landmarks moved to the fixed image", SPOTS, "landmarks", "voxels", 0.3, _landmarks),
    )
)
for _suffix, _program, _ranks in (
    (".nii.gz", "nibabel", (3,)),
    (".nrrd", "SimpleITK", (2, 3)),
    (".mha", "SimpleITK", (2, 3)),
):
    for _way, _verb in ((_written, "read by"), (_read, "written by")):
        _measure = partial(_exchange, suffix=_suffix, way=_way)
        _name = f"{_suffix} {_verb} {_program}"
        _row = (FILES, _name, "the same grid, equal values", "orientations", "mm", 1e-3, _measure)
        CHECKS += in_each_rank([_row], _ranks)
