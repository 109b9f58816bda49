"""Small models of every kind, with weights that do something, and pairs to feed them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from acreg.io import Preprocessing
from acreg.models import DDMR, ACRegNet, AffineDeformableNet, DIRNet, JRSNet, LabelAutoencoder, RegNet, SVFNet, SYMNet

CLASSES = 3
Batch = dict[str, NDArray]


def shake(model: Any, seed: int = 0) -> Any:
    """Give a model the same weights each time, such that every part of the output depends on them."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        shape = tuple(weight.shape)
        if len(shape) > 1:
            value = rng.normal(0.0, np.sqrt(1 / np.prod(shape[:-1])), shape)
        elif weight.name in ("gamma", "moving_variance"):
            value = rng.uniform(0.8, 1.2, shape)
        else:
            value = rng.uniform(0.0, 0.2, shape)  # positive: no rectifier is off for good
        weight.assign(value)
    return model


def _autoencoder(rank: int = 2) -> LabelAutoencoder:
    return LabelAutoencoder((16,) * rank, num_classes=CLASSES, code_size=6)


UNET: dict[str, Any] = {"network": "unet", "filters": (4, 8)}
PYRAMID: dict[str, Any] = {"network": "pyramid", "filters": (8, 8)}
ACREGNET: dict[str, Any] = {"num_classes": CLASSES, "autoencoder": _autoencoder, **UNET}
VOXELMORPH: dict[str, Any] = {"encoder": (4, 8), "decoder": (8, 6), "head": (4, 3)}
JOINT: dict[str, Any] = {"filters": (4, 8), "decoder": (8, 4)}
SMOOTH = {"ncc": 1, "diffusion": 1}
MAKERS: dict[str, tuple[type, dict[str, Any]]] = {
    "unet": (RegNet, UNET),
    "unet-head-batch-norm": (RegNet, {**UNET, "head_batch_norm": True}),
    "unet-velocity": (RegNet, {**UNET, "integration_steps": 5, "losses": SMOOTH}),
    "unet-3d": (RegNet, {"rank": 3, **UNET}),
    "unet-two-channels": (RegNet, {"channels": 2, **UNET}),
    "faim-3d": (
        RegNet,
        {"rank": 3, "network": "faim", "filters": (4, 4, 6), "losses": {"ncc": 1, "negative_jacobian": 1}},
    ),
    "unet-uncertainty": (RegNet, {**UNET, "weighting": "uncertainty"}),
    "pyramid": (RegNet, PYRAMID),
    "pyramid-3d-velocity": (RegNet, {"rank": 3, **PYRAMID, "integration_steps": 5}),
    "pyramid-velocity": (
        ACRegNet,
        {"num_classes": CLASSES, **PYRAMID, "integration_steps": 5, "losses": {**SMOOTH, "soft_dice": 1}},
    ),
    "pyramid-symmetric": (RegNet, {**PYRAMID, "integration_steps": 5, "symmetric": True}),
    "ddmr-3d-symmetric": (DDMR, {**VOXELMORPH, "integration_steps": 5, "symmetric": True}),
    "acregnet": (ACRegNet, ACREGNET),
    "acregnet-softmax": (ACRegNet, {**ACREGNET, "weighting": "softmax"}),
    "acregnet-3d": (ACRegNet, {**ACREGNET, "rank": 3, "autoencoder": partial(_autoencoder, 3)}),
    "ddmr": (
        DDMR,
        {"rank": 2, **VOXELMORPH, "num_classes": CLASSES, "losses": {"ncc": 1, "diffusion": 0.1, "soft_dice": 1}},
    ),
    "ddmr-3d": (DDMR, VOXELMORPH),
    "ddmr-velocity": (DDMR, {"rank": 2, **VOXELMORPH, "integration_steps": 5}),
    "ddmr-downsized": (DDMR, {"rank": 2, **VOXELMORPH, "integration_steps": 2, "downsize": 2}),
    "affine-deformable": (
        AffineDeformableNet,
        {
            "rank": 2,
            **JOINT,
            "num_classes": CLASSES,
            "losses": {"affine_squared_ncc": 1, "local_ncc": 1, "soft_dice": 1},
        },
    ),
    "affine-deformable-3d-velocity": (
        AffineDeformableNet,
        {**JOINT, "decoder": (8,), "affine": "rigid", "affine_passes": 2, "integration_steps": 4},
    ),
    "affine-only-batch-norm": (
        AffineDeformableNet,
        {
            "rank": 2,
            **JOINT,
            "affine": "similarity",
            "deformable": False,
            "norm": "batch",
            "losses": {"affine_ncc": 1},
        },
    ),
    "deformable-only": (AffineDeformableNet, {"rank": 2, **JOINT, "affine": "none"}),
    "svfnet": (
        SVFNet,
        {"rank": 2, "filters": (4, 8), "num_classes": CLASSES, "losses": {"velocity_error": 1, "soft_dice": 1}},
    ),
    "svfnet-3d": (SVFNet, {"filters": (4, 6, 8), "in_plane_levels": 1, "norm": "group"}),
    "dirnet": (DIRNet, {"filters": 4, "levels": 2, "num_classes": CLASSES, "losses": {"ncc": 1, "soft_dice": 1}}),
    "dirnet-3d": (DIRNet, {"rank": 3, "filters": 4, "levels": 2}),
    "symnet": (SYMNet, {"rank": 2, "filters": 2, "velocity_limit": 4.0, "num_classes": CLASSES}),
    "symnet-3d": (SYMNet, {"filters": 1, "velocity_limit": 4.0, "integration_steps": 5}),
    "jrsnet": (
        JRSNet,
        {
            "filters": 4,
            "blocks": 2,
            "num_classes": CLASSES,
            "losses": {"mutual_information": 1, "ssim": 1, "mask": 1},
        },
    ),
    "jrsnet-3d-direct": (
        JRSNet,
        {"rank": 3, "filters": 3, "blocks": 1, "levels": 1, "direct": True, "losses": {"ssim": 1}},
    ),
    "autoencoder": (LabelAutoencoder, {"shape": (16, 24), "num_classes": CLASSES, "code_size": 6}),
    "autoencoder-3d": (
        LabelAutoencoder,
        {"shape": (8, 16, 8), "num_classes": CLASSES, "code_size": 6, "noise": "border"},
    ),
}
"""A class and its arguments, by the name of the kind; an argument that is a function is called for each model.

The laws in test_laws.py hold for every kind. The names of 3-D kinds contain "3d".
"""
REGISTER = [kind for kind, (model, _) in MAKERS.items() if model is not LabelAutoencoder]
"""The kinds that register images."""


