"""The base of every registration model: a trainable network, and its use for registration."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import keras

from acreg.errors import images_by_name
from acreg.geometry import Transform
from acreg.io.inputs import ImageLike
from acreg.losses import LossWeights
from acreg.models.field_model import FieldModel
from acreg.models.fine_tuning import transfer_weights
from acreg.models.network_parts import freeze_parts, parts_of
from acreg.models.refinement import RefinementSettings
from acreg.models.registering import RegisteringModel


class RegistrationModel(FieldModel):
    """Registers a moving image onto a fixed image by a network that predicts a field.

    Subclasses create `network`, a functional model ``{"moving", "fixed"} -> {"field", ...}`` whose field is a
    displacement or, with ``integration_steps``, a stationary velocity, on the grid of the images or a coarser one over
    the same extent. A subclass that also predicts an affine map adds it in `_run_network`, as ``"affine"``,
    ``(batch, rank, rank + 1)`` in voxels: a point of the fixed image is moved first by the field, then by the map.

    The constructor of a subclass takes plain values, which `get_config` returns, and passes ``**kwargs`` on to this
    class. A recipe fills in those of the arguments ``rank``, ``channels``, ``num_classes``, ``preprocessing``,
    ``augmentation``, ``autoencoder`` and ``seed`` that the constructor has, from its data and its other sections; it
    always passes ``dtype`` for mixed precision. The subclass gives ``dtype`` to each layer of its network, because
    Keras does not.

    Args:
        network: see above. Its inputs determine the attributes `rank` and `channels`.
        multiple: the network's input sizes must be multiples of this; other sizes are padded and cropped inside.
        integration_steps: squarings that turn the field into a diffeomorphic displacement; with 0, the field is the
            displacement.
        symmetric: the velocity is half the difference of the network's fields for the pair and for the swapped pair.
            Registering the swapped pair then gives the inverse transform, and an image onto itself the identity; the
            network runs twice. It needs ``integration_steps`` and a network without an affine part.
        own_losses: the losses that a subclass adds to `acreg.losses.LOSSES`.
        losses: the weight of each loss by its name, such as ``{"ncc": 1, "diffusion": 0.1}``; with arguments of its
            function, ``{"local_ncc": {"weight": 1, "window": 7}}``. Names are those of `acreg.losses.LOSSES`, of losses
            that the model adds, and of functions that other packages registered with Keras (``"mypackage>edges"``). A
            key may also be a function or an `acreg.losses.Loss`, which describes the arguments of a function. None
            means `default_losses`. Field losses act on the velocity, if there is one, in voxels of its own grid; with
            the argument ``spacing``, in mm: ``{"diffusion": {"weight": 1, "spacing": [8, 1.75, 1.75]}}``.
        weighting: ``"fixed"`` sums the losses with these weights. ``"uncertainty"`` and ``"softmax"`` start from them
            and train them together with the network, see `acreg.layers.UncertaintyWeighting` (field losses are its
            regularisers). Each weight is then logged as ``weight_<name>``, and ``loss`` is the total of that layer,
            which depends on the weights: compare models by other numbers.
        num_classes: labels including the background; needed for label losses and for logging the Dice.
        labels_per_step: number of labels, drawn at random, that a training step compares; others count as background.
            Memory and time for many labels are then those for few. None compares all labels.
        preprocessing: an `acreg.io.Preprocessing` or its fields, needed by `register` and `save_preset`.
        augmentation: an `acreg.layers.ThinPlateSplineAugmentation` or its arguments, which makes pairs from single
            images in training; None if pairs are given.
        image_augmentation: an `acreg.layers.ImageAugmentation` or its arguments, which changes the images of each
            batch in training, with their labels.
        recompute: parts of the network, see `parts`, whose activations are recomputed for the gradient instead of
            being kept, level by level: this saves memory in training and costs one more forward pass through these
            parts.

    Call arguments:
        inputs: ``{"moving", "fixed"}``, each ``(batch, *spatial, channels)`` in about [0, 1], or uint8 or uint16, which
            are divided by 255 or 65535; in training optionally ``"moving_labels"`` and ``"fixed_labels"``, integers
            ``(batch, *spatial, 1)``, and, for losses that need it, the true ``"displacement"`` from fixed to moving,
            ``(batch, *spatial, rank)`` in voxels. With an ``augmentation``, also ``"image"`` and optionally
            ``"labels"`` and ``"spacing"``, see there: from each of these images a pair is made; pairs that are also
            given are added. A tuple or list of two images is the moving and the fixed image, in this order.

    Returns:
        ``{"warped": (batch, *spatial, channels), "displacement": (batch, *spatial, rank)}`` and, with integration,
        ``"velocity"`` on the network's own grid; both fields are in voxels of their grid. With an affine map, also
        ``"affine"`` and ``"deformation"``, the displacement that is applied before it; ``"displacement"`` is the
        composition of both. If pairs were made or changed, or given as uint8 or uint16, ``"pairs"`` has all pairs, in
        the form of ``inputs``, images as floats: what the losses compare.

    Raises:
        ValueError: an unknown loss or argument of a loss, an unknown weighting or part to recompute, a label loss
            without ``num_classes``, or single images without an ``augmentation``.

    Example of a loss of your own; a registered loss is loaded with a saved model:

    >>> @keras.saving.register_keras_serializable("mypackage")
    ... def edges(fixed, warped, power=2.0):
    ...     slopes = [x[:, 1:] - x[:, :-1] for x in (fixed, warped)]
    ...     return ops.mean(ops.abs(slopes[0] - slopes[1]) ** power, axis=(1, 2, 3))
    >>> model = acreg.models.RegNet(losses={"ncc": 1, edges: {"weight": 0.5, "power": 1.0}, "diffusion": 0.1})
    """

    @cached_property
    def rank(self) -> int:
        """Number of spatial axes of the images: 2 or 3."""
        return len(self._image_shape()) - 2

    @cached_property
    def channels(self) -> int:
        """Number of channels of one image."""
        return int(self._image_shape()[-1])

    def _image_shape(self) -> tuple[Any, ...]:
        """The shape of an image that the network takes, ``(None, *spatial, channels)``."""
        inputs = getattr(self.network, "input", None)
        if not (isinstance(inputs, Mapping) and {"moving", "fixed"} <= set(inputs)):
            raise ValueError(
                f"The network of {type(self).__name__} must be a functional keras.Model of "
                "{'moving', 'fixed'}, each (batch, *spatial, channels). "
                f"Received: {type(self.network).__name__} of {inputs}"
            )
        return tuple(inputs["fixed"].shape)

    @cached_property
    def _registering(self) -> RegisteringModel:
        return RegisteringModel(self)

    @images_by_name
    def register(self, *, fixed: ImageLike, moving: ImageLike) -> Transform:
        """Registers ``moving`` onto ``fixed``.

        Args:
            fixed, moving: images of any size and of the model's rank: an `acreg.io.Image`, an array ``(*spatial)``, a
                path, or an image of SimpleITK or nibabel (see `acreg.io.as_image`). Their spacing and orientation are
                used; `acreg.io.Preprocessing` defines how they become the input of the network.

        Returns:
            An `acreg.geometry.Transform` on the grid of the fixed image. Its maps are the result of the network on its
            own grid (a displacement, or a velocity if the model has one; then an affine map, if the network predicts
            one), followed by the map from the network's grid in the fixed image to its grid in the moving image.
            ``warp_image`` and ``warp_labels`` resample the original images once.

        Raises:
            UsageError: the images are not given by name.
            AcregError: the model has no ``preprocessing``; an image cannot be read, has another rank or is constant;
                the available memory is less than `estimate_memory`; or the process was forked from the one in which the
                first model was made (use "spawn").
        """
        return self.register_many(fixed=[fixed], moving=[moving])[0]

    @images_by_name
    def register_many(self, *, fixed: Sequence[ImageLike], moving: Sequence[ImageLike]) -> list[Transform]:
        """Registers several pairs in one batch: the first image in ``moving`` onto the first in ``fixed``, and so on.

        An object that is in several pairs is read and preprocessed once. Results and errors are as in
        `register`, for each pair; `UsageError` if the numbers of images differ or are 0. Memory grows with the
        number of pairs.
        """
        return self._registering.register_many(fixed, moving)

    @images_by_name
    def refine(
        self,
        *,
        fixed: ImageLike,
        moving: ImageLike,
        steps: int = 20,
        losses: LossWeights | None = None,
        anchor: float | None = None,
        learning_rate: float | None = None,
        patience: int = 5,
        folding_limit: float = 0.01,
    ) -> Transform:
        """Registers a pair, then optimises the predicted field (the velocity, if there is one) for this pair.

        It is the continuous stage of `acreg.optimisation`, on the network's grid and started from the prediction: Adam
        minimises the losses, a velocity moves both images half way, and the field with the lowest loss is returned. An
        affine map stays as it was predicted. The page of each model reports the effect on the Dice of labels: a better
        image similarity can mean worse anatomy.

        Args:
            fixed, moving: as in `register`.
            steps: maximum number of steps; 0 returns the prediction.
            losses: weights of image and field losses, in the form that the model takes; the default is the local NCC
                with the field losses of the model, because the global NCC lowers the Dice. The windows of local NCC are
                as wide in mm along all axes, unless ``window`` is given. Field losses of `acreg.losses` are given the
                spacing of the field's grid, relative to its geometric mean.
            anchor: weight of the mean squared distance from the predicted field, in voxels of its own grid; by
                default, 0.1 for a velocity and 1 for a displacement.
            learning_rate: in voxels of that grid; by default, 0.05 for a velocity and 0.02 for a displacement.
            patience: the optimisation ends when over so many steps the loss has fallen by less than 1 % of its fall.
            folding_limit: percentage of folded voxels that the field may have in addition to those of the predicted
                field. If it has more, it is smoothed around these voxels.

        Returns, errors: as `register`; `ValueError` for an unknown loss, one on labels, or one on images and fields
        together.
        """
        settings = RefinementSettings(steps, losses, anchor, learning_rate, patience, folding_limit)
        return self._registering.refine(fixed, moving, settings)

    def estimate_memory(self, shape: tuple[int, ...]) -> int:
        """The number of bytes needed to register one pair on a network's grid of ``shape``.

        It is twice the size of the tensors that exist at the same time in the network (convolutions keep a copy of
        their input), plus eight fields at full resolution. Measured on a CPU, a registration took 0.6 to 1 times this
        (3-D, 64 to 128 voxels per axis, both networks).
        """
        return self._registering.network.memory_of(shape)

    def parts(self) -> dict[str, list[keras.layers.Layer]]:
        """The layers of the network that have weights, grouped by part.

        `DDMR` and the ``"unet"`` of `RegNet` have ``encoder``, ``decoder`` and ``head``; the ``"pyramid"`` has
        ``encoder``, which reads each image, and ``level``, which estimates the field level by level.
        """
        return parts_of(self.network)

    def freeze(self, *parts: str) -> None:
        """Freezes the weights of some parts, and the statistics of their batch normalisation, during training.

        It takes effect when the model is next compiled. All parts that are not named are trained: without any name, the
        whole network is trained.

        Raises:
            ValueError: a part that the network does not have, or all parts.
        """
        freeze_parts(self.network, parts)

    def transfer_from(self, source: str | os.PathLike[str]) -> None:
        """Copies all weights from the network of another model.

        The other model may be of another class, or have other losses and labels, if its network has the same
        layers and widths.

        Args:
            source: a preset, by name or folder; a model (``.keras``); or its weights (``.weights.h5``).

        Raises:
            UsageError: the preset or file does not exist.
            AcregError: it cannot be read, or a weight is missing, superfluous or of another shape; the message gives
                both shapes.
        """
        transfer_weights(self, source)
