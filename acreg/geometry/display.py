"""Display of images and transforms as text and in a notebook. Large ones are subsampled first."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np

from acreg.geometry.grid import Grid

if TYPE_CHECKING:
    from acreg.geometry.image import Image
    from acreg.geometry.transform import Transform

PIXELS = 384
"""Maximum number of pixels along the longer side of a picture."""
VOXELS = 2**18
"""Maximum number of voxels from which a displayed number is computed."""


def describe_image(image: Image) -> str:
    """Shape, spacing, kind and, if it is known, the file, on one line."""
    name = f", {PurePath(image.name).name}" if image.name else ""
    return f"Image({_grid(image.grid)}, {image.kind}{name})"


def describe_transform(transform: Transform) -> str:
    """The grids and the maps, on one line."""
    return f"Transform(fixed {_grid(transform.fixed)}, moving {_grid(transform.moving)}, maps: {_maps(transform)})"


def transform_html(transform: Transform) -> str:
    """A table of the grids, the maps and the share of folded voxels."""
    thin = transform.resample_to(thinned_grid(transform.fixed, VOXELS)[0])
    rows = [
        ("fixed grid", _grid(transform.fixed)),
        ("moving grid", _grid(transform.moving)),
        ("maps, the first applied first", _maps(transform)),
        ("longest displacement", f"{_longest(thin):.2f} mm"),
        ("folded voxels", f"{thin.folding()['folded_percent']:.3f} %"),
    ]
    return table_html(rows)


def table_html(rows: Iterable[Sequence[str]], columns: Sequence[str] = (), title: str = "") -> str:
    """An HTML table of plain texts; the first text of each row is its heading."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = ""
    for first, *rest in rows:
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in rest)
        body += f"<tr><th style='text-align:left'>{escape(first)}</th>{cells}</tr>"
    caption = f"<caption>{escape(title)}</caption>" if title else ""
    return f"<table>{caption}{f'<tr>{head}</tr>' if head else ''}{body}</table>"


def image_png(image: Image) -> bytes:
    """A PNG of an image, or of the middle slice of a volume: grey between the 0.5 and 99.5 percentiles, or labels.

    The slice is perpendicular to the axis that is closest to the patient's long axis. Each label has a colour of its
    own. The aspect ratio follows the spacing.
    """
    from PIL import Image as Picture

    plane, spacing = _middle(image)
    steps = [max(1, n // (2 * PIXELS)) for n in plane.shape]
    plane = plane[:: steps[0], :: steps[1]]
    extent = np.array(plane.shape) * np.array(spacing) * steps
    rows, columns = np.maximum(1, np.rint(extent * PIXELS / extent.max())).astype(int).tolist()
    if image.kind == "labels":
        drawn = Picture.fromarray(_coloured(plane)).resize((columns, rows), Picture.Resampling.NEAREST)
    else:
        low, high = np.percentile(plane, (0.5, 99.5)).tolist()
        grey = np.clip((plane - low) / max(high - low, np.finfo(np.float32).tiny), 0, 1) * 255
        drawn = Picture.fromarray(grey.astype(np.uint8)).resize((columns, rows), Picture.Resampling.BILINEAR)
    stream = io.BytesIO()
    drawn.save(stream, format="PNG")
    return stream.getvalue()


def thinned(image: Image, voxels: int) -> Image:
    """Every k-th voxel of an image along each axis, about `voxels` in all; the image itself if it has no more."""
    grid, step = thinned_grid(image.grid, voxels)
    if step == 1:
        return image
    return dataclasses.replace(image, array=image.array[(slice(None, None, step),) * grid.rank], grid=grid)


def thinned_grid(grid: Grid, voxels: int) -> tuple[Grid, int]:
    """The grid of every k-th voxel, with about `voxels` in all and at least two along each axis; and k."""
    step = int(np.ceil((np.prod(grid.shape) / voxels) ** (1 / grid.rank)))
    step = max(1, min(step, *((n - 1) for n in grid.shape)))
    shape = tuple(-(-n // step) for n in grid.shape)
    return dataclasses.replace(grid, shape=shape, spacing=tuple(s * step for s in grid.spacing)), step


def _grid(grid: Grid) -> str:
    return f"{' x '.join(map(str, grid.shape))} voxels of {' x '.join(f'{s:.4g}' for s in grid.spacing)} mm"


def _maps(transform: Transform) -> str:
    return ", ".join(type(part).__name__ for part in transform.maps) or "none (the identity)"


def _longest(transform: Transform) -> float:
    mm = transform.displacement @ (np.asarray(transform.fixed.direction) * transform.fixed.spacing).T
    return float(np.sqrt((mm**2).sum(axis=-1).max()))


def _middle(image: Image) -> tuple[np.ndarray, Sequence[float]]:
    """The displayed slice, `(rows, columns)`, and its spacing."""
    if image.grid.rank == 2:
        return image.array, image.grid.spacing
    axis = int(np.abs(np.asarray(image.grid.direction)[0]).argmax())
    plane = np.take(image.array, image.grid.shape[axis] // 2, axis)
    return plane, tuple(s for n, s in enumerate(image.grid.spacing) if n != axis)


def _coloured(labels: np.ndarray) -> np.ndarray:
    """Labels as colours, the background black: uint8 `(rows, columns, 3)`."""
    from colorsys import hsv_to_rgb

    values, found = np.unique(labels, return_inverse=True)
    golden = 0.618034  # very different for consecutive labels, for any number of labels
    colours = [hsv_to_rgb(n * golden % 1, 0.65, 0.95) if value else (0.0, 0.0, 0.0) for n, value in enumerate(values)]
    return (255 * np.array(colours)).astype(np.uint8)[found.reshape(labels.shape)]
