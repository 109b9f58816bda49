"""The folder of a run: its allowed contents when training starts, and the files that describe the training."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import acreg
from acreg.errors import AcregError, UsageError
from acreg.io import atomic_path, check_empty
from acreg.io.documents import read_json, write_json
from acreg.io.folders import contents
from acreg.training.data import TrainingData
from acreg.training.recipe import changed_keys, load_recipe
from acreg.training.schema import Recipe
from acreg.versions import package_versions, program_versions

CACHE = "cache"
"""The subfolder of stored subjects; alone in a folder, it is from a run that was stopped before it began to train."""
FREE = ("description", "data.memory", "data.workers", "data.cache")
"""Keys that do not change what is trained, so that a resumed run may have other values of them."""


def check_run_folder(folder: Path, recipe: Recipe, resume: bool) -> None:
    """Check that a training run may write into `folder`.

    Raises:
        UsageError: the folder is not empty and `resume` is false; or `resume` is true and the recipe differs.
    """
    stored = folder / "recipe.yaml"
    if [path.name for path in contents(folder)] == [CACHE]:
        return
    if not resume:
        check_empty(folder, instead="continue the training that is there with --resume")
    elif contents(folder):
        if not stored.is_file():
            raise UsageError(
                f"A run that is resumed has a recipe.yaml. Received: {folder}, which has none and is no run. "
                "Choose another --out."
            )
        try:
            before = load_recipe(stored)  # keys that an older acreg did not have get their defaults
        except UsageError as error:
            raise AcregError(
                f"A run's recipe.yaml must be a recipe of this acreg. Received: {stored}: {error} Train again, into a "
                "new folder."
            ) from error
        changed = [key for key in changed_keys(before.resolved(), recipe.resolved()) if key not in FREE]
        if changed:
            raise UsageError(
                f"A training is resumed with the recipe that it began with. Received: other values of "
                f"{', '.join(changed)}. Give the first values again, or train into a new folder."
            )


def describe_run(folder: Path, recipe: Recipe) -> None:
    """Write `recipe.yaml` and `environment.json`: versions, platform, seed, commit; a resumed run adds an entry."""
    with atomic_path(folder / "recipe.yaml") as temporary:
        temporary.write_text(recipe.to_yaml(), encoding="utf-8")
    path = folder / "environment.json"
    now = _environment(recipe)
    if path.is_file():
        first = read_json(path, "run's environment")
        if not isinstance(first, dict) or not isinstance(first.get("resumed", []), list):
            raise AcregError(
                f"A run's environment.json is an object, its key resumed a list. Received: {path}, which is otherwise. "
                "Delete this file; the run goes on without it."
            )
        now = {**first, "resumed": [*first.get("resumed", []), now]}
    write_json(path, now)


def described(data: TrainingData) -> str:
    """The training data of a network, in one sentence."""
    held_out = 0 if data.validation is None else len(data.validation.subjects)
    return (
        f"Trained on {data.dataset.name} ({data.dataset.folder}): {len(data.train.subjects)} subjects, and "
        f"{held_out or 'none'} for validation."
    )


def model_card(recipe: Recipe, data: TrainingData, row: Mapping[str, float], what: str) -> str:
    """The text of a preset's model card: data, licence, recipe, seed, scores, limits."""
    dataset = data.dataset
    count = len(data.train.subjects)
    labels = ", ".join(f"{value} {name}" for value, name in sorted(dataset.label_names.items()))
    scores = "\n".join(f"| {name} | {value:.5g} |" for name, value in row.items() if name not in ("step", "seconds"))
    held_out = (
        f"{len(data.validation.subjects)} of the split {recipe.data.validation_split}, {len(data.pairs)} pairs"
        if data.validation is not None
        else "none"
    )
    start = "random" if recipe.start is None else f"those of {recipe.start.source}, see its model card"
    about = f"{recipe.description}\n\n" if recipe.description else ""
    return f"""# {recipe.name}: {what}, trained on {dataset.name}

{about}## Data
- Dataset: {dataset.name}. Source: {dataset.source or "not stated"}
- Licence of the data: {dataset.licence or "not stated"}
- Weights at the start: {start}
- Training subjects: {count} ({", ".join(recipe.data.train_splits)}). Validation subjects: {held_out}.
- Labels: {labels}
- Grid of the network: {" x ".join(map(str, recipe.data.shape))}, intensities by "{recipe.data.intensity}".

## Scores
On the network's grid, at the epoch whose weights were kept; `val_` means validation. Use `acreg evaluate` for testing.

| number | value |
|---|---|
{scores}

## Recipe
Seed {recipe.seed}; acreg {acreg.__version__}.

```yaml
{recipe.to_yaml()}```

## Limits
Images that the training data do not resemble, such as those of other machines, views, body parts or ages, or with other
pathologies, may be registered worse. A research tool, not a medical device.
"""


def _environment(recipe: Recipe) -> dict[str, Any]:
    import keras

    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **program_versions(),
        "git_commit": _git_commit(),
        "backend": keras.backend.backend(),
        "packages": package_versions(),
        "seed": recipe.seed,
        "command": sys.argv,
    }


def _git_commit() -> str | None:
    """The commit of the checkout that acreg runs from, with "+changes" if files differ; None outside a checkout."""
    root = Path(acreg.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        answers = [
            subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, timeout=10, check=True).stdout
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    return answers[0].strip() + ("+changes" if answers[1].strip() else "")
