"""Reading of TensorFlow 1 checkpoints without the TensorFlow 1 run time."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from acreg.errors import AcregError

INDEX = ".index"


def checkpoint_prefix(path: str | os.PathLike[str]) -> Path:
    """The prefix of a checkpoint: the common beginning of its files' names, by which TensorFlow addresses it.

    Args:
        path: that prefix, one of the checkpoint's files, or a folder that holds one checkpoint.

    Raises:
        AcregError: there is no checkpoint, it lacks its data file, or the folder holds several.
    """
    path = Path(path)
    if path.is_dir():
        found = sorted(path.glob(f"*{INDEX}"))
        if len(found) != 1:
            names = ", ".join(file.name.removesuffix(INDEX) for file in found[:8]) or "no file that ends in .index"
            raise AcregError(
                f"The folder of a checkpoint must hold exactly one. Received: {path} with {names}. Name the checkpoint "
                "itself, such as FOLDER/model.ckpt."
            )
        path = found[0]
    name = path.name.removesuffix(INDEX)
    prefix = path.with_name(name.split(".data-")[0])
    if not prefix.with_name(prefix.name + INDEX).is_file():
        raise AcregError(
            "A TensorFlow 1 checkpoint is a pair of files, NAME.index and NAME.data-00000-of-00001, and is given as "
            f"NAME. Received: {path}, where there is no {prefix.name}{INDEX}. Check the path."
        )
    if not any(prefix.parent.glob(f"{prefix.name}.data-*")):
        raise AcregError(
            "A TensorFlow 1 checkpoint is a pair of files, NAME.index and NAME.data-00000-of-00001. "
            f"Received: {prefix}, which has the first alone. Put the second beside it."
        )
    return prefix


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """All variables of a TensorFlow 1 checkpoint, by name.

    Args:
        path: see `checkpoint_prefix`.

    Raises:
        AcregError: there is no checkpoint at the path, it is damaged, or TensorFlow is not installed.
    """
    prefix = checkpoint_prefix(path)
    try:
        import tensorflow as tf
    except ImportError as error:
        raise AcregError(
            f"Reading a TensorFlow 1 checkpoint needs TensorFlow 2. Received: {prefix}, and {error}. "
            "Install it with `pip install tensorflow`."
        ) from error
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        return {name: reader.get_tensor(name) for name in sorted(reader.get_variable_to_shape_map())}
    except (tf.errors.OpError, RuntimeError, ValueError, LookupError) as error:
        reason = " ".join(str(error).split())[:200]
        raise AcregError(
            f"The files of a checkpoint must be whole and belong together. Received: {prefix}, which TensorFlow cannot "
            f"read ({reason}). Get both files again."
        ) from error
