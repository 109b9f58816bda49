"""``acreg surfaces``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acreg.cli.console import bars, hold, note, out


def surfaces(
    image: Annotated[Path, typer.Option(help="Image to segment.", show_default=False)],
    data: Annotated[str, typer.Option(help="Dataset of the templates: folder, or name under ACREG_DATA.")],
    model: Annotated[str, typer.Option(help="Preset name or folder.", show_default=False)],
    folder: Annotated[Path, typer.Option("--out", help="Folder for the results.", show_default=False)],
    shapes: Annotated[
        Path | None, typer.Option(help="Folder of `acreg data velocities`; that in the dataset if left out.")
    ] = None,
    templates: Annotated[int | None, typer.Option(min=2, help="The first so many; all if left out.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that are there.")] = False,
) -> None:
    """Segment an image by the surfaces of many templates, with their disagreement.

    The image, about aligned with the dataset, is registered to each template of the training split; the templates'
    surfaces, whose points correspond, are fused in the image. Writes surfaces.vtk, for 3D Slicer and ParaView, with the
    standard deviation at each point in mm, and surfaces.png.

    \b
    Example:
      acreg data velocities datasets/hippocampus --pairs 10N
      acreg surfaces --image new.nii.gz --data datasets/hippocampus --model svfnet-hippocampus --out result
    """
    from acreg.applications.atlases.meshes import segment_by_meshes, template_subjects
    from acreg.data.manifest import Dataset, dataset_folder
    from acreg.data.sampling.velocities import FOLDER, read_settings
    from acreg.io import all_or_none, read_image
    from acreg.registration.methods import PresetMethod
    from acreg.report.surfaces import draw_surfaces
    from acreg.shapes.vtk import write_vtk

    files = [folder / name for name in ("surfaces.vtk", "surfaces.png")]
    hold(folder)
    check_free(folder, [path.name for path in files], overwrite)
    dataset = Dataset.load(dataset_folder(data))
    place = shapes or dataset.folder / FOLDER
    regions = read_settings(place)["regions"]
    subjects = template_subjects(place, dataset)[:templates]
    target = read_image(image)
    with bars() as update:
        fused = segment_by_meshes(target, PresetMethod(model), dataset, place, subjects, progress=update)
    surfaces, deviations = [each.surface for each in fused], [each.deviation for each in fused]
    names = [" + ".join(dataset.label_names[value] for value in region) for region in regions]
    title = f"standard deviation over {len(subjects)} templates, {dataset.unit}"
    with all_or_none(folder) as staged:
        write_vtk(surfaces, staged / files[0].name, {"standard_deviation_mm": deviations})
        draw_surfaces(surfaces, names, deviations, title, staged / files[1].name)
    for name, each in zip(names, fused, strict=True):
        mean = each.deviation.mean()
        out(f"{name}: {len(each.deviation)} points, mean standard deviation {mean:.2f} {dataset.unit}")
    note(f"Written: {', '.join(map(str, files))}")
