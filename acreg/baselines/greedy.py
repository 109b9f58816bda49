"""greedy, by picsl-greedy.

Yushkevich et al., Fast automatic segmentation of hippocampal subfields and medial temporal lobe subregions in 3 Tesla
and 7 Tesla MRI, Alzheimer's and Dementia 12 (2016).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from acreg.baselines.options import Options, Value, written
from acreg.geometry.maps import Affine, Map
from acreg.io import Image
from acreg.io.transforms.itk import field_from_itk, image_to_itk

_AFFINE = "-a -dof 12 -ia-image-centers -n 100x50x10 -m {metric}"
# Without -wp 0 the vectors are rounded to a tenth of a voxel.
_DEFORMABLE = "-n {iterations} -m {metric} -s {update_smoothing}vox {smoothing}vox -wp 0"
KINDS: Mapping[str, Mapping[str, str]] = {
    "affine": {"affine": _AFFINE},
    "deformable": {"affine": _AFFINE, "deformable": _DEFORMABLE},
    "svf": {"affine": _AFFINE, "deformable": _DEFORMABLE + " -sv -exp 6"},
}
_OPTIONS: dict[str, Value] = {
    "affine": True,
    "mutual_information": False,
    "iterations": (100, 100, 50),
    "radius": 4,
    "update_smoothing": 1.7,
    "smoothing": 0.7,
}
OPTIONS: Mapping[str, Options] = {
    "affine": {"mutual_information": False, "radius": 4},
    "deformable": _OPTIONS,
    "svf": _OPTIONS,
}
"""The radius is that of the correlation patches; lengths are in voxels. Mutual information is for two contrasts."""


def load() -> None:
    """Import picsl-greedy."""
    import picsl_greedy  # noqa: F401


def register(
    kind: str, fixed: Image, moving: Image, options: Options, threads: int, seed: int, folder: Path
) -> Sequence[Map]:
    """Run the affine registration and then the deformable one, without intermediate files."""
    import picsl_greedy

    rank, stages = fixed.grid.rank, KINDS[kind]
    greedy = picsl_greedy.Greedy3D() if rank == 3 else picsl_greedy.Greedy2D()
    images = {"fixed": image_to_itk(fixed), "moving": image_to_itk(moving)}

    values = {name: written(value) for name, value in options.items()}
    radius = "x".join([values["radius"]] * rank)
    values["metric"] = "NMI" if options["mutual_information"] else f"NCC {radius}"

    def run(stage: str, start: str = "") -> None:
        what = stages[stage].format(**values)
        greedy.execute(
            f"-d {rank} -threads {threads} -seed {seed} -i fixed moving {what} -o {stage} {start}",
            out=sys.stdout,  # its default is the value at the time when the module was loaded
            err=sys.stderr,
            **images,
            **{stage: None},
        )

    if not options.get("affine", True):
        run("deformable")
        return [field_from_itk(greedy["deformable"])]
    run("affine")
    matrix = np.asarray(greedy["affine"], float)
    # In RAS with x first, whereas acreg uses LPS with x last.
    flip = np.diag([-1.0, -1.0, 1.0, 1.0] if rank == 3 else [-1.0, -1.0, 1.0])
    order = [*reversed(range(rank)), rank]
    affine = Affine((flip @ matrix @ flip)[np.ix_(order, order)])
    if "deformable" not in stages:
        return [affine]
    run("deformable", "-it affine")
    return [field_from_itk(greedy["deformable"]), affine]
