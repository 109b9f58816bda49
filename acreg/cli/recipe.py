"""``acreg recipe``: lists, shows and makes recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acreg.cli.console import note, out
from acreg.errors import UsageError

app = typer.Typer(no_args_is_help=True, help="List, show and make recipes.")


@app.command("list")
def list_recipes() -> None:
    """List the recipes that ship with acreg, with their descriptions.

    Each can be given to `acreg train`, `acreg recipe show`, `acreg recipe new --from` and, in a file, to `extends`.

    \b
    Examples:
      acreg recipe list
    """
    from acreg.training import load_recipe, shipped_recipes

    for name in shipped_recipes():
        recipe = load_recipe(name)
        out(f"{name}: {len(recipe.data.shape)}-D, {recipe.model.class_name}, dataset {recipe.data.dataset}")
        out(f"    {recipe.description}")


@app.command("show")
def show(
    recipe: Annotated[str, typer.Argument(help="YAML file of a recipe, or the name of a shipped recipe.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Settings that replace those of the recipe."),
    ] = None,
) -> None:
    """Print a recipe with every key and its value, as YAML.

    \b
    Examples:
      acreg recipe show acregnet-jsrt
      acreg recipe show my_recipe.yaml training.steps=1000
    """
    from acreg.training import load_recipe

    out(load_recipe(recipe, overrides or ()).to_yaml().rstrip("\n"))


@app.command("new")
def new(
    source: Annotated[
        str,
        typer.Option(
            "--from",
            help="Shipped recipe, recipe file, or preset (a name or a folder), whose weights the training starts from; "
            "a name that a recipe and a preset have is that of the preset.",
            show_default=False,
        ),
    ],
    data: Annotated[str, typer.Option("--data", help="Dataset: a prepared folder or a name.", show_default=False)],
    file: Annotated[Path, typer.Option("--out", help="YAML file to write.", show_default=False)],
) -> None:
    """Write a recipe of one's own, for one's own data.

    Everything that depends on the data is set from the dataset: the grid, with about as many voxels as that of the
    source (and the voxel size of the preset, if it has one); the splits and the validation pairs; and without labels,
    the losses on labels are left out. All else is that of the source. Each key has a comment. Edit the file as you
    like, then train with it: `acreg train FILE`.

    If the source is a preset, the training starts from its weights; `acreg train FILE start=null` trains the same
    network from random weights.

    \b
    Examples:
      acreg recipe new --from acregnet-montgomery --data my_xrays --out my_xrays.yaml
      acreg recipe new --from ddmr-mni152 --data my_scans --out my_scans.yaml
      acreg recipe new --from runs/brain/preset --data my_scans --out next.yaml
    """
    from acreg.io import atomic_path
    from acreg.training import new_recipe
    from acreg.training.recipe import SUFFIXES

    if file.suffix not in SUFFIXES:
        raise UsageError(
            f"A recipe is a file that ends in {' or '.join(SUFFIXES)}. Received: --out {file}. Name it {file}.yaml."
        )
    if file.exists():
        raise UsageError(
            f"A new recipe replaces no file. Received: --out {file}, which exists. Name another, or delete it."
        )
    text = new_recipe(source, data, file.stem)
    with atomic_path(file) as temporary:
        temporary.write_text(text, encoding="utf-8")
    out(str(file))
    note(f"Next: acreg train {file} --out runs/{file.stem}")
