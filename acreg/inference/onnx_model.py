"""A trained model that registers through ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NoReturn

from acreg.errors import UsageError, images_by_name
from acreg.geometry import Transform
from acreg.inference.onnx_network import OnnxNetwork
from acreg.inference.registering import Registering
from acreg.io import Image, Preprocessing
from acreg.io.inputs import ImageLike


class OnnxModel:
    """A trained model that registers, without TensorFlow and Keras.

    It has the methods of `acreg.models.RegistrationModel` for use. What trains or changes a model is for the Keras
    model, ``acreg.from_preset(name, engine="keras")``; `refine` loads that itself.

    Args:
        network: the network.
        name: in tables.
        keras_model: loads the Keras model, for `refine`.
    """

    def __init__(self, network: OnnxNetwork, name: str, keras_model: Callable[[], Any]) -> None:
        self.network, self.name, self._load_keras = network, name, keras_model
        self._registering = Registering(network)

    @property
    def rank(self) -> int:
        """Number of spatial axes of the images: 2 or 3."""
        return self.network.description.rank

    @property
    def channels(self) -> int:
        """Number of channels of one image."""
        return self.network.description.channels

    @property
    def integration_steps(self) -> int:
        """Squarings of the velocity; 0 for a model that predicts a displacement."""
        return self.network.integration_steps

    @property
    def preprocessing(self) -> Preprocessing | None:
        """How images become the input of the network."""
        return self.network.preprocessing

    @preprocessing.setter
    def preprocessing(self, value: Preprocessing | None) -> None:
        self.network.preprocessing = value

    @property
    def segments(self) -> bool:
        """Whether the network gives a mask, see `segment`."""
        return {"activation", "threshold"} <= set(self.network.outputs)

    @images_by_name
    def register(self, *, fixed: ImageLike, moving: ImageLike) -> Transform:
        """See `acreg.models.RegistrationModel.register`."""
        return self.register_many(fixed=[fixed], moving=[moving])[0]

    @images_by_name
    def register_many(self, *, fixed: Sequence[ImageLike], moving: Sequence[ImageLike]) -> list[Transform]:
        """See `acreg.models.RegistrationModel.register_many`."""
        return self._registering.register_many(fixed, moving)

    @images_by_name
    def segment(self, *, fixed: ImageLike, moving: ImageLike) -> Image:
        """See `acreg.models.JRSNet.segment`.

        Raises:
            UsageError: the network does not segment.
        """
        if not self.segments:
            raise UsageError(
                f"A mask comes from a network that segments. Received: {self.name}, a "
                f"{self.network.description.class_name}. Use the preset of a JRSNet with the loss 'mask'."
            )
        return self._registering.segment(fixed, moving)

    @cached_property
    def _keras(self) -> Any:
        model = self._load_keras()
        model.preprocessing = self.preprocessing
        return model

    @images_by_name
    def refine(self, *, fixed: ImageLike, moving: ImageLike, **settings: Any) -> Transform:
        """See `acreg.models.RegistrationModel.refine`, which needs Keras."""
        return self._keras.refine(fixed=fixed, moving=moving, **settings)

    def estimate_memory(self, shape: tuple[int, ...]) -> int:
        """See `acreg.models.RegistrationModel.estimate_memory`."""
        return self.network.memory_of(shape)

    @property
    def affine(self) -> bool:
        """Whether the network predicts an affine map."""
        return "affine" in self.network.outputs

    def affine_part(self) -> OnnxModel:
        """A model that registers with only the affine part of this one; it is faster.

        Raises:
            UsageError: there is no affine part.
        """
        if not self.affine:
            raise UsageError(
                "A model has an affine part if its network predicts an affine map. Received: "
                f"{self.name}, a {self.network.description.class_name}. Use the preset of an AffineDeformableNet."
            )
        return OnnxModel(self.network.part("affine"), self.name, self._load_keras)

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(
            f"A network in ONNX registers; it is not trained or changed. Received: .{name} of {type(self).__name__} "
            f"{self.__dict__.get('name', '')!r}. For what Keras does, load the model with "
            "`acreg.from_preset(..., engine='keras')`."
        )
