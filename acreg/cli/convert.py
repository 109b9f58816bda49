"""``acreg convert``: models of other programs become presets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acreg.cli.console import note, out

app = typer.Typer(
    no_args_is_help=True,
    help="Convert models of other programs to presets.\n\n\b\nExample:\n"
    "  acreg convert acregnet-tf1 registration/model.ckpt presets/acregnet-original",
)


@app.command("acregnet-tf1")
def acregnet_tf1(
    checkpoint: Annotated[
        Path,
        typer.Argument(metavar="CKPT", help="Checkpoint (NAME without .index), or its folder.", show_default=False),
    ],
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the preset.", show_default=False)],
    autoencoder: Annotated[
        str | None,
        typer.Option(
            "--autoencoder",
            help="Preset of the autoencoder to put into that of the network, for training on.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Convert a TensorFlow 1 checkpoint of the AC-RegNet authors.

    Takes the registration network's checkpoint or the autoencoder's, which it tells apart by the names of their
    variables. Registration needs the first alone.

    \b
    Examples:
      acreg convert acregnet-tf1 autoencoder/model.ckpt presets/autoencoder-original
      acreg convert acregnet-tf1 registration/model.ckpt presets/acregnet-original
      acreg register --model presets/acregnet-original --fixed a.png --moving b.png --out result
    """
    from acreg.applications.convert_acregnet import convert_checkpoint
    from acreg.errors import AcregError
    from acreg.models import LabelAutoencoder, from_preset

    prior = None if autoencoder is None else from_preset(autoencoder)
    if prior is not None and not isinstance(prior, LabelAutoencoder):
        raise AcregError(
            f"--autoencoder needs the preset of a label autoencoder. Received: {autoencoder}, a "
            f"{type(prior).__name__}. Convert the autoencoder's checkpoint first and give that preset."
        )
    made = convert_checkpoint(checkpoint, folder, prior)
    note("These are the weights that the authors published." if made.published else "Not the published weights.")
    out(f"{made.folder}: {type(made.model).__name__}, {made.variables} variables converted")
