"""Conversion of TensorFlow VoxelMorph's weights (0.1 and 0.2; also used by DDMR) to presets."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import keras
import numpy as np

from acreg.applications.conversion.weights import Converted, assign
from acreg.errors import AcregError, UsageError
from acreg.io import Preprocessing
from acreg.io.documents import parse_json
from acreg.io.stored_weights import open_weights
from acreg.models import DDMR
from acreg.names import some

Program = Literal["voxelmorph", "ddmr"]
DDMR_LEVELS = 6
DDMR_SHAPE = (128, 128, 128)
"""The grid of the models that DDMR's authors released; their files do not store it."""
ADVICE = "Give the weights of a VoxelMorph U-Net with one convolution a level; other networks are not converted."


@dataclass(frozen=True)
class StoredModel:
    """The content of an HDF5 file of TensorFlow's Keras that describes a VoxelMorph model.

    Attributes:
        path: the file.
        variables: ``layer/kernel`` and ``layer/bias`` -> array, without the prefix that version 0.2 gives to layers.
        layers: names of all layers, including those without weights, without that prefix.
        config: VoxelMorph's arguments if the file holds a whole model; otherwise empty.
    """

    path: Path
    variables: dict[str, np.ndarray]
    layers: set[str]
    config: dict[str, Any]


def convert_weights(
    file: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    program: Program = "voxelmorph",
    *,
    shape: Sequence[int] | None = None,
    integration_steps: int | None = None,
    downsize: int | None = None,
) -> Converted:
    """Make a preset from an HDF5 file with the weights, or the whole model, of VoxelMorph's dense registration.

    The network is derived from the weights' shapes. What a file of weights alone does not store must be given.

    Args:
        file: written by Keras 2 from a ``VxmDense`` or a ``VxmDenseSemiSupervisedSeg``.
        folder: folder of the preset.
        program: the program that trained it; determines the model card's text, and the shape of DDMR's released models.
        shape: the grid that the network was trained on, array-axis order.
        integration_steps, downsize: VoxelMorph's ``int_steps`` and ``int_downsize``.

    Raises:
        AcregError: the file does not exist or is of another network: layers are missing, left over or of other shapes.
        UsageError: a value is neither in the file nor given, or the given value contradicts the file.
    """
    stored = read_model(file)
    widths = _widths(stored)
    rank, channels = widths.pop("rank"), widths.pop("channels")
    if shape is None and not stored.config and program == "ddmr" and (rank, len(widths["encoder"])) == (3, DDMR_LEVELS):
        shape = DDMR_SHAPE
    shape = _known("shape", shape, stored.config.get("inshape"), stored, "its grid in training, such as 160,192,224")
    shape = tuple(int(size) for size in shape)
    if len(shape) != rank:
        raise UsageError(f"The weights are of a network of {rank} axes. Received: {stored.path} and the shape {shape}.")
    steps, factor = _integration(stored, integration_steps, downsize)
    model = DDMR(
        rank=rank,
        channels=channels,
        **widths,
        integration_steps=steps,
        downsize=factor,
        preprocessing=Preprocessing(shape=shape, trim=False),
    )
    assignments: dict[str, keras.Variable] = {}
    for theirs, ours in _layers(len(widths["encoder"]), len(widths["head"])).items():
        layer = model.network.get_layer(ours)
        assignments |= {f"{theirs}/kernel": layer.kernel, f"{theirs}/bias": layer.bias}
    assign(stored.variables, assignments, stored.path, ADVICE)
    model.save_preset(folder, card=_model_card(model, stored, program))
    return Converted(Path(folder), model, len(stored.variables), published=False)


