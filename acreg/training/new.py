"""A recipe of one's own, from a shipped recipe or a preset, for a prepared dataset."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

import acreg
from acreg.data.manifest import Dataset, Record, dataset_folder
from acreg.errors import UsageError
from acreg.inference.presets import preset_folder, shipped_presets
from acreg.io.documents import parse_yaml, read_text
from acreg.training.commented import comment, commented_yaml
from acreg.training.grids import USUAL, Sizes, covering_grid, covering_shape, inner_grid, read_sizes, scaled_shape
from acreg.training.inheritance import OF_STORED_IMAGES, preset_values
from acreg.training.recipe import check_model_arguments, load_recipe
from acreg.training.schema import Recipe

CARD = re.compile(r"^## Recipe\n.*?^```yaml\n(.*?)^```", re.M | re.S)
SMALLER = 8
"""A grid keeps the voxel size of the preset unless it then has fewer voxels than the preset's by this factor: the
images are of smaller organs."""
WITHOUT_A_CARD: dict[str, Any] = {
    "optimizer": {"name": "adamw", "learning_rate": 2e-4, "weight_decay": 1e-4},
    "training": {"batch_size": 4, "steps": 1000, "steps_per_epoch": 100},
}
"""For a preset whose model card has no recipe, as `acreg convert` makes it: the values of docs/how-to/fine-tune.md."""


def new_recipe(source: str | Path, data: str | Path, name: str = "mine") -> str:
    """The text of a recipe of one's own, with a comment at every key.

    Optimiser, augmentation and losses are those of the source. Grid, splits and what needs labels follow from the
    dataset; a description and a start of the source, which are of other data, are left out.

    Arguments:
        source: a shipped recipe or a recipe file; or a preset, by name or folder, with whose weights the training then
            starts. A name that both have is that of the preset.
        data: a prepared dataset, by name or folder.
        name: of the recipe.

    Raises:
        UsageError: the source does not exist, or cannot be trained with such data: a preset for images with another
            number of axes, or pairs that need labels or velocities which the dataset does not have.
        AcregError: the dataset does not exist or cannot be read, or a file of the preset is damaged.
    """
    dataset = Dataset.load(dataset_folder(data))
    records = dataset.used_split("train")
    folder = _preset(source)
    values = load_recipe(source).resolved() if folder is None else _of_preset(source, folder)
    sizes = read_sizes(dataset, records, values["data"]["trim"])
    given = len(values["data"]["shape"])
    if folder is not None and given != sizes.rank:
        raise UsageError(
            f"A training starts from a network for images with as many axes. Received: {data}, images with "
            f"{sizes.rank} axes, and the preset {source} for {given}. Choose another preset, or a recipe."
        )
    values["name"] = name
    values["description"] = f"{values['model']['class']} on {dataset.name}" + (
        f", starting from the preset {source}." if folder else "."
    )
    values["start"] = {"from": str(source)} if folder else None
    values["data"]["dataset"] = str(data)
    covers = _fit_grid(values, sizes, of_preset=folder is not None)
    _fit_splits(values, dataset)
    _fit_labels(values, dataset, source)
    _check_velocities(values, dataset, source)
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise UsageError(
            f"A recipe must fit the data. Received: {source} with {data}: "
            f"{'; '.join(found['msg'].removeprefix('Value error, ') for found in error.errors())}. Choose another one."
        ) from error
    check_model_arguments(recipe)
    return "\n".join(_header(source, dataset, recipe, covers)) + "\n" + commented_yaml(recipe, _class_of(recipe))


def _preset(source: str | Path) -> Path | None:
    """The folder of the preset `source`; None if it is a recipe."""
    if str(source) in shipped_presets() or (Path(source) / "config.json").is_file():
        return preset_folder(source)
    return None


def _of_preset(source: str | Path, folder: Path) -> dict[str, Any]:
    """The values of the recipe in a preset's model card, with the preset's network and preprocessing."""
    model, data = preset_values(source, folder)
    values = _of_card(folder, model["class"]) or {**WITHOUT_A_CARD, "data": {"dataset": "", "validation_pairs": 50}}
    own = values.get("model", {}).get("arguments", {})  # with the losses of its training, which its config may lack
    values["model"] = {**model, "arguments": {**model["arguments"], **own}}
    card = values["data"]
    if card.get("velocities") is not None:
        data = {name: value for name, value in data.items() if name not in OF_STORED_IMAGES}
    values["data"] = {**card, **data}
    return Recipe.model_validate({"name": folder.name, **values}).resolved()


def _of_card(folder: Path, class_name: str) -> dict[str, Any] | None:
    """The values of the recipe in a preset's model card; None without a recipe of this class there."""
    path = folder / "model_card.md"
    found = CARD.search(read_text(path, "model card")) if path.is_file() else None
    if found is None:
        return None
    try:
        recipe = Recipe.model_validate(parse_yaml(found[1], f"recipe in {path}"))
    except ValidationError:  # of an acreg that had other keys
        return None
    return recipe.resolved() if recipe.model.class_name == class_name else None


