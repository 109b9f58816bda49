"""Conversion of the AC-RegNet authors' checkpoints (TensorFlow 1) to presets."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from math import isqrt
from pathlib import Path
from typing import Any

import keras
import numpy as np

from acreg.applications.conversion.tf1_checkpoint import checkpoint_prefix, read_checkpoint
from acreg.applications.conversion.weights import Converted, assign
from acreg.errors import AcregError
from acreg.io import Preprocessing
from acreg.models import ACRegNet, LabelAutoencoder

NETWORK_SCOPE, AUTOENCODER_SCOPE = "VectorCNN", "CNN_AE"
NETWORK_LAYERS = {
    **{f"conv{level}_{part}": f"encoder{level}_{part}" for level in (1, 2, 3, 4) for part in "ab"},
    **{f"deconv{7 - level}": f"decoder{level}_up" for level in (3, 2, 1)},
    **{f"conv{8 - level}_{part}": f"decoder{level}_{part}" for level in (3, 2, 1) for part in "ab"},
    "conv_out": "head",
}
"""Convolution in the authors' graph -> our layer; each has a batch normalisation."""
AUTOENCODER_LAYERS = {
    "conv1_a": "encoder1",
    "conv1_b": "encoder2",
    "conv2_a": "encoder3",
    "conv2_b": "encoder4",
    "conv3": "encoder5",
    "deconv4": "decoder1_1",
    "conv4": "decoder1_2",
    "deconv5": "decoder2_1",
    "conv5": "decoder2_2",
    "deconv6": "decoder3_1",
}
LABEL_NAMES = {
    4: {0: "background", 1: "left lung", 2: "right lung", 3: "heart"},
    2: {0: "background", 1: "lungs"},
}
"""The label sets of the authors' data, by their number of classes."""
NETWORK_RECIPE = (
    "18,000 steps of 32 pairs, Adam 1e-3; losses -NCC, 5e-5 x total variation (sum), cross-entropy and 0.1 x squared "
    "code distance, the warped one-hot labels taken as logits. Seed not known."
)
AUTOENCODER_RECIPE = (
    "18,000 steps of 16 label maps, Adam 1e-3; neighbouring columns swapped with probability 0.1. Seed not known."
)
NETWORK_SCORES = (
    "100 random pairs of the JSRT test list at 256 x 256, with the authors' own resizing: "
    "DSC 0.939, HD 18.5 mm, ASSD 3.62 mm, 0.57 % of the pixels folded."
)
GRID = (64, 64)
AUTHORS_WEIGHTS = (
    "7f3df3434ccec9502a8f631d53615fa5ab336388624730ccb8a636ad3b1eb937",
    "e1ea3900f93542e8b127b340d4f06c2bec391b5d236440729e825e29e20cfeeb",
)
"""Digests (see `digest`) of the weights that the authors published: registration network and autoencoder, JSRT."""


def convert_checkpoint(
    checkpoint: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    autoencoder: LabelAutoencoder | None = None,
) -> Converted:
    """Make a preset from a checkpoint of the AC-RegNet authors' code, of the network or of the autoencoder.

    Args:
        checkpoint: its prefix (``.../model.ckpt``), one of its files, or its folder.
        folder: folder of the preset.
        autoencoder: only for the network: becomes part of the preset, so that training can be continued with all of
            the paper's losses. Registration does not need it.

    Raises:
        AcregError: there is no checkpoint, it is damaged or of another model, or a variable is missing, left over or
            of another shape than in the network.
    """
    variables = read_checkpoint(checkpoint)
    scopes = {name.split("/")[0] for name in variables}
    model: ACRegNet | LabelAutoencoder
    if NETWORK_SCOPE in scopes:
        model, assignments = _network(variables, autoencoder)
    elif AUTOENCODER_SCOPE in scopes:
        if autoencoder is not None:
            raise AcregError(
                f"An autoencoder goes with a registration network. Received: the checkpoint {checkpoint} of an "
                "autoencoder, and an autoencoder for it. Leave the second out."
            )
        model, assignments = _autoencoder(variables, checkpoint)
    else:
        names = ", ".join(sorted(variables)[:4]) or "no variable"
        raise AcregError(
            f"A checkpoint of the AC-RegNet authors has variables under {NETWORK_SCOPE}/ (the network) or "
            f"{AUTOENCODER_SCOPE}/ (the autoencoder). Received: {checkpoint} with {names}. Give one of theirs; models "
            "of other programs are not converted."
        )
    assign(variables, assignments, checkpoint, "Give a checkpoint that the authors' code wrote for this network.")
    published = digest(variables) in AUTHORS_WEIGHTS
    model.save_preset(folder, card=_model_card(model, checkpoint, len(variables), published))
    return Converted(Path(folder), model, len(variables), published)


