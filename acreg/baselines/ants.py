"""ANTs, by antspyx.

Avants et al., Symmetric diffeomorphic image registration with cross-correlation, Medical Image Analysis 12 (2008).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from acreg.baselines.options import Options
from acreg.errors import AcregError
from acreg.geometry.maps import Map
from acreg.io import Image
from acreg.io.transforms import read_transform

# antspyx's own presets. All except SyNOnly align the centres of mass first; SyNOnly uses the positions of the images.
KINDS: Mapping[str, Mapping[str, Any]] = {
    "affine": {"type_of_transform": "Affine"},
    "SyN": {"type_of_transform": "SyN"},
    "SyNCC": {"type_of_transform": "SyNCC"},
    "SyNOnly": {"type_of_transform": "SyNOnly"},
}
OPTIONS: Mapping[str, Options] = {}

_threads: int | None = None


def load() -> None:
    """Import antspyx."""
    import ants  # noqa: F401


def register(
    kind: str, fixed: Image, moving: Image, options: Options, threads: int, seed: int, folder: Path
) -> Sequence[Map]:
    """Run `ants.registration`; the transforms are read from the files that it writes.

    Raises:
        AcregError: the number of threads differs from that of the first call: ITK reads it once per process.
    """
    global _threads
    if _threads not in (None, threads):
        raise AcregError(
            f"ANTs takes its number of threads once a process. Received: {threads}, after {_threads}. "
            "Keep to one number, or start another process."
        )
    _threads = threads
    import ants

    # The argument random_seed of ants.registration is accepted and ignored (antspyx 0.6.3); ANTs reads this variable.
    with _environment(ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS=str(threads), ANTS_RANDOM_SEED=str(seed)):
        found = ants.registration(_image(fixed), _image(moving), outprefix=f"{folder}{os.sep}", **KINDS[kind])
        # In the order of ANTs' lists, which is that of a composition: the warp is applied to a fixed point first.
        return [part for path in found["fwdtransforms"] for part in read_transform(path, fixed.grid, moving.grid).maps]


def _image(image: Image) -> Any:
    import ants

    grid = image.grid
    return ants.from_numpy(
        np.ascontiguousarray(image.array.T),
        origin=grid.origin[::-1],
        spacing=grid.spacing[::-1],
        direction=np.asarray(grid.direction)[::-1, ::-1],
    )


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
