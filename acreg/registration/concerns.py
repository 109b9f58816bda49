"""Concerns about the result of a registration, and its verdict: the single source of warnings, counts and records.

The limits were chosen on training and validation pairs, see `docs/how-to/verdict.md`.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np

from acreg.errors import images_by_name
from acreg.geometry import Displacement, Grid, Velocity, unregistered
from acreg.io import Image
from acreg.metrics import normalized_cross_correlation, normalized_mutual_information
from acreg.registration.usual import Usual, axis_names

if TYPE_CHECKING:
    from acreg.registration.pair import Registration

Verdict = Literal["ok", "look at it", "failed"]
"""What is said about a registration as a whole, from good to bad."""
NAMES = (
    "constant",
    "unlike",
    "reversed",
    "similarity",
    "unusual",
    "overlap",
    "zero",
    "inverse",
    "folding",
    "spread",
    "displacement",
    "scope",
    "labels",
)
"""The names of the concerns in tables and records, in the order in which they are listed."""
FALL = 1.1
"""Factor by which the distance 1 - NCC may grow: networks that were trained on labels lose a little."""
NO_NCC, NO_NMI = 0.05, 1.005
"""Absolute correlation and mutual information of images that have nothing in common; MR and ultrasound have 1.013."""
ROUNDING = 0.002
"""Tolerance for the distance 1 - NCC when an image is registered onto itself."""
FOLDED = 5.0
"""Largest percentage of folded voxels."""
OVERLAP = 0.4
"""Smallest share of the smaller image, or of its foreground, that lies in the other image."""
MISSED = 0.1
"""Share below which an overlap is a failure."""
FOREIGN = 0.9
"""Distance from the training images (`UsualInputs.unlikeness`) above which an input has nothing in common with them."""
HALF = 0.5
"""Share of the usual correlation below which a result is a failure."""
INVERSE = 0.12
"""Largest inverse consistency error (95th percentile) as a share of the diagonal of the fixed image's foreground."""
LOST = 0.3
"""Share of this diagonal above which the error is a failure."""
TORN = 30.0
"""Percentage of folded voxels above which folding is a failure."""
SPREAD = 1.0
"""Largest standard deviation of the log-Jacobian determinant."""
DISPLACEMENT = 0.5
"""Largest length of a displacement as a share of the fixed image's diagonal."""
SCOPE = 0.5
"""Smallest share of an image's foreground that lies in the network's grid."""
FILLED = 0.2
"""Smallest share of the network's grid that an image fills."""
MOVED = 0.01
"""A displacement below this length in voxels counts as no movement."""
ALIKE = 0.999
"""Correlation above which images need not be moved."""
FALLEN_DICE = 0.005
"""By how much the mean Dice may fall: less is a matter of single voxels at the borders."""
POINTS = 2**18
"""Largest number of voxels that are examined to estimate a share."""


class Concern(NamedTuple):
    """A concern about a registration: one of `NAMES`, a sentence with its numbers, and the verdict that it means."""

    name: str
    text: str
    verdict: Verdict = "look at it"


class Likeness(NamedTuple):
    """The similarity of two images on one grid: `normalized_cross_correlation`, `normalized_mutual_information`."""

    ncc: float
    nmi: float

    @classmethod
    def of(cls, fixed: Image, other: Image, inside: np.ndarray) -> Likeness:
        """The similarity of the fixed image and another one on its grid, within a mask; lowest for an empty mask."""
        if not inside.any():
            return cls(0.0, 1.0)
        arrays = fixed.array[inside], other.array[inside]
        return cls(normalized_cross_correlation(*arrays), normalized_mutual_information(*arrays))

    def __str__(self) -> str:
        return f"NCC {self.ncc:.2f}, mutual information {self.nmi:.3f}"


def verdict(found: Collection[Concern]) -> Verdict:
    """The worst verdict of the concerns; "ok" if there are none."""
    return max((concern.verdict for concern in found), key=get_args(Verdict).index, default="ok")


