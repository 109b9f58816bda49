"""Display of images and transforms as text and in a notebook. Large ones are subsampled first."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np

from acreg.geometry.figures import transform_png
from acreg.geometry.grid import Grid
from acreg.geometry.maps import Affine, Map, Velocity
from acreg.geometry.pictures import image_png
from acreg.geometry.planes import CONVENTION, planes, towards
from acreg.geometry.thinning import determinants_at, shifts_at, some_voxels, thinned, with_short_flows

if TYPE_CHECKING:
    from acreg.geometry.image import Image
    from acreg.geometry.transform import Transform

VOXELS = 2**16
"""Maximum number of voxels from which a displayed number of a transform is computed."""
LISTED = 2**20
"""Maximum number of voxels in which labels are looked for."""
LABELS = 12
"""Maximum number of labels that are listed."""
Row = tuple[str, Callable[[], str]]
"""The heading of a row, and what computes its text."""


def describe_image(image: Image) -> str:
    """Shape, spacing, kind and, if it is known, the file, on one line."""
    name = f", {PurePath(image.name).name}" if image.name else ""
    return f"Image({_grid(image.grid)}, {image.kind}{name})"


def describe_transform(transform: Transform) -> str:
    """The grids and the maps, on one line."""
    maps = ", ".join(type(part).__name__ for part in transform.maps) or "none (the identity)"
    return f"Transform(fixed {_grid(transform.fixed)}, moving {_grid(transform.moving)}, maps: {maps})"


def image_html(image: Image) -> str:
    """The picture, and a table of size, position and values."""
    rows: list[Row] = [
        ("size", lambda: _grid(image.grid)),
        ("extent", lambda: f"{' x '.join(f'{n * s:.4g}' for n, s in zip(image.grid.shape, image.grid.spacing))} mm"),
        ("orientation", lambda: _orientation(image.grid)),
        ("kind", lambda: image.kind),
        ("labels" if image.kind == "labels" else "values", lambda: _values(image)),
    ]
    if image.name:
        rows.append(("file", lambda: image.name))
    return picture(lambda: image_png(image), "slices of the image", _caption(image)) + safe_table(rows)


def transform_html(transform: Transform) -> str:
    """The picture, and a table of the grids, the maps, the displacement and the share of folded voxels."""
    short, voxels = with_short_flows(transform, VOXELS), some_voxels(transform.fixed, VOXELS)
    number = int(np.prod(transform.fixed.shape))
    rows: list[Row] = [
        ("fixed grid", lambda: _grid(transform.fixed)),
        ("moving grid", lambda: _grid(transform.moving)),
        ("maps, the first applied first", lambda: "; ".join(map(_in_words, transform.maps)) or "none (the identity)"),
        ("mean displacement", lambda: f"{_lengths(short, voxels).mean():.2f} mm"),
        ("longest displacement", lambda: f"{_lengths(short, voxels).max():.2f} mm"),
        ("folded voxels", lambda: f"{100 * np.mean(~(determinants_at(short, voxels) > 0)):.3f} %"),
    ]
    if len(voxels) < number:
        rows.append(("computed from", lambda: f"{len(voxels)} of {number} voxels, at random"))
    return picture(lambda: transform_png(transform), "deformed grid and Jacobian determinant") + safe_table(rows)


def safely(html: Callable[[], str]) -> str:
    """HTML, or the reason why there is none: a display never raises."""
    try:
        return html()
    except Exception as error:
        return f"<p>No display: {escape(reason(error))}</p>"


def picture(draw: Callable[[], bytes], text: str, caption: str = "") -> str:
    """An embedded PNG with its alternative text and a caption, or the reason why it cannot be drawn."""
    try:
        data = base64.b64encode(draw()).decode("ascii")
    except Exception as error:  # a notebook shows the numbers in any case
        return f"<p>No picture: {escape(reason(error))}</p>"
    below = f"<p style='margin:2px 0 6px'><small>{escape(caption)}</small></p>" if caption else ""
    return f'<img src="data:image/png;base64,{data}" alt="{escape(text, quote=True)}" style="max-width:100%">{below}'


def png_or_none(draw: Callable[[], bytes]) -> bytes | None:
    """A PNG; None, so that a notebook shows the text instead, if it cannot be drawn."""
    try:
        return draw()
    except Exception:  # a display never raises
        return None


def safe_table(rows: Iterable[Row]) -> str:
    """`table_html` of rows whose texts are computed here; instead of a text that cannot be computed, the reason."""
    found = []
    for heading, compute in rows:
        try:
            found.append((heading, compute()))
        except Exception as error:  # a display never raises
            found.append((heading, f"not known: {reason(error)}"))
    return table_html(found)


def reason(error: Exception) -> str:
    """What an error says, or its type if it says nothing."""
    return str(error) or type(error).__name__


def table_html(rows: Iterable[Sequence[str]], columns: Sequence[str] = (), title: str = "") -> str:
    """An HTML table of plain texts; the first text of each row is its heading. A cell between ``**`` is bold."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = ""
    for first, *rest in rows:
        cells = "".join(f"<td>{_cell(cell)}</td>" for cell in rest)
        body += f"<tr><th style='text-align:left'>{escape(first)}</th>{cells}</tr>"
    caption = f"<caption>{escape(title)}</caption>" if title else ""
    return f"<table>{caption}{f'<tr>{head}</tr>' if head else ''}{body}</table>"