def _fit_grid(values: dict[str, Any], sizes: Sizes, of_preset: bool) -> str:
    """Set the grid, with about as many voxels as the source has, if that is for as many axes; say what it covers."""
    data = values["data"]
    shape, spacing = data["shape"], data["spacing"]
    same = len(shape) == sizes.rank
    voxels = math.prod(shape) if same else USUAL[sizes.rank]
    synthetic = data["synthetic"]
    kept = of_preset and spacing is not None and math.prod(covering_shape(sizes, spacing)) >= voxels / SMALLER
    words = "which covers the images"
    if data["velocities"] is not None:
        data["shape"], data["spacing"], words = sizes.shape, None, "that of the images"
    elif kept:
        data["shape"], data["spacing"] = covering_grid(sizes, voxels, spacing)
    elif spacing is None and (of_preset or sizes.rank == 2):
        data["shape"], data["spacing"], words = scaled_shape(sizes, voxels), None, "onto which each image is scaled"
    elif synthetic is not None and not synthetic["real_pairs"]:
        data["shape"], data["spacing"] = inner_grid(sizes, voxels)
        words = "which lies within nearly all images"
    else:
        data["shape"], data["spacing"] = covering_grid(sizes, voxels)
    if synthetic is not None and same and spacing is not None and data["spacing"] is not None:
        before, after = (math.prod(np.multiply(*grid)) for grid in ((shape, spacing), (data["shape"], data["spacing"])))
        for name in ("max_translation", "max_deformation"):  # mm
            synthetic[name] = float(f"{synthetic[name] * (after / before) ** (1 / sizes.rank):.3g}")
    rotation = data["augmentation"]["rotation"]
    if sizes.rank == 2 and isinstance(rotation, list):
        data["augmentation"]["rotation"] = rotation[0]  # about the axis across the plane
    return words


def _fit_splits(values: dict[str, Any], dataset: Dataset) -> None:
    """Train on the split train; validate on the split validation if its labels can tell which weights are best."""
    data, held_out = values["data"], dataset.split("validation")
    data["train_subjects"] = None
    usable = len(held_out) > 1 and _labelled(dataset)
    alike = len({record.labels is None for record in [*dataset.split("train"), *held_out]}) == 1
    data["train_splits"] = ["train"] if usable or not held_out or not alike else ["train", "validation"]
    data["validation_split"] = "validation" if usable else "none"
    data["validation_pairs"] = min(data["validation_pairs"], max(1, len(held_out) * (len(held_out) - 1)))
    if not usable and values["optimizer"]["schedule"] == "plateau":
        values["optimizer"]["schedule"] = "constant"


def _fit_labels(values: dict[str, Any], dataset: Dataset, source: str | Path) -> None:
    """Leave out what needs labels that the dataset does not have."""
    arguments = values["model"]["arguments"]
    classes = len(dataset.label_values)
    if (arguments.get("labels_per_step") or 0) >= classes:
        del arguments["labels_per_step"]
    arguments.pop("registration", None)  # chosen for the use with other data
    if _labelled(dataset):
        return
    if values["model"]["class"] == "Segmenter" or values["data"]["deformed"] is not None:
        raise UsageError(
            f"A segmenter and pairs of data.deformed need labels. Received: {source} with {dataset.folder}, which has "
            "none. Fill the column labels of its manifest, or choose another recipe."
        )
    values["autoencoder"] = None
    if "losses" in arguments:  # by default, a model without labels has no losses on labels
        on_labels = losses_on_labels()
        arguments["losses"] = {name: value for name, value in arguments["losses"].items() if name not in on_labels}


def losses_on_labels() -> set[str]:
    """The names of the losses of acreg's models that compare labels."""
    from acreg.losses import LABEL_LOSSES

    return {*LABEL_LOSSES, *(f"affine_{name}" for name in LABEL_LOSSES), "anatomical_prior", "mask"}


def _check_velocities(values: Mapping[str, Any], dataset: Dataset, source: str | Path) -> None:
    name = values["data"]["velocities"]
    if name is not None and not (dataset.folder / name).is_dir():
        raise UsageError(
            f"This recipe trains on reference velocities in the folder of the dataset. Received: {source}, and "
            f"{dataset.folder} without the folder {name}. Make them by `acreg data velocities`, of images that "
            "`acreg data prepare folder --align` put onto one grid; or choose a recipe of another class."
        )


def _labelled(dataset: Dataset) -> bool:
    used: list[Record] = [*dataset.split("train"), *dataset.split("validation")]
    return all(record.labels is not None for record in used)


def _class_of(recipe: Recipe) -> type:
    from acreg.training.build import model_classes

    return model_classes()[recipe.model.class_name]


def _header(source: str | Path, dataset: Dataset, recipe: Recipe, covers: str) -> list[str]:
    section = recipe.data
    labels = ", ".join(f"{value} {name}" for value, name in sorted(dataset.label_names.items()))
    size = " x ".join(map(str, section.shape))
    if section.spacing is not None:
        size += f" voxels of {' x '.join(f'{s:g}' for s in section.spacing)} {dataset.unit}"
    subjects = {split: len(dataset.split(split)) for split in ("train", "validation")}
    short = ["training.steps=20"]
    short += ["optimizer.warmup_steps=0"] if recipe.optimizer.warmup_steps else []
    short += ["autoencoder.steps=20"] if recipe.autoencoder is not None else []
    facts = [
        f"Recipe {recipe.name}, made from {source} for the dataset {dataset.name} by acreg {acreg.__version__}.",
        f"Subjects: {subjects['train']} for training, {subjects['validation']} for validation. "
        + (f"Labels: {labels}." if _labelled(dataset) else "No labels."),
        f"Grid: {size}, {covers}.",
        "Try it first:",
    ]
    command = f"#   acreg train {recipe.name}.yaml {' '.join(short)} --out runs/{recipe.name}-trial"
    return [*(line for fact in facts for line in comment(fact)), command]
