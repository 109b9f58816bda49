"""The ``config.json`` of a preset: the class of the model, its arguments, and the checksum of its weights."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from acreg.errors import AcregError
from acreg.io.documents import read_json
from acreg.io.guards.text import check_regular

FORMAT = 1
CONFIG_LIMIT = 2**20
WEIGHTS_LIMIT = 2**32
"""Largest size of a file of weights in bytes, 4 GiB."""
AGAIN = "Get the whole folder again."


class PresetConfig(BaseModel):
    """Attributes:
    format: version of the preset format; `FORMAT`.
    acreg: the version that wrote it.
    class_name: the model, a class of `acreg.models`.
    config: its arguments.
    weights_sha256: of ``model.weights.h5``; None in presets that an acreg before 0.2 wrote.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", populate_by_name=True)

    format: int
    acreg: str = Field(default="?", max_length=100)
    class_name: str = Field(alias="class", max_length=100)
    config: dict[str, Any]
    weights_sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")

    @property
    def config_sha256(self) -> str:
        """A digest of the model's arguments, whatever their order and layout in the file."""
        return hashlib.sha256(json.dumps(self.config, sort_keys=True).encode()).hexdigest()


def read_preset_config(folder: Path) -> PresetConfig:
    """The checked ``config.json`` of a preset's folder.

    Raises:
        AcregError: the file is missing or invalid.
    """
    path = folder / "config.json"
    if not path.exists():
        raise AcregError(
            f"A preset folder must hold config.json. Received: {folder}, which has none. Give the folder that "
            "`save_preset` or `acreg train` wrote (in a run it is called 'preset')."
        )
    content = read_json(path, "preset's config.json", CONFIG_LIMIT)
    if not isinstance(content, dict) or not {"format", "class", "config"} <= set(content):
        raise AcregError(
            f"A preset's config.json must have the keys format, class and config. Received: {path}. {AGAIN}"
        )
    if content["format"] != FORMAT:
        raise AcregError(
            f"This acreg reads presets of format {FORMAT}. Received: {path} of format {str(content['format'])[:20]}, "
            f"written by acreg {str(content.get('acreg', '?'))[:20]}. Install that version or a later one."
        )
    try:
        return PresetConfig.model_validate(content)
    except ValidationError as error:
        raise AcregError(
            f"A preset's config.json must hold its class by name and the arguments of its class. Received: {path} with "
            f"{faults(error)}. {AGAIN}"
        ) from error


def faults(error: ValidationError) -> str:
    """The findings of pydantic: the key, the value if it is short, and the requirement."""
    found = []
    for item in error.errors()[:5]:
        value = repr(item["input"])
        shown = f"={value}" if len(value) <= 60 and not isinstance(item["input"], dict) else ""
        found.append(
            f"{'.'.join(str(part) for part in item['loc'])}{shown}: {item['msg'].removeprefix('Value error, ')}"
        )
    return "; ".join(found)


def check_weights_file(folder: Path, checksum: str | None) -> Path:
    """The file of the weights of a preset, after a check of its checksum, if that is known.

    Raises:
        AcregError: not a regular file, too large, or not the file that was saved.
    """
    path = folder / "model.weights.h5"
    if not path.exists():
        raise AcregError(f"A preset folder must hold model.weights.h5. Received: {folder}, which has none. {AGAIN}")
    check_regular(path, WEIGHTS_LIMIT, "preset's model.weights.h5")
    if checksum is not None and sha256_of(path) != checksum:
        raise AcregError(
            f"The weights of a preset must be those of its config.json, whose weights_sha256 they have. Received: "
            f"{path}, which is damaged or of another preset. {AGAIN[:-1]}; files of two presets cannot be mixed."
        )
    return path


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
