"""The base of every registration model: a network that is trained, and its use."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property

import keras

from acreg.errors import images_by_name
from acreg.geometry import Transform
from acreg.losses import LossWeights
from acreg.models.field_model import FieldModel
from acreg.models.fine_tuning import transfer_weights
from acreg.models.network_parts import freeze_parts, parts_of
from acreg.models.refinement import RefinementSettings
from acreg.models.registering import ImageLike, Registering


class RegistrationModel(FieldModel):
    """Registers a moving image onto a fixed one by a network that predicts a field.

    Subclasses make `network`, a model ``{"moving", "fixed"} -> {"field", ...}`` whose field is a displacement, or, with
    ``integration_steps``, a stationary velocity, on the images' grid or a coarser one over the same extent. One that
    finds an affine map as well adds it in `_run_network`, as ``"affine"``, ``(batch, rank, rank + 1)`` in voxels: the
    field moves a point of the fixed image first, then the map.

    Args:
        network: see above.
        multiple: the network's input sizes must be multiples of this; other sizes are padded and cropped inside.
        integration_steps: squarings that turn the field into a diffeomorphic displacement; 0 takes the field as the
            displacement.
        own_losses: what a subclass adds to the losses of `acreg.losses.LOSSES`.
        losses: the weight of each loss by its name, such as ``{"ncc": 1, "diffusion": 0.1}``; with arguments of its
            function, ``{"local_ncc": {"weight": 1, "window": 7}}``. Names are those of `acreg.losses.LOSSES`, of what
            the model adds, and of functions that other packages registered with Keras (``"mypackage>edges"``). A key
            may also be a function or an `acreg.losses.Loss`; see there for what a function is given. None for
            `default_losses`. Field losses act on the velocity where there is one, in voxels of its own grid.
        weighting: ``"fixed"`` sums the losses with these weights. ``"uncertainty"`` and ``"softmax"`` start from them
            and train them beside the network, see `acreg.layers.UncertaintyWeighting` (field losses are its
            regularisers); each is then logged as ``weight_<name>``, and ``loss`` is that layer's total, whose value
            depends on the weights: compare models by other numbers.
        num_classes: labels including the background; needed when label losses are used or Dice is to be logged.
        labels_per_step: a training step compares so many labels, drawn anew, and takes the others for background:
            memory and time for many labels are those of few. None compares all.
        preprocessing: an `acreg.io.Preprocessing` or its fields, needed by `register` and `save_preset`.
        augmentation: an `acreg.layers.ThinPlateSplineAugmentation` or its arguments: what makes pairs of the single
            images that are given in training; None where pairs are given.
        recompute: parts of the network, see `parts`, whose activations are computed again for the gradient instead of
            being kept, level by level: less memory in training, for the time of one more forward pass through them.

    Call arguments:
        inputs: ``{"moving", "fixed"}``, each ``(batch, *spatial, channels)`` about in [0, 1]; in training optionally
            ``"moving_labels"`` and ``"fixed_labels"``, integers ``(batch, *spatial, 1)``, and, for the losses on it,
            the true ``"displacement"`` from fixed to moving, ``(batch, *spatial, rank)`` in voxels. With an
            ``augmentation`` also ``"image"`` and optionally ``"labels"`` and ``"spacing"``, see there: of each of these
            images a pair is made, to which pairs, where they are given as well, are added.

    Returns:
        ``{"warped": (batch, *spatial, channels), "displacement": (batch, *spatial, rank)}`` and, with integration,
        ``"velocity"`` on the network's own grid; both fields in voxels of their grid. Where there is an affine map,
        ``"affine"`` and ``"deformation"``, the displacement before it; ``"displacement"`` is that of both. Where pairs
        were made, ``"pairs"`` has them all, as ``inputs`` would.

    Raises:
        ValueError: an unknown loss or argument of one, an unknown weighting or part to recompute, a label loss without
            ``num_classes``, or single images without an ``augmentation``.

    Example of a loss of one's own; registered, it is loaded with a saved model:

    >>> @keras.saving.register_keras_serializable("mypackage")
    ... def edges(fixed, warped, power=2.0):
    ...     slopes = [x[:, 1:] - x[:, :-1] for x in (fixed, warped)]
    ...     return ops.mean(ops.abs(slopes[0] - slopes[1]) ** power, axis=(1, 2, 3))
    >>> model = acreg.models.RegNet(losses={"ncc": 1, edges: {"weight": 0.5, "power": 1.0}, "diffusion": 0.1})
    """

    @cached_property
    def _registering(self) -> Registering:
        return Registering(self)

    @images_by_name
    def register(self, *, fixed: ImageLike, moving: ImageLike) -> Transform:
        """Registers ``moving`` onto ``fixed``.

        Args:
            fixed, moving: images of any size and of the model's rank: `acreg.io.Image`, an array ``(*spatial)``, or a
                path. Spacing and orientation are read from them; `acreg.io.Preprocessing` says how they become the
                network's input.

        Returns:
            An `acreg.geometry.Transform` on the fixed image's own grid: what the network found on its grid (a
            displacement, or a velocity where there is one; then an affine map, where it finds one), then the map from
            its grid in the fixed image to that in the moving one. ``warp_image`` and ``warp_labels`` resample originals
            once.

        Raises:
            UsageError: the images are not given by name.
            AcregError: the model has no ``preprocessing``, an image cannot be read, has another rank or one value
                everywhere, the memory at hand is less than `estimate_memory`, or the process was forked from the one
                in which the first model was made (use "spawn").
        """
        return self.register_many(fixed=[fixed], moving=[moving])[0]

    @images_by_name
    def register_many(self, *, fixed: Sequence[ImageLike], moving: Sequence[ImageLike]) -> list[Transform]:
        """Registers several pairs, the first of ``moving`` onto the first of ``fixed``, by one batch.

        An image that is in several pairs as the same object is read and preprocessed once. Returns and errors are as in
        `register`, for each pair, and `UsageError` where there are not as many of both, or none; memory grows with the
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
        anchor: float = 0.1,
        learning_rate: float = 0.02,
        patience: int = 5,
        folding_limit: float = 0.01,
    ) -> Transform:
        """Registers a pair, then optimises the predicted field (the velocity, where there is one) for it alone.

        Adam on the network's grid; the field with the lowest loss is returned. It stops early when the loss has not
        fallen for ``patience`` steps, or when more voxels fold than ``folding_limit`` allows. See the model's page for
        what this does to the Dice of labels: a better image similarity can mean worse anatomy.

        Args:
            fixed, moving: as in `register`.
            steps: at most.
            losses: weights of image and field losses, as the model takes them; the default is the local NCC with the
                model's own field losses, because the global NCC was found to lower Dice.
            anchor: weight of the mean squared distance from the predicted field, voxels of its own grid.
            learning_rate: voxels of that grid.
            patience: see above.
            folding_limit: percentage of folded voxels that the field may have beyond those of the predicted one.

        Returns, errors: as `register`; `ValueError` for an unknown loss or one on labels.
        """
        settings = RefinementSettings(steps, losses, anchor, learning_rate, patience, folding_limit)
        return self._registering.refine(fixed, moving, settings)

    def estimate_memory(self, shape: tuple[int, ...]) -> int:
        """Bytes that it takes to register one pair on a network's grid of ``shape``.

        Twice the tensors that are alive at once in the network (convolutions keep a copy of their input), and eight
        fields at full resolution. Measured on a CPU, a registration took 0.6 to 1 times this (3-D, 64 to 128 voxels an
        axis, both networks).
        """
        return self._registering.memory_of(shape)

    def parts(self) -> dict[str, list[keras.layers.Layer]]:
        """The network's layers with weights by the part that they belong to.

        `DDMR` and the ``"unet"`` of `RegNet` have ``encoder``, ``decoder`` and ``head``; the ``"pyramid"`` has
        ``encoder``, which reads each image, and ``level``, which estimates the field level by level.
        """
        return parts_of(self.network)

    def freeze(self, *parts: str) -> None:
        """Keeps the weights of some parts, and the statistics of their batch normalisation, as they are in training.

        Takes effect when the model is compiled next. All parts that are not named are trained: without any name the
        whole network is.

        Raises:
            ValueError: a part that the network does not have, or all of them.
        """
        freeze_parts(self.network, parts)

    def transfer_from(self, source: str | os.PathLike[str]) -> None:
        """Takes over the weights of another model's network, all of them.

        The other model may be of another class, or have other losses and labels, as long as its network has the same
        layers and widths.

        Args:
            source: a preset, by name or folder; a model (``.keras``); or its weights (``.weights.h5``).

        Raises:
            UsageError: no such preset or file.
            AcregError: it cannot be read, or a weight is absent, left over or of another shape; both shapes are named.
        """
        transfer_weights(self, source)
