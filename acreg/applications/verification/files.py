"""What acreg writes, read back: by the program that the format belongs to where there is one, and by acreg itself."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import SimpleITK as sitk
from PIL import Image as Picture

from acreg.applications.verification import samples
from acreg.applications.verification.check import Check, Measured
from acreg.geometry import Grid, Transform
from acreg.io import (
    Image,
    Points,
    read_displacement,
    read_image,
    read_labels,
    read_points,
    write_displacement,
    write_image,
    write_points,
)
from acreg.io.files import HDF5, ITK_WRITTEN, NIFTI, PICTURES_WRITTEN
from acreg.io.point_files import FORMATS
from acreg.io.transforms import (
    AFFINE,
    COMPOSITE,
    read_learn2reg,
    read_transform,
    write_inverse,
    write_learn2reg,
    write_transform,
)

SECTION = "Files that are written"
MM = 1e-3
"""How far, in mm, a grid may lie from where it was: NIfTI keeps its place in float32."""


def _stored(path: Path) -> np.ndarray:
    """The values of a file, in acreg's order of axes, by another program than acreg."""
    if path.suffix in PICTURES_WRITTEN:
        with Picture.open(path) as picture:
            return np.asarray(picture)
    if path.name.endswith(NIFTI):
        loaded: Any = nibabel.load(path)
        return np.asarray(loaded.dataobj).T
    if path.suffix in HDF5:
        with h5py.File(path, "r") as file:
            return file["image"][()]
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def _moved(found: Grid, wanted: Grid) -> float:
    """The largest distance, in mm, between the corners of two grids."""
    ends = np.array(list(np.ndindex((2,) * wanted.rank))) * (np.array(wanted.shape) - 1)
    return float(np.linalg.norm(found.to_world(ends) - wanted.to_world(ends), axis=1).max())


def _image(suffix: str, labels: bool) -> Measured:
    """Whole numbers, which every format holds: 8 and 16 bit of 2-D images, and a volume where the format takes one."""
    cases, largest = 0, 0.0
    pictures = suffix in PICTURES_WRITTEN
    for rank, highest in ((2, 200), (2, 4000)) if pictures else ((2, 4000), (3, 4000)):
        grid = samples.grids(rank)[0]
        if labels:
            image = samples.labels_on(grid, highest)
        else:
            image = Image(np.random.default_rng(highest).integers(0, highest, grid.shape), grid)
        with tempfile.TemporaryDirectory(prefix="acreg-") as folder:
            path = Path(folder) / f"image{suffix}"
            write_image(image, path)
            back = read_labels(path) if labels else read_image(path)
            both = (back.array.astype(float), np.squeeze(_stored(path)).astype(float))
        if not pictures and _moved(back.grid, grid) > MM:
            raise ValueError(f"the grid of a {rank}-D image moved by {_moved(back.grid, grid):.2g} mm")
        for array in both:
            if array.shape != grid.shape:
                raise ValueError(f"an image of shape {grid.shape} came back as {array.shape}")
            cases, largest = cases + array.size, max(largest, float(np.abs(array - image.array).max()))
    return Measured(cases, largest)


def _read_by_itk(path: Path) -> Any:
    if path.name.endswith(NIFTI):
        return sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))
    return sitk.ReadTransform(str(path))


def _kinds(suffix: str) -> Sequence[Any]:
    return ("affine",) if suffix in AFFINE else ("displacement", "velocity")


def _transform_in_itk(rank: int, suffix: str) -> Measured:
    """The moving image, warped by SimpleITK with the file that was read."""
    cases, largest = 0, 0.0
    for kind in _kinds(suffix):
        transform = samples.transform(rank, kind)
        image, compared = samples.moving_image(transform.moving), samples.away_from_border(transform)
        with tempfile.TemporaryDirectory(prefix="acreg-") as folder:
            path = Path(folder) / f"transform{suffix}"
            write_transform(transform, path, image)
            theirs = samples.itk_resampled(_read_by_itk(path), transform.fixed, image)
        apart = np.abs(transform.warp_image(image).array - theirs)[compared]
        cases, largest = cases + apart.size, max(largest, float(apart.max() / np.ptp(image.array)))
    return Measured(cases, largest)


