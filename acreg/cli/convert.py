"""``acreg convert``: converts models of other programs to presets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from acreg.cli.console import note, out

app = typer.Typer(
    no_args_is_help=True,
    help="Convert models of other programs to presets.\n\n\b\nExamples:\n"
    "  acreg convert acregnet-tf1 registration/model.ckpt presets/acregnet-original\n"
    "  acreg convert voxelmorph-h5 vxm_dense_brain.h5 presets/voxelmorph-brain\n"
    "  acreg convert ddmr-h5 liver_uw_ncc_ssim_dsc.h5 presets/ddmr-liver",
)


@app.command("acregnet-tf1")
def acregnet_tf1(
    checkpoint: Annotated[
        Path,
        typer.Argument(metavar="CKPT", help="Checkpoint (its path without .index), or its folder.", show_default=False),
    ],
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the preset.", show_default=False)],
    autoencoder: Annotated[
        str | None,
        typer.Option(
            "--autoencoder",
            help="Preset of the label autoencoder to store with the network, so that training can continue.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Convert a TensorFlow 1 checkpoint of the AC-RegNet authors.

    Accepts the checkpoint of the registration network or of the autoencoder; the names of the variables tell which it
    is. Registration needs the network alone.

    \b
    Examples:
      acreg convert acregnet-tf1 autoencoder/model.ckpt presets/autoencoder-original
      acreg convert acregnet-tf1 registration/model.ckpt presets/acregnet-original
      acreg register --model presets/acregnet-original --fixed a.png --moving b.png --out result
    """
    from acreg.applications.conversion.acregnet import convert_checkpoint
    from acreg.models.presets import load_autoencoder

    prior = None if autoencoder is None else load_autoencoder(autoencoder)
    made = convert_checkpoint(checkpoint, folder, prior)
    note("These are the weights that the authors published." if made.published else "Not the published weights.")
    out(f"{made.folder}: {type(made.model).__name__}, {made.variables} variables converted")


File = Annotated[Path, typer.Argument(metavar="FILE", help="HDF5 file of weights or of a model.", show_default=False)]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the preset.", show_default=False)]
Shape = Annotated[
    str | None,
    typer.Option(
        "--shape", help="Shape of the grid that the model was trained on, such as 160,192,224.", show_default=False
    ),
]
Steps = Annotated[
    int | None, typer.Option("--integration-steps", min=0, help="int_steps of VoxelMorph.", show_default=False)
]
Downsize = Annotated[
    int | None, typer.Option("--downsize", min=1, help="int_downsize of VoxelMorph.", show_default=False)
]


@app.command("voxelmorph-h5")
def voxelmorph_h5(file: File, folder: Out, shape: Shape = None, steps: Steps = None, downsize: Downsize = None) -> None:
    """Convert weights of TensorFlow VoxelMorph.

    Accepts VxmDense and its semi-supervised variant from versions 0.1 and 0.2, with or without integration of a
    velocity field.

    The network architecture is inferred from the weights. A file of weights alone does not contain the shape of the
    grid or the settings of the integration: give them as options.

    \b
    Examples:
      acreg convert voxelmorph-h5 vxm_dense_brain.h5 presets/voxelmorph-brain
      acreg convert voxelmorph-h5 weights.h5 presets/mine --shape 160,192,224 --integration-steps 7 --downsize 2
    """
    _convert_weights(file, folder, "voxelmorph", shape, steps, downsize)


@app.command("ddmr-h5")
def ddmr_h5(file: File, folder: Out, shape: Shape = None, steps: Steps = None, downsize: Downsize = None) -> None:
    """Convert a released model of DDMR.

    Accepts the released brain_*.h5 and liver_*.h5, or a file written by DDMR's training. The options are those of
    voxelmorph-h5, except that --shape defaults to 128,128,128 for a network with the depth of DDMR.

    \b
    Examples:
      acreg convert ddmr-h5 liver_uw_ncc_ssim_dsc.h5 presets/ddmr-liver
      acreg train my_recipe.yaml --from presets/ddmr-liver --freeze encoder --out runs/mine
    """
    _convert_weights(file, folder, "ddmr", shape, steps, downsize)


def _convert_weights(
    file: Path, folder: Path, program: Any, shape: str | None, steps: int | None, downsize: int | None
) -> None:
    from acreg.applications.conversion.voxelmorph import convert_weights
    from acreg.errors import UsageError

    try:
        sizes = None if shape is None else [int(size) for size in shape.split(",")]
    except ValueError:
        raise UsageError(f"--shape takes whole numbers with commas, such as 160,192,224. Received: {shape}.") from None
    made = convert_weights(file, folder, program, shape=sizes, integration_steps=steps, downsize=downsize)
    out(f"{made.folder}: {type(made.model).__name__}, {made.variables} variables converted")
