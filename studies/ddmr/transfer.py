"""Trainings on few subjects from scratch, from a pretrained network, and from it in two steps.

Run as ``python -m studies.ddmr.transfer --pretrained PRESET --data hippocampus --out DIR``. PRESET is
that of a recipe ``*-ixi``, whose network has the widths of ``hippocampus.yaml``. Every training has the same number of
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
from acreg.training.recipe import load_recipe
from acreg.training.run import run_recipe

RECIPE = Path(acreg.__file__).parent / "experiments" / "ddmr" / "transfer" / "hippocampus.yaml"
SUBJECTS = (8, 16, 41)
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
    """
    changed = [f"name={way}-{subjects}", f"data.train_subjects={subjects}", f"data.dataset={data}"]
    changed += [f"training.steps={steps}"]
    if way != "scratch":
        changed += ["optimizer.learning_rate=1e-4", f"start.from={pretrained}"]
    if way == "two-step":
        per_epoch = load_recipe(RECIPE).training.steps_per_epoch
        frozen = max(1, round(STEPS_FROZEN * steps / per_epoch)) * per_epoch
        changed += ["start.freeze=[encoder]", f"start.freeze_steps={frozen}"]
    return changed


def main(arguments: Sequence[str] | None = None) -> None:
    """Train all of them, the smallest number of subjects first."""
    parser = argparse.ArgumentParser(prog="study", description="DDMR's study of transfer learning.")
    parser.add_argument("--pretrained", required=True, help="preset to start from")
    parser.add_argument("--data", default="hippocampus", help="prepared dataset: folder, or name under ACREG_DATA")
    parser.add_argument("--out", required=True, type=Path, help="folder of the runs")
    parser.add_argument("--subjects", nargs="+", type=int, default=SUBJECTS, help="numbers of training subjects")
    parser.add_argument("--steps", type=int, default=load_recipe(RECIPE).training.steps, help="of each training")
    given = parser.parse_args(arguments)
    for subjects in given.subjects:
        for way in ("scratch", "direct", "two-step"):
            recipe = load_recipe(RECIPE, overrides(way, subjects, given.pretrained, given.data, given.steps))
            preset = run_recipe(recipe, given.out / recipe.name, resume=True, say=print)
            print(f"{recipe.name}: {preset}", flush=True)


if __name__ == "__main__":
    main()
