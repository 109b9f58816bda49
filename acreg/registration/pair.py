"""Registration of one pair: the transform, the warped images, and concerns about them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from acreg.baselines.options import split_name
from acreg.errors import AcregError, images_by_name
from acreg.geometry import Image, Transform, labels_on, unregistered
from acreg.geometry.transform import Border
from acreg.registration.concerns import Concern, Likeness, Verdict, concerns, foreground, verdict
from acreg.registration.consistency import Consistency, inverse_consistency
from acreg.registration.methods import Method, Unregistered

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from acreg.optimisation import EngineResult, Guides
    from acreg.registration.further import Further

SAVED = ("labels", "displacement", "transform", "images")
"""The results of a registered pair that are saved by default."""
SAVEABLE = (*SAVED, "view", "slicer")
"""All results of a registered pair that can be saved."""


@dataclass(eq=False, repr=False)
class Registration:
    """A registered pair, everything on the fixed grid; `sampled` is the transform sampled there once.

    A notebook shows a picture, and a table of the measures and concerns.

    Attributes:
        fixed, moving: the images, as they were registered.
        method: the name of the method.
        warped: the warped image that is measured; outside the moving image it has edge values.
        moving_labels, fixed_labels: the label maps that were given, each on the grid of its image.
        warped_labels: the moving labels on the fixed grid.
        inside: which voxels map inside the moving image, `(*spatial)`; elsewhere, `warped` is extrapolated.
        before, after: the similarity of the images inside, without registration (see `unregistered`) and after it.
        scores_before, scores_after: the agreement of the labels, without registration and after it, as
            `acreg.metrics.label_metrics` returns it, with distances in mm; empty without the labels of both images.
        regularity: regularity of the field, see `acreg.geometry.folding`.
        seconds: time of the registration alone.
        inverse_error: inverse consistency in mm over the fixed image's foreground, against a second registration from
            moving to fixed; None if there was none.
        unlikeness: for a preset that knows its training images, how unlike them the fixed and the moving image are,
            see `UsualInputs.unlikeness`; otherwise empty.
        reversal: for such a preset, the axes along which each of them looks reversed, see `UsualInputs.reversal`.
        mask: the foreground of the fixed image as predicted by a method that segments.
        concerns: concerns about the result, see `acreg.registration.concerns`.
        channels: the channels of a moving image in colour; `moving` is its luminance.
        also: further images of the moving space, which are saved warped.
        contrast: "one" or "two", of an optimisation: whether the same tissue has the same grey values in both images.
        stages: what each stage of an optimisation did, in order.
        no_inverse: the reason why no inverse was saved with the transform.
        inexact: the reason why the saved inverse is an approximation.
        notes: remarks about the call and the saved files, one sentence each.
    """

    fixed: Image
    moving: Image
    method: str
    transform: Transform
    sampled: Transform
    warped: Image
    warped_labels: Image | None
    inside: np.ndarray
    before: Likeness
    after: Likeness
    regularity: dict[str, float]
    seconds: float
    inverse_error: Consistency | None = None
    unlikeness: dict[str, float] = field(default_factory=dict)
    reversal: dict[str, tuple[int, ...]] = field(default_factory=dict)
    mask: Image | None = None
    moving_labels: Image | None = None
    fixed_labels: Image | None = None
    scores_before: dict[int, dict[str, float]] = field(default_factory=dict)
    scores_after: dict[int, dict[str, float]] = field(default_factory=dict)
    concerns: list[Concern] = field(default_factory=list)
    channels: Sequence[Image] = ()
    also: Sequence[Further] = ()
    contrast: str = ""
    stages: Sequence[dict[str, Any]] = ()
    no_inverse: str = ""
    inexact: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> Verdict | None:
        """ "ok", "look at it" or "failed": the worst that one of the concerns means; None without registration."""
        return None if split_name(self.method)[0] == Unregistered.name else verdict(self.concerns)

    @property
    def vanished(self) -> list[int]:
        """The labels of the moving image that have no voxel in the warped labels."""
        if self.moving_labels is None or self.warped_labels is None:
            return []
        return [int(value) for value in np.setdiff1d(self.moving_labels.array, self.warped_labels.array)]

    def save(
        self,
        folder: str | Path,
        *,
        what: Collection[str] = SAVED,
        border: Border | None = None,
        fill: float | None = None,
        overwrite: bool = False,
    ) -> list[Path]:
        """Write the files of `acreg register`: warped images and labels, transforms, preview.png, result.json.

        Args:
            folder: created if it does not exist.
            what: some of `SAVEABLE`; "view" is the interactive page, view.html, and "slicer" a scene for 3D Slicer,
                scene.mrb.
            border, fill: background outside the moving image, see `Transform.warp_image`; by default, 0.
            overwrite: replace the results of an earlier registration.

        Returns:
            The files. `notes`, `no_inverse` and `inexact` then hold remarks about them.

        Raises:
            UsageError: border and fill contradict each other or the kind of file, or `what` has an unknown word.
            AcregError: results exist and may not be replaced, or another process is writing into the folder.
            OSError: the disk is full, or writing is not permitted.
        """
        from acreg.registration.saving import save_result

        return save_result(self, Path(folder), what, border, fill, overwrite)

    def figure(self) -> Figure:
        """The picture of preview.png, a Matplotlib figure."""
        from acreg.registration.display import preview

        return preview(self)

    def __repr__(self) -> str:
        from acreg.registration.display import describe

        return describe(self)

    def _repr_html_(self) -> str:
        from acreg.registration.display import html

        return html(self)

    def _repr_png_(self) -> bytes | None:
        from acreg.registration.display import png

        return png(self)


@images_by_name
def register_pair(
    method: Method,
    *,
    fixed: Image,
    moving: Image,
    moving_labels: Image | None = None,
    fixed_mask: Image | None = None,
    guides: Guides | None = None,
    both_ways: bool | None = None,
    say: Callable[[str], None] | None = None,
) -> Registration:
    """Register, warp, and check the result for concerns.

    Args:
        method: the registration method.
        fixed, moving: the images.
        moving_labels: they are warped with the moving image.
        fixed_mask: labels of the fixed image, which are given to a method that `takes_mask` and to no other. The way
            back is registered only if there are labels of the moving image.
        guides: what is known about the images; see `check_guided` for the methods that take guides.
        both_ways: register from moving to fixed as well, to measure the inverse consistency; by default, as the
            method says (`both_ways` of a `PresetMethod`: a network takes little time), else no.
        say: called with a sentence after each stage of a method that has several.

    Raises:
        AcregError: the images differ in their number of axes, an axis has one voxel, the result of the method is not on
            the fixed grid, the labels cannot be placed on the grid of the moving image (see
            `acreg.geometry.labels_on`), or the method raises it.
    """
    for image, role in ((fixed, "fixed"), (moving, "moving")):
        if min(image.grid.shape) < 2:
            raise AcregError(
                f"Images to register have at least 2 voxels along each axis. Received: {image.name or role}, the "
                f"{role} image, of shape {image.grid.shape}. A slice is read as a 2-D image where the axis of one "
                "voxel is the last of the file: store it so."
            )
    check_ranks(fixed=fixed, moving=moving)
    moving_labels = None if moving_labels is None else labels_on(moving_labels, moving)
    start = time.perf_counter()
    takes_mask = getattr(method, "takes_mask", False)
    mask = {"fixed_mask": fixed_mask} if takes_mask else {}
    outcome = _outcome(method, fixed=fixed, moving=moving, guides=guides, say=say, **mask)
    transform = outcome.transform
    seconds = time.perf_counter() - start
    if transform.fixed != fixed.grid:
        raise AcregError(
            "A method's result lies on the fixed image's grid. "
            f"Received: {method.name} with a result on {transform.fixed}, fixed image on {fixed.grid}."
        )
    sampled = transform.sampled()
    labels = None if moving_labels is None else sampled.warp_labels(moving_labels)
    segment = getattr(method, "segment", None)  # few methods have it
    warped, inside = sampled.warp_image(moving, border="edge"), sampled.inside(moving.grid)
    start_image = unregistered(fixed=fixed, moving=moving).warp_image(moving, border="edge")
    result = Registration(
        fixed=fixed,
        moving=moving,
        method=method.name,
        transform=transform,
        sampled=sampled,
        warped=warped,
        warped_labels=labels,
        moving_labels=moving_labels,
        inside=inside,
        before=Likeness.of(fixed, start_image, np.ones(fixed.grid.shape, bool)),
        after=Likeness.of(fixed, warped, inside),
        regularity=sampled.folding(),
        seconds=seconds,
        mask=None if segment is None else segment(fixed=fixed, moving=moving, **mask),
        contrast=outcome.contrast,
        stages=outcome.stages,
    )
    if not isinstance(method, Unregistered):
        both_ways = getattr(method, "both_ways", False) if both_ways is None else both_ways
        if both_ways and not (takes_mask and moving_labels is None):
            swapped = None if guides is None else guides.swapped()
            mask = {"fixed_mask": moving_labels} if takes_mask else {}
            back = _outcome(method, fixed=moving, moving=fixed, guides=swapped, say=say, **mask).transform
            result.inverse_error = inverse_consistency(transform, back, foreground(fixed))
        usual, sees, seen = (getattr(method, name, None) for name in ("usual", "sees", "preprocessed"))
        if usual is not None and usual.inputs is not None and seen is not None:
            arrays = {role: seen(image) for role, image in (("fixed", fixed), ("moving", moving))}
            result.unlikeness = {role: usual.inputs.unlikeness(array) for role, array in arrays.items()}
            result.reversal = {role: usual.inputs.reversal(array) for role, array in arrays.items()}
        grids = None if sees is None else (sees(fixed), sees(moving))
        kind = {name: getattr(method, name, True) for name in ("deforms", "relies_on_network")}
        result.concerns = concerns(result, fixed=fixed, moving=moving, usual=usual, sees=grids, **kind)
    return result


class _Plain(NamedTuple):
    """What a method without stages found."""

    transform: Transform
    contrast: str = ""
    stages: Sequence[dict[str, Any]] = ()


@images_by_name
def check_ranks(*, fixed: Image, moving: Image) -> None:
    """Raise `AcregError` unless the images are two pictures or two volumes."""
    if fixed.grid.rank != moving.grid.rank:
        raise AcregError(
            "Two images that are registered have one number of axes. Received: a fixed image of shape "
            f"{fixed.grid.shape} and a moving one of shape {moving.grid.shape}. Give two pictures or two volumes."
        )


def _outcome(
    method: Method,
    *,
    fixed: Image,
    moving: Image,
    guides: Guides | None,
    say: Callable[[str], None] | None,
    **mask: Image | None,
) -> EngineResult | _Plain:
    """What a method finds; of one with stages, also what each of them did."""
    outcome = getattr(method, "outcome", None)
    if outcome is None:
        return _Plain(method.register(fixed=fixed, moving=moving, **mask))
    found: EngineResult = outcome(fixed=fixed, moving=moving, guides=guides, say=say)
    return found
