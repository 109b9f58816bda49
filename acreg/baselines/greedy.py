"""greedy, by picsl-greedy.

Yushkevich et al., Fast automatic segmentation of hippocampal subfields and medial temporal lobe subregions in 3 Tesla
and 7 Tesla MRI, Alzheimer's and Dementia 12 (2016).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from acreg.geometry.maps import Affine, Map
from acreg.io import Image
from acreg.io.itk import field_from_itk, image_to_itk

PACKAGE = "picsl-greedy"
_AFFINE = "-a -dof 12 -ia-image-centers -n 100x50x10 -m NCC {radius}"
# Without -wp 0 the vectors are rounded to a tenth of a voxel.
_DEFORMABLE = "-n 100x100x50 -m NCC {radius} -s 1.7vox 0.7vox -wp 0"
KINDS: Mapping[str, Mapping[str, Any]] = {
    "affine": {"affine": _AFFINE, "radius": 4},
    "deformable": {"affine": _AFFINE, "deformable": _DEFORMABLE, "radius": 4},
    "svf": {"affine": _AFFINE, "deformable": _DEFORMABLE + " -sv -exp 6", "radius": 4},
}


def load() -> None:
    """Import picsl-greedy."""
    import picsl_greedy  # noqa: F401


def register(kind: str, fixed: Image, moving: Image, threads: int, seed: int, folder: Path) -> Sequence[Map]:
    """Run the affine and, on its result, the deformable registration; nothing goes through files."""
    import picsl_greedy

    rank, stages = fixed.grid.rank, KINDS[kind]
    greedy = picsl_greedy.Greedy3D() if rank == 3 else picsl_greedy.Greedy2D()
    images = {"fixed": image_to_itk(fixed), "moving": image_to_itk(moving)}

    def run(stage: str, start: str = "") -> None:
        options = stages[stage].format(radius="x".join([str(stages["radius"])] * rank))
        greedy.execute(
            f"-d {rank} -threads {threads} -seed {seed} -i fixed moving {options} -o {stage} {start}",
            out=sys.stdout,  # its default is what that was when the module was loaded
            err=sys.stderr,
            **images,
            **{stage: None},
        )

    run("affine")
    matrix = np.asarray(greedy["affine"], float)
    # In RAS and x first, whereas ours is LPS and x last.
    flip = np.diag([-1.0, -1.0, 1.0, 1.0] if rank == 3 else [-1.0, -1.0, 1.0])
    order = [*reversed(range(rank)), rank]
    affine = Affine((flip @ matrix @ flip)[np.ix_(order, order)])
    if "deformable" not in stages:
        return [affine]
    run("deformable", "-it affine")
    return [field_from_itk(greedy["deformable"]), affine]
