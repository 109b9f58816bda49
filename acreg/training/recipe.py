"""Finding, reading, overriding and checking the YAML files of recipes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from acreg.errors import AcregError, UsageError
from acreg.io.documents import parse_yaml, read_yaml
from acreg.io.guards.text import DEPTH
from acreg.training.inheritance import inherited
from acreg.training.schema import Recipe

SUFFIXES = (".yaml", ".yml")
MOST_FILES = 32
"""Largest number of files of a recipe: files that each extend another one twice would take forever to read."""
_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
_BRANCH = re.compile(r"str|literal\[.*|.*AutoencoderSection.*")  # names that pydantic gives to the branches of a union


def shipped_recipes() -> dict[str, Path]:
    """The recipes that are shipped with acreg: their paths by name."""
    folder = Path(__file__).parent.parent / "experiments"
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
    if path.suffix in SUFFIXES:
        raise UsageError(f"A recipe is a YAML file that exists. Received: {path}. Check its name and folder.")
    raise UsageError(
        "A recipe is a YAML file or the name of a shipped recipe. "
        f"Received: {name_or_path}. {_nearest(str(name_or_path), shipped)}"
    )


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and the recipes that it extends, and change single keys.

    If the training starts from a preset (`start.from`), class and arguments of the model, grid and preprocessing are
    those of the preset, where neither the recipe nor an override says otherwise. `name` and `description` are those of
    the file itself, not of those that it extends.

    Arguments:
        name_or_path: a YAML file, or the name of a shipped recipe.
        overrides: `key.sub=value`; the value is read as YAML, and null resets the key to its default.

    Raises:
        UsageError: the file does not exist or is not valid YAML, a key is unknown, or a value is invalid, which the
            message names; or the recipe contradicts the preset.
        AcregError: a file of the preset is damaged.
    """
    path = find_recipe(name_or_path)
    changes = [_parse_override(override) for override in overrides]
    changed: dict[str, Any] = {}
    for change in changes:
        changed = _merge(changed, change)
    values = inherited(_read(path, (), []), changed)
    for change in changes:
        values = _lay_over(values, change)
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
        UsageError: the name is unknown; the message suggests the closest one.
    """
    from acreg.models.arguments import check_arguments, constructor_types
    from acreg.training.build import FILLED_IN, model_classes

    classes = model_classes()
    name = recipe.model.class_name
    if name not in classes:
        raise UsageError(
            f"model.class must be a model of acreg, or one that an imported package registers with Keras "
            f"('mypackage>MyNet'). Received: model.class={name}. {_nearest(name, classes)}"
        )
    known = constructor_types(classes[name])
    for key in recipe.model.arguments:
        if key in FILLED_IN:
            raise UsageError(
                f"model.arguments.{key} follows from the recipe's other sections (data, autoencoder, seed) and cannot "
                f"be set. Received: {key}={recipe.model.arguments[key]}. Leave it out."
                + (" The rank is the number of sizes in data.shape." if key == "rank" else "")
            )
        if key not in known:
            raise UsageError(
                f"model.arguments holds arguments of {name}. Received: {key}. {_nearest(key, set(known) - FILLED_IN)}"
            )
    try:
        check_arguments(classes[name], recipe.model.arguments)
    except ValueError as error:
        raise UsageError(
            f"model.arguments holds arguments of {name}, each of its kind and size. Received: {error}. Correct it."
        ) from error


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


def _read(path: Path, seen: tuple[Path, ...], files: list[Path]) -> dict[str, Any]:
    """The values of a file merged over those of the files that it extends; `files` are those read so far."""
    files.append(path)
    if len(files) > MOST_FILES:
        raise UsageError(f"A recipe is made of at most {MOST_FILES} files. Received: {files[0]}, which extends more.")
    if path.resolve() in seen:
        raise UsageError(f"A recipe must not extend itself. Received: {path}. Remove one `extends`.")
    values = _parsed(read_yaml, path, "recipe")
    if not isinstance(values, dict):
        raise UsageError(
            f"A recipe must hold keys and values. Received: {path} with {type(values).__name__} at its top. "
            "See experiments/acregnet for examples."
        )
    values = _numbers(values)
    parents = values.pop("extends", [])
    parents = [parents] if isinstance(parents, str) else parents
    if not isinstance(parents, list) or not all(isinstance(parent, str) for parent in parents):
        raise UsageError(
            f"`extends` must be a file name or a list of them; the name of a shipped recipe will do, too. Received: "
            f"{parents} in {path}."
        )
    _check_keys(values, Recipe, f"in {path}")
    merged: dict[str, Any] = {}
    for parent in parents:
        merged = _lay_over(merged, _read(_extended(parent, path), (*seen, path.resolve()), files))
    for key in ("name", "description"):  # of the file that was extended
        merged.pop(key, None)
    return _lay_over(merged, values)


def _extended(parent: str, path: Path) -> Path:
    """The file that the recipe `path` extends: one relative to its folder, or a shipped recipe."""
    file = path.parent / parent
    if file.suffix.lower() in SUFFIXES and file.is_file():
        return file
    shipped = shipped_recipes()
    if parent not in shipped:
        raise UsageError(
            f"`extends` must name a file ({' or '.join(SUFFIXES)}), relative to the recipe's folder, or a shipped "
            f"recipe. Received: {parent[:200]} in {path}. {_nearest(parent[:200], shipped)}"
        )
    return shipped[parent]


def _lay_over(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """A recipe merged over another one, without the description of that one, which need not hold for other data."""
    merged = _merge(base, over)
    before, after = (_dataset(values) for values in (base, merged))
    if before is not None and before != after and "description" not in over:
        merged.pop("description", None)
    return merged


def _dataset(values: Mapping[str, Any]) -> Any:
    data = values.get("data")
    return data.get("dataset") if isinstance(data, Mapping) else None


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` merged over `base`: mappings are merged, other values replaced."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            result[key] = _merge(below, value)
        else:
            result[key] = value
    return result


def _without_nulls(values: Mapping[str, Any]) -> dict[str, Any]:
    """Remove keys that are null, so that they have their defaults."""
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
    if len(parts) > DEPTH:
        raise UsageError(f"A recipe is at most {DEPTH} sections deep. Received: a key of {len(parts)} parts.")
    parsed = _numbers(_parsed(parse_yaml, value, f"value of {key[:100]}"))
    for part in reversed(parts):
        parsed = {part: parsed}
    _check_keys(parsed, Recipe, "on the command line")
    return parsed


def _parsed(parse: Callable[[Any, str], Any], *arguments: Any) -> Any:
    """Report errors in a recipe as wrong use."""
    try:
        return parse(*arguments)
    except AcregError as error:
        raise UsageError(str(error)) from error


def _numbers(value: Any) -> Any:
    """Convert texts such as 1e-3, which YAML 1.1 reads as text, to numbers."""
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
        shown = "" if isinstance(item["input"], dict) else f"={' '.join(str(item['input']).split())[:200]}"
        if item["type"] == "string_type" and place == "autoencoder":
            continue  # the other branch of the union reports the error
        found.append(f"{place}{shown}: {message}")
    return "; ".join(found)
