"""What speaks against a registration: the one place from which warnings, counts and records of it come.

The limits were chosen on training pairs of the shipped presets' data, see `docs/decisions.md`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError
from skimage.filters import threshold_otsu

from acreg.errors import AcregError
from acreg.geometry import Displacement, Grid, Velocity, unregistered
from acreg.io import Image
from acreg.metrics import normalized_cross_correlation, normalized_mutual_information

if TYPE_CHECKING:
    from acreg.registration.pair import Registration

NAMES = ("constant", "similarity", "unusual", "overlap", "zero", "folding", "displacement", "scope")
"""What the concerns are called in tables and records, in the order in which they are listed."""
FALL = 1.1
"""By so much the distance 1 - NCC may grow: networks that were trained by labels lose a little."""
ROUNDING = 0.002
"""Of the distance 1 - NCC, where an image is registered onto itself."""
FOLDED = 5.0
"""Percentage of folded voxels."""
OVERLAP = 0.4
"""Share of the smaller of two images, or of its foreground, that lies in the other one."""
DISPLACEMENT = 0.5
"""Length of a displacement as a share of the fixed image's diagonal."""
SCOPE = 0.5
"""Share of an image's foreground that lies in a network's grid."""
FILLED = 0.2
"""Share of a network's grid that an image fills."""
MOVED = 0.01
"""Voxels; a displacement below moves nothing."""
ALIKE = 0.999
"""Correlation from which on images need not be moved."""
LARGEST = 10_000
"""Bytes of a `usual.json`."""
POINTS = 2**18
"""So many voxels are looked at, at most, for a share of them."""


class Concern(NamedTuple):
    """One thing that speaks against a registration: one of `NAMES`, and a sentence with its numbers."""

    name: str
    text: str


