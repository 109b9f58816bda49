"""Use of transforms from files or from a registration: `acreg.warp`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np

from acreg.errors import UsageError, argument
from acreg.geometry import Grid, Image, Transform
from acreg.geometry.display import table_html
from acreg.geometry.transform import Border
from acreg.io import Points, check_free, read_points, write_image, write_points
from acreg.io.colour import read_channels, warp_channels, write_channels
from acreg.io.formats import writer
from acreg.io.inputs import ImageLike, as_image
from acreg.io.points.formats import check_points_format
from acreg.io.transforms import read_transform
from acreg.names import some
from acreg.registration.background import background_note, border_and_fill

PathLike = str | os.PathLike[str]
Interpolation = Literal["linear", "nearest"]
SHOWN = 20
"""Number of points that a notebook shows."""


@dataclass(eq=False, repr=False)
class Warped:
    """A warped image or label map. A notebook shows it as a picture.

    Attributes:
        channels: one image, or the channels of a colour image.
        transform: the transform that was applied.
        source: the image before warping; its first channel, if there are several.
        inside: share of the reference's voxels that map inside the image, from 0 to 1.
        vanished: labels of the source that have no voxel in the result.
        notes: remarks, one sentence each.
    """

    channels: list[Image]
    transform: Transform
    source: Image
    inside: float
    vanished: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def image(self) -> Image:
        """The warped image or labels; the first channel of a colour image."""
        return self.channels[0]

    def save(self, path: PathLike, *, overwrite: bool = False) -> Path:
        """Write a file in the format of its suffix, and return its path; errors as for `write_image`, `check_free`."""
        path = Path(path)
        check_free(path, overwrite=overwrite)
        if len(self.channels) > 1:
            write_channels(self.channels, path)
        else:
            write_image(self.image, path)
        return path

    def __repr__(self) -> str:
        return f"Warped({self.image!r}, {100 * self.inside:.1f} % inside of {self.source.name or 'the moving image'})"

    def _repr_html_(self) -> str:
        rows = [("inside of the moving image", f"{100 * self.inside:.1f} %")]
        rows += [("vanished labels", ", ".join(map(str, self.vanished)))] if self.vanished else []
        return self.image._repr_html_() + table_html([*rows, *(("note", note) for note in self.notes)])

    def _repr_png_(self) -> bytes | None:
        return self.image._repr_png_()


@dataclass(eq=False, repr=False)
class WarpedPoints:
    """Points that were moved by a transform, and the displacement of each, `(n, rank)` in mm."""

    points: Points
    moved: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """The distance by which each point was moved, `(n,)` in mm."""
        return np.sqrt((self.moved**2).sum(axis=1))

    def save(self, path: PathLike, *, overwrite: bool = False) -> Path:
        """Write .csv, .fcsv or .mrk.json and return the path; errors as for `write_points`, `check_free`."""
        path = Path(path)
        check_free(path, overwrite=overwrite)
        write_points(self.points, path)
        return path

    def __repr__(self) -> str:
        return f"WarpedPoints({len(self.moved)} points moved by {self.lengths.mean():.2f} mm on average)"

    def _repr_html_(self) -> str:
        axes = ("z", "y", "x")[-self.moved.shape[1] :]
        rows = [
            [name or str(number), *(f"{value:.2f}" for value in (*position, length))]
            for number, (name, position, length) in enumerate(
                zip(self.points.names, self.points.positions[:SHOWN], self.lengths), 1
            )
        ]
        more = f"; the first {SHOWN} are shown" if len(self.moved) > SHOWN else ""
        return table_html(rows, ["point", *(f"{axis} (mm)" for axis in axes), "moved by (mm)"], f"{self!r}{more}")


@overload
def warp(
    transform: PathLike | Transform | Sequence[PathLike | Transform],
    reference: ImageLike | Grid,
    *,
    points: PathLike | Points,
    to: Literal["fixed", "moving"],
) -> WarpedPoints: ...


@overload
def warp(
    transform: PathLike | Transform | Sequence[PathLike | Transform],
    reference: ImageLike | Grid,
    *,
    image: ImageLike | None = None,
    labels: ImageLike | None = None,
    interpolation: Interpolation | None = None,
    inverse: bool = False,
    border: Border | None = None,
    fill: float | None = None,
) -> Warped: ...


def warp(
    transform: PathLike | Transform | Sequence[PathLike | Transform],
    reference: ImageLike | Grid,
    *,
    image: ImageLike | None = None,
    labels: ImageLike | None = None,
    points: PathLike | Points | None = None,
    to: Literal["fixed", "moving"] | None = None,
    interpolation: Interpolation | None = None,
    inverse: bool = False,
    border: Border | None = None,
    fill: float | None = None,
) -> Warped | WarpedPoints:
    """Apply a transform to an image, to labels or to points, as `acreg warp` does.

    ::

        acreg.warp("transform.h5", "fixed.nii.gz", image="moving.nii.gz").save("warped.nii.gz")

    Args:
        transform: a file (ITK's .h5, .tfm, .txt, .mat; a displacement field in mm; acreg's displacement.nii.gz), a
            `Transform`, or several of these, in the order in which they are applied to a point of the fixed image.
        reference: the fixed image or its grid, which is the grid of the result.
        image, labels, points: one of them: the moving image, its labels, or points in mm. Colour images keep their
            channels.
        to: the image to which points are mapped.
        interpolation: for labels; "linear" (default) takes the label with the largest weight.
        inverse: apply the inverse; the reference is then the moving image.
        border, fill: values outside the image, see `Transform.warp_image`; labels have the background 0 there.

    Returns:
        `Warped`; for points, `WarpedPoints`.

    Raises:
        UsageError: nothing or several things to warp are given, or an argument does not apply to them.
        AcregError: a file cannot be read, or the transform does not fit or cannot be inverted.
    """
    name = _only(image=image, labels=labels, points=points)
    _check_fit(name, points is not None, labels is not None, to, interpolation, inverse, border, fill)
    outside = border_and_fill(border, fill)
    frame = reference if isinstance(reference, Grid) else as_image(reference, "reference")
    grid = frame if isinstance(frame, Grid) else frame.grid
    parts = transform_list(transform)
    if points is not None and to is not None:
        found = points if isinstance(points, Points) else read_points(Path(points))
        moved = read_transforms(parts, grid, grid).warp_points(found.positions, to)
        return WarpedPoints(Points(moved, found.names, found.source), moved - found.positions)
    if labels is not None:
        channels = [as_image(labels, "labels", "labels")]
    elif isinstance(image, (str, os.PathLike)):
        channels = read_channels(image)
    else:
        channels = [as_image(image, "image")]
    source, notes = channels[0], []
    if inverse:
        chosen = read_transforms(parts, source.grid, grid).sampled_inverse()
        notes.append(f"The inverse misses by {chosen.residual:.2g} voxels at most.")
    else:
        chosen = read_transforms(parts, grid, source.grid)
    if labels is not None:
        warped = [chosen.warp_labels(source, interpolation or "linear")]
    else:
        warped = warp_channels(channels, chosen, *outside)
    result = Warped(warped, chosen, source, float(chosen.inside(source.grid).mean()), notes=notes)
    if labels is None and (text := background_note(source, outside[0], fill, result.inside)):
        notes.append(text)
    elif labels is not None:
        result.vanished = [int(value) for value in np.setdiff1d(source.array, result.image.array)]
    if result.vanished:
        lost = some((f"label {value}" for value in result.vanished), 20)
        notes.append(f"Vanished, without a voxel in the warped labels: {lost}")
    if isinstance(frame, Image) and frame.has_place and not source.has_place:
        notes.append(
            f"{source.name or 'It'} does not say where it lies and is taken to begin at 0 mm. Labels drawn on "
            "an image with a header need that header."
        )
    if result.inside == 0:
        notes.append("No part of it is visible: do the transform and its direction belong to these two images?")
    return result


def _only(**given: object) -> str:
    """The name of the only argument that is given. Raises `UsageError` unless there is exactly one."""
    names = [name for name, value in given.items() if value is not None]
    if len(names) != 1:
        raise UsageError(
            f"One thing is warped at a time. Received: {' and '.join(map(argument, names)) or 'nothing to warp'}. Give "
            f"one of {argument('image')}, {argument('labels')} and {argument('points')}."
        )
    return names[0]


def _check_fit(
    name: str,
    points: bool,
    labels: bool,
    to: str | None,
    interpolation: str | None,
    inverse: bool,
    border: str | None,
    fill: float | None,
) -> None:
    """Raise `UsageError` for an argument that does not apply to an image, to labels or to points."""
    if (to is None) == points:
        direction = f"without {argument('to')}" if to is None else f"with {argument('to', to)}"
        raise UsageError(
            f"Points have a direction, images have none. Received: {argument(name)} {direction}. Say with "
            f"{argument('points')} whether they go {argument('to', 'fixed')} or {argument('to', 'moving')}."
        )
    if inverse and points:
        raise UsageError(
            f"Points are taken either way by {argument('to')}. Received: {argument('points')} with "
            f"{argument('inverse', True)}. Leave out {argument('inverse')}."
        )
    if interpolation is not None and not labels:
        raise UsageError(
            f"Interpolation is chosen for labels; images are warped linearly. Received: {argument(name)} with "
            f"{argument('interpolation', interpolation)}. Leave it out, or give {argument('labels')}."
        )
    if (border, fill) != (None, None) and name != "image":
        raise UsageError(
            "What lies outside is chosen for images; labels have the background 0 there. Received: "
            f"{argument(name)} with {argument('border' if border else 'fill')}. Leave it out, or give "
            f"{argument('image')}."
        )


def transform_list(given: PathLike | Transform | Sequence[PathLike | Transform]) -> list[PathLike | Transform]:
    """One or several transforms or their files, as a list.

    Raises:
        UsageError: something else is given.
    """
    parts: list[Any] = list(given) if isinstance(given, (list, tuple)) else [given]
    for part in parts:
        if not isinstance(part, (str, os.PathLike, Transform)):
            raise UsageError(
                f"A transform is a file or a Transform of acreg, or a list of them. Received: {type(part).__name__}. "
                "Write a transform of another program into a file, for example by SimpleITK.WriteTransform, and give "
                "its name."
            )
    return parts


def read_transforms(paths: Sequence[PathLike | Transform], fixed: Grid, moving: Grid) -> Transform:
    """Read several transforms as one; they are applied to a point of the fixed image in the given order.

    This is the order of `antsApplyTransforms` and of the maps of a `Transform`.

    Args:
        paths: files as `acreg.io.transforms.read_transform` reads them, or transforms.
        fixed, moving: the grids of the two images.

    Raises:
        AcregError: as for `read_transform`.
    """
    parts = (one if isinstance(one, Transform) else read_transform(Path(one), fixed, moving) for one in paths)
    return Transform(fixed, moving, tuple(part for each in parts for part in each.maps))


def check_target(path: Path, points: bool, border: Border | None, fill: float | None, overwrite: bool) -> None:
    """Raise an error, before anything is computed, if the result of `warp` cannot be written to a file.

    Args:
        path: the file.
        points: whether points are written, not an image.
        border, fill: the arguments of `warp`.
        overwrite: whether an existing file may be replaced.
    """
    border_and_fill(border, fill, path)
    if points:
        check_points_format(path)
    else:
        writer(path)
    check_free(path, overwrite=overwrite)
