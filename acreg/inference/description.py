"""What an exported network says about itself, in the metadata of its file."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from acreg.errors import AcregError
from acreg.io import Preprocessing
from acreg.io.preset_config import faults

KEY = "acreg"
"""The key of the metadata under which the description stands, as JSON."""


class StoredWeight(BaseModel):
    """A constant of the network that is not in its file, but in the weights of the preset.

    Args:
        name: of the constant.
        path: of the array in ``model.weights.h5``.
        axes: the order of that array's axes.
        shape: of the constant.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    name: str = Field(max_length=500)
    path: str = Field(max_length=500)
    axes: list[int]
    shape: list[int]


class NetworkDescription(BaseModel):
    """What acreg must know of an exported network.

    Args:
        format: of the description.
        acreg: the version that wrote it.
        class_name: the model's class.
        rank, channels: of its images.
        multiple, integration_steps: see `acreg.inference.registering.Network`.
        sizes: its spatial sizes; None if they are free.
        memory: bytes that one pair needs on the preset's grid.
        preprocessing: how images become its input.
        weights_sha256: of the preset's ``model.weights.h5``.
        config_sha256: of the arguments of the model, which the network has as constants and structure; None in a
            network that an acreg before this check exported.
        stored: the constants that are taken from there.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", populate_by_name=True)

    format: Literal[1] = 1
    acreg: str = Field(max_length=100)
    class_name: str = Field(alias="class", max_length=100)
    rank: int = Field(ge=2, le=3)
    channels: int = Field(ge=1, le=1000)
    multiple: int = Field(ge=1, le=2**16)
    integration_steps: int = Field(ge=0, le=32)
    sizes: list[int] | None = None
    memory: int = Field(ge=0)
    preprocessing: Preprocessing
    weights_sha256: str | None = None
    config_sha256: str | None = None
    stored: list[StoredWeight] = []

    @classmethod
    def read(cls, text: str | None, source: str) -> NetworkDescription:
        """The description in the metadata of a file.

        Raises:
            AcregError: there is none, or it is not valid.
        """
        if text is None:
            raise AcregError(
                f"A network that acreg runs was written by `acreg export`, which describes it in its metadata. "
                f"Received: {source}, which has no such description. Export the network again."
            )
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise AcregError(
                f"The metadata of an exported network describe it. Received: {source} with {faults(error)}. Export the "
                "network again, with this version of acreg."
            ) from error
