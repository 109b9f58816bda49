"""Files that acreg writes are read back: by the program that defines the format, if any, and by acreg itself."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import SimpleITK as sitk
from PIL import Image as Picture

from acreg.applications.verification import samples
from acreg.applications.verification.check import Check, Measured, Row, compare, distance, in_each_rank, together
from acreg.geometry import Grid, Image
from acreg.io import (
    Points,
    read_displacement,
    read_image,
    read_labels,
    read_points,
    write_displacement,
    write_image,
    write_points,
)
from acreg.io.formats import FORMATS, NIFTI, by_suffix, is_picture
from acreg.io.transforms import read_learn2reg, read_transform, write_inverse, write_learn2reg, write_transform

SECTION = "Files that are written"
OTHERS = {
    "PNG": "Pillow",
    "TIFF": "Pillow",
    "NIfTI": "nibabel",
    "NRRD": "SimpleITK",
    "MetaImage": "SimpleITK",
    "HDF5": "h5py",
}
"""The other program that reads a format here."""
PROGRAMS = {ending: OTHERS.get(known.name, "") for known in FORMATS for ending in known.written}
"""Suffixes of the formats in which images are written, with the other program; empty if there is none."""
TRANSFORMS = (".h5", ".tfm", ".nii", ".nii.gz", ".mat")
POINTS = (".csv", ".fcsv", ".mrk.json")
MM = 1e-3
"""Largest accepted shift of a grid in mm: NIfTI stores its position in float32."""


def _stored(path: Path, program: str) -> np.ndarray:
    """The values of a file as another program reads them, in acreg's order of axes."""
    if program == "Pillow":
        with Picture.open(path) as picture:
            return np.asarray(picture)
    if program == "nibabel":
        loaded: Any = nibabel.load(path)
        return np.asarray(loaded.dataobj).T
    if program == "h5py":
        with h5py.File(path, "r") as file:
            return file["image"][()]
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def _moved(found: Grid, wanted: Grid) -> float:
    """The largest distance, in mm, between the corners of two grids."""
    ends = np.array(list(np.ndindex((2,) * wanted.rank))) * (np.array(wanted.shape) - 1)
    return float(np.linalg.norm(found.to_world(ends) - wanted.to_world(ends), axis=1).max())


def _image(suffix: str, labels: bool) -> Measured:
    """Compare whole numbers, which every format holds: 8 and 16 bit in 2-D, and a volume if the format allows it."""
    found = []
    pictures, program = is_picture(Path(f"image{suffix}")), PROGRAMS[suffix]
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
            stored = np.squeeze(_stored(path, program)) if program else back.array
        if not pictures and _moved(back.grid, grid) > MM:
            raise ValueError(f"the grid of a {rank}-D image moved by {_moved(back.grid, grid):.2g} mm")
        found += [compare(array, image.array) for array in (back.array, stored)]
    return together(found)


def _read_by_itk(path: Path) -> Any:
    if by_suffix(path) is NIFTI:
        return sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))
    return sitk.ReadTransform(str(path))


def _kinds(suffix: str) -> tuple[Any, ...]:
    return ("affine",) if suffix == ".mat" else ("displacement", "velocity")


def _transform_in_itk(rank: int, suffix: str) -> Measured:
    """Compare the moving image that SimpleITK warps with the file."""
    found = []
    for kind in _kinds(suffix):
        transform = samples.transform(rank, kind)
        image, compared = samples.moving_image(transform.moving), samples.away_from_border(transform)
        with tempfile.TemporaryDirectory(prefix="acreg-") as folder:
            path = Path(folder) / f"transform{suffix}"
            write_transform(transform, path, image)
            theirs = samples.itk_resampled(_read_by_itk(path), transform.fixed, image)
        ours, range_ = transform.warp_image(image).array, np.ptp(image.array)
        found.append(compare(ours[compared] / range_, theirs[compared] / range_))
    return together(found)


def _transform_again(rank: int, suffix: str) -> Measured:
    """Compare where the transform that acreg reads maps the fixed voxels."""
    found = []
    for kind in _kinds(suffix):
        transform = samples.transform(rank, kind)
        with tempfile.TemporaryDirectory(prefix="acreg-") as folder:
            path = Path(folder) / f"transform{suffix}"
            write_transform(transform, path)
            again = read_transform(path, transform.fixed, transform.moving)
        found.append(distance(samples.looked_up(again), samples.looked_up(transform)))
    return together(found)


def _inverse(rank: int, suffix: str) -> Measured:
    """Map points of the fixed image to the moving one and back, both with SimpleITK."""
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
    return distance(transform.fixed.to_index(again), transform.fixed.to_index(points[inside]))


