"""Registration of one pair: the transform, the warped images, and concerns about them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from acreg.errors import AcregError, images_by_name
from acreg.geometry import Image, Transform, labels_on, unregistered
from acreg.registration.concerns import Concern, Likeness, concerns
from acreg.registration.methods import Method, Unregistered


@dataclass
class Registration:
    """A registered pair, everything on the fixed grid; `sampled` is the transform sampled there once.

    Attributes:
        warped: the warped image that is measured; outside the moving image it has edge values.
        inside: which voxels map inside the moving image, `(*spatial)`; elsewhere, `warped` is extrapolated.
        before, after: the similarity of the images inside, without registration (aligned extents) and after it.
        regularity: of the field, see `acreg.geometry.folding`.
        seconds: time of the registration alone.
        mask: the foreground of the fixed image as predicted by a method that segments.
        concerns: concerns about the result, see `acreg.registration.concerns`.
        no_inverse: the reason why no inverse was saved with the transform.
        inexact: the reason why the saved inverse is an approximation.
    """

    transform: Transform
    sampled: Transform
    warped: Image
    warped_labels: Image | None
    inside: np.ndarray
    before: Likeness
    after: Likeness
    regularity: dict[str, float]
    seconds: float
    mask: Image | None = None
    concerns: list[Concern] = field(default_factory=list)
    no_inverse: str = ""
    inexact: str = ""


@images_by_name
def register_pair(method: Method, *, fixed: Image, moving: Image, moving_labels: Image | None = None) -> Registration:
    """Register, warp, and check the result for concerns.

    Raises:
        AcregError: an axis has one voxel, the result of the method is not on the fixed grid, the labels cannot be
            placed on the grid of the moving image (see `acreg.geometry.labels_on`), or the method raises it.
    """
    for image, role in ((fixed, "fixed"), (moving, "moving")):
        if min(image.grid.shape) < 2:
            raise AcregError(
                f"Images to register have at least 2 voxels along each axis. Received: {image.name or role}, the "
                f"{role} image, of shape {image.grid.shape}. A slice is read as a 2-D image where the axis of one "
                "voxel is the last of the file: store it so."
            )
    moving_labels = None if moving_labels is None else labels_on(moving_labels, moving)
    start = time.perf_counter()
    transform = method.register(fixed=fixed, moving=moving)
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
        transform=transform,
        sampled=sampled,
        warped=warped,
        warped_labels=labels,
        inside=inside,
        before=Likeness.of(fixed, start_image, np.ones(fixed.grid.shape, bool)),
        after=Likeness.of(fixed, warped, inside),
        regularity=sampled.folding(),
        seconds=seconds,
        mask=None if segment is None else segment(fixed=fixed, moving=moving),
    )
    if not isinstance(method, Unregistered):
        usual, sees = getattr(method, "usual", None), getattr(method, "sees", None)
        grids = None if sees is None else (sees(fixed), sees(moving))
        deforms = getattr(method, "deforms", True)
        result.concerns = concerns(result, fixed=fixed, moving=moving, usual=usual, sees=grids, deforms=deforms)
    return result
