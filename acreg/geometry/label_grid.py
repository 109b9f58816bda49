"""The position of labels: the single rule by which labels are placed on the grid of their image, or refused."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable

import numpy as np

from acreg.errors import AcregError
from acreg.geometry.grid import Grid
from acreg.geometry.image import Image
from acreg.geometry.resample import inside, sample_nearest
from acreg.names import some

SAME_PLACE = 0.1
"""Voxels by which the corners of the same box may differ between two headers, because of rounding."""
OUTSIDE = 0.02
"""Share of the labelled voxels that may lie outside the image: coarse labels extend beyond its border."""
NAMED = 10


def labels_on(labels: Image, image: Image) -> Image:
    """Place labels on the grid of their image, every voxel at the position that the header of the labels gives.

    - Labels that cover the same box as the image lie on its grid. If they are stored with other axes (permuted,
      flipped), they are reordered, which changes no value.
    - Labels without a position of their own (`Image.has_place`: pictures, arrays) lie on the grid of the image if they
      have its shape. So do 2-D labels of an image that has no position itself.
    - Labels that sample the same region differently (a crop, another spacing) are resampled: each voxel takes the
      nearest label, and is background outside the labels. A warning says so.

    Args:
        labels: an image of kind "labels".
        image: the image that they were drawn on.

    Returns:
        The labels, on `image.grid` itself.

    Raises:
        AcregError: an image of another kind, or labels that cannot be placed: another number of axes; another shape and
            no position of their own; the shape of the image at another position, or another shape with the same first
            voxel (a lost or outdated header); more than 2 % of the labelled voxels, or a complete label, outside the
            image.
    """
    placed, resampled = labels_and_note(labels, image)
    if resampled:
        warnings.warn(resampled, stacklevel=2)
    return placed


def labels_and_note(labels: Image, image: Image) -> tuple[Image, str]:
    """As `labels_on`, with the text of its warning instead of the warning itself; "" for none."""
    placed = place_labels(labels, image.grid, image.name or "its image", bare=not image.has_place)
    if placed.grid == image.grid:
        return placed, ""
    there = inside(placed.grid, image.grid)
    array = np.where(there, sample_nearest(placed.array, placed.grid, image.grid), 0)
    lost = np.setdiff1d(placed.array, array)
    note = (
        f"{_name(labels)} has another grid than {image.name or 'its image'} ({_said(labels.grid)} for "
        f"{_said(image.grid)}): each voxel of the image takes the nearest label"
        + (f"; lost, too small for the image's voxels: {some(lost, NAMED)}." if lost.size else ".")
    )
    return dataclasses.replace(placed, array=array, grid=image.grid), note


def place_labels(labels: Image, grid: Grid, of: str = "the moving image", bare: bool = False) -> Image:
    """Labels with the grid that they lie on: `grid` if they cover its box, otherwise their own; see `labels_on`.

    Args:
        labels: an image of kind "labels".
        grid: grid of their image.
        of: the name of that image in messages.
        bare: whether the image has no position of its own.

    Raises:
        AcregError: as `labels_on`.
    """
    if labels.kind != "labels":
        raise AcregError(
            f"Labels are an image of kind 'labels'. Received: {labels.name or 'one'} of kind {labels.kind!r}. Read "
            "them by acreg.io.read_labels, or make them with kind='labels'; images are warped by warp_image."
        )
    if labels.grid.rank != grid.rank:
        raise _refusal(labels, grid, of, "they have another number of axes", "Give the labels drawn on that image")
    slices = labels.grid.off_plane(grid)
    if slices > 0.5:
        what = f"they lie in another plane of the patient, by up to {slices:.3g} slices"
        raise _refusal(labels, grid, of, what, "Give the labels drawn on that slice, or correct the header")
    if labels.grid == grid:
        return labels
    own = labels.grid
    turned = _turned(labels, grid) if labels.has_place else labels
    if turned.grid.shape == grid.shape and _apart(turned.grid, grid) <= SAME_PLACE:
        return dataclasses.replace(turned, grid=grid)
    if not labels.has_place or (bare and grid.rank == 2):
        if own.shape != grid.shape:
            what = "shapes differ, and a picture or an array does not say where it lies"
            raise _refusal(labels, grid, of, what, "Give the labels drawn on that image, or a file with a header")
        return dataclasses.replace(labels, grid=grid)
    if grid.shape in (own.shape, turned.grid.shape) or _says_nothing(own) or _says_nothing(grid):
        far = (
            f"they lie elsewhere, by up to {_mm(own, grid):.3g} mm" if own.shape == grid.shape else "they lie elsewhere"
        )
        remedy = (
            "If they were drawn on this image, a header was lost: give them the image's header; else resample them "
            "onto its grid"
        )
        raise _refusal(labels, grid, of, far, remedy)
    if np.allclose(turned.grid.matrix, grid.matrix, rtol=0, atol=SAME_PLACE * min(grid.spacing)):
        what = "they have its first voxel, but another shape, as labels have that were cut without their header"
        raise _refusal(labels, grid, of, what, "Give the labels of the whole image")
    _check_inside(turned, grid, of)
    return turned


def _check_inside(labels: Image, grid: Grid, of: str) -> None:
    there, drawn = inside(grid, labels.grid), labels.array != 0
    remedy = "Give the labels drawn on that image, or correct the header that is wrong"
    if not (there.any() or inside(labels.grid, grid).any()):
        raise _refusal(labels, grid, of, "they lie outside of it", remedy)
    count, out = int(np.count_nonzero(drawn)), int(np.count_nonzero(drawn & ~there))
    if out > OUTSIDE * count:
        what = f"{100 * out / count:.0f} % of their labelled voxels lie outside of it"
        raise _refusal(labels, grid, of, what, "Crop them to the image, or correct the header that is wrong")
    lost = np.setdiff1d(labels.array[drawn & ~there], labels.array[drawn & there])
    if lost.size:
        raise _refusal(labels, grid, of, f"label {some(lost, NAMED)} lies outside of it", remedy)


def _turned(labels: Image, grid: Grid) -> Image:
    """The same voxels, stored along the axes of a grid as closely as possible."""
    own = labels.grid
    steps = np.linalg.solve(grid.matrix[:-1, :-1] / grid.spacing, own.matrix[:-1, :-1] / own.spacing)
    rank = own.rank
    axes = [int(np.argmax(np.abs(row))) for row in steps]
    if len(set(axes)) < rank:  # rotated by 45 degrees: no order is nearer
        return labels
    signs = [1 if steps[d, axis] > 0 else -1 for d, axis in enumerate(axes)]
    array = labels.array.transpose(axes)[tuple(slice(None, None, sign) for sign in signs)]
    corner = np.zeros(rank)
    corner[axes] = [n - 1 if sign < 0 else 0 for n, sign in zip(array.shape, signs, strict=True)]
    direction = np.asarray(own.direction)[:, axes] * signs
    spacing = tuple(np.take(own.spacing, axes))
    moved = Grid(array.shape, spacing, tuple(own.to_world(corner)), direction)  # type: ignore[arg-type]
    return dataclasses.replace(labels, array=array, grid=moved)


def _corners(grid: Grid) -> np.ndarray:
    """World coordinates `(2**rank, rank)` of the corner voxels' centres."""
    ends = [(0, n - 1) for n in grid.shape]
    return grid.to_world(np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, grid.rank))


