"""Registration of two images in one call: `acreg.register`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from acreg.errors import AcregError, DoubtfulResult, UsageError, argument, images_by_name
from acreg.geometry import Image, Transform, labels_on, unregistered
from acreg.io.colour import read_channels
from acreg.io.inputs import ImageLike, as_image
from acreg.metrics import label_metrics, mean_over_labels
from acreg.names import some
from acreg.optimisation.names import DEFAULT
from acreg.registration.concerns import label_concerns
from acreg.registration.further import read_further
from acreg.registration.guiding import PointsLike, check_guided, guides_of
from acreg.registration.methods import Method, PresetMethod, Unregistered, check_one_method, one_method
from acreg.registration.optimised import Optimised
from acreg.registration.pair import Registration, register_pair
from acreg.registration.warping import PathLike


@images_by_name
def register(
    *,
    fixed: ImageLike,
    moving: ImageLike,
    model: str | os.PathLike[str] | Any | None = None,
    method: str | Method | None = None,
    labels: ImageLike | None = None,
    fixed_labels: ImageLike | None = None,
    guide_labels: bool = False,
    fixed_mask: ImageLike | None = None,
    moving_mask: ImageLike | None = None,
    fixed_points: PointsLike | None = None,
    moving_points: PointsLike | None = None,
    initial: PathLike | Transform | Sequence[PathLike | Transform] | None = None,
    also: Sequence[ImageLike] = (),
    refine: int = 0,
    threads: int = 1,
    seed: int = 0,
    both_ways: bool | None = None,
    say: Callable[[str], None] | None = None,
) -> Registration:
    """Register a moving image onto a fixed image, as `acreg register` does.

    ::

        result = acreg.register(fixed="a.nii.gz", moving="b.nii.gz")
        result.warped, result.transform, result.verdict, result.concerns
        result.save("result")

    Args:
        fixed, moving: a path, an `acreg.Image`, an array `(*spatial)` with a spacing of 1, or an image of SimpleITK or
            nibabel. The luminance of a colour file is registered; `Registration.save` writes its channels.
        model: the name of a preset, the folder of a preset, or a loaded model.
        method: instead of a model, an optimisation such as "acreg:affine" (see `Optimised`), a classical method such as
            "ants:SyN" (see `acreg.baselines`), "unregistered", or any object with `name` and
            `register(*, fixed, moving) -> Transform`. Without a model and a method, "acreg:deformable".
        labels: labels of the moving image; they are warped with it.
        fixed_labels: labels of the fixed image, to measure Dice and distances.
        guide_labels: the registration itself uses the two label maps, too: their overlap is part of what is optimised,
            and the Dice no longer measures the result independently.
        fixed_mask, moving_mask: label maps that are not 0 where the image counts. A model that `takes_mask` (see
            `acreg.models.JRSNet`) needs the fixed mask.
        fixed_points, moving_points: landmarks of both images, which correspond by their order: a file of points, see
            `acreg.io.read_points`, or positions `(n, rank)` in mm in array-axis order.
        initial: one or several transforms or their files, as for `acreg.warp`; the registration starts from them.
            Labels that guide, masks, landmarks and initial transforms are for optimisations (`acreg:...`) alone.
        also: further images or label maps that lie in the space of the moving image, see `read_further`;
            `Registration.save` writes them warped.
        refine: maximum number of refinement steps of a model for this pair, see `RegistrationModel.refine`.
        threads, seed: threads of a classical method, and the random seed of the method.
        both_ways: register from moving to fixed as well, to measure the inverse consistency; by default, models do
            it unless they refine, and other methods do not, because it doubles their time.
        say: called with a sentence after each stage of an optimisation.

    Returns:
        The transform, the warped images, the measures, the verdict and its reasons.

    Raises:
        UsageError: both `model` and `method` are given, `refine` without a model, `fixed_labels` without `labels`,
            `guide_labels` without both, or guides to a method that takes none.
        AcregError: an image, labels or the preset cannot be read; labels do not fit their image; the two label maps
            have no label in common; or the method fails.

    Warns:
        DoubtfulResult: for each of the `concerns`.
        UserWarning: the two images, or the two label maps, are the same.
    """
    if model is None and method is None:
        method = DEFAULT
    check_one_method(model, method, refine)
    shown = None if model is None else fixed_mask  # an input of some networks, and no guide
    guides: dict[str, Any] = {
        "fixed_mask": None if shown is not None else fixed_mask,
        "moving_mask": moving_mask,
        "fixed_points": fixed_points,
        "moving_points": moving_points,
        "initial": initial,
    }
    guides = {name: value for name, value in guides.items() if value is not None}
    check_guided([*guides, *["guide_labels"] * guide_labels], model, method)
    if guide_labels and (labels is None or fixed_labels is None):
        raise UsageError(
            f"Labels of both images guide a registration. Received: {argument('guide_labels', True)} without "
            f"{argument('labels') if labels is None else argument('fixed_labels')}. Add it."
        )
    if fixed_labels is not None and labels is None:
        raise UsageError(
            f"Dice needs the labels of both images. Received: {argument('fixed_labels')} without {argument('labels')}. "
            f"Add {argument('labels')}."
        )
    channels = read_channels(moving) if isinstance(moving, (str, os.PathLike)) else []
    fixed_image, fixed_map = _labelled(as_image(fixed, "fixed"), fixed_labels, "fixed_labels")
    one = channels[0] if len(channels) == 1 else as_image(moving, "moving")
    moving_image, moving_map = _labelled(one, labels, "labels")
    if fixed_map is not None and moving_map is not None:
        _check_common(moving_map, fixed_map)
    further = read_further(also, moving_image)
    if _same(fixed, moving):
        text = f"{argument('fixed')} and {argument('moving')} are one {_kind(fixed)}: nothing needs to be moved."
        warnings.warn(text, stacklevel=3)
    elif labels is not None and fixed_labels is not None and _same(labels, fixed_labels):
        text = f"{argument('labels')} and {argument('fixed_labels')} are one {_kind(labels)}, but the images are two"
        warnings.warn(f"{text}: the Dice is meaningless.", stacklevel=3)
    chosen = one_method(model, method, refine=refine, threads=threads, seed=seed)
    pair: dict[str, Any] = {"fixed": fixed_image, "moving": moving_image}
    if shown is not None:
        if not getattr(chosen, "takes_mask", False):
            check_guided(["fixed_mask"], model, method)
        pair["fixed_mask"] = labels_on(as_image(shown, "fixed_mask", "labels"), fixed_image)
    if guides or guide_labels:
        pair["guides"] = guides_of(**pair, **guides, labels=(fixed_map, moving_map) if guide_labels else (None, None))
    result = register_pair(chosen, **pair, moving_labels=moving_map, both_ways=both_ways, say=say)
    result.fixed_labels, result.channels, result.also = fixed_map, channels, further
    if isinstance(chosen, (PresetMethod, Unregistered)) and (threads != 1 or seed):
        of = f"{argument('threads')} and {argument('seed')}"
        result.notes.append(f"{of} are for classical methods: {chosen.name} does not use them.")
    if isinstance(chosen, Optimised) and threads != 1:
        result.notes.append(f"{argument('threads')} is for classical methods: {chosen.name} does not use it.")
    guessed = [one.stem for one in further if one.guessed]
    if guessed:
        result.notes.append(f"Moved as labels, which their values look like: {some(guessed)}.")
    if fixed_map is not None and moving_map is not None and result.warped_labels is not None:
        start = unregistered(fixed=fixed_image, moving=moving_image).warp_labels(moving_map)
        values = [int(value) for value in np.union1d(moving_map.array, fixed_map.array) if value != 0]
        result.scores_before, result.scores_after = (
            label_metrics(each.array, fixed_map.array, values, fixed_map.grid.spacing)
            for each in (start, result.warped_labels)
        )
        before, after = (mean_over_labels(scores)["dsc"] for scores in (result.scores_before, result.scores_after))
        if not isinstance(chosen, Unregistered):
            result.concerns += label_concerns(before, after)
    for concern in result.concerns:
        warnings.warn(concern.text, DoubtfulResult, stacklevel=3)
    return result


def _labelled(image: Image, labels: ImageLike | None, name: str) -> tuple[Image, Image | None]:
    """An image, and its labels resampled on its grid."""
    return image, None if labels is None else labels_on(as_image(labels, name, "labels"), image)


def _check_common(moving: Image, fixed: Image) -> None:
    """Raise `AcregError` unless two label maps have a label in common."""
    sets = [set(np.unique(each.array).tolist()) - {0} for each in (moving, fixed)]
    if not set.intersection(*sets):
        listed = [some(map(str, sorted(values))) or "background alone" for values in sets]
        raise AcregError(
            f"Dice compares labels of the same value. Received: {argument('labels')} with {listed[0]}, "
            f"{argument('fixed_labels')} with {listed[1]}. Give label maps of one scheme, or leave "
            f"{argument('fixed_labels')}."
        )


def _same(one: ImageLike, other: ImageLike) -> bool:
    if isinstance(one, (str, os.PathLike)) and isinstance(other, (str, os.PathLike)):
        return Path(one).samefile(other)
    return one is other


def _kind(value: ImageLike) -> str:
    return "file" if isinstance(value, (str, os.PathLike)) else "object"
