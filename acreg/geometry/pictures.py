"""Pictures of images, drawn by Pillow."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from acreg.errors import AcregError
from acreg.geometry.planes import Plane, planes, upright, upright_grid
from acreg.geometry.thinning import thinned

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

    from acreg.geometry.image import Image

PIXELS = 384
"""Number of pixels along the longer side of the picture of a 2-D image."""
PANEL = 256
"""Number of pixels along the longest side of a volume."""
TITLE, GAP = 22, 6
"""Height of a panel's title, and distance between panels, in pixels."""
COUNTED = 2**18
"""Maximum number of voxels of a label map in which the slices with the most labels are looked for."""


def image_png(image: Image) -> bytes:
    """A PNG of an image: grey between the 0.5 and 99.5 percentiles of what is shown, or each label in a colour.

    An image with a place in the patient is shown as in `acreg.geometry.planes`: of a volume, three planes through its
    middle voxel or, of a label map, the slices with the most labels. Letters are the sides of the patient. Proportions
    follow the spacing.

    Raises:
        AcregError: there is no voxel to show, or one that is not finite.
    """
    shown = planes(image.grid)
    array, grid = upright(image.array, image.grid), upright_grid(image.grid)
    if array.shape != grid.shape:
        raise AcregError(f"An image has the shape of its grid. Received: {array.shape}, grid {grid.shape}.")
    extent = np.array(grid.shape) * grid.spacing
    axes = [plane.axes for plane in shown]
    scale = (PANEL if shown[0].name else PIXELS) / max(extent[d] for pair in axes for d in pair)
    sizes = [(max(1, round(scale * extent[columns])), max(1, round(scale * extent[rows]))) for rows, columns in axes]
    at = _most_labels(image) if image.kind == "labels" else tuple(n // 2 for n in grid.shape)
    cuts = [_thin(plane.cut(array, at)) for plane in shown]
    drawn = _coloured(cuts, sizes) if image.kind == "labels" else _grey(cuts, sizes)
    stream = io.BytesIO()
    (_framed(shown, drawn) if shown[0].name else drawn[0]).save(stream, format="PNG")
    return stream.getvalue()


def _most_labels(image: Image) -> tuple[int, ...]:
    """For each axis of the upright array, the index of the slice with the most labelled voxels; the middle if none."""
    thin = thinned(image, COUNTED)
    found = upright(thin.array != 0, thin.grid)
    counts = [found.sum(axis=tuple(d for d in range(found.ndim) if d != axis)) for axis in range(found.ndim)]
    grid, coarse = upright_grid(image.grid), upright_grid(thin.grid)
    places = np.array([int(each.argmax()) if each.any() else len(each) // 2 for each in counts])
    return tuple(np.rint(grid.to_index(coarse.to_world(places))).astype(int).clip(0, np.array(grid.shape) - 1).tolist())


def _thin(plane: np.ndarray) -> np.ndarray:
    steps = [max(1, n // (2 * PIXELS)) for n in plane.shape]
    return plane[:: steps[0], :: steps[1]]


def _grey(cuts: Sequence[np.ndarray], sizes: Sequence[tuple[int, int]]) -> list[Picture]:
    """Slices as grey pictures of one window."""
    from PIL import Image as Pictures

    values = np.concatenate([cut.ravel() for cut in cuts])
    if bad := values.size - int(np.count_nonzero(np.isfinite(values))):
        raise AcregError(f"The values of an image are finite numbers. Received: {bad} in its picture that are not.")
    low, high = np.percentile(values, (0.5, 99.5)).tolist()
    width = max(high - low, np.finfo(np.float32).tiny)
    greys = [(np.clip((cut - low) / width, 0, 1) * 255).astype(np.uint8) for cut in cuts]
    return [Pictures.fromarray(each).resize(size, Pictures.Resampling.BILINEAR) for each, size in zip(greys, sizes)]


def _coloured(cuts: Sequence[np.ndarray], sizes: Sequence[tuple[int, int]]) -> list[Picture]:
    """Slices of labels as pictures, each label in a colour of its own, the background black."""
    from colorsys import hsv_to_rgb

    from PIL import Image as Pictures

    values = np.unique(np.concatenate([cut.ravel() for cut in cuts]))
    golden = 0.618034  # very different for consecutive labels, for any number of labels
    colours = [hsv_to_rgb(n * golden % 1, 0.65, 0.95) if value else (0.0, 0.0, 0.0) for n, value in enumerate(values)]
    palette = (255 * np.array(colours)).astype(np.uint8)
    return [
        Pictures.fromarray(palette[np.searchsorted(values, cut)]).resize(size, Pictures.Resampling.NEAREST)
        for cut, size in zip(cuts, sizes)
    ]


def _framed(shown: Sequence[Plane], drawn: Sequence[Picture]) -> Picture:
    """Pictures of planes side by side on black, with their names and the sides of the patient."""
    from PIL import Image as Pictures
    from PIL import ImageDraw, ImageFont

    height = max(each.height for each in drawn)
    narrowest = 56  # a title needs this width
    widths = [max(each.width, narrowest) for each in drawn]
    frame = Pictures.new("RGB", (sum(widths) + GAP * (len(drawn) + 1), height + TITLE + GAP), "black")
    draw, font = ImageDraw.Draw(frame), ImageFont.load_default(13)
    left = GAP
    for plane, each, width in zip(shown, drawn, widths):
        x, y = left + (width - each.width) // 2, TITLE + (height - each.height) // 2
        frame.paste(each, (x, y))
        draw.text((left + width / 2, TITLE / 2), plane.name, fill="#b8c4d0", font=font, anchor="mm")
        right, bottom = x + each.width, y + each.height
        middle = ((x + right) / 2, (y + bottom) / 2)
        places = (
            (middle[0], y + 3, "mt"),
            (middle[0], bottom - 3, "mb"),
            (x + 3, middle[1], "lm"),
            (right - 3, middle[1], "rm"),
        )
        for letter, (at, down, anchor) in zip(plane.sides, places):
            draw.text((at, down), letter, "#ffd166", font, anchor, stroke_width=2, stroke_fill="black")
        left += width + GAP
    return frame
