"""`acreg train`: run a recipe."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from acreg.cli.console import bars, hold, note, out


def train(
    recipe: Annotated[str, typer.Argument(help="YAML file of a recipe, or the name of a shipped recipe.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...", help="Settings that replace those of the recipe, such as training.steps=1000."
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the run, new or empty. Default: runs/<name of the recipe>."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue a stopped run; the result is as if it had not been stopped.")
    ] = False,
    data: Annotated[
        str | None,
        typer.Option("--data", help="Dataset: a prepared folder or a name; replaces data.dataset of the recipe."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Initial weights: a preset, a .keras file or a .weights.h5 file; sets start.from. Class, arguments, "
            "grid and preprocessing are those of the preset unless the recipe or KEY=VALUE says otherwise.",
        ),
    ] = None,
    freeze: Annotated[
        list[str] | None,
        typer.Option(
            "--freeze",
            help="Part of the network whose weights stay fixed, such as encoder; may be repeated; sets start.freeze.",
        ),
    ] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Write a TensorBoard trace of ten steps of the network's training.")
    ] = False,
) -> None:
    """Train a registration network from a recipe.

    `acreg recipe list` names the shipped recipes, and `acreg recipe new` writes one for your own data.

    If the recipe has a label autoencoder, it is trained first, then the network. The weights that score best on the
    validation pairs are saved as a preset, which `acreg register` and `acreg evaluate` accept.

    The folder of the run receives recipe.yaml, environment.json, metrics.csv, checkpoints/, tensorboard/, preset/ and
    report.html.

    On SIGTERM, which Slurm, Kubernetes and Docker send before they kill a job, training stops after the current step
    and the exit code is 75: submit the job again. With --resume, the same command starts a new run, continues a stopped
    run from its last complete epoch, or trains nothing if the run is complete (it still reads the data).

    \b
    Examples:
      acreg train acregnet-phantoms --out runs/first
      acreg train acregnet-jsrt training.steps=6000 optimizer.learning_rate=5e-4 --out runs/short
      acreg train acregnet-jsrt --out runs/full --resume
      acreg train my_recipe.yaml --data my_dataset --out runs/mine
      acreg train my_recipe.yaml --from ddmr-hippocampus --out runs/mine
      acreg train my_recipe.yaml --from runs/brain/preset --freeze encoder start.freeze_steps=2000 --out runs/liver
    """
    # Read by TensorFlow when it is imported: sums in a fixed order, so that a seed decides the weights.
    os.environ.setdefault("TF_DETERMINISTIC_OPS", "1")
    import json

    from acreg.training.recipe import load_recipe

    changes = list(overrides or ())
    if data is not None:
        changes.append(f"data.dataset={json.dumps(data)}")
    if start is not None:
        changes.append(f"start.from={json.dumps(start)}")
    if freeze:
        changes.append(f"start.freeze={json.dumps(freeze)}")
    loaded = load_recipe(recipe, changes)
    run = folder if folder is not None else Path("runs") / loaded.name
    hold(run)

    with _sigterm() as stop, bars() as show:
        import keras

        from acreg.training.run import run_recipe

        keras.utils.set_random_seed(loaded.seed)
        note(f"Training {loaded.name} on {loaded.data.dataset} into {run}")
        preset = run_recipe(loaded, run, resume=resume, progress=show, say=note, stop=stop, profile=profile)
    out(f"Preset: {preset}")
    out(f"Report: {run / 'report.html'}")


@contextmanager
def _sigterm() -> Iterator[Callable[[], bool]]:
    """Whether SIGTERM came since; it ends nothing by itself."""
    came = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.set())
    try:
        yield came.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
