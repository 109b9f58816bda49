"""`acreg export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from acreg.cli.console import out


def export(
    model: Annotated[str, typer.Argument(metavar="PRESET", help="Name or folder of a preset.", show_default=False)],
    path: Annotated[
        Path, typer.Option("--out", help="File to write, or folder for a saved model.", show_default=False)
    ],
    format: Annotated[
        Literal["onnx", "saved_model"],
        typer.Option(help="ONNX (needs the extra 'export'), or the saved model of TensorFlow for TensorFlow Serving."),
    ] = "onnx",
    size: Annotated[
        Literal["free", "fixed"],
        typer.Option(help="Spatial size of the inputs: any, or that of the preset's grid. The batch is always free."),
    ] = "free",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> None:
    """Write the network of a preset for use outside of acreg, or without TensorFlow in acreg.

    The network takes a fixed and a moving image, preprocessed, and gives the field. Its metadata hold the preprocessing
    and the conventions. A network in ONNX is compared with Keras before it is written; one that differs by more than
    1e-4 voxels is not written.

    In the folder of the preset, under the name network.onnx, it takes its weights from model.weights.h5 beside it, and
    acreg registers with it from then on, in ONNX Runtime instead of Keras.

    \b
    Examples:
      acreg export acregnet-jsrt --out acregnet.onnx
      acreg export runs/mine/preset --out runs/mine/preset/network.onnx
      acreg export ddmr-hippocampus --out serving/ddmr/1 --format saved_model
    """
    from acreg.applications.conversion.exporting import export as write

    made = write(model, path, format=format, size=size, overwrite=overwrite)
    apart = "" if made.apart is None else f", at most {made.apart:.1e} voxels from Keras"
    out(f"{made.path}: {made.size / 1e6:.2f} MB{apart}")
