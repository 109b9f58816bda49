"""Surfaces in a new image, fused from those of many templates, with a measure of the templates' disagreement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from acreg.data.manifest import Dataset
from acreg.errors import AcregError
from acreg.io import Image
from acreg.progress import Progress, counted
from acreg.registration.methods import Method
from acreg.shapes import Surface, read_surfaces


@dataclass(frozen=True)
class FusedSurface:
    """A fused surface in the image's world coordinates, and the standard deviation at each of its points, mm `(n,)`.

    The deviation is the root of the mean squared distance of a point's `templates` estimates from their mean.
    """

    surface: Surface
    deviation: np.ndarray
    templates: int


def template_subjects(shapes: Path, dataset: Dataset, split: str = "train") -> list[str]:
    """The subjects of a split that have surfaces in a folder of `acreg data velocities`.

    Raises:
        AcregError: there are fewer than two such subjects.
    """
    subjects = [record.subject for record in dataset.split(split)]
    found = [subject for subject in subjects if (shapes / "shapes" / f"{subject}.h5").is_file()]
    if len(found) < 2:
        raise AcregError(
            f"Surfaces are fused from at least two templates. Received: {len(found)} of the {len(subjects)} subjects "
            f"({split}) of {dataset.name} with surfaces in {shapes}. Make them by `acreg data velocities`."
        )
    return found


def segment_by_meshes(
    image: Image,
    method: Method,
    dataset: Dataset,
    shapes: Path,
    templates: Sequence[str],
    progress: Progress | None = None,
) -> list[FusedSurface]:
    """Register an image to each template, map the template's surfaces into the image and fuse them.

    The points of all templates correspond, so that the fused surface is their mean, point by point. The image is the
    moving one: a registration then maps the template's points, which lie in the fixed image, directly to it.

    Args:
        image: the image to segment, roughly aligned with the templates.
        method: the registration method.
        dataset: holds the templates' images.
        shapes: folder that `acreg data velocities` wrote for this dataset.
        templates: names of the subjects.
        progress: called with (text, done, total).

    Returns:
        The fused surface of each region.

    Raises:
        AcregError: the method or a reader raises it, or the surfaces do not correspond.

    Source: Rohe et al., SVF-Net, MICCAI 2017, section 4 (outlook and its figure).
    """
    moved: list[list[np.ndarray]] = []
    surfaces: list[Surface] = []
    text = f"Registering templates to {image.name or 'the image'}"
    for subject in counted(templates, text, len(templates), progress):
        surfaces = read_surfaces(shapes / "shapes" / f"{subject}.h5")
        transform = method.register(fixed=dataset.read_image(dataset.record(subject)), moving=image)
        moved.append([transform.warp_points(surface.points, to="moving") for surface in surfaces])
        if [len(points) for points in moved[-1]] != [len(points) for points in moved[0]]:
            raise AcregError(
                f"The surfaces of all templates have points that correspond. Received: {subject} with other numbers of "
                f"points than {templates[0]}, in {shapes}. Make them anew by `acreg data velocities`."
            )
    fused = []
    for region, surface in enumerate(surfaces):
        estimates = np.stack([points[region] for points in moved])
        mean = estimates.mean(axis=0)
        deviation = np.sqrt(((estimates - mean) ** 2).sum(axis=-1).mean(axis=0))
        fused.append(FusedSurface(surface.moved(mean), deviation, len(templates)))
    return fused