def _mm(one: Grid, other: Grid) -> float:
    """The largest distance between the corners of two grids with the same number of axes."""
    return float(np.linalg.norm(_corners(one) - _corners(other), axis=1).max())


def _apart(one: Grid, other: Grid) -> float:
    """The same, in voxels of the second."""
    return _mm(one, other) / min(other.spacing)


def _says_nothing(grid: Grid) -> bool:
    """Whether the grid looks like that of an unfilled header: voxels of 1 mm from the origin along the world axes."""
    plain = Grid(grid.shape)
    straight = np.allclose(np.abs(grid.direction), plain.direction, rtol=0, atol=1e-6)
    return straight and np.allclose([grid.spacing, grid.origin], [plain.spacing, plain.origin], rtol=0, atol=1e-6)


def _refusal(labels: Image, grid: Grid, of: str, what: str, remedy: str) -> AcregError:
    return AcregError(
        f"Labels lie on the grid of their image. Received: {_name(labels)} on {_said(labels.grid)}, {of} on "
        f"{_said(grid)}: {what}. {remedy}."
    )


def _name(labels: Image) -> str:
    return labels.name or "labels"


def _said(grid: Grid) -> str:
    def numbers(values: Iterable[float]) -> str:
        return "(" + ", ".join(f"{value:.6g}" for value in values) + ")"

    direction = "".join(numbers(row) for row in np.asarray(grid.direction).round(4) + 0.0)
    return (
        f"{' x '.join(map(str, grid.shape))} voxels, spacing {numbers(grid.spacing)}, origin {numbers(grid.origin)}, "
        f"direction {direction}"
    )
