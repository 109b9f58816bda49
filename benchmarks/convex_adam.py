"""ConvexAdam, as published on PyPI, as a method: its program runs in another environment, on files.

Siebert et al., ConvexAdam: Self-configuring dual-optimization-based 3D multitask medical image registration, IEEE TMI
2024.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from acreg.baselines import baseline
from acreg.errors import AcregError, UsageError, images_by_name
from acreg.geometry import Image, Transform, unregistered
from acreg.geometry.maps import Displacement
from acreg.geometry.resample import respaced

SMALL = 64
"""Volumes with no longer axis are those of one organ, cut out alike: they are laid on each other by their extents."""


ANISOTROPIC = 2.0
"""Ratio of the largest to the smallest spacing from which volumes are resampled: the program knows voxels only."""


class ConvexAdam:
    """Its default settings (MIND), on the fixed grid; with thick slices, on one of cubes with their shortest edge.

    It finds no affine map: it is given the moving image after another one.

    Args:
        python: the Python of an environment that has the package convexAdam.

    Attributes:
        elsewhere: CPU seconds of the last registration in the program's process.

    Raises:
        UsageError: no Python is given.
    """

    name = "ConvexAdam"

    def __init__(self, python: str) -> None:
        if not python:
            raise UsageError("ConvexAdam runs in another environment. Received: none. Give its Python: --convexadam.")
        self.elsewhere = 0.0
        self._affine = baseline("ants:affine", 1, 0)
        # What this process puts before the other environment's packages is not for that one.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self._program = subprocess.Popen(
            [python, str(Path(__file__).with_name("convex_adam_program.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    @images_by_name
    def register(self, *, fixed: Image, moving: Image) -> Transform:
        """Register after ANTs' affine map; small volumes after the map between their extents.

        Raises:
            AcregError: the images are not volumes, the program fails, or its field is not finite.
        """
        self.elsewhere = 0.0
        if fixed.grid.rank != 3:
            raise AcregError(f"ConvexAdam registers volumes. Received: images with {fixed.grid.rank} axes.")
        small = max(*fixed.grid.shape, *moving.grid.shape) <= SMALL
        start = unregistered(fixed=fixed, moving=moving) if small else self._affine.register(fixed=fixed, moving=moving)
        least = min(fixed.grid.spacing)
        cubes = max(fixed.grid.spacing) >= ANISOTROPIC * least
        grid = respaced(fixed.grid, (least,) * 3) if cubes else fixed.grid
        with tempfile.TemporaryDirectory(prefix="acreg-convexadam-") as folder:
            files = [str(Path(folder) / f"{name}.npy") for name in ("fixed", "moving", "field")]
            np.save(files[0], Transform(grid, fixed.grid).warp_image(fixed).array)
            np.save(files[1], start.resample_to(grid).warp_image(moving).array)
            answer = self._ask(files)
            self.elsewhere = answer["cpu_seconds"]
            if "failed" in answer:
                raise AcregError(f"ConvexAdam ends with a field. Received: {answer['failed']}.")
            field = np.load(files[2])
        return Transform(fixed.grid, moving.grid, (Displacement(field, grid), *start.maps))

    def _ask(self, files: list[str]) -> dict[str, Any]:
        if self._program.stdin is None or self._program.stdout is None:
            raise AcregError("A process is asked through pipes. Received: none. This should not happen: report it.")
        self._program.stdin.write(json.dumps(files) + "\n")
        self._program.stdin.flush()
        for line in self._program.stdout:
            if line.startswith("{"):  # the package prints a warning
                return json.loads(line)
        raise AcregError(f"ConvexAdam's process answers. Received: its end, with the code {self._program.wait()}.")
