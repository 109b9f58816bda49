"""Checkpoints: one file with everything that is needed to continue training as if it had never stopped."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import keras
import numpy as np
from pydantic import TypeAdapter

from acreg.errors import AcregError
from acreg.io import atomic_path
from acreg.io.guards.text import check_regular
from acreg.io.preset_config import WEIGHTS_LIMIT

KEPT = 2


@dataclass
class State:
    """The state of a stage of training, apart from its variables.

    Attributes:
        epoch: number of complete epochs.
        best: the best value of the monitored number so far, None before the first.
        best_epoch: the epoch (from 1) that reached it.
        waited: number of epochs since then.
        finished: whether the stage is finished: all epochs are complete, or it stopped early.
        history: one row per epoch, as in the metrics CSV.
        data: digest of the training and validation arrays.
    """

    epoch: int = 0
    best: float | None = None
    best_epoch: int = 0
    waited: int = 0
    finished: bool = False
    history: list[dict[str, int | float]] = field(default_factory=list)  # integers are restored as integers
    data: str = ""


def save_checkpoint(folder: Path, stage: str, model: keras.Model, state: State) -> Path:
    """Write `<stage>-<epoch>.npz` completely or not at all, and remove all but the last two checkpoints of the stage.

    It contains the variables of the model (weights, batch-norm statistics and the state of every seed generator, which
    `save_weights` of Keras leaves out), the variables of the optimiser, and `state`.

    Raises:
        AcregError: the file could not be written, for example on a full disk; older checkpoints are intact.
    """
    arrays = {f"model/{i:04d}": np.asarray(v) for i, v in enumerate(_values(model.variables))}
    arrays |= {f"optimizer/{i:04d}": np.asarray(v) for i, v in enumerate(_values(model.optimizer.variables))}
    arrays["state"] = np.frombuffer(json.dumps(asdict(state)).encode(), np.uint8)
    path = folder / f"{stage}-{state.epoch:06d}.npz"
    try:
        with atomic_path(path) as temporary:
            np.savez(temporary, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise AcregError(
            f"A checkpoint must be written after each epoch. Received: {path}: {error.strerror or error}. The older "
            "checkpoints are intact: free some space (or mend the permission) and continue with --resume."
        ) from error
    for old in _files(folder, stage)[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def load_checkpoint(folder: Path, stage: str) -> tuple[State, dict[str, np.ndarray]] | None:
    """State and arrays of the stage's newest readable checkpoint; None if there is none.

    Raises:
        AcregError: there are checkpoints, but none can be read.
    """
    files = _files(folder, stage)
    for path in reversed(files):
        try:
            arrays = _read(path)
            return TypeAdapter(State).validate_json(arrays.pop("state").tobytes(), strict=True), arrays
        except Exception:  # a damaged archive raises zlib.error, NotImplementedError, MemoryError and other errors
            continue
    if files:
        raise AcregError(
            f"A checkpoint must be readable. Received: {', '.join(map(str, files))}, all damaged. "
            "Train again, into a new folder."
        )
    return None


def _read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file that `save_checkpoint` wrote: uncompressed, and none larger than the file."""
    size = check_regular(path, WEIGHTS_LIMIT * 4, "checkpoint").stat().st_size
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(m.compress_type != zipfile.ZIP_STORED for m in members) or sum(m.file_size for m in members) > size:
            raise ValueError("the arrays of a checkpoint are not compressed")
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def restore(model: keras.Model, arrays: dict[str, np.ndarray], optimizer: bool = True) -> None:
    """Load the arrays of a checkpoint into a compiled model and, if `optimizer` is true, into its optimiser.

    Raises:
        AcregError: the checkpoint belongs to another model.
    """
    groups = {"model": model.variables}
    if optimizer:
        model.optimizer.build(model.trainable_variables)
        groups["optimizer"] = model.optimizer.variables
    for group, variables in groups.items():
        stored = [arrays[name] for name in sorted(arrays) if name.startswith(f"{group}/")]
        shapes = [tuple(v.shape) for v in variables]
        if [a.shape for a in stored] != shapes:
            raise AcregError(
                f"A checkpoint must fit the {group} that the recipe describes. Received: {len(stored)} arrays for "
                f"{len(shapes)} variables of other shapes. It was written by another version: train into a new folder."
            )
        for variable, value in zip(variables, stored, strict=True):
            variable.assign(value)


def _values(variables: Sequence[keras.Variable]) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def _files(folder: Path, stage: str) -> list[Path]:
    pattern = re.compile(rf"{re.escape(stage)}-\d{{6}}\.npz")
    return sorted(path for path in folder.glob(f"{stage}-*.npz") if pattern.fullmatch(path.name))
