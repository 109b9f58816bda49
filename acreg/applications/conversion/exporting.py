"""Export of trained networks: ONNX, and the saved model of TensorFlow."""

from __future__ import annotations

import importlib.util
import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from acreg import __version__
from acreg.applications.conversion import onnx_graph
from acreg.applications.verification.presets import made_pair
from acreg.errors import AcregError, UsageError
from acreg.inference import preset_folder
from acreg.inference.description import KEY, NetworkDescription, StoredWeight
from acreg.inference.onnx_network import FILE, OnnxNetwork
from acreg.io import all_or_none, atomic_path, check_free
from acreg.io.preset_config import read_preset_config

if TYPE_CHECKING:
    import onnx

    from acreg.models import RegistrationModel

OPSET = 18
TOLERANCE = 1e-4
"""The largest difference from Keras, in voxels, with which a network is written."""
WEIGHTS = "model.weights.h5"
CONVENTIONS = (
    "Inputs: fixed and moving, float32 (batch, *spatial, channels), axes in the order z, y, x (2-D: y, x), "
    "preprocessed as 'preprocessing' says. Outputs: displacement u on the grid of the inputs, (batch, *spatial, rank) "
    "in voxels, component d along axis d: the point p of the fixed image lies at p + u(p) in the moving image; or "
    "velocity, stationary, in voxels of its own grid over the same extent, whose exponential is such a displacement "
    "(scaling and squaring, 'integration_steps' squarings); affine, (batch, rank, rank + 1) in voxels, is applied to a "
    "point after the field; activation above threshold is the mask of the fixed image."
)


@dataclass(frozen=True)
class Exported:
    """An exported network.

    Args:
        path: the file or folder.
        apart: the largest difference from Keras, in voxels, on random and on made images; None for a saved model.
        size: bytes.
    """

    path: Path
    apart: float | None
    size: int


def export(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    format: Literal["onnx", "saved_model"] = "onnx",
    size: Literal["free", "fixed"] = "free",
    overwrite: bool = False,
) -> Exported:
    """Write the network of a preset for use without Keras.

    The network ends at the field that `register` uses. Its metadata hold the preprocessing and the conventions. A
    network in ONNX is compared with Keras before it is written. In the folder of the preset, as ``network.onnx``, it
    takes its weights from ``model.weights.h5``, and acreg uses it by itself.

    Args:
        model: a preset, by name or folder.
        out: the file of a network in ONNX, or the folder of a saved model.
        format: "onnx", which needs the extra ``export``, or "saved_model" for TensorFlow Serving.
        size: "free", or "fixed" to the preset's grid. The number of pairs is always free.
        overwrite: replace what is there.

    Raises:
        UsageError: there is no such preset, it does not register, or it takes a mask beside the images.
        AcregError: the backend of Keras is not TensorFlow, tf2onnx is not installed, the preset cannot be loaded,
            something is there already, or the network differs from Keras.
    """
    import keras

    from acreg.models import RegistrationModel, from_preset

    folder, path = preset_folder(model), Path(out)
    if keras.backend.backend() != "tensorflow":
        raise AcregError(
            "A network is exported by TensorFlow. Received: the Keras backend "
            f"{keras.backend.backend()}. Unset KERAS_BACKEND; the preset is the same for every backend."
        )
    if format == "onnx" and importlib.util.find_spec("tf2onnx") is None:
        raise AcregError(
            "An export to ONNX needs tf2onnx. Received: an installation without it. Install it with "
            "`pip install 'acreg[export]'`."
        )
    check_free(path.parent, [path.name], overwrite)
    loaded = from_preset(folder)
    if not isinstance(loaded, RegistrationModel):
        raise UsageError(
            f"Networks that register are exported. Received: {model}, a {type(loaded).__name__}. Give the preset of a "
            "registration network."
        )
    if getattr(loaded, "takes_mask", False):
        raise UsageError(
            f"Networks that take two images are exported. Received: {model}, which also takes the mask of the fixed "
            "image (`takes_mask`). Train it without, or use the engine keras."
        )
    if format == "saved_model":
        return _saved_model(loaded, path, size)
    proto = _onnx(loaded, size)
    shared = path.resolve() == (folder / FILE).resolve()
    _describe(proto, loaded, folder, size, _share_weights(proto, folder / WEIGHTS) if shared else [])
    with atomic_path(path) as staged:
        staged.write_bytes(proto.SerializeToString())
        apart = _difference(loaded, OnnxNetwork(staged, folder / WEIGHTS))
        if apart > TOLERANCE:
            raise AcregError(
                f"An exported network gives what Keras gives, to {TOLERANCE:g} voxels. Received: {model}, which "
                f"differs by {apart:.2g}. Please report it; use the engine keras."
            )
    return Exported(path, apart, path.stat().st_size)