def read_model(file: str | os.PathLike[str]) -> StoredModel:
    """Read variables, names and arguments; no code in the file is executed.

    Raises:
        AcregError: the file is not HDF5, was not written by Keras 2, or has no layer called flow.
    """
    path = Path(file)
    variables: dict[str, np.ndarray] = {}

    def read(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            layer, _, variable = "/".join(name.split("/")[-2:]).removesuffix(":0").rpartition("/")
            if f"{layer}/{variable}" in variables:
                raise AcregError(f"A layer must have one {variable}. Received: {path} with two in {layer}. {ADVICE}")
            variables[f"{layer}/{variable}"] = np.asarray(item, np.float32)

    with open_weights(path, "HDF5 file of weights, or of a model,") as stored:
        group = stored.get("model_weights", stored)
        layers = [_text(name) for name in group.attrs.get("layer_names", ())]
        config = parse_json(_text(stored.attrs.get("model_config", "{}")), f"model_config of {path}")
        group.visititems(read)
    if not layers:
        raise AcregError(
            f"A HDF5 file that Keras 2 wrote lists its layers (the attribute layer_names). Received: {path}, which "
            "does not. Models of Keras 3 need no conversion: `acreg train --from` takes them."
        )
    flows = [name for name in variables if re.fullmatch(r"(.*_)?flow/kernel", name)]
    if len(flows) != 1:
        raise AcregError(
            "A registration network of VoxelMorph ends with one convolution called flow. Received: "
            f"{path} with {len(flows)} among {some(sorted(variables), 3) or 'no variables'}. {ADVICE}"
        )
    prefix = flows[0].removesuffix("flow/kernel")
    arguments = config.get("config") if isinstance(config, dict) else None
    return StoredModel(
        path,
        {name.removeprefix(prefix): value for name, value in variables.items()},
        {name.removeprefix(prefix) for name in layers},
        arguments if isinstance(arguments, dict) and "inshape" in arguments else {},
    )


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _layers(levels: int, head: int) -> dict[str, str]:
    """Convolution in VoxelMorph -> our layer."""
    return {
        **{f"unet_enc_conv_{i}_0": f"encoder{i + 1}" for i in range(levels)},
        **{f"unet_dec_conv_{i}_0": f"decoder{i + 1}" for i in reversed(range(levels))},
        **{f"unet_dec_final_conv_{i}": f"head{i + 1}" for i in range(head)},
        "flow": "head_field",
    }


def _widths(stored: StoredModel) -> dict[str, Any]:
    """Rank, channels and filters, from the weights' shapes.

    Raises:
        AcregError: an intermediate layer is missing, or there are no layers.
    """
    numbers: dict[str, list[int]] = {"enc_conv": [], "dec_conv": [], "dec_final_conv": []}
    for name in stored.variables:
        if found := re.fullmatch(r"unet_(enc_conv|dec_conv|dec_final_conv)_(\d+)(_0)?/kernel", name):
            numbers[found[1]].append(int(found[2]))
    levels = 1 + max([-1, *numbers["enc_conv"], *numbers["dec_conv"]])
    names = _layers(levels, 1 + max([-1, *numbers["dec_final_conv"]]))
    missing = [name for name in names if f"{name}/kernel" not in stored.variables]
    if missing or not levels:
        raise AcregError(
            f"The weights must be of all layers of a U-Net. Received: {stored.path}, which has {levels} levels and "
            f"lacks {some(missing, 3) or 'all of them'}. {ADVICE}"
        )
    filters = {ours: stored.variables[f"{theirs}/kernel"].shape[-1] for theirs, ours in names.items()}
    first, flow = (stored.variables[f"{name}/kernel"].shape for name in ("unet_enc_conv_0_0", "flow"))
    if len(flow) - 2 != flow[-1] or flow[-1] not in (2, 3) or len(first) != len(flow) or first[-2] % 2:
        raise AcregError(
            "The network must take two images of as many channels as each other, and give a field of 2 or 3 "
            f"components. Received: {stored.path}, whose first convolution has the shape {first} and the last {flow}. "
            f"{ADVICE}"
        )
    return {
        "rank": flow[-1],
        "channels": first[-2] // 2,
        "encoder": [filters[f"encoder{level}"] for level in range(1, levels + 1)],
        "decoder": [filters[f"decoder{level}"] for level in range(levels, 0, -1)],
        "head": [n for name, n in filters.items() if name.startswith("head") and name != "head_field"],
    }


def _integration(stored: StoredModel, steps: int | None, downsize: int | None) -> tuple[int, int]:
    """Steps and downsizing: the layers show whether there are any, the arguments how many."""
    config = stored.config
    odd = {name: config[name] for name in ("unet_half_res", "use_probs") if config.get(name)}
    if config.get("svf_resolution", 1) not in (None, 1) or "svf_resize" in stored.layers:
        odd["svf_resolution"] = config.get("svf_resolution")
    if odd:
        listed = ", ".join(f"{name}={value}" for name, value in odd.items())
        raise AcregError(
            f"The field must be predicted on the images' grid, without its variance. Received: {stored.path} with "
            f"{listed}. {ADVICE}"
        )
    factor = config.get("int_downsize") or config.get("int_resolution")
    known_steps = config.get("int_steps") if "flow_int" in stored.layers else 0
    known_factor = factor if "flow_resize" in stored.layers else 1
    return (
        _known("integration_steps", steps, known_steps, stored, "VoxelMorph's int_steps, mostly 7"),
        _known("downsize", downsize, known_factor, stored, "VoxelMorph's int_downsize, mostly 2"),
    )


def _known(name: str, given: Any, stored: Any, model: StoredModel, meaning: str) -> Any:
    """The value in the file, or else the given one.

    Raises:
        UsageError: there is neither, or they contradict each other.
    """
    option = f"--{name.replace('_', '-')}"
    if given is None and stored is None:
        raise UsageError(
            f"What a file of weights does not tell must be given. Received: {model.path} without {option}. Give "
            f"{option} ({meaning})."
        )
    if given is None or stored is None:
        return stored if given is None else given
    if np.any(np.asarray(given) != np.asarray(stored)) or np.shape(given) != np.shape(stored):
        raise UsageError(
            f"An option must not contradict the file. Received: {option} {given} and {model.path} with {stored}. "
            f"Leave {option} out."
        )
    return stored


def _model_card(model: DDMR, stored: StoredModel, program: Program) -> str:
    settings: Any = model.preprocessing
    config: Mapping[str, Any] = model.get_config()
    field = "a displacement, which may fold"
    if config["integration_steps"]:
        field = f"a velocity, integrated with {config['integration_steps']} squarings"
        field += f" on a grid {config['downsize']} times coarser" if config["downsize"] > 1 else ""
    facts = {
        "Data": "Not recorded in the file; whoever trained it knows.",
        "Licence": "Not recorded in the file; that of the place where it was published.",
        "Recipe": "Not recorded in the file.",
        "Scores": "None recorded.",
        "Grid": " x ".join(map(str, settings.shape)),
        "Network": f"encoder {config['encoder']}, decoder {config['decoder']}, head {config['head']}",
        "Field": field,
        "Input": "moving, then fixed; each image brought to [0, 1] by its own minimum and maximum.",
        "Limits": "Only images like those that it was trained on, in the orientation and the framing that they had.",
    }
    if program == "ddmr":
        facts["Data"] += (
            " DDMR's released models: `brain_*` on IXI (T1-weighted MRI), `liver_*` on Oslo-CoMet (contrast CT)."
        )
        facts["Limits"] += (
            " DDMR cropped both images to the organs' common box and scaled each axis by itself to the grid; acreg "
            "scales all axes alike. Crop the images to the organ first."
        )
    listed = "\n".join(f"- {name}: {text}" for name, text in facts.items())
    title = "DDMR" if program == "ddmr" else "VoxelMorph"
    return (
        f"# {title}: {stored.path.stem}\n\nConverted from the Keras weights `{stored.path.name}`, all "
        f"{len(stored.variables)} variables, by `acreg convert {program}-h5`.\n\n{listed}\n"
    )
