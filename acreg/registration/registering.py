"""Registration of two images in one call: `acreg.register`."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from acreg.errors import AcregError, DoubtfulResult, UsageError, argument, images_by_name
from acreg.geometry import Image, labels_on, unregistered
from acreg.io.colour import read_channels
from acreg.io.inputs import ImageLike, as_image
from acreg.metrics import label_metrics, mean_over_labels
from acreg.names import some
from acreg.registration.concerns import label_concerns
from acreg.registration.methods import Method, PresetMethod, Unregistered, check_one_method, one_method
from acreg.registration.pair import Registration, register_pair


@images_by_name
def register(
    *,
    fixed: ImageLike,
    moving: ImageLike,
    model: str | os.PathLike[str] | Any | None = None,
    method: str | Method | None = None,
    labels: ImageLike | None = None,
    fixed_labels: ImageLike | None = None,
    refine: int = 0,
    threads: int = 1,
    seed: int = 0,
    both_ways: bool | None = None,
) -> Registration:
    """Register a moving image onto a fixed image, as `acreg register` does.

    ::

        result = acreg.register(fixed="a.png", moving="b.png", model="acregnet-jsrt")
        result.warped, result.transform, result.verdict, result.concerns
        result.save("result")

    Args:
        fixed, moving: a path, an `acreg.Image`, an array `(*spatial)` with a spacing of 1, or an image of SimpleITK or
            nibabel. The luminance of a colour file is registered; `Registration.save` writes its channels.
        model: the name of a preset, the folder of a preset, or a loaded model.
        method: instead of a model, a classical method such as "ants:SyN" (see `acreg.baselines`), "unregistered", or
            any object with `name` and `register(*, fixed, moving) -> Transform`.
        labels: labels of the moving image; they are warped with it.
        fixed_labels: labels of the fixed image, to measure Dice and distances.
        refine: maximum number of refinement steps of a model for this pair, see `RegistrationModel.refine`.
        threads, seed: threads and random seed of a classical method.
        both_ways: register from moving to fixed as well, to measure the inverse consistency; by default, models do
            it unless they refine, and classical methods do not, because it doubles their time.

    Returns:
        The transform, the warped images, the measures, the verdict and its reasons.

    Raises:
        UsageError: not exactly one of `model` and `method` is given, `refine` is given without a model, or
            `fixed_labels` without `labels`.
        AcregError: an image, labels or the preset cannot be read; labels do not fit their image; the two label maps
            have no label in common; or the method fails.

    Warns:
        DoubtfulResult: for each of the `concerns`.
        UserWarning: the two images, or the two label maps, are the same.
    """
    check_one_method(model, method, refine)
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
    if _same(fixed, moving):
        say = f"{argument('fixed')} and {argument('moving')} are one {_kind(fixed)}: nothing needs to be moved."
        warnings.warn(say, stacklevel=3)
    elif labels is not None and fixed_labels is not None and _same(labels, fixed_labels):
        say = f"{argument('labels')} and {argument('fixed_labels')} are one {_kind(labels)}, but the images are two"
        warnings.warn(f"{say}: the Dice is meaningless.", stacklevel=3)
    chosen = one_method(model, method, refine=refine, threads=threads, seed=seed)
    result = register_pair(
        chosen, fixed=fixed_image, moving=moving_image, moving_labels=moving_map, both_ways=both_ways
    )
    result.fixed_labels, result.channels = fixed_map, channels
    if isinstance(chosen, (PresetMethod, Unregistered)) and (threads != 1 or seed):
        of = f"{argument('threads')} and {argument('seed')}"
        result.notes.append(f"{of} are for classical methods: {chosen.name} does not use them.")
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
