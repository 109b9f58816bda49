"""`acreg view`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from acreg.cli._border import BorderOption
from acreg.cli._browser import show
from acreg.cli.console import note, out


def _file(text: str) -> typer.models.OptionInfo:
    return typer.Option(help=text, show_default=False)


def view(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RESULT]",
            help="Folder that acreg register wrote, or folder of a pair that acreg evaluate wrote.",
            show_default=False,
        ),
    ] = None,
    fixed: Annotated[Path | None, _file("Fixed image.")] = None,
    moving: Annotated[Path | None, _file("Moving image.")] = None,
    transforms: Annotated[
        list[Path] | None,
        typer.Option(
            "--transform",
            help="Instead of a result, a transform, any that acreg warp reads; may be repeated to compose transforms.",
            show_default=False,
        ),
    ] = None,
    labels: Annotated[Path | None, _file("Label map of the moving image.")] = None,
    fixed_labels: Annotated[Path | None, _file("Label map of the fixed image.")] = None,
    target: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Page to write. Default: view.html in the folder of the result.", show_default=False
        ),
    ] = None,
    border: BorderOption = None,
    fill: Annotated[
        float | None,
        typer.Option(
            help="Constant outside the moving image. Default: its lowest value, which is shown black.",
            show_default=False,
            metavar="VALUE",
        ),
    ] = None,
    open_it: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Show a registered pair in the browser.

    Writes one HTML file that works without network, and opens it. It shows the fixed image and, over it, the moving
    image after or before registration, in linked axial, coronal and sagittal slices; 2-D images are shown as one
    picture. One can fade and wipe between them, let them blink, or lay them out as a checkerboard. Outlines of labels,
    the deformed grid and the Jacobian determinant can be laid over them, and folded voxels are marked. The crosshair
    tells mm in RAS and LPS, the voxel of the fixed image, and the values. Beside it are the verdict and the scores.

    Volumes are shown in radiological convention: the patient's left is on the right. Images of more than 8 million
    voxels (4 million pixels) are reduced for the page, and it says so.

    The images of a result are read from where they were when they were registered. If they have been moved, or if the
    result was written by a version of acreg before this command, give --fixed and --moving as well.

    \b
    Examples:
      acreg view result
      acreg view result --fixed a.nii.gz --moving b.nii.gz
      acreg view --fixed a.nii.gz --moving b.nii.gz --transform 1Warp.nii.gz --transform 0GenericAffine.mat \\
        --out view.html
    """
    from acreg.errors import UsageError
    from acreg.io import check_free
    from acreg.registration.background import border_and_fill
    from acreg.registration.views import VIEW_NAME
    from acreg.registration.views import view as library
    from acreg.viewing.page import check_page_name

    border_and_fill(border, fill)
    if target is not None:
        check_page_name(target)
        check_free(target, overwrite=overwrite)
        page = target
    elif folder is not None:  # made of the files beside it, and therefore made anew if it is there
        page = folder / VIEW_NAME
    else:
        raise UsageError(
            "The page of a result is written into its folder, and any other where --out says. Received: no result and "
            "no --out. Give one of them."
        )
    images: dict[str, Any] = {"fixed": fixed, "moving": moving, "labels": labels, "fixed_labels": fixed_labels}
    found = library(folder, **images, transform=transforms or None, border=border, fill=fill)
    found.save(page)
    for text in found.notes:
        note(text)
    out(str(page))
    if open_it:
        show(page)