def _transform_again(rank: int, suffix: str) -> Measured:
    """Where the fixed voxels go by the transform that acreg reads."""
    cases, largest = 0, 0.0
    for kind in _kinds(suffix):
        transform = samples.transform(rank, kind)
        with tempfile.TemporaryDirectory(prefix="acreg-") as folder:
            path = Path(folder) / f"transform{suffix}"
            write_transform(transform, path)
            again = read_transform(path, transform.fixed, transform.moving)
        places = samples.looked_up(transform)
        apart = np.linalg.norm(samples.looked_up(again) - places, axis=1)
        cases, largest = cases + len(apart), max(largest, float(apart.max()))
    return Measured(cases, largest)


def _inverse(rank: int, suffix: str) -> Measured:
    """Points of the fixed image to the moving one and back, both by SimpleITK."""
    transform = samples.transform(rank, "displacement")
    with tempfile.TemporaryDirectory(prefix="acreg-") as folder:
        paths = [Path(folder) / f"{name}{suffix}" for name in ("transform", "inverse")]
        write_transform(transform, paths[0])
        write_inverse(transform, paths[1])
        there, back = (_read_by_itk(path) for path in paths)
    points = samples.some_points(transform.fixed)
    moved = samples.itk_points(there, points)
    inside = transform.moving.contains(transform.moving.to_index(moved))
    again = samples.itk_points(back, moved[inside])
    apart = transform.fixed.to_index(again) - transform.fixed.to_index(points[inside])
    return Measured(len(apart), float(np.linalg.norm(apart, axis=1).max()))


def _displacement(rank: int) -> Measured:
    """By acreg, and by nibabel, whose array has the axes and not the components in reverse order."""
    transform = samples.transform(rank, "displacement")
    wanted = transform.displacement
    with tempfile.TemporaryDirectory(prefix="acreg-") as folder:
        path = Path(folder) / "displacement.nii.gz"
        write_displacement(wanted, transform.fixed, path)
        loaded: Any = nibabel.load(path)
        stored = np.asarray(loaded.dataobj).reshape(*wanted.shape[-2::-1], rank)
        both = read_displacement(path), np.moveaxis(stored.T, 0, -1)
    return Measured(2 * wanted.size, max(float(np.abs(found - wanted).max()) for found in both))


def _learn2reg() -> Measured:
    transform = samples.transform(3, "displacement")
    with tempfile.TemporaryDirectory(prefix="acreg-") as folder:
        path = Path(folder) / "disp_0001_0002.nii.gz"
        write_learn2reg(transform, path)
        loaded: Any = nibabel.load(path)
        stored = np.asarray(loaded.dataobj)
        again = read_learn2reg(path, transform.fixed, transform.moving)
    start, places = samples.voxels(transform.fixed), samples.looked_up(transform)
    theirs = start[:, ::-1] + stored[tuple(start.astype(int)[:, ::-1].T)]
    apart = [theirs[:, ::-1] - places, samples.looked_up(again) - places]
    return Measured(2 * len(start), float(np.linalg.norm(apart, axis=-1).max()))


def _points(rank: int, suffix: str) -> Measured:
    positions = samples.some_points(samples.grids(rank)[0], 40)
    names = tuple(f"landmark {number}" for number in range(len(positions)))
    with tempfile.TemporaryDirectory(prefix="acreg-") as folder:
        path = Path(folder) / f"points{suffix}"
        write_points(Points(positions, names), path)
        back, lps = read_points(path, rank), _lps(path)
    if back.names != names:
        raise ValueError("the names of the points differ")
    both = (back.positions, lps[:, rank - 1 :: -1])
    return Measured(2 * len(positions), max(float(np.abs(found - positions).max()) for found in both))


