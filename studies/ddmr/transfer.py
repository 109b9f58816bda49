"""Trainings on few subjects from scratch, from a pretrained network, and from it in two steps.

Run as ``python -m studies.ddmr.transfer --pretrained PRESET --data hippocampus --out DIR``. PRESET is
that of a recipe with the widths of ``hippocampus.yaml``, such as ``uw-nsd-ixi``. Every training has the same number of
steps, and none of its subjects is in the split that is evaluated; those that start from PRESET have the paper's lower
learning rate. What was finished is kept: the same command goes on after an interruption.

Then, on any pairs of the test split::

    acreg evaluate --data hippocampus --model DIR/scratch-8/preset --model DIR/direct-8/preset ... --out DIR/results
    acreg compare DIR/results --test mann-whitney
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import acreg
from acreg.data.manifest import Dataset, dataset_folder
from acreg.errors import UsageError
from acreg.inference import preset_folder
from acreg.io.preset_config import read_preset_config
from acreg.training.recipe import load_recipe
from acreg.training.run import run_recipe
from acreg.training.schema import Recipe

RECIPE = Path(acreg.__file__).parent / "experiments" / "ddmr" / "transfer" / "hippocampus.yaml"
SUBJECTS = (8, 16, 41)
WAYS = ("scratch", "direct", "two-step")
EPOCHS = 10
"""Of a training that is shorter than that of the recipe."""
STEPS_FROZEN = 0.3
"""Share of the steps in which the encoder of a training in two steps is frozen."""


def overrides(way: str, subjects: int, pretrained: str, data: str, steps: int) -> list[str]:
    """What is changed in the recipe.

    Args:
        way: "scratch"; "direct", all of a pretrained network trained at once; "two-step", its encoder frozen first.
        subjects: number of training subjects.
        pretrained: a preset.
        data: a dataset.
        steps: number of training steps.

    Raises:
        UsageError: the steps do not make whole epochs.
    """
    per_epoch = min(load_recipe(RECIPE).training.steps_per_epoch, steps // EPOCHS)
    if per_epoch < 1 or steps % per_epoch:
        raise UsageError(
            f"A training has whole epochs, at least {EPOCHS}, in {STEPS_FROZEN:.0%} of which the encoder is frozen. "
            f"Received: steps={steps}. Give a multiple of {EPOCHS} below 2000, or a multiple of 200."
        )
    changed = [f"name={way}-{subjects}", f"data.train_subjects={subjects}", f"data.dataset={data}"]
    changed += [f"training.steps={steps}", f"training.steps_per_epoch={per_epoch}"]
    if way != "scratch":
        changed += ["optimizer.learning_rate=1e-4", f"start.from={pretrained}"]
    if way == "two-step":
        frozen = round(STEPS_FROZEN * steps / per_epoch) * per_epoch
        changed += ["start.freeze=[encoder]", f"start.freeze_steps={frozen}"]
    return changed


def recipes(counts: Sequence[int], pretrained: str, data: str, steps: int) -> list[Recipe]:
    """The recipes of all trainings, the smallest number of subjects first; arguments as for `overrides`.

    Raises:
        UsageError: as `overrides`; the preset is absent or its network has other widths; the dataset has fewer training
            subjects.
        AcregError: the preset or the dataset cannot be read.
    """
    config = read_preset_config(preset_folder(pretrained)).config
    widths = {name: load_recipe(RECIPE).model.arguments[name] for name in ("encoder", "decoder", "head")}
    theirs = {name: config.get(name) for name in widths}
    if theirs != widths:
        raise UsageError(
            f"The pretrained network has the widths of {RECIPE.name}: {widths}. Received: {pretrained}, with {theirs}. "
            "Give the preset of a recipe that extends ddmr/base/ixi.yaml and keeps its widths, such as uw-nsd-ixi."
        )
    there = len(Dataset.load(dataset_folder(data)).split("train"))
    if not counts or not 1 <= min(counts) <= max(counts) <= there:
        raise UsageError(
            f"Numbers of training subjects are at least 1 and at most that of the dataset, {there}. Received: "
            f"{list(counts)}. Give other --subjects."
        )
    order = [(way, count) for count in sorted(counts) for way in WAYS]
    return [load_recipe(RECIPE, overrides(way, count, pretrained, data, steps)) for way, count in order]


def main(arguments: Sequence[str] | None = None) -> None:
    """Make all recipes, so that nothing is trained if one of them cannot work; then train them."""
    parser = argparse.ArgumentParser(prog="study", description="DDMR's study of transfer learning.")
    parser.add_argument("--pretrained", required=True, help="preset to start from")
    parser.add_argument("--data", default="hippocampus", help="prepared dataset: folder, or name under ACREG_DATA")
    parser.add_argument("--out", required=True, type=Path, help="folder of the runs")
    parser.add_argument("--subjects", nargs="+", type=int, default=SUBJECTS, help="numbers of training subjects")
    parser.add_argument("--steps", type=int, default=load_recipe(RECIPE).training.steps, help="of each training")
    given = parser.parse_args(arguments)
    for recipe in recipes(given.subjects, given.pretrained, given.data, given.steps):
        preset = run_recipe(recipe, given.out / recipe.name, resume=True, say=print)
        print(f"{recipe.name}: {preset}", flush=True)


if __name__ == "__main__":
    main()
