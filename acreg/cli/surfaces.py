"""``acreg surfaces``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from acreg.cli import _batch
from acreg.cli.console import bars, hold, note, out


def surfaces(
    image: Annotated[Path, typer.Option(help="Image to segment.", show_default=False)],
    data: Annotated[str, typer.Option(help="Dataset of the templates: a folder, or a name under $ACREG_DATA.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder for the results.", show_default=False)],
    model: _batch.Model = None,
    method: _batch.MethodName = None,
    threads: _batch.Threads = 1,
    seed: _batch.Seed = 0,
    shapes: Annotated[
        Path | None,
        typer.Option(
            help="Folder written by `acreg data velocities`. Default: `velocities` in the folder of the dataset."
        ),
    ] = None,
    templates: Annotated[
        int | None, typer.Option(min=2, help="Number of templates, taken from the start of the list. Default: all.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing results.")] = False,
) -> None:
    """Segment an image by fusing the surfaces of many templates.

    The image, which must be roughly aligned with the dataset, is registered to each template of the training split. The
    points of the templates' surfaces correspond, so their positions in the image are averaged. Writes surfaces.vtk, for
    3D Slicer and ParaView, with the standard deviation over the templates at each point in mm, and surfaces.png.

    \b
    Example:
      acreg data velocities datasets/hippocampus-aligned --pairs 10N
      acreg surfaces --image new.nii.gz --data datasets/hippocampus-aligned --model svfnet-hippocampus --out result
    """
    from acreg.applications.atlases.meshes import FILES
    from acreg.applications.atlases.meshes import surfaces as library
    from acreg.io import check_free

    hold(folder)
    check_free(folder, FILES, overwrite)
    with bars() as show:
        chosen: dict[str, Any] = {"model": model, "method": method, "threads": threads, "seed": seed}
        found = library(image, data, **chosen, shapes=shapes, templates=templates, progress=show)
    written = found.save(folder, overwrite=overwrite)
    for name, text in found.rows:
        out(f"{name}: {text}")
    note(f"Written: {', '.join(map(str, written))}")
