"""Surfaces in a new image, fused from those of many templates, with a measure of the templates' disagreement."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from acreg.data.manifest import Dataset, dataset_folder
from acreg.data.sampling.velocities import FOLDER, check_sources, read_settings
from acreg.errors import AcregError
from acreg.geometry.display import table_html
from acreg.io import Image, all_or_none, check_free
from acreg.io.inputs import ImageLike, as_image
from acreg.plotting.figures import to_png
from acreg.progress import Progress, counted, notebook_bars
from acreg.registration.methods import Method, check_one_method, one_method
from acreg.report.surfaces import surface_figure
from acreg.shapes import Surface, read_surfaces
from acreg.shapes.vtk import write_vtk

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILES = ("surfaces.vtk", "surfaces.png")


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
    moving one: a registration then maps the template's points, which lie in the fixed image, directly to it. A template
    with the voxels of the image itself is left out.

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
        AcregError: the method or a reader raises it, the surfaces do not correspond, or every template is the image.

    Source: Rohe et al., SVF-Net, MICCAI 2017, section 4 (outlook and its figure).
    """
    moved: list[list[np.ndarray]] = []
    surfaces: list[Surface] = []
    text, content = f"Registering templates to {image.name or 'the image'}", image.digest
    for subject in counted(templates, text, len(templates), progress):
        template = dataset.read_image(dataset.record(subject))
        if template.digest == content:
            continue
        surfaces = read_surfaces(shapes / "shapes" / f"{subject}.h5")
        transform = method.register(fixed=template, moving=image)
        moved.append([transform.warp_points(surface.points, to="moving") for surface in surfaces])
        if [len(points) for points in moved[-1]] != [len(points) for points in moved[0]]:
            raise AcregError(
                f"The surfaces of all templates have points that correspond. Received: {subject} with other numbers of "
                f"points than {templates[0]}, in {shapes}. Make them anew by `acreg data velocities`."
            )
    if not moved:
        raise AcregError(
            f"An image is segmented by templates that are other images. Received: {image.name or 'an image'}, which is "
            f"the only one of {len(templates)} templates. Choose another split or dataset."
        )
    fused = []
    for region, surface in enumerate(surfaces):
        estimates = np.stack([points[region] for points in moved])
        mean = estimates.mean(axis=0)
        deviation = np.sqrt(((estimates - mean) ** 2).sum(axis=-1).mean(axis=0))
        fused.append(FusedSurface(surface.moved(mean), deviation, len(moved)))
    return fused


@dataclass(eq=False, repr=False)
class SurfaceSegmentation:
    """The surfaces of an image and the disagreement of the templates. A notebook shows the latter as a table.

    Attributes:
        names: the names of the regions.
        surfaces: the surface of each region.
        unit: the unit of the deviations, "mm" or "px".
    """

    names: list[str]
    surfaces: list[FusedSurface]
    unit: str

    @property
    def rows(self) -> list[tuple[str, str]]:
        """Number of points and mean deviation of each region."""
        return [
            (name, f"{len(each.deviation)} points, mean standard deviation {each.deviation.mean():.2f} {self.unit}")
            for name, each in zip(self.names, self.surfaces, strict=True)
        ]

    def figure(self) -> Figure:
        """The surfaces, coloured by the standard deviation at their points."""
        surfaces, deviations = [each.surface for each in self.surfaces], [each.deviation for each in self.surfaces]
        title = f"standard deviation over {self.surfaces[0].templates} templates, {self.unit}"
        return surface_figure(surfaces, self.names, deviations, title)

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> list[Path]:
        """Write surfaces.vtk, for 3D Slicer and ParaView, and surfaces.png, and return their paths.

        Raises:
            AcregError: the files exist and may not be replaced, or another process is writing into the folder.
        """
        folder = Path(folder)
        with all_or_none(folder) as staged:
            check_free(folder, FILES, overwrite)
            deviations = [each.deviation for each in self.surfaces]
            scalars = {"standard_deviation_mm": deviations}
            write_vtk([each.surface for each in self.surfaces], staged / FILES[0], scalars)
            (staged / FILES[1]).write_bytes(to_png(self.figure()))
        return [folder / name for name in FILES]

    def __repr__(self) -> str:
        return f"SurfaceSegmentation({'; '.join(f'{name}: {text}' for name, text in self.rows)})"

    def _repr_html_(self) -> str:
        return table_html(self.rows)


def surfaces(
    image: ImageLike,
    data: str | os.PathLike[str] | Dataset,
    model: str | os.PathLike[str] | Any | None = None,
    *,
    method: str | Method | None = None,
    threads: int = 1,
    seed: int = 0,
    shapes: str | os.PathLike[str] | None = None,
    templates: int | None = None,
    progress: Progress | None = None,
) -> SurfaceSegmentation:
    """Segment an image by the surfaces of many templates, as `acreg surfaces` does; see `segment_by_meshes`.

    Args:
        image: the image to segment, roughly aligned with the dataset.
        data: dataset of the templates, its folder, or its name under ACREG_DATA.
        model: name or folder of a preset, or a loaded model.
        method: instead of a model, a method without one, see `acreg.registration.named_method`.
        threads, seed: threads of a classical method, and the random seed of the method.
        shapes: folder that `acreg data velocities` wrote; by default, that in the dataset.
        templates: number of templates, the first ones; by default, all.
        progress: called with (text, done, total).

    Raises:
        UsageError: not exactly one of `model` and `method` is given.
        AcregError: as for `template_subjects` and `segment_by_meshes`; or the preset or the image cannot be read.
    """
    check_one_method(model, method)
    dataset = data if isinstance(data, Dataset) else Dataset.load(dataset_folder(os.fspath(data)))
    place = dataset.folder / FOLDER if shapes is None else Path(shapes)
    regions = read_settings(place)["regions"]
    subjects = template_subjects(place, dataset)[:templates]
    check_sources(place, dataset, subjects)
    target = as_image(image, "image")
    chosen = one_method(model, method, threads=threads, seed=seed)
    fused = segment_by_meshes(target, chosen, dataset, place, subjects, progress=progress or notebook_bars())
    names = [" + ".join(dataset.label_names[value] for value in region) for region in regions]
    return SurfaceSegmentation(names, fused, dataset.unit)