def _lps(path: Path) -> np.ndarray:
    """The coordinates (x, y, z) of the points in a file, by Python's own readers; acreg writes them in LPS."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return np.array([point["position"] for point in json.loads(text)["markups"][0]["controlPoints"]])
    first = 0 if path.suffix == ".csv" else 1  # the column of x
    rows = [row for row in csv.reader(text.splitlines()) if row[0][:1] not in ("#", "x")]
    return np.array([row[first : first + 3] for row in rows], float)


def _surfaces() -> list[Any]:
    """Of two balls."""
    from acreg.shapes import region_surface

    grid = samples.grids(3)[1]
    world = grid.to_world(samples.voxels(grid)) - grid.to_world((np.array(grid.shape) - 1) / 2)
    balls = [np.linalg.norm(world - [shift, 0, 0], axis=1) < 7 for shift in (-8, 8)]
    labels = Image((balls[0] + 2 * balls[1]).reshape(grid.shape), grid, "labels")
    return [region_surface(labels, [value], 3.0) for value in (1, 2)]


def _vtk() -> Measured:
    """Points and cells of the legacy format, LPS; cells with their corners the other way about."""
    from acreg.shapes.vtk import write_vtk

    surfaces = _surfaces()
    with tempfile.TemporaryDirectory(prefix="acreg-") as folder:
        path = Path(folder) / "surfaces.vtk"
        write_vtk(surfaces, path)
        words = path.read_text(encoding="ascii").split()
    at = words.index("POINTS")
    count = int(words[at + 1])
    points = np.array(words[at + 3 : at + 3 + 3 * count], float).reshape(-1, 3)
    at = words.index("POLYGONS")
    cells = np.array(words[at + 3 : at + 3 + 4 * int(words[at + 1])], int).reshape(-1, 4)
    wanted = np.concatenate([surface.points[surface.cells] for surface in surfaces])
    if len(cells) != len(wanted) or not (cells[:, 0] == 3).all():
        raise ValueError("the triangles differ")
    corners = points[cells[:, 1:]][:, ::-1, ::-1]
    return Measured(len(cells), float(np.linalg.norm(corners - wanted, axis=-1).max()))


def _surface_file() -> Measured:
    from acreg.shapes.surface_files import read_surfaces, write_surfaces

    surfaces = _surfaces()
    with tempfile.TemporaryDirectory(prefix="acreg-") as folder:
        path = Path(folder) / "surfaces.h5"
        write_surfaces(surfaces, path)
        again = read_surfaces(path)
    pairs = list(zip(again, surfaces, strict=True))
    largest = max(float(np.abs(a.points[a.cells] - b.points[b.cells]).max()) for a, b in pairs)
    return Measured(sum(len(surface.cells) for surface in surfaces), largest)


def _checks() -> Iterator[Check]:
    def one(name: str, reader: str, counted: str, unit: str, limit: float, measure: Callable[..., Measured],
            *rest: Any) -> Check:  # fmt: skip
        return Check(SECTION, name, f"what was written, read by {reader}", counted, unit, limit, partial(measure, *rest))

    readers = {**dict.fromkeys(PICTURES_WRITTEN, "Pillow"), **dict.fromkeys(NIFTI, "nibabel"),
               **dict.fromkeys(ITK_WRITTEN, "SimpleITK"), **dict.fromkeys(HDF5, "h5py")}  # fmt: skip
    for suffix, program in readers.items():
        for labels in (False, True):
            what = "labels" if labels else "intensities"
            yield one(f"Image {suffix}, {what}", f"acreg and {program}", "values", "", 0.0, _image, suffix, labels)
    for suffix in COMPOSITE + NIFTI + AFFINE:
        for rank in (2, 3):
            name = f"Transform {suffix}, {rank}-D"
            yield Check(SECTION, f"{name}, applied by SimpleITK", "acreg's warped image", "voxels",
                        "of the intensity range", 1e-3, partial(_transform_in_itk, rank, suffix))  # fmt: skip
            yield one(name, "acreg", "voxels", "voxels", 0.01, _transform_again, rank, suffix)
    for rank in (2, 3):
        yield Check(SECTION, f"Inverse .h5 after transform .h5, {rank}-D, applied by SimpleITK", "identity", "points",
                    "voxels", 0.1, partial(_inverse, rank, ".h5"))  # fmt: skip
        yield one(f"Displacement .nii.gz, {rank}-D", "acreg and nibabel", "values", "voxels", 0.0, _displacement, rank)
        for suffix in FORMATS:
            yield one(f"Points {suffix}, {rank}-D", "acreg and Python", "points", "mm", 1e-6, _points, rank, suffix)
    yield one("Learn2Reg field", "acreg and nibabel", "voxels", "voxels", 1e-3, _learn2reg)
    yield one("Surfaces .vtk", "a parser of its text", "triangles", "mm", 2e-3, _vtk)
    yield one("Surfaces .h5", "acreg", "triangles", "mm", 0.0, _surface_file)


CHECKS = list(_checks())
