"""What a training is: the schema of a recipe, and how its YAML file is found, read, overridden and checked."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from acreg.data.augmentation import Augmentation
from acreg.errors import UsageError
from acreg.io.preprocessing import Centre, Intensity

_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
Split = Literal["train", "validation", "test"]
_BRANCH = re.compile(r"str|.*AutoencoderSection.*")  # what pydantic calls the branches of a union


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class _Schedule(_Section):
    """Steps are counted in epochs of `steps_per_epoch`; an epoch ends with a validation and a checkpoint."""

    steps: int = Field(ge=1)
    steps_per_epoch: int = Field(100, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _short_run_is_one_epoch(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("steps"), int):
            per_epoch = values.get("steps_per_epoch", cls.model_fields["steps_per_epoch"].default)
            if isinstance(per_epoch, int) and 1 <= values["steps"] < per_epoch:
                return {**values, "steps_per_epoch": values["steps"]}
        return values

    @model_validator(mode="after")
    def _epochs_are_whole(self) -> _Schedule:
        if self.steps % self.steps_per_epoch:
            raise ValueError(f"steps ({self.steps}) must be a multiple of steps_per_epoch ({self.steps_per_epoch})")
        return self

    @property
    def epochs(self) -> int:
        """Number of epochs."""
        return self.steps // self.steps_per_epoch


class DataSection(_Section):
    """What is trained on.

    Arguments:
        dataset: the name or folder of a prepared dataset.
        shape: the network's grid, array-axis order.
        spacing, centre, trim, window, intensity: see `acreg.io.Preprocessing`.
        train_splits: the splits that training pairs are drawn from.
        validation_split: the split that decides which weights are kept; "none" keeps the last ones.
        validation_pairs: how many fixed pairs of it are registered after each epoch.
        augmentation: see `acreg.data.Augmentation`.
    """

    dataset: str
    shape: tuple[int, ...] = (64, 64)
    spacing: tuple[float, ...] | None = None
    centre: Centre = "extent"
    trim: bool = True
    window: tuple[float, float] | None = None
    intensity: Intensity = "minmax"
    train_splits: list[Split] = Field(["train"], min_length=1)
    validation_split: Split | Literal["none"] = "validation"
    validation_pairs: int = Field(50, ge=1)
    augmentation: Augmentation = Field(default_factory=Augmentation)

    @model_validator(mode="after")
    def _shape_is_a_size(self) -> DataSection:
        if len(self.shape) not in (2, 3) or min(self.shape) < 8:
            raise ValueError(f"shape must be 2 or 3 sizes of at least 8, not {list(self.shape)}")
        return self


class AutoencoderSection(_Schedule):
    """How the label autoencoder of the anatomical prior is trained, before the network.

    Arguments:
        noise: "pair_swap" (columns 2k and 2k+1 of a row change places) or "border" (a pixel takes its left
            neighbour's label).
        noise_probability: of each such change.
        augmentation: only the geometric parts have an effect on labels.
    """

    batch_size: int = Field(16, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    noise: Literal["pair_swap", "border"] = "pair_swap"
    noise_probability: float = Field(0.1, ge=0, le=1)
    code_size: int = Field(32, ge=1)
    augmentation: Augmentation = Field(default_factory=Augmentation)


class ModelSection(_Section):
    """The network: a class of `acreg.models` and its own arguments; what follows from the data is filled in."""

    class_name: str = Field("ACRegNet", alias="class")
    arguments: dict[str, Any] = Field(default_factory=dict)


class StartSection(_Section):
    """Where the network's weights come from, and which of them are kept.

    Arguments:
        source (`from` in the file): a preset, a `.keras` or a `.weights.h5` file, of a network with the same widths.
        freeze: parts of the network that are not trained, such as "encoder"; see `acreg.models.RegistrationModel`.
        freeze_steps: after so many steps all of it is trained, with a new optimiser; null for never. Two steps, as in
            DDMR's transfer learning.
    """

    source: str = Field(alias="from")
    freeze: list[str] = Field(default_factory=list)
    freeze_steps: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _steps_need_parts(self) -> StartSection:
        if self.freeze_steps and not self.freeze:
            raise ValueError("freeze_steps needs the parts to freeze, such as freeze: [encoder]")
        return self


class OptimizerSection(_Section):
    """The optimiser and how its learning rate changes.

    Arguments:
        schedule: "constant"; "cosine" down to `final_fraction` of the learning rate; or "plateau", which multiplies it
            by `plateau_factor` when `training.monitor` was not better for `plateau_patience` epochs, and again after
            as many.
        warmup_steps: steps in which the learning rate rises from 0; 0 for none.
        clipnorm: largest norm of each variable's gradient; null for no limit.
        gradient_accumulation_steps: batches whose gradients are averaged for one change of the weights; null for one.
    """

    name: Literal["adam", "adamw"] = "adam"
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float | None = Field(None, ge=0)
    schedule: Literal["constant", "cosine", "plateau"] = "constant"
    warmup_steps: int = Field(0, ge=0)
    final_fraction: float = Field(0.01, ge=0, le=1)
    plateau_factor: float = Field(0.1, gt=0, lt=1)
    plateau_patience: int = Field(10, ge=1)
    clipnorm: float | None = Field(None, gt=0)
    gradient_accumulation_steps: int | None = Field(None, ge=2)

    @model_validator(mode="after")
    def _plateau_has_no_warmup(self) -> OptimizerSection:
        if self.schedule == "plateau" and self.warmup_steps:
            raise ValueError(f"warmup_steps must be 0 with schedule plateau, not {self.warmup_steps}")
        return self


class TrainingSection(_Schedule):
    """How long the network is trained.

    Arguments:
        early_stopping_patience: epochs without a better `monitor` after which training ends; null for never.
        monitor: the logged number whose best epoch becomes the preset.
        mode: whether a larger or a smaller `monitor` is better.
        mixed_precision: a Keras policy such as "mixed_float16"; null for float32.
        jit_compile: "auto" compiles the step with XLA on a GPU only.
    """

    batch_size: int = Field(32, ge=1)
    early_stopping_patience: int | None = Field(None, ge=1)
    monitor: str = "val_dice"
    mode: Literal["max", "min"] = "max"
    mixed_precision: Literal["mixed_float16", "mixed_bfloat16"] | None = None
    jit_compile: bool | Literal["auto"] = "auto"


class Recipe(_Section):
    """A whole training: data, label autoencoder (null, a preset to reuse, or how to train it), network, start (null for
    random weights), optimiser."""

    name: str
    description: str = ""
    seed: int = Field(0, ge=0, lt=2**31)
    data: DataSection
    autoencoder: AutoencoderSection | str | None = None
    model: ModelSection = Field(default_factory=ModelSection)
    start: StartSection | None = None
    optimizer: OptimizerSection = Field(default_factory=OptimizerSection)
    training: TrainingSection

    @model_validator(mode="after")
    def _sections_agree(self) -> Recipe:
        if self.optimizer.schedule == "plateau" and self.data.validation_split == "none":
            raise ValueError("optimizer.schedule plateau needs a validation split (data.validation_split)")
        frozen = None if self.start is None else self.start.freeze_steps
        if frozen and (frozen % self.training.steps_per_epoch or frozen >= self.training.steps):
            raise ValueError(
                f"start.freeze_steps ({frozen}) must be a multiple of training.steps_per_epoch "
                f"({self.training.steps_per_epoch}) and fewer than training.steps ({self.training.steps})"
            )
        return self

    def resolved(self) -> dict[str, Any]:
        """Every key with its value, as plain YAML types."""
        return self.model_dump(mode="json", by_alias=True)

    def to_yaml(self) -> str:
        """The resolved recipe as YAML text."""
        return yaml.safe_dump(self.resolved(), sort_keys=False, allow_unicode=True)


def shipped_recipes() -> dict[str, Path]:
    """The recipes that come with acreg: their paths by name."""
    folder = Path(__file__).parent
    return {path.stem: path for path in sorted(folder.glob("*/*.yaml"))}


def find_recipe(name_or_path: str | Path) -> Path:
    """The file of a recipe, given as a path or as the name of a shipped one.

    Raises:
        UsageError: neither exists.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    shipped = shipped_recipes()
    if str(name_or_path) in shipped:
        return shipped[str(name_or_path)]
    raise UsageError(
        "A recipe is a YAML file or the name of a shipped recipe. "
        f"Received: {name_or_path}. {_nearest(str(name_or_path), shipped)}"
    )


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe, with what it extends, and change single keys of it.

    Arguments:
        name_or_path: a YAML file, or the name of a shipped recipe.
        overrides: `key.sub=value`; the value is read as YAML, and null puts the key back to its default.

    Raises:
        UsageError: no such file, no legal YAML, an unknown key, or a value that does not fit. The message
            names the key.
    """
    path = find_recipe(name_or_path)
    values = _read(path, ())
    for override in overrides:
        values = _merge(values, _parse_override(override))
    values.setdefault("name", path.stem)
    try:
        recipe = Recipe.model_validate(_without_nulls(values))
    except ValidationError as error:
        raise UsageError(
            f"The values of a recipe must fit its schema. Received: {_describe(error)} (recipe {path.name}). "
            "Correct these keys in the file or on the command line."
        ) from error
    check_model_arguments(recipe)
    return recipe


def check_model_arguments(recipe: Recipe) -> None:
    """Refuse a model class that does not exist and arguments that its constructor does not have.

    Raises:
        UsageError: with the nearest name.
    """
    from acreg.experiments.build import FILLED_IN, constructor_arguments, model_classes

    classes = model_classes()
    name = recipe.model.class_name
    if name not in classes:
        raise UsageError(
            f"model.class must be a model of acreg. Received: model.class={name}. {_nearest(name, classes)}"
        )
    known = constructor_arguments(classes[name])
    for key in recipe.model.arguments:
        if key in FILLED_IN:
            raise UsageError(
                f"model.arguments.{key} follows from the recipe's other sections (data, autoencoder, seed) and cannot "
                f"be set. Received: {key}={recipe.model.arguments[key]}. Leave it out."
            )
        if known is not None and key not in known:
            raise UsageError(
                f"model.arguments holds arguments of {name}. Received: {key}. {_nearest(key, set(known) - FILLED_IN)}"
            )


def changed_keys(one: Mapping[str, Any], other: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The dotted keys whose values differ between two resolved recipes."""
    changed = []
    for key in sorted({*one, *other}):
        first, second = one.get(key), other.get(key)
        if isinstance(first, dict) and isinstance(second, dict):
            changed += changed_keys(first, second, f"{prefix}{key}.")
        elif first != second:
            changed.append(f"{prefix}{key}")
    return changed


def _read(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    """The values of a file laid over those of the files that it extends."""
    if path.resolve() in seen:
        raise UsageError(f"A recipe must not extend itself. Received: {path}. Remove one `extends`.")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(
            f"A recipe must be legal YAML. Received: {path}: {' '.join(str(error).split())}. Correct the file."
        ) from error
    if not isinstance(values, dict):
        raise UsageError(
            f"A recipe must hold keys and values. Received: {path} with {type(values).__name__} at its top. "
            "See experiments/acregnet for examples."
        )
    values = _numbers(values)
    parents = values.pop("extends", [])
    parents = [parents] if isinstance(parents, str) else parents
    if not isinstance(parents, list) or not all(isinstance(parent, str) for parent in parents):
        raise UsageError(f"`extends` must be a file name or a list of them. Received: {parents} in {path}.")
    _check_keys(values, Recipe, f"in {path}")
    merged: dict[str, Any] = {}
    for parent in parents:
        file = path.parent / parent
        if not file.is_file():
            raise UsageError(f"`extends` must name a file beside the recipe. Received: {parent} in {path}.")
        merged = _merge(merged, _read(file, (*seen, path.resolve())))
    return _merge(merged, values)


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid on `base`: mappings are merged, other values replaced."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            result[key] = _merge(below, value)
        else:
            result[key] = value
    return result


def _without_nulls(values: Mapping[str, Any]) -> dict[str, Any]:
    """A key that is null is one that was taken out again: it has its default."""
    return {
        key: _without_nulls(value) if isinstance(value, Mapping) else value
        for key, value in values.items()
        if value is not None
    }


def _parse_override(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    parts = key.split(".")
    if not equals or not all(parts):
        raise UsageError(f"An override has the form key=value, such as training.steps=1000. Received: {text}.")
    try:
        parsed = _numbers(yaml.safe_load(value))
    except yaml.YAMLError as error:
        raise UsageError(f"The value of an override must be legal YAML. Received: {text}. Quote it.") from error
    for part in reversed(parts):
        parsed = {part: parsed}
    _check_keys(parsed, Recipe, "on the command line")
    return parsed


def _numbers(value: Any) -> Any:
    """YAML 1.1 reads 1e-3 as text, everybody else as a number."""
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    return float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value) else value


def _sections(annotation: Any) -> list[type[BaseModel]]:
    """The sections (pydantic models) that a field may hold."""
    options = [annotation, *getattr(annotation, "__args__", ())]
    return [option for option in options if isinstance(option, type) and issubclass(option, BaseModel)]


def _check_keys(values: Mapping[str, Any], section: type[BaseModel], where: str, prefix: str = "") -> None:
    fields = {field.alias or name: field for name, field in section.model_fields.items()}
    for key, value in values.items():
        if key not in fields:
            raise UsageError(
                f"A recipe has fixed keys. Received: {prefix}{key} {where}. {_nearest(str(key), fields, prefix)}"
            )
        for inner in _sections(fields[key].annotation) if isinstance(value, dict) else ():
            _check_keys(value, inner, where, f"{prefix}{key}.")


def _nearest(word: str, known: Iterable[str], prefix: str = "") -> str:
    """`Did you mean x? Known: ...`"""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return (f"Did you mean {prefix}{close[0]}? " if close else "") + f"Known: {', '.join(names)}."


def _describe(error: ValidationError) -> str:
    found = []
    for item in error.errors():
        place = ".".join(str(part) for part in item["loc"] if not _BRANCH.fullmatch(str(part)))
        message = item["msg"].removeprefix("Value error, ")
        shown = "" if isinstance(item["input"], dict) else f"={item['input']}"
        if item["type"] == "string_type" and place == "autoencoder":
            continue  # the other branch of the union says what is wrong
        found.append(f"{place}{shown}: {message}")
    return "; ".join(found)
