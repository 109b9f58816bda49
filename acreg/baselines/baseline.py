"""Classical methods by name: what all tools have in common."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from pathlib import Path

import numpy as np

from acreg.baselines.capture import captured
from acreg.baselines.options import read_options, split_name
from acreg.baselines.tools import NAMES, TOOLS, Tool
from acreg.errors import AcregError, UsageError, images_by_name
from acreg.geometry import Transform
from acreg.geometry.maps import Affine, Displacement
from acreg.io import Image
from acreg.metrics import normalized_cross_correlation
from acreg.versions import installed_version

LEAST_OVERLAP = 0.01
"""Smallest share of the smaller image's extent that lies in the other image after a registration."""
FLATTEST = 10.0
"""Largest ratio of the stretches of an affine map along its axes."""
ALIKE = 0.999
"""Correlation above which images need no deformation."""
SEEDS = 2**31 - 1
"""Number of seeds that all tools accept: the largest seed plus one is still a signed 32-bit integer."""


class Baseline:
    """A classical registration, with `name` and `register` as the models have; made by `baseline`.

    Attributes:
        settings: all that determines a result, for the record: method, tool, version, parameters, options, threads,
            seed.
    """

    def __init__(self, name: str, threads: int, seed: int) -> None:
        method, text = split_name(name)
        tool, _, self._kind = method.partition(":")
        self._tool, self._threads, self._seed = TOOLS[tool].module, threads, seed
        self._options = read_options(method, text, self._tool.OPTIONS.get(self._kind, {}))
        self.name = name
        _load(name, TOOLS[tool])
        self.settings = {
            "method": name,
            "tool": TOOLS[tool].package,
            "version": installed_version(TOOLS[tool].package),
            "parameters": dict(self._tool.KINDS[self._kind]),
            "options": dict(self._options),
            "threads": threads,
            "seed": seed,
        }

    @images_by_name
    def register(self, *, fixed: Image, moving: Image) -> Transform:
        """The transform that warps `moving` onto the grid of `fixed`.

        Raises:
            UsageError: the images are not given by name.
            AcregError: the images differ in rank, one of them is constant, the tool fails, or its result shows that a
                stage diverged: the map leaves the moving image, or the deformation is zero although the images differ.
        """
        if fixed.grid.rank != moving.grid.rank:
            raise AcregError(
                "Two images that are registered have one number of axes. Received: "
                f"{fixed.name or 'fixed'} with {fixed.grid.rank}, {moving.name or 'moving'} with {moving.grid.rank}."
            )
        for image, role in ((fixed, "fixed"), (moving, "moving")):
            if np.ptp(image.array) == 0:
                raise AcregError(
                    f"Images to register show something. Received: {image.name or role}, the {role} image, which has "
                    f"the value {image.array.flat[0]:g} everywhere. Look at the file."
                )
        printed: list[str] = []
        try:
            with tempfile.TemporaryDirectory(prefix="acreg-") as folder, captured(printed):
                # Several tools interpret the seed 0 as "use the time".
                maps = self._tool.register(
                    self._kind, fixed, moving, self._options, self._threads, self._seed + 1, Path(folder)
                )
        except Exception as error:
            said = f" It printed last: {' '.join(printed[-3:])[-300:]}" if printed else ""
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[-300:]}.{said}"
            raise self._failure(fixed, moving, reason) from error
        transform = Transform(fixed.grid, moving.grid, tuple(maps))
        if reason := _diverged(transform, fixed, moving):
            raise self._failure(fixed, moving, reason)
        return transform

    def _failure(self, fixed: Image, moving: Image, reason: str) -> AcregError:
        return AcregError(
            "A registration ends with a transform that lays one image over the other. "
            f"Received: {self.name} for {fixed.name or 'fixed'} and {moving.name or 'moving'}, which failed with "
            f"{reason} See the two images with `acreg inspect`, or choose another method."
        )


def baseline(name: str, threads: int = 1, seed: int = 0) -> Baseline:
    """The classical method with this name; its tool is imported.

    Args:
        name: one of `NAMES`, optionally with options in brackets: `sitk:demons[smoothing=1,affine=false]`. With
            `affine=false`, the registration starts from the positions of the images in space.
        threads: the number of threads that the tool may use. With 1, the same images and seed give the same result.
        seed: seed of the tool's random samples, from 0 to 2**31 - 2.

    Raises:
        UsageError: the method or option does not exist, or `threads` or `seed` is out of range.
        AcregError: the package of the tool is not installed, or cannot be imported.
    """
    if split_name(name)[0] not in NAMES:
        raise UsageError(
            f"A classical method is one of {', '.join(NAMES)}, perhaps with options in brackets. Received: {name!r}. "
            "Correct the name; capitals count."
        )
    if threads < 1 or not 0 <= seed < SEEDS:
        raise UsageError(
            f"Threads are 1 or more, a seed is from 0 to {SEEDS - 1}. Received: threads={threads}, seed={seed}. "
            "Choose another number."
        )
    return Baseline(name, threads, seed)


def _diverged(transform: Transform, fixed: Image, moving: Image) -> str:
    """The sign that a stage of a registration diverged, in words; empty if there is none.

    The tools report no error in this case, except for ITK's optimisers when no sample lies in the moving image any
    more.
    """
    affine = tuple(part for part in transform.maps if isinstance(part, Affine))
    for part in affine:
        linear = part.matrix[:-1, :-1]
        stretches = np.linalg.svd(linear, compute_uv=False)
        if np.linalg.det(linear) <= 0 or stretches[0] > FLATTEST * stretches[-1]:
            told = "mirrors" if np.linalg.det(linear) < 0 else "flattens"
            stretched = ", ".join(f"{stretch:.2g}" for stretch in stretches)
            return f"an affine stage that {told} the image: its stretches are {stretched}."
    smaller = min(math.prod(image.grid.shape) * math.prod(image.grid.spacing) for image in (fixed, moving))
    voxel = math.prod(fixed.grid.spacing)
    first = "an affine stage that left the moving image" if affine else "images that lie apart in space"
    for what, maps in ((first, affine), ("a result that left the moving image", transform.maps)):
        overlap = dataclasses.replace(transform, maps=maps).inside(moving.grid).sum() * voxel / smaller
        if overlap < LEAST_OVERLAP:
            return f"{what}: they overlap by {100 * overlap:.2g} % of the smaller one."
    still = any(isinstance(part, Displacement) and not part.vectors.any() for part in transform.maps)
    if still and normalized_cross_correlation(fixed.array, transform.warp_image(moving).array) < ALIKE:
        return "a deformation of zero everywhere, between images that differ."
    return ""


def _load(name: str, tool: Tool) -> None:
    try:
        tool.module.load()
    except ImportError as error:
        raise AcregError(
            f"The method {name} needs the package {tool.package}. Received: {error}. "
            f"To run: python -m pip install {tool.package}. All of them come with 'acreg[baselines]'."
        ) from error
