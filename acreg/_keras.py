"""Models and layers of acreg that Keras finds by name before acreg imported them.

``import acreg`` does not import Keras, and a model that is loaded by `keras.models.load_model` names its classes only.
So the names are registered with Keras as soon as both are imported; a class is imported when it is asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

CLASSES = {
    "ACRegNet": "models.acregnet",
    "AffineDeformableNet": "models.affine_deformable_net",
    "AffineToDisplacement": "layers.affine_to_displacement",
    "ComposeDisplacements": "layers.compose_displacements",
    "DDMR": "models.ddmr",
    "DIRNet": "models.dirnet",
    "DoubleField": "models.blocks",
    "GroupNormalization": "models.blocks",
    "ImageAugmentation": "layers.image_augmentation",
    "IntegrateVelocity": "layers.integrate_velocity",
    "JRSNet": "models.jrsnet",
    "LabelAutoencoder": "models.label_autoencoder",
    "NoField": "models.affine_deformable",
    "NormalisedSum": "models.joint_networks",
    "RegNet": "models.regnet",
    "RepeatVoxels": "models.blocks",
    "RescaleField": "models.voxelmorph",
    "ResizeDisplacement": "layers.resize_displacement",
    "ResizeLike": "models.joint_networks",
    "SVFNet": "models.svfnet",
    "SYMNet": "models.symnet",
    "Segmenter": "models.segmenter",
    "SpatialMoments": "layers.spatial_moments",
    "SpatialTransformer": "layers.spatial_transformer",
    "ThinPlateSplineAugmentation": "layers.thin_plate_spline_augmentation",
    "UncertaintyWeighting": "layers.uncertainty_weighting",
}
"""The registered classes, and the modules that define them."""


def install() -> None:
    """Register the names with Keras, now or when it is imported."""
    if "keras" in sys.modules:
        _register(sys.modules["keras"])
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _register(keras: ModuleType) -> None:
    known = keras.saving.get_custom_objects()
    for name, module in CLASSES.items():
        known.setdefault(f"acreg>{name}", _later(name, module))


def _later(name: str, module: str) -> type:
    """A class that stands for another one, which takes its place when it is imported."""

    def from_config(config: dict[str, Any]) -> Any:
        return getattr(import_module(f"acreg.{module}"), name).from_config(config)

    return type(name, (), {"from_config": staticmethod(from_config)})


class _Finder(MetaPathFinder):
    """Finds Keras, once, and registers the names when it was imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "keras":
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def then_register(module: ModuleType) -> None:
                run(module)
                _register(module)

            spec.loader.exec_module = then_register  # type: ignore[method-assign]
        return spec