def digest(variables: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of all names, shapes and float32 values, in the order of the names."""
    total = hashlib.sha256()
    for name in sorted(variables):
        array = np.ascontiguousarray(variables[name], "<f4")
        total.update(f"{name}{array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def _network(
    variables: Mapping[str, np.ndarray], autoencoder: LabelAutoencoder | None
) -> tuple[ACRegNet, dict[str, keras.Variable]]:
    losses = dict(ACRegNet.DEFAULT_LOSSES)
    if autoencoder is None:
        del losses["anatomical_prior"]
    classes = 4 if autoencoder is None else autoencoder.num_classes
    model = ACRegNet(
        num_classes=classes,
        autoencoder=autoencoder,
        losses=losses,
        network="unet",
        head_batch_norm=True,
        preprocessing=_preprocessing(GRID, classes),
    )
    assignments: dict[str, keras.Variable] = {}
    for theirs, ours in NETWORK_LAYERS.items():
        assignments |= _convolution(f"{NETWORK_SCOPE}/{theirs}", model.network, ours)
    return model, assignments


def _autoencoder(
    variables: Mapping[str, np.ndarray], checkpoint: str | os.PathLike[str]
) -> tuple[LabelAutoencoder, dict[str, keras.Variable]]:
    shapes = {}
    for part, axes in (("conv1_a/weights", 4), ("fc1/kernel", 2)):
        name = f"{AUTOENCODER_SCOPE}/{part}"
        if name not in variables or variables[name].ndim != axes:
            raise AcregError(
                f"The autoencoder's size is read from its variable {name}, which has {axes} axes. Received: "
                f"{checkpoint}, which does not have it so. Give a checkpoint that the authors' code wrote."
            )
        shapes[part] = variables[name].shape
    positions, code_size = shapes["fc1/kernel"]
    side = 8 * isqrt(positions)
    if side * side != 64 * positions:
        raise AcregError(
            "The authors' autoencoder works on square images, so that its code is computed from a square of positions. "
            f"Received: {checkpoint} with {positions} positions. Give a checkpoint that the authors' code wrote."
        )
    classes = shapes["conv1_a/weights"][2]
    grid = (side, side)
    model = LabelAutoencoder(grid, classes, code_size, preprocessing=_preprocessing(grid, classes))
    assignments: dict[str, keras.Variable] = {}
    for theirs, ours in AUTOENCODER_LAYERS.items():
        part = model.encoder if ours.startswith("encoder") else model.decoder
        assignments |= _convolution(f"{AUTOENCODER_SCOPE}/{theirs}", part, ours)
    for theirs, layer, names in (
        ("fc1", model.encoder.get_layer("code"), ("kernel", "bias")),
        ("fc2", model.decoder.get_layer("decoder_dense"), ("kernel", "bias")),
        ("conv_out", model.decoder.get_layer("logits"), ("weights", "biases")),
    ):
        for name, variable in zip(names, (layer.kernel, layer.bias)):
            assignments[f"{AUTOENCODER_SCOPE}/{theirs}/{name}"] = variable
    return model, assignments


def _convolution(theirs: str, model: keras.Model, ours: str) -> dict[str, keras.Variable]:
    """Variables of a convolution without bias and its batch normalisation: name in the checkpoint -> our variable."""
    norm = model.get_layer(f"{ours}_bn")
    return {
        f"{theirs}/weights": model.get_layer(ours).kernel,
        f"{theirs}/bn/beta": norm.beta,
        f"{theirs}/bn/gamma": norm.gamma,
        f"{theirs}/bn/moving_mean": norm.moving_mean,
        f"{theirs}/bn/moving_variance": norm.moving_variance,
    }


def _preprocessing(shape: tuple[int, int], classes: int) -> Preprocessing:
    return Preprocessing(
        shape=shape,
        trim=False,
        intensity="divide_by_255",
        label_values=list(range(classes)),
        label_names=LABEL_NAMES.get(classes, {}),
    )


def _model_card(model: Any, checkpoint: str | os.PathLike[str], count: int, known: bool) -> str:
    network = isinstance(model, ACRegNet)
    settings: Preprocessing = model.preprocessing
    names = ", ".join(f"{value} {name}" for value, name in settings.label_names.items()) or "not named"
    facts = {
        "Data": "Not recorded in a checkpoint; whoever trained it knows.",
        "Licence": "Not recorded in a checkpoint. The authors' code: MIT, L. Mansilla.",
        "Grid": " x ".join(map(str, settings.shape)),
        "Labels": names,
    }
    if known:
        facts["Data"] = "JSRT chest X-rays with the SCR masks, 197 images at 64 x 64 (the authors' training list)."
        facts["Licence"] = "MIT, L. Mansilla."
        facts["Recipe"] = NETWORK_RECIPE if network else AUTOENCODER_RECIPE
        facts["Scores"] = NETWORK_SCORES if network else "None recorded."
    facts["Limits"] = (
        "Frontal chest X-rays only, brought to about the same position; the displacement may fold."
        if network
        else "Label maps of this label set only, framed as those that it was trained on."
    )
    title = "the authors' registration network" if network else "the authors' label autoencoder"
    origin = (
        "These are the weights that the authors of AC-RegNet published (L. Mansilla, D. H. Milone, E. Ferrante: "
        "Learning deformable registration of medical images with anatomical constraints, Neural Networks, 2020)."
        if known
        else "It has the variables of the AC-RegNet authors' code, but is not the one that they published."
    )
    source = (
        f"Converted from the TensorFlow 1 checkpoint `{checkpoint_prefix(checkpoint).name}`, all {count} variables, by "
        "`acreg convert acregnet-tf1`."
    )
    listed = "\n".join(f"- {name}: {text}" for name, text in facts.items())
    return f"# AC-RegNet: {title}\n\n{source} {origin}\n\n{listed}\n"