def _cell(text: str) -> str:
    bold = len(text) > 4 and text.startswith("**") and text.endswith("**")
    return f"<b>{escape(text[2:-2])}</b>" if bold else escape(text)


def _grid(grid: Grid) -> str:
    return f"{' x '.join(map(str, grid.shape))} voxels of {' x '.join(f'{s:.4g}' for s in grid.spacing)} mm"


def _orientation(grid: Grid) -> str:
    letters = towards(grid)
    if not letters:
        return "not known (a picture or an array)"
    names = {"S": "superior", "I": "inferior", "A": "anterior", "P": "posterior", "L": "left", "R": "right"}
    words = ", ".join(names[letter] for letter in reversed(letters))
    return f"{letters}: the axes of the array point to {words}"


def _caption(image: Image) -> str:
    shown = planes(image.grid)
    if not shown[0].name:
        return ""
    which = "slices with the most labels" if image.kind == "labels" else "middle slices"
    return f"{which}, {CONVENTION}" if len(shown) > 1 else CONVENTION


def _lengths(transform: Transform, voxels: np.ndarray) -> np.ndarray:
    return np.sqrt((shifts_at(transform, voxels) ** 2).sum(axis=1))


def _values(image: Image) -> str:
    if image.kind == "labels":
        thin = thinned(image, LISTED)
        found = np.unique(thin.array)
        some = "" if thin is image else f" (of one voxel in {image.array.size // thin.array.size})"
        if len(found) > LABELS:
            return f"{len(found)}, from {found[0]} to {found[-1]}{some}"
        return f"{', '.join(map(str, found))}{some}"
    return f"{image.array.min():.6g} to {image.array.max():.6g}"


def _in_words(part: Map) -> str:
    if not isinstance(part, Affine):
        what = "flow of a velocity" if isinstance(part, Velocity) else "displacement"
        return f"{what} on {_grid(part.grid)}"
    linear = part.matrix[:-1, :-1]
    u, _, vt = np.linalg.svd(linear)
    mirrors = np.linalg.det(u @ vt) < 0
    cosine = (np.trace(u @ vt) - (part.rank - 2)) / 2
    turn = "mirrors" if mirrors else f"turns by {np.degrees(np.arccos(np.clip(cosine, -1, 1))):.1f} degrees"
    size = "volume" if part.rank == 3 else "area"
    return f"affine map that {turn}, {size} x {abs(np.linalg.det(linear)):.3f}"