def _displacement(rank: int) -> Measured:
    """Read by acreg and by nibabel, whose array has the axes, but not the components, in reverse order."""
    transform = samples.transform(rank, "displacement")
    wanted = transform.displacement
    with tempfile.TemporaryDirectory(prefix="acreg-") as folder:
        path = Path(folder) / "displacement.nii.gz"
        write_displacement(wanted, transform.fixed, path)
        loaded: Any = nibabel.load(path)
        stored = np.asarray(loaded.dataobj).reshape(*wanted.shape[-2::-1], rank)
        both = read_displacement(path), np.moveaxis(stored.T, 0, -1)
    return together(compare(found, wanted) for found in both)


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
    return together(distance(found, places) for found in (theirs[:, ::-1], samples.looked_up(again)))


def _points(rank: int, suffix: str) -> Measured:
    positions = samples.some_points(samples.grids(rank)[0], 40)
    names = tuple(f"landmark {number}" for number in range(len(positions)))
    with tempfile.TemporaryDirectory(prefix="acreg-") as folder:
        path = Path(folder) / f"points{suffix}"
        write_points(Points(positions, names), path)
        back, lps = read_points(path, rank), _lps(path)
    if back.names != names:
        raise ValueError("the names of the points differ")
    return together(distance(found, positions) for found in (back.positions, lps[:, rank - 1 :: -1]))


def _lps(path: Path) -> np.ndarray:
    """The coordinates (x, y, z) of the points in a file, read by the standard library; acreg writes them in LPS."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return np.array([point["position"] for point in json.loads(text)["markups"][0]["controlPoints"]])
    first = 0 if path.suffix == ".csv" else 1  # the column of x
    rows = [row for row in csv.reader(text.splitlines()) if row[0][:1] not in ("#", "x")]
    return np.array([row[first : first + 3] for row in rows], float)


def _surfaces() -> list[Any]:
    """Compare the surfaces of two balls."""
    from acreg.shapes import region_surface

    grid = samples.grids(3)[1]
    world = grid.to_world(samples.voxels(grid)) - grid.to_world((np.array(grid.shape) - 1) / 2)
    balls = [np.linalg.norm(world - [shift, 0, 0], axis=1) < 7 for shift in (-8, 8)]
    labels = Image((balls[0] + 2 * balls[1]).reshape(grid.shape), grid, "labels")
    return [region_surface(labels, [value], 3.0) for value in (1, 2)]


def _vtk() -> Measured:
    """Points and cells of the legacy format, in LPS; the corners of each cell are in reverse order."""
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
    return distance(points[cells[:, 1:]][:, ::-1, ::-1], wanted)


def _surface_file() -> Measured:
    from acreg.shapes.surface_files import read_surfaces, write_surfaces

    surfaces = _surfaces()
    with tempfile.TemporaryDirectory(prefix="acreg-") as folder:
        path = Path(folder) / "surfaces.h5"
        write_surfaces(surfaces, path)
        again = read_surfaces(path)
    return together(distance(a.points[a.cells], b.points[b.cells]) for a, b in zip(again, surfaces, strict=True))


def _checks() -> Iterator[Check]:
    def read_by(programs: str) -> str:
        return f"what was written, read by {programs}"

    for suffix, program in PROGRAMS.items():
        for labels in (False, True):
            name = f"Image {suffix}, {'labels' if labels else 'intensities'}"
            measure = partial(_image, suffix, labels)
            against = read_by(f"acreg and {program}" if program else "acreg")
            yield Check(SECTION, name, against, "values", "", 0.0, measure)
    rows: list[Row] = []
    for suffix in TRANSFORMS:
        itk, again = (partial(each, suffix=suffix) for each in (_transform_in_itk, _transform_again))
        name = f"Transform {suffix}"
        unit = "of the intensity range"
        rows.append((SECTION, f"{name}, applied by SimpleITK", "acreg's warped image", "voxels", unit, 1e-3, itk))
        rows.append((SECTION, name, read_by("acreg"), "voxels", "voxels", 0.01, again))
    inverse = "Inverse .h5 after transform .h5, applied by SimpleITK"
    rows.append((SECTION, inverse, "identity", "points", "voxels", 0.1, partial(_inverse, suffix=".h5")))
    both = read_by("acreg and nibabel")
    rows.append((SECTION, "Displacement .nii.gz", both, "values", "voxels", 0.0, _displacement))
    for suffix in POINTS:
        measured = partial(_points, suffix=suffix)
        rows.append((SECTION, f"Points {suffix}", read_by("acreg and Python"), "points", "mm", 1e-6, measured))
    yield from in_each_rank(rows)
    yield Check(SECTION, "Learn2Reg field", both, "voxels", "voxels", 1e-3, _learn2reg)
    yield Check(SECTION, "Surfaces .vtk", read_by("a parser of its text"), "corners", "mm", 2e-3, _vtk)
    yield Check(SECTION, "Surfaces .h5", read_by("acreg"), "corners", "mm", 0.0, _surface_file)


CHECKS = list(_checks())