def _function(model: RegistrationModel, size: str) -> tuple[Any, list[Any]]:
    """The prediction of a model as a function of TensorFlow, and the kind of its inputs."""
    import tensorflow as tf

    from acreg.layers.compiled import not_compiled
    from acreg.layers.warping import no_gradients

    preprocessing = model.preprocessing
    assert preprocessing is not None  # a preset has one
    sizes = preprocessing.shape if size == "fixed" else (None,) * model.rank
    kinds = [tf.TensorSpec((None, *sizes, model.channels), tf.float32, name=name) for name in ("fixed", "moving")]

    def predict(fixed: Any, moving: Any) -> dict[str, Any]:
        with no_gradients(), not_compiled():
            found = model.predict_field({"fixed": fixed, "moving": moving})
        wanted = ("velocity",) if model.integration_steps else ("displacement",)
        mask = ("activation", "threshold") if "threshold" in found else ()
        return {name: found[name] for name in (*wanted, "affine", *mask) if name in found}

    return tf.function(predict, input_signature=kinds, autograph=False), kinds


def _onnx(model: RegistrationModel, size: str) -> onnx.ModelProto:
    """The network as ONNX."""
    import tf2onnx

    function, kinds = _function(model, size)
    proto: onnx.ModelProto = tf2onnx.convert.from_function(function, input_signature=kinds, opset=OPSET)[0]
    proto = onnx_graph.optimised(proto)
    onnx_graph.split_convolutions(proto.graph)
    onnx_graph.rename(proto.graph)
    return proto


def _describe(
    proto: onnx.ModelProto, model: RegistrationModel, folder: Path, size: str, stored: list[StoredWeight]
) -> None:
    """Write into the metadata what the network is."""
    assert model.preprocessing is not None
    shape = model.preprocessing.shape
    config = read_preset_config(folder)
    description = NetworkDescription(
        acreg=__version__,
        class_name=config.class_name,
        rank=model.rank,
        channels=model.channels,
        multiple=model.multiple,
        integration_steps=model.integration_steps,
        sizes=list(shape) if size == "fixed" else None,
        memory=model.estimate_memory(shape),
        preprocessing=model.preprocessing,
        weights_sha256=config.weights_sha256,
        config_sha256=config.config_sha256,
        stored=stored,
    )
    del proto.metadata_props[:]
    for key, value in ((KEY, description.model_dump_json(by_alias=True)), ("conventions", CONVENTIONS)):
        proto.metadata_props.add(key=key, value=value)
    proto.producer_name, proto.producer_version = "acreg", __version__


def _share_weights(proto: onnx.ModelProto, weights: Path) -> list[StoredWeight]:
    """Leave out the constants that lie in the preset's weights, in any order of axes, and say where."""
    from onnx import numpy_helper

    arrays: dict[int, list[tuple[str, NDArray[Any]]]] = {}
    with h5py.File(weights, "r") as file:

        def add(path: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                arrays.setdefault(item.size, []).append((path, item[()]))

        file.visititems(add)
    kept, stored = [], []
    for tensor in proto.graph.initializer:
        value = numpy_helper.to_array(tensor)
        found = _same(value, arrays.get(value.size, [])) if value.dtype == np.float32 and value.size > 16 else None
        if found is None:
            kept.append(tensor)
        else:
            stored.append(StoredWeight(name=tensor.name, path=found[0], axes=found[1], shape=list(value.shape)))
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    return stored


def _same(value: NDArray[Any], arrays: list[tuple[str, NDArray[Any]]]) -> tuple[str, list[int]] | None:
    """The array, and the order of its axes, with the same bytes."""
    wanted = value.tobytes()
    for path, array in arrays:
        for axes in itertools.permutations(range(array.ndim)):
            if array.dtype == value.dtype and array.transpose(axes).tobytes() == wanted:
                return path, list(axes)
    return None


def _difference(model: RegistrationModel, network: OnnxNetwork) -> float:
    """The largest difference from Keras, in voxels, for two pairs of noise at once and for a pair of phantoms."""
    assert model.preprocessing is not None
    shape = (2, 2, *model.preprocessing.shape, model.channels)
    noise = np.random.default_rng(0).random(shape, np.float32)
    fixed, moving = (model.preprocessing.apply(image)[None] for image in made_pair(model.preprocessing))
    keras_network, worst = model._registering.network, 0.0
    for one, other in (noise, (fixed, moving)):
        expected, found = (n.predict({"fixed": one, "moving": other}) for n in (keras_network, network))
        names = set(found) - {"activation", "threshold"}
        worst = max(worst, *(float(np.abs(expected[name] - found[name]).max()) for name in names))
    return worst


def _saved_model(model: RegistrationModel, path: Path, size: str) -> Exported:
    """The network as a saved model of TensorFlow, with the one signature ``serving_default``."""
    import tensorflow as tf

    function, _ = _function(model, size)
    holder = tf.Module()
    holder.network, holder.predict = model.network, function
    with all_or_none(path) as staged:
        tf.saved_model.save(holder, str(staged), signatures={"serving_default": function})
    return Exported(path, None, sum(file.stat().st_size for file in path.rglob("*") if file.is_file()))