class Usual(BaseModel):
    """What a preset reaches on pairs of its training data, or of data like it; `usual.json` in its folder.

    Made by `acreg.evaluation.usual`.

    Attributes:
        data: of which dataset and split.
        pairs: how many.
        ncc, nmi: correlation and mutual information of the fixed and the warped image, as of `Likeness`: the lowest of
            the pairs, of which one in 200 is left out.
        folded_percent: the highest, likewise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: str
    pairs: int
    ncc: float
    nmi: float
    folded_percent: float

    @classmethod
    def of_preset(cls, folder: Path) -> Usual | None:
        """What the preset of a folder states; None where it states nothing.

        Raises:
            AcregError: the file is damaged.
        """
        path = folder / "usual.json"
        if not path.is_file():
            return None
        try:
            if path.stat().st_size > LARGEST:
                raise ValueError(f"{path.stat().st_size} bytes, where {LARGEST} are plenty")
            found = cls.model_validate_json(path.read_bytes())
            if not all(map(math.isfinite, (found.ncc, found.nmi, found.folded_percent))):
                raise ValueError("a number is not finite")
        except (ValidationError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise AcregError(
                f"A preset's usual.json has {', '.join(cls.model_fields)}. Received: {path} ({reason}). Get the whole "
                "folder again, or remove this file: it is needed for a warning only."
            ) from error
        return found


class Likeness(NamedTuple):
    """How alike two images on one grid are: `normalized_cross_correlation`, `normalized_mutual_information`."""

    ncc: float
    nmi: float

    @classmethod
    def of(cls, fixed: Image, other: Image, inside: np.ndarray) -> Likeness:
        """Of the fixed image and another one on its grid, where `inside` is true; that of unlike images if nowhere."""
        if not inside.any():
            return cls(0.0, 1.0)
        arrays = fixed.array[inside], other.array[inside]
        return cls(normalized_cross_correlation(*arrays), normalized_mutual_information(*arrays))

    def __str__(self) -> str:
        return f"NCC {self.ncc:.2f}, mutual information {self.nmi:.3f}"


def concerns(
    result: Registration,
    *,
    fixed: Image,
    moving: Image,
    usual: Usual | None = None,
    sees: tuple[Grid, Grid] | None = None,
    deforms: bool = True,
) -> list[Concern]:
    """What speaks against a registration of two images, in the order of `NAMES`; empty where nothing does.

    - constant: the fixed or the moving image has one value everywhere, so that nothing can be compared.
    - similarity: the mutual information is lower than before, and the distance 1 - NCC more than `FALL` times as large.
      Of two modalities the correlation alone may fall, and does not count.
    - unusual: both are lower than what is usual for the preset.
    - overlap: less than `OVERLAP` of the smaller image, or of the smaller foreground (by Otsu's threshold), lies in the
      other image, or the warped image has one value everywhere.
    - zero: nothing is moved, or a deformation is zero, and the images differ.
    - folding: more than `FOLDED` percent of the voxels fold, and more than is usual for the preset.
    - displacement: a voxel moves by more than `DISPLACEMENT` of the fixed image's diagonal, both from where it lies in
      space and from where it lies in the extent.
    - scope: the network looks at less than `SCOPE` of an image's foreground, or the image fills less than `FILLED` of
      what the network looks at.

    Args:
        result: of a method that moves something.
        fixed, moving: as they were registered.
        usual: of the preset, where it is known.
        sees: the network's grids in the fixed and in the moving image, of a preset.
        deforms: whether the method deforms; a network's affine part alone does not.
    """
    found: dict[str, str] = {}
    old, new = result.before, result.after
    flat = [role for role, image in (("fixed", fixed), ("moving", moving)) if np.ptp(image.array) == 0]
    if flat:
        found["constant"] = f"The {' and the '.join(flat)} image has one value everywhere: nothing can be compared."
    elif 1 - new.ncc > FALL * (1 - old.ncc) + ROUNDING and new.nmi < old.nmi:
        found["similarity"] = f"The images are less alike than before ({old}; then {new})."
    if usual is not None and new.ncc < usual.ncc and new.nmi < usual.nmi:
        found["unusual"] = (
            f"The images are less alike ({new}) than {usual.pairs} pairs of {usual.data}, registered by this preset "
            f"(NCC {usual.ncc:.2f}, mutual information {usual.nmi:.3f} at least)."
        )
    if not flat and np.ptp(result.warped.array) == 0:
        found["overlap"] = "The warped image has one value everywhere: the transform looks past the moving image."
    elif text := _apart(result, fixed, moving):
        found["overlap"] = text
    displacements = _displacements(result, fixed, moving)
    deformations = [part for part in result.transform.maps if isinstance(part, (Displacement, Velocity))]
    if new.ncc < ALIKE and not flat:
        if deforms and any(not part.vectors.any() for part in deformations):
            found["zero"] = "The deformation is zero everywhere, and the images differ."
        elif min(_longest(u) for u in displacements) < MOVED:
            found["zero"] = "Nothing is moved, and the images differ."
    folded = result.regularity["folded_percent"]
    if folded > max(FOLDED, usual.folded_percent if usual else 0.0):
        found["folding"] = f"The transform folds at {folded:.1f} % of the voxels: it is not one-to-one there."
    spacing = np.asarray(fixed.grid.spacing)
    moved = min(_longest(u * spacing) for u in displacements) / float(np.linalg.norm(spacing * fixed.grid.shape))
    if moved > DISPLACEMENT:
        found["displacement"] = f"A voxel moves by {100 * moved:.0f} % of the fixed image's diagonal."
    for role, image, grid in zip(("fixed", "moving"), (fixed, moving), sees or ()):
        if "scope" not in found and (text := _beyond(role, image, grid)):
            found["scope"] = text
    return [Concern(name, found[name]) for name in NAMES if name in found]


def _apart(result: Registration, fixed: Image, moving: Image) -> str:
    """That two images hardly overlap; empty where they do."""
    masks = {
        "smaller image": [np.ones(image.grid.shape, bool) for image in (fixed, moving)],
        "smaller foreground": [_foreground(image) for image in (fixed, moving)],
    }
    sizes = [math.prod(image.grid.spacing) for image in (fixed, moving)]
    shares = {}
    for what, (mine, theirs) in masks.items():
        smaller = min(mine.sum() * sizes[0], theirs.sum() * sizes[1])
        if smaller:
            shares[what] = float(result.inside[mine].sum() * sizes[0] / smaller)
    what = min(shares, key=lambda name: shares[name])
    if shares[what] >= OVERLAP:
        return ""
    return f"The images hardly overlap: {100 * shares[what]:.0f} % of the {what} lies in the other one."


def _displacements(result: Registration, fixed: Image, moving: Image) -> tuple[np.ndarray, np.ndarray]:
    """How far voxels move from where they lie in the extent of the moving image, and from where in space."""
    u = result.sampled.displacement
    return u - unregistered(fixed=fixed, moving=moving).displacement, u


def _longest(vectors: np.ndarray) -> float:
    return float(np.sqrt((vectors**2).sum(axis=-1).max()))


def _beyond(role: str, image: Image, grid: Grid) -> str:
    """That a network's grid in an image leaves most of it out, or that the image fills little of it; else empty."""
    points = np.argwhere(_foreground(image))
    points = points[:: 1 + len(points) // POINTS]
    size = " x ".join(f"{n * s:.0f}" for n, s in zip(grid.shape, grid.spacing))
    covered = float(grid.contains(grid.to_index(image.grid.to_world(points))).mean()) if len(points) else 1.0
    if covered < SCOPE:
        return (
            f"The preset looks at {size} mm, which hold {100 * covered:.0f} % of what the {role} image shows; beyond "
            "it the transform is a guess."
        )
    volumes = [math.prod(each.shape) * math.prod(each.spacing) for each in (image.grid, grid)]
    filled = volumes[0] / volumes[1]
    if filled < FILLED:
        return f"The {role} image fills {100 * filled:.0f} % of the {size} mm that the preset looks at."
    return ""


def _foreground(image: Image) -> np.ndarray:
    """What is brighter than Otsu's threshold."""
    array = image.array
    return array > threshold_otsu(array) if np.ptp(array) else np.zeros(array.shape, bool)
