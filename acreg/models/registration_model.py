"""The base of every registration model: from a pair of images to a displacement, with its losses and its use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from acreg.io import Preprocessing
from acreg.layers import ThinPlateSplineAugmentation, UncertaintyWeighting, functional
from acreg.losses import LABEL_LOSSES, LOSSES, Loss, LossWeights, choose_losses
from acreg.losses.loss import FIELD
from acreg.models.fine_tuning import FineTuning
from acreg.models.forking import check_process
from acreg.models.label_autoencoder import hard_dice, update_dice
from acreg.models.label_values import ChecksLabels, check_labels, unknown_labels
from acreg.models.loss_values import LossValues
from acreg.models.presets import Preset
from acreg.models.recomputation import Recomputation
from acreg.models.registering import Registering

WEIGHTINGS = ("fixed", "uncertainty", "softmax")
PAIR = ("moving", "fixed", "moving_labels", "fixed_labels")


class RegistrationModel(Registering, FineTuning, ChecksLabels, Preset, keras.Model):
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

    DEFAULT_LOSSES: Mapping[str, float] = {}

    def __init__(
        self,
        network: keras.Model,
        *,
        multiple: int,
        own_losses: Sequence[Loss] = (),
        integration_steps: int = 0,
        losses: LossWeights | None = None,
        weighting: str = "fixed",
        num_classes: int | None = None,
        labels_per_step: int | None = None,
        preprocessing: Preprocessing | Mapping[str, Any] | None = None,
        augmentation: ThinPlateSplineAugmentation | Mapping[str, Any] | None = None,
        recompute: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        check_process()
        # Images stay float32 in mixed precision: only the network's layers compute in half.
        super().__init__(autocast=False, **kwargs)
        self.network = network
        self.multiple = multiple
        self.integration_steps = integration_steps
        self.num_classes = num_classes
        self._own_losses = {loss.name: loss for loss in own_losses}
        losses = self.default_losses() if losses is None else losses
        known = {**LOSSES, **self._own_losses}
        self.chosen_losses, self.loss_weights = choose_losses(losses, known, type(self).__name__)
        self._check_losses()
        self.labels_per_step = labels_per_step
        self._check_labels_per_step()
        self._label_draws = keras.random.SeedGenerator(0) if labels_per_step else None
        if isinstance(preprocessing, Mapping):
            preprocessing = Preprocessing(**preprocessing)
        self.preprocessing = preprocessing
        if isinstance(augmentation, Mapping):
            augmentation = ThinPlateSplineAugmentation(**augmentation)
        self.augmentation = augmentation
        if unknown := [part for part in recompute if part not in self.parts()]:
            raise ValueError(f"A part to recompute must be one of {list(self.parts())}. Received: {unknown}")
        self._recomputation = Recomputation(recompute)
        self._recomputation.prepare(network)
        logged = [name for name, weight in self.loss_weights.items() if weight]
        self.weighting = weighting
        self.loss_weighting = self._make_loss_weighting(logged)
        logged += [] if self.loss_weighting is None else [f"weight_{name}" for name in logged]
        logged += ["dice"] if num_classes else []
        self.trackers = {name: keras.metrics.Mean(name=name) for name in [*logged, "folded_percent"]}
        self.built = True

    def default_losses(self) -> dict[str, float]:
        """The weights of the losses where none are given: those of labels only where there are any."""
        compares_labels = {name for name, loss in {**LOSSES, **self._own_losses}.items() if loss.compares_labels}
        return {n: w for n, w in self.DEFAULT_LOSSES.items() if self.num_classes or n not in compares_labels}

    def known_losses(self) -> list[str]:
        """The names of all losses that this model knows, beside those that other packages register."""
        return [*LOSSES, *self._own_losses]

    def _check_losses(self) -> None:
        for name, loss in self.chosen_losses.items():
            if self.loss_weights[name] and loss.compares_labels and not self.num_classes:
                raise ValueError(f"The loss {name!r} compares labels and needs `num_classes`. Received: None")

    def _check_labels_per_step(self) -> None:
        n, classes = self.labels_per_step, self.num_classes
        if n is not None and not (classes and 1 <= n < classes):
            raise ValueError(
                "`labels_per_step` must be at least 1 and fewer than `num_classes`. "
                f"Received: labels_per_step={n}, num_classes={classes}"
            )
        label_wise = [loss.function for loss in LABEL_LOSSES.values()]
        own = [
            name
            for name, loss in self.chosen_losses.items()
            if self.loss_weights[name] and "fixed_one_hot" in loss.needs and loss.function not in label_wise
        ]
        if n is not None and own:
            raise ValueError(
                f"`labels_per_step` is for losses that treat each label alike. Received: {n} in a model with {own}, "
                "which needs them all"
            )

    def _make_loss_weighting(self, names: list[str]) -> UncertaintyWeighting | None:
        if self.weighting not in WEIGHTINGS:
            raise ValueError(f"`weighting` must be one of {WEIGHTINGS}. Received: weighting={self.weighting!r}")
        if self.weighting == "fixed":
            return None
        regularisers = [name for name in names if self.chosen_losses[name].needs == FIELD]
        if len(regularisers) == len(names):
            raise ValueError(
                f"`weighting={self.weighting!r}` trains the weights of losses of images and labels and needs one. "
                f"Received: losses={self.loss_weights}"
            )
        layer = UncertaintyWeighting(
            {name: self.loss_weights[name] for name in names}, regularisers, self.weighting, name="loss_weighting"
        )
        layer.build()
        return layer

    def call(self, inputs: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        check_process()
        made = {}
        if "image" in inputs:
            inputs = made["pairs"] = self._make_pairs(inputs)
        sizes = functional.spatial_shape(inputs["fixed"])
        outputs = self.predict_field(inputs, training)
        if self.integration_steps:
            integrated = functional.integrate(outputs["velocity"], self.integration_steps)
            displacement = self._to_image_grid(integrated, sizes)
        else:
            displacement = outputs.pop("displacement")
        if "affine" in outputs:
            outputs["deformation"] = displacement
            displacement = functional.affine_displacement(outputs["affine"], sizes, displacement)
        warped = functional.warp(inputs["moving"], displacement)
        return {"warped": warped, "displacement": displacement, **outputs, **made}

    def predict_field(self, inputs: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        """What the network finds for pairs: the part of `call` before anything is integrated, composed or warped.

        Returns:
            ``"velocity"``, on the network's grid, of a model that integrates, or ``"displacement"``, on the images'
            grid and without the affine map, which is there as ``"affine"`` where the network finds one; and its further
            outputs.
        """
        sizes = functional.spatial_shape(inputs["fixed"])
        outputs = self._run_network(self._network_inputs(inputs, training), sizes, training)
        field = outputs.pop("field")
        if self.integration_steps:
            return {"velocity": field, **outputs}
        return {"displacement": self._to_image_grid(field, sizes), **outputs}

    def _make_pairs(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        if self.augmentation is None:
            raise ValueError(
                "Pairs of single images are made by the `augmentation` of a model. Received: 'image' among the inputs "
                "of a model without one"
            )
        made = self.augmentation({name: inputs[name] for name in ("image", "labels", "spacing") if name in inputs})
        given = {name: inputs[name] for name in PAIR if name in inputs}
        if given and set(given) != set(made) & set(PAIR):
            raise ValueError(
                "Pairs beside single images have the same parts as theirs, labels or none. "
                f"Received: {sorted(given)} beside {sorted(set(made) & set(PAIR))}"
            )
        return {
            name: ops.concatenate([value, ops.cast(given[name], value.dtype)]) if given else value
            for name, value in made.items()
            if name in PAIR
        }

    def _padded(self, sizes: tuple[Any, ...]) -> list[Any]:
        return [(n + self.multiple - 1) // self.multiple * self.multiple for n in sizes]

    def _network_inputs(self, inputs: Mapping[str, Any], training: bool) -> dict[str, Any]:
        """What of the inputs the network sees."""
        return {name: inputs[name] for name in ("moving", "fixed")}

    def _run_network(self, images: Mapping[str, Any], sizes: tuple[Any, ...], training: bool) -> dict[str, Any]:
        padded = self._padded(sizes)
        if any(not isinstance(n, int) or n != p for n, p in zip(sizes, padded, strict=True)):
            before = [(p - n) // 2 for n, p in zip(sizes, padded, strict=True)]
            images = {name: _pad_edges(x, before, sizes, padded) for name, x in images.items()}
        return dict(self._through(self.network, images, training))

    def _through(self, network: keras.Model, images: Mapping[str, Any], training: bool) -> Any:
        """What a network gives; in training by `recompute`."""
        if training and self._recomputation.parts:
            return self._recomputation(network, images)
        return network(dict(images), training=training)

    def _to_image_grid(self, displacement: Any, sizes: tuple[Any, ...]) -> Any:
        """Brings the network's displacement to the padded images' grid and crops it."""
        padded = self._padded(sizes)
        x = self._to_padded_grid(ops.cast(displacement, "float32"), padded)
        for axis, (n, p) in enumerate(zip(sizes, padded, strict=True), start=1):
            if not isinstance(n, int) or n != p:
                x = ops.take(x, ops.arange(n) + (p - n) // 2, axis=axis)
        return x

    def _to_padded_grid(self, field: Any, sizes: list[Any]) -> Any:
        return functional.resize_displacement(field, sizes)

    def loss_values(
        self, x: Mapping[str, Any], y_pred: Mapping[str, Any], num_classes: int | None, training: bool
    ) -> LossValues:
        """What losses may compare, see `acreg.losses.Loss`; a subclass adds what its own losses need."""
        values = LossValues(x, y_pred)
        if num_classes and "moving_labels" in x:
            values.add("fixed_one_hot", lambda: self.one_hot(x["fixed_labels"], num_classes))
            values.add("moving_one_hot", lambda: self.one_hot(x["moving_labels"], num_classes))
            values.add("warped_one_hot", lambda: warp_one_hot(values["moving_one_hot"], y_pred["displacement"]))
        return values

    def loss_terms(
        self, x: Mapping[str, Any], y_pred: Mapping[str, Any], num_classes: int | None = None, training: bool = False
    ) -> dict[str, Any]:
        """Every loss with a weight other than 0, unweighted, mean over the batch; and updates the logged Dice.

        ``num_classes`` are those of the labels in ``x``, where they are not the model's; ``training`` is for models
        whose losses need other networks.
        """
        num_classes = num_classes or self.num_classes
        values = self.loss_values(x, y_pred, num_classes, training)
        wanted = [loss for name, loss in self.chosen_losses.items() if self.loss_weights.get(name, 1.0)]
        terms = {
            loss.name: ops.mean(loss(*(values[name] for name in loss.needs)))
            for loss in values.complete(wanted, training)
        }
        if "warped_one_hot" in values:
            found = ops.argmax(values["warped_one_hot"], axis=-1)
            update_dice(self.trackers["dice"], hard_dice(x["fixed_labels"][..., 0], found, num_classes))
        return terms

    def one_hot(self, labels: Any, num_classes: int | None = None) -> Any:
        """Integer labels ``(batch, *spatial, 1)`` as float32 ``(batch, *spatial, num_classes)``.

        Raises:
            ValueError: another type, or more than one channel.
            AcregError: of an array, a label that is no class.
        """
        if "int" not in keras.backend.standardize_dtype(labels.dtype) or labels.shape[-1] != 1:
            raise ValueError(
                "Labels are integers (batch, *spatial, 1). Received: "
                f"{keras.backend.standardize_dtype(labels.dtype)} of shape {tuple(labels.shape)}"
            )
        if isinstance(labels, np.ndarray):
            check_labels({"labels": labels}, num_classes or self.num_classes)
        return ops.one_hot(labels[..., 0], num_classes or self.num_classes, dtype="float32")

    def _unknown_labels(self, x: Mapping[str, Any]) -> Any:
        """NaN if a label is not one of the model's, else 0; `ValueError` for labels of another shape than images."""
        for role in ("moving", "fixed"):
            image, labels = tuple(x[role].shape[1:-1]), tuple(x[f"{role}_labels"].shape[1:-1])
            if None not in (*image, *labels) and image != labels:
                raise ValueError(f"Labels have the shape of their image. Received: {role} {image}, its labels {labels}")
        return sum(unknown_labels(x[f"{role}_labels"], self.num_classes or 0) for role in ("moving", "fixed"))

    def _some_labels(self, x: Mapping[str, Any]) -> dict[str, Any]:
        """Labels of some of the classes, drawn at random and numbered from 1; the others are background."""
        classes, wanted = self.num_classes or 0, self.labels_per_step or 0
        order = keras.random.shuffle(ops.arange(1, classes, dtype="int32"), seed=self._label_draws)
        new = ops.where(ops.arange(classes - 1) < wanted, ops.arange(1, classes), 0)
        table = ops.scatter(order[:, None], ops.cast(new, "int32"), (classes,))
        return {**x, **{name: ops.take(table, x[name], axis=0) for name in ("moving_labels", "fixed_labels")}}

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """The weighted sum of the losses; each is logged by name, with Dice and the percentage of folded voxels."""
        x, num_classes = y_pred.get("pairs", x), None
        unknown = self._unknown_labels(x) if self.num_classes and "moving_labels" in x else 0.0
        if training and self.labels_per_step and "moving_labels" in x:
            x, num_classes = self._some_labels(x), self.labels_per_step + 1
        terms = self.loss_terms(x, y_pred, num_classes, training)
        for name, value in terms.items():
            self.trackers[name].update_state(value)
        determinant = functional.jacobian_determinant(y_pred["displacement"])
        self.trackers["folded_percent"].update_state(100.0 * ops.mean(ops.cast(determinant <= 0, "float32")))
        total = self.total_loss(terms, x, y_pred, training) + unknown
        # A strategy of TensorFlow sums the gradients of its devices; ours is that of the mean over the batch.
        strategy = getattr(self, "distribute_strategy", None)
        parts = 1 if strategy is None else strategy.num_replicas_in_sync
        return total if parts == 1 else total / parts

    def total_loss(
        self, terms: Mapping[str, Any], x: Mapping[str, Any], y_pred: Mapping[str, Any], training: bool
    ) -> Any:
        """What is minimised, a scalar: the losses, weighted."""
        if self.loss_weighting is None:
            weighted = [self.loss_weights[name] * value for name, value in terms.items() if name in self.loss_weights]
            return sum(weighted, ops.zeros(()))
        for name, weight in self.loss_weighting.loss_weights().items():
            self.trackers[f"weight_{name}"].update_state(weight)
        return self.loss_weighting(dict(terms))

    def remade(self, **changed: Any) -> Any:
        # A loss that was given as a function is found by its name, though it may not be registered.
        with keras.saving.custom_object_scope({n: x for n, x in self.chosen_losses.items() if n not in LOSSES}):
            return super().remade(**changed)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "integration_steps": self.integration_steps,
            "losses": {
                name: {"weight": weight, **self.chosen_losses[name].arguments}
                if self.chosen_losses[name].arguments
                else weight
                for name, weight in self.loss_weights.items()
            },
            "weighting": self.weighting,
            "num_classes": self.num_classes,
            **({} if self.labels_per_step is None else {"labels_per_step": self.labels_per_step}),
            "preprocessing": None if self.preprocessing is None else self.preprocessing.model_dump(mode="json"),
            **({} if self.augmentation is None else {"augmentation": self.augmentation.get_config()}),
            **({"recompute": self._recomputation.parts} if self._recomputation.parts else {}),
        }


def warp_one_hot(labels: Any, displacement: Any) -> Any:
    """Warps one-hot labels linearly; outside the moving image is background, as `Transform.warp_labels` has it."""
    foreground = functional.warp(labels[..., 1:], displacement, border="constant")
    return ops.concatenate([1.0 - ops.sum(foreground, axis=-1, keepdims=True), foreground], axis=-1)


def _pad_edges(x: Any, before: list[Any], sizes: tuple[Any, ...], padded: list[Any]) -> Any:
    """Repeats edge values so that each spatial axis has its ``padded`` size."""
    for axis, (b, n, p) in enumerate(zip(before, sizes, padded, strict=True), start=1):
        x = ops.take(x, ops.clip(ops.arange(p) - b, 0, n - 1), axis=axis)
    return x
