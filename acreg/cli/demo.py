"""`acreg demo`: the whole workflow on synthetic chest X-rays, from data to a report."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Annotated

import typer

from acreg.cli.console import hold, out

MARK = ".acreg-demo"
"""A folder with this file was made by the demo and may be replaced by it."""


def demo(
    folder: Annotated[
        Path, typer.Option("--out", help="Folder for all results; an earlier demo in it is replaced.")
    ] = Path("runs/demo"),
    recipe: Annotated[str, typer.Option(help="Recipe to train.")] = "acregnet-phantoms",
    subjects: Annotated[int, typer.Option(min=15, help="Number of phantoms to make.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the phantoms, the training and the pairs.")] = 0,
) -> None:
    """Run the whole workflow on synthetic chest X-rays.

    Makes a dataset of chest phantoms (two lungs, a heart, ribs, noise), trains AC-RegNet on it, registers one pair,
    compares the trained network with no registration on the test pairs, and writes a report with pictures. The demo
    takes a few minutes on two cores and needs no internet connection. Each step prints the equivalent command.

    \b
    Example:
      acreg demo --out runs/demo
    """
    hold(folder)
    _clear(folder)
    started = time.perf_counter()
    phantoms, run, pair, results = (folder / name for name in ("phantoms", "training", "registered", "results"))

    out(f"1. Making {subjects} chest phantoms in {phantoms}")
    from acreg.data.manifest import Dataset
    from acreg.data.phantoms.chests import make_dataset

    make_dataset(phantoms, subjects=subjects, seed=seed)
    test = Dataset.load(phantoms).split("test")

    _step(2, f"acreg train {recipe} seed={seed} --data {phantoms} --out {run}")
    from acreg.cli.train import train

    train(recipe, [f"seed={seed}"], folder=run, data=str(phantoms))
    preset = run / "preset"

    fixed, moving = test[0], test[1]
    _step(
        3,
        f"acreg register --model {preset} --fixed {fixed.image} --moving {moving.image} --labels {moving.labels} "
        f"--fixed-labels {fixed.labels} --out {pair}",
    )
    from acreg.cli.register import register

    register(
        folder=pair,
        fixed=fixed.image,
        moving=moving.image,
        model=str(preset),
        labels=moving.labels,
        fixed_labels=fixed.labels,
    )

    model = f"AC-RegNet={preset}"
    _step(4, f"acreg evaluate --model {model} --data {phantoms} --split test --pairs 2N --seed {seed} --out {results}")
    from acreg.cli.evaluate import evaluate

    evaluate(str(phantoms), results, model=[model], seed=seed)

    _step(5, f"acreg compare {results} --out {folder / 'comparison'}")
    from acreg.cli.compare import compare

    compare([results], folder / "comparison")

    out()
    out(f"Done in {time.perf_counter() - started:.0f} s. The results are in {folder}:")
    out(f"  {folder / 'comparison' / 'report.html'}  scores, box plots, the worst and best pairs (open in a browser)")
    out(f"  {pair / 'preview.png'}  one pair: before, after, checkerboard, deformed grid")
    out(f"  {run / 'report.html'}  curves of the training")
    out(f"  {preset}  the trained network, for `acreg register --model`")


def _step(number: int, command: str) -> None:
    out()
    out(f"{number}. $ {command}")


def _clear(folder: Path) -> None:
    """Make the folder or empty it; a folder that holds anything but an earlier demo is refused."""
    from acreg.io import check_empty
    from acreg.io.folders import contents

    if not (folder / MARK).is_file():
        check_empty(folder, "something else than an earlier demo")
    for path in contents(folder):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()