def concerns(
    result: Registration,
    *,
    fixed: Image,
    moving: Image,
    usual: Usual | None = None,
    sees: tuple[Grid, Grid] | None = None,
    deforms: bool = True,
    relies_on_network: bool = True,
) -> list[Concern]:
    """Concerns about a registration of two images, in the order of `NAMES`; empty if there are none.

    Each means "look at it", or beyond a second limit "failed".

    - constant: the fixed or the moving image is constant, so that nothing can be compared: failed.
    - unlike: an input of the network is less like its training images than `UsualInputs.limit`; failed above `FOREIGN`,
      or if the result is also unusual.
    - reversed: an input of the network is much less like its training images than the same image reversed along some
      axes (`UsualInputs.reversal`): failed.
    - similarity: the mutual information is lower than with aligned extents, and the distance 1 - NCC is more than
      `FALL` times as large. For two modalities, the correlation alone may fall; this does not count. Also, whatever
      they were before, if both are below `NO_NCC` and `NO_NMI`, as for images of noise.
    - unusual: both are lower than usual for the preset; failed if the correlation is below `HALF` of the usual one.
    - overlap: less than `OVERLAP` of the smaller image, or of the smaller foreground (by Otsu's threshold), lies in the
      other image; failed below `MISSED`, or if the warped image is constant.
    - zero: nothing is moved, or a deformation is zero, although the images differ.
    - inverse: the 95th percentile of the inverse consistency is more than `INVERSE` of the content's diagonal; failed
      above `LOST`.
    - folding: more than `FOLDED` percent of the voxels fold, and more than usual for the preset; failed above `TORN`.
    - spread: nothing folds, and the standard deviation of the log-Jacobian determinant exceeds `SPREAD`.
    - displacement: a voxel moves by more than `DISPLACEMENT` of the fixed image's diagonal, both relative to its
      position in space and relative to its position in the extent.
    - scope: the network's grid covers less than `SCOPE` of an image's foreground, or the image fills less than `FILLED`
      of the network's grid.

    Args:
        result: result of a method that moves something.
        fixed, moving: the images that were registered.
        usual: what is usual for the preset, if known.
        sees: for a preset, the network's grids in the fixed and in the moving image.
        deforms: whether the method deforms; the affine part of a network alone does not.
        relies_on_network: whether the result is a network's; otherwise an unlike or reversed input is no failure.
    """
    found: dict[str, str] = {}
    failed: set[str] = set()
    old, new = _with_aligned_extents(result, fixed, moving), result.after
    flat = [role for role, image in (("fixed", fixed), ("moving", moving)) if np.ptp(image.array) == 0]
    if flat:
        found["constant"] = f"The {' and the '.join(flat)} image has one value everywhere: nothing can be compared."
        failed.add("constant")
    elif abs(new.ncc) < NO_NCC and new.nmi < NO_NMI:
        found["similarity"] = f"The images have nothing in common after the registration ({new})."
    elif 1 - new.ncc > FALL * (1 - old.ncc) + ROUNDING and new.nmi < old.nmi:
        found["similarity"] = f"The images are less alike than before, with aligned extents ({old}; then {new})."
    if usual is not None and usual.inputs is not None and result.unlikeness and not flat:
        role, most = max(result.unlikeness.items(), key=lambda item: item[1])
        if usual.is_unlike(most):
            found["unlike"] = (
                f"The {role} image is unlike those on which the preset was trained ({usual.data}): a distance of "
                f"{most:.2f}, where up to {usual.inputs.limit:.2f} is usual."
            )
            failed |= {"unlike"} if most > FOREIGN and relies_on_network else set()
    for role, axes in result.reversal.items():
        if axes and not flat:
            found["reversed"] = (
                f"The {role} image looks reversed along {axis_names(axes, fixed.grid.rank)}, as the preset sees it: "
                "turned by 180 degrees, mirrored, or with a wrong header."
            )
            failed |= {"reversed"} if relies_on_network else set()
    if usual is not None and new.ncc < usual.ncc and new.nmi < usual.nmi:
        found["unusual"] = (
            f"The images are less alike ({new}) than {usual.pairs} pairs of {usual.data}, registered by this preset "
            f"(NCC {usual.ncc:.2f}, mutual information {usual.nmi:.3f} at least)."
        )
        unknown = "unlike" in found and relies_on_network
        failed |= {"unusual"} if unknown or new.ncc < HALF * usual.ncc else set()
    what, share = overlap(result, fixed=fixed, moving=moving)
    if not flat and np.ptp(result.warped.array) == 0:
        found["overlap"] = "The warped image has one value everywhere: the transform misses the moving image."
        failed.add("overlap")
    elif share < OVERLAP:
        found["overlap"] = f"The images hardly overlap: {100 * share:.0f} % of the {what} lies in the other one."
        failed |= {"overlap"} if share < MISSED else set()
    displacements = _displacements(result, fixed, moving)
    deformations = [part for part in result.transform.maps if isinstance(part, (Displacement, Velocity))]
    if new.ncc < ALIKE and not flat:
        if deforms and any(not part.vectors.any() for part in deformations):
            found["zero"] = "The deformation is zero everywhere, and the images differ."
        elif min(_longest(u) for u in displacements) < MOVED:
            found["zero"] = "Nothing is moved, and the images differ."
    if result.inverse_error is not None:
        error, size = result.inverse_error.p95, content_diagonal(fixed)
        if error > INVERSE * size:
            found["inverse"] = (
                f"Registering in the other direction disagrees by {error:.1f} mm at 5 % of the content, or "
                f"{100 * error / size:.0f} % of its diagonal."
            )
            failed |= {"inverse"} if error > LOST * size else set()
    folded, spread = result.regularity["folded_percent"], result.regularity["sd_log_j"]
    if folded > max(FOLDED, usual.folded_percent if usual else 0.0):
        found["folding"] = f"The transform folds at {folded:.1f} % of the voxels: it is not one-to-one there."
        failed |= {"folding"} if folded > TORN else set()
    elif folded == 0 and spread > SPREAD:  # a folded voxel has a logarithm of -20, which says nothing of the rest
        found["spread"] = (
            f"The transform stretches and shrinks strongly: the log-Jacobian determinant has a standard deviation of "
            f"{spread:.2f}."
        )
    spacing = np.asarray(fixed.grid.spacing)
    moved = min(_longest(u * spacing) for u in displacements) / float(np.linalg.norm(spacing * fixed.grid.shape))
    if moved > DISPLACEMENT:
        found["displacement"] = f"A voxel moves by {100 * moved:.0f} % of the fixed image's diagonal."
    for role, image, grid in zip(("fixed", "moving"), (fixed, moving), sees or ()):
        if "scope" not in found and (text := _beyond(role, image, grid)):
            found["scope"] = text
    return [Concern(name, found[name], "failed" if name in failed else "look at it") for name in NAMES if name in found]


