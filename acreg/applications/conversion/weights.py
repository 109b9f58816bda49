"""Functions that the conversions of other programs' models share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from acreg.errors import AcregError
from acreg.names import some

if TYPE_CHECKING:
    import keras

    from acreg.models import LabelAutoencoder, RegistrationModel


@dataclass(frozen=True)
class Converted:
    """A preset made from another program's weights.

    Attributes:
        folder: folder of the preset.
        model: the model with those weights.
        variables: number of variables in the file, all of which were used.
        published: whether these are weights that the authors of a paper published, as far as acreg can tell.
    """

    folder: Path
    model: RegistrationModel | LabelAutoencoder
    variables: int
    published: bool


def assign(
    variables: Mapping[str, np.ndarray],
    assignments: Mapping[str, keras.Variable],
    source: str | os.PathLike[str],
    advice: str,
) -> None:
    """Assign each of our variables its value; every variable of the source is used exactly once.

    Args:
        variables: the source's, by their names there.
        assignments: the same name -> our variable.
        source: name of the source, for the error.
        advice: last sentence of the error, which says what to give instead.

    Raises:
        AcregError: a variable is missing, left over, of another shape, or not finite.
    """
    both = [name for name in assignments if name in variables]
    problems = {
        "missing": [name for name in assignments if name not in variables],
        "not of this network": [name for name in variables if name not in assignments],
        "of another shape": [
            f"{name} {variables[name].shape} instead of {tuple(assignments[name].shape)}"
            for name in both
            if variables[name].shape != tuple(assignments[name].shape)
        ],
        "not finite": [name for name in both if not np.isfinite(variables[name]).all()],
    }
    found = "; ".join(f"{len(names)} {problem} ({some(names, 3)})" for problem, names in problems.items() if names)
    if found:
        raise AcregError(
            f"Weights must be the network's {len(assignments)} variables and no others. "
            f"Received: {source}, where of its {len(variables)} variables and those needed, {found}. {advice}"
        )
    for name, variable in assignments.items():
        variable.assign(variables[name])