def first_of_each(kinds: Iterable[str]) -> list[str]:
    """The first kind of each class."""
    found: dict[type, str] = {}
    for kind in kinds:
        found.setdefault(MAKERS[kind][0], kind)
    return list(found.values())


def preprocessing(shape: tuple[int, ...]) -> Preprocessing:
    return Preprocessing(shape=shape, label_values=[0, 1, 2], label_names={1: "disc", 2: "bar"})


def _grid_of(model: Any) -> tuple[int, ...]:
    return tuple(model.shape) if isinstance(model, LabelAutoencoder) else (16,) * model.rank


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Any]:
    """`make_model(kind, **options)`: a new model, shaken, with a preprocessing; the kinds are the keys of `MAKERS`."""

    def make(kind: str, shaken: bool = True, **options: Any) -> Any:
        of_class, arguments = MAKERS[kind]
        given = {name: value() if callable(value) else value for name, value in arguments.items()}
        model = of_class(**{**given, **options})
        model.preprocessing = preprocessing(_grid_of(model))
        return shake(model) if shaken else model

    return make


@pytest.fixture(scope="session")
def make_batch() -> Callable[..., Any]:
    """`make_batch(model, size=2, shape=None, labels=True)`: what the model takes, `size` samples of smooth pictures."""

    def make(
        model: Any, size: int = 2, shape: tuple[int, ...] | None = None, labels: bool = True, seed: int = 0
    ) -> Any:
        shape = shape or _grid_of(model)
        rng = np.random.default_rng(seed)
        maps = [np.stack([_labels(rng, shape) for _ in range(size)])[..., None] for _ in range(2)]
        if isinstance(model, LabelAutoencoder):
            return maps[0]
        channels = model.channels
        images = [
            np.clip(m * 0.4 + 0.1 + 0.05 * rng.standard_normal((*m.shape[:-1], channels)), 0, 1).astype(np.float32)
            for m in maps
        ]
        batch: Batch = {"moving": images[0], "fixed": images[1]}
        if labels and isinstance(model, SVFNet):
            batch["velocity"] = np.float32(rng.normal(0, 0.5, (size, *shape, len(shape))))
        return batch | {"moving_labels": maps[0], "fixed_labels": maps[1]} if labels else batch

    return make


def _labels(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.int32]:
    """A ball (1) and a bar (2), somewhere about the middle."""
    grid = np.stack(np.meshgrid(*((np.arange(n) + 0.5) / n for n in shape), indexing="ij"), axis=-1)
    centre = rng.uniform(0.35, 0.6, len(shape))
    labels = (np.linalg.norm(grid - centre, axis=-1) < rng.uniform(0.2, 0.3)).astype(np.int32)
    labels[(grid[..., 0] > rng.uniform(0.7, 0.8)) & (grid[..., 1] > 0.2)] = 2
    return labels


@pytest.fixture
def restored_policy() -> Any:
    """Puts Keras's precision policy back after a test."""
    before = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(before)