def label_concerns(before: float, after: float) -> list[Concern]:
    """The concern about the mean Dice of the labels without registration and after it; empty if there is none."""
    if not after < before - FALLEN_DICE:
        return []
    text = f"The labels overlap less than before the registration: Dice {after:.3f}, before {before:.3f}."
    return [Concern("labels", text)]


@images_by_name
def overlap(result: Registration, *, fixed: Image, moving: Image) -> tuple[str, float]:
    """The smaller image or the smaller foreground, and the share of it that lies in the other image, 0 to 1."""
    masks = {
        "smaller image": [np.ones(image.grid.shape, bool) for image in (fixed, moving)],
        "smaller foreground": [foreground(image) for image in (fixed, moving)],
    }
    sizes = [math.prod(image.grid.spacing) for image in (fixed, moving)]
    shares = {}
    for what, (mine, theirs) in masks.items():
        smaller = min(mine.sum() * sizes[0], theirs.sum() * sizes[1])
        if smaller:
            shares[what] = min(1.0, float(result.inside[mine].sum() * sizes[0] / smaller))  # more if a map shrinks
    what = min(shares, key=lambda name: shares[name])
    return what, shares[what]


def content_diagonal(image: Image) -> float:
    """The diagonal in mm of the box around the foreground of an image, or of the image if it has none."""
    points = np.argwhere(foreground(image))
    shape = np.ptp(points, axis=0) + 1 if len(points) else np.array(image.grid.shape)
    return float(np.linalg.norm(shape * image.grid.spacing))


def _displacements(result: Registration, fixed: Image, moving: Image) -> tuple[np.ndarray, np.ndarray]:
    """How far voxels move relative to their position in the extent of the moving image, and in space."""
    u = result.sampled.displacement
    return u - unregistered(fixed=fixed, moving=moving, align="extents").displacement, u


def _with_aligned_extents(result: Registration, fixed: Image, moving: Image) -> Likeness:
    """Headers may say that the images are far apart: any result is then more alike than `Registration.before`."""
    start = unregistered(fixed=fixed, moving=moving, align="extents")
    if not (fixed.has_place and moving.has_place) or np.allclose(start.affine_part.matrix, np.eye(fixed.grid.rank + 1)):
        return result.before
    return Likeness.of(fixed, start.warp_image(moving, border="edge"), np.ones(fixed.grid.shape, bool))


def _longest(vectors: np.ndarray) -> float:
    return float(np.sqrt((vectors**2).sum(axis=-1).max()))


def _beyond(role: str, image: Image, grid: Grid) -> str:
    """A text saying that the network's grid misses most of an image or is mostly empty; otherwise an empty text."""
    points = np.argwhere(foreground(image))
    points = points[:: 1 + len(points) // POINTS]
    size = " x ".join(f"{n * s:.0f}" for n, s in zip(grid.shape, grid.spacing))
    covered = float(grid.contains(grid.to_index(image.grid.to_world(points))).mean()) if len(points) else 1.0
    if covered < SCOPE:
        return (
            f"The preset's grid covers {size} mm, with {100 * covered:.0f} % of the foreground of the {role} image; "
            "the transform is extrapolated elsewhere."
        )
    volumes = [math.prod(each.shape) * math.prod(each.spacing) for each in (image.grid, grid)]
    filled = volumes[0] / volumes[1]
    if filled < FILLED:
        return f"The {role} image fills {100 * filled:.0f} % of the {size} mm that the preset's grid covers."
    return ""


def foreground(image: Image) -> np.ndarray:
    """The voxels that are brighter than Otsu's threshold."""
    array = image.array
    from skimage.filters import threshold_otsu  # imports a large part of SciPy

    return array > threshold_otsu(array) if np.ptp(array) else np.zeros(array.shape, bool)
