"""A network that maps a pair of images to a displacement and is trained with losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from acreg.inference.forking import check_process
from acreg.inference.registering import padded_sizes
from acreg.io import Preprocessing
from acreg.layers import ImageAugmentation, ThinPlateSplineAugmentation, UncertaintyWeighting, functional
from acreg.layers.tensor import Tensor
from acreg.layers.whole_numbers import decoded
from acreg.losses import LABEL_LOSSES, LOSSES, Loss, LossWeights, choose_losses
from acreg.losses.loss import FIELD
from acreg.models.label_autoencoder import hard_dice, update_dice
from acreg.models.label_values import one_hot_of, some_labels, unknown_in_pairs, warp_one_hot
from acreg.models.loss_values import LossValues, mean_over_batch
from acreg.models.made_pairs import make_pairs
from acreg.models.network_parts import parts_of
from acreg.models.preset_model import PresetModel
from acreg.models.recomputation import Recomputation

if TYPE_CHECKING:
    from typing_extensions import Self

WEIGHTINGS = ("fixed", "uncertainty", "softmax")
LOGGED = ("loss", "dice", "folded_percent")
"""What is logged beside the losses."""


class FieldModel(PresetModel):
    """The trainable part of a `RegistrationModel`: it maps a pair of images to a displacement, and has losses.

    Args, call arguments, returns, errors: see `RegistrationModel`, from which models derive.
    """

    DEFAULT_LOSSES: Mapping[str, float | Mapping[str, Any]] = {}
    GIVEN_BY_SUBCLASSES = ("network", "multiple", "own_losses")
    """Arguments that a model sets itself, so that its user cannot give them."""

    def __init__(
        self,
        network: keras.Model,
        *,
        multiple: int,
        own_losses: Sequence[Loss] = (),
        integration_steps: int = 0,
        symmetric: bool = False,
        losses: LossWeights | None = None,
        weighting: str = "fixed",
        num_classes: int | None = None,
        labels_per_step: int | None = None,
        preprocessing: Preprocessing | Mapping[str, Any] | None = None,
        augmentation: ThinPlateSplineAugmentation | Mapping[str, Any] | None = None,
        image_augmentation: ImageAugmentation | Mapping[str, Any] | None = None,
        recompute: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        check_process()
        # Images stay float32 in mixed precision: only the layers of the network compute in half precision.
        super().__init__(autocast=False, **kwargs)
        self.network = network
        self.multiple = multiple
        self.integration_steps = integration_steps
        self.symmetric = symmetric
        self._check_symmetric()
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
        if isinstance(image_augmentation, Mapping):
            image_augmentation = ImageAugmentation(**image_augmentation)
        self.image_augmentation = image_augmentation
        if unknown := [part for part in recompute if part not in parts_of(network)]:
            raise ValueError(f"A part to recompute must be one of {list(parts_of(network))}. Received: {unknown}")
        self._recomputation = Recomputation(recompute)
        self._recomputation.prepare(network)
        logged = [name for name, weight in self.loss_weights.items() if weight]
        self.weighting = weighting
        self.loss_weighting = self._make_loss_weighting(logged)
        logged += [] if self.loss_weighting is None else [f"weight_{name}" for name in logged]
        logged += ["dice"] if num_classes else []
        self.trackers = {name: keras.metrics.Mean(name=name) for name in [*logged, "folded_percent"]}
        self.built = True

    def default_losses(self) -> dict[str, float | Mapping[str, Any]]:
        """The default weights of the losses; label losses are included only if there are labels."""
        compares_labels = {name for name, loss in {**LOSSES, **self._own_losses}.items() if loss.compares_labels}
        return {n: w for n, w in self.DEFAULT_LOSSES.items() if self.num_classes or n not in compares_labels}

    def known_losses(self) -> list[str]:
        """The names of all losses that this model knows, without those that other packages register."""
        return [*LOSSES, *self._own_losses]

    def _check_symmetric(self) -> None:
        if self.symmetric and not self.integration_steps:
            raise ValueError(
                "`symmetric` takes half the difference of two velocities, and a displacement has no such inverse. "
                f"Received: symmetric=True, integration_steps={self.integration_steps}. Set `integration_steps`."
            )

    def _check_losses(self) -> None:
        for name, loss in self.chosen_losses.items():
            if name in LOGGED:
                raise ValueError(f"A loss must have another name than {LOGGED}, which are logged. Received: {name!r}")
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
            if self.loss_weights[name] and loss.compares_labels and loss.function not in label_wise
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

    def call(self, inputs: Mapping[str, Tensor] | Sequence[Tensor], training: bool = False) -> dict[str, Tensor]:
        check_process()
        given = _named(inputs)
        pair = decoded(given)
        made = {} if pair is given else {"pairs": pair}
        if training and self.image_augmentation is not None:
            pair = made["pairs"] = self.image_augmentation(pair, training=True)
        if "image" in pair:
            pair = made["pairs"] = make_pairs(self.augmentation, pair)
        sizes = functional.spatial_shape(pair["fixed"])
        outputs = self.predict_field(pair, training)
        if self.integration_steps:
            integrated = functional.integrate(outputs["velocity"], self.integration_steps)
            displacement = self._to_image_grid(integrated, sizes)
        else:
            displacement = outputs.pop("displacement")
        if "affine" in outputs:
            outputs["deformation"] = displacement
            displacement = functional.affine_displacement(outputs["affine"], sizes, displacement)
        warped = functional.warp(pair["moving"], displacement)
        return {"warped": warped, "displacement": displacement, **outputs, **made}

    def predict_field(self, inputs: Mapping[str, Tensor], training: bool = False) -> dict[str, Tensor]:
        """The prediction of the network for pairs: the part of `call` before integration, composition and warping.

        Returns:
            ``"velocity"`` on the network's grid for a model that integrates, or else ``"displacement"`` on the grid of
            the images, without the affine map; ``"affine"``, if the network predicts one; and further outputs of the
            network.
        """
        sizes = functional.spatial_shape(inputs["fixed"])
        outputs = self._run_network(self._network_inputs(inputs, training), sizes, training)
        field = outputs.pop("field")
        if self.integration_steps:
            return {"velocity": field, **outputs}
        return {"displacement": self._to_image_grid(field, sizes), **outputs}

    def _padded(self, sizes: tuple[int | Tensor, ...]) -> list[int | Tensor]:
        return padded_sizes(sizes, self.multiple)

    def _network_inputs(self, inputs: Mapping[str, Tensor], training: bool) -> dict[str, Tensor]:
        """The inputs that the network sees."""
        return {name: inputs[name] for name in ("moving", "fixed")}

    def _run_network(
        self, images: Mapping[str, Tensor], sizes: tuple[int | Tensor, ...], training: bool
    ) -> dict[str, Tensor]:
        padded = self._padded(sizes)
        if any(not isinstance(n, int) or n != p for n, p in zip(sizes, padded, strict=True)):
            before = [(p - n) // 2 for n, p in zip(sizes, padded, strict=True)]
            images = {name: _pad_edges(x, before, sizes, padded) for name, x in images.items()}
        found = dict(self._through(self.network, images, training))
        if self.symmetric:
            swapped = {**images, "moving": images["fixed"], "fixed": images["moving"]}
            found["field"] = (found["field"] - self._through(self.network, swapped, training)["field"]) / 2.0
        return found

    def _through(self, network: keras.Model, images: Mapping[str, Tensor], training: bool) -> Tensor:
        """The outputs of a network; in training with `recompute`."""
        if training and self._recomputation.parts:
            return self._recomputation(network, images)
        return network(dict(images), training=training)

    def _to_image_grid(self, displacement: Tensor, sizes: tuple[int | Tensor, ...]) -> Tensor:
        """Resizes the network's displacement to the grid of the padded images and crops it."""
        padded = self._padded(sizes)
        x = self._to_padded_grid(ops.cast(displacement, "float32"), padded)
        for axis, (n, p) in enumerate(zip(sizes, padded, strict=True), start=1):
            if not isinstance(n, int) or n != p:
                x = ops.take(x, ops.arange(n) + (p - n) // 2, axis=axis)
        return x

    def _to_padded_grid(self, field: Tensor, sizes: list[int | Tensor]) -> Tensor:
        return functional.resize_displacement(field, sizes)

    def loss_values(
        self, x: Mapping[str, Tensor], y_pred: Mapping[str, Tensor], num_classes: int | None, training: bool
    ) -> LossValues:
        """The values for losses, see `acreg.losses.Loss`; a subclass adds those that its own losses need."""
        values = LossValues(x, y_pred)
        if num_classes and "moving_labels" in x:
            values.add("fixed_one_hot", lambda: one_hot_of(x["fixed_labels"], num_classes))
            values.add("moving_one_hot", lambda: one_hot_of(x["moving_labels"], num_classes))
            values.add("warped_one_hot", lambda: warp_one_hot(values["moving_one_hot"], y_pred["displacement"]))
        return values

    def loss_terms(
        self,
        x: Mapping[str, Tensor],
        y_pred: Mapping[str, Tensor],
        num_classes: int | None = None,
        training: bool = False,
        sample_weight: Tensor = None,
    ) -> dict[str, Tensor]:
        """Every loss with a weight other than 0, unweighted, averaged over the batch; also updates the logged Dice.

        ``num_classes`` is the number of labels in ``x``, if it differs from that of the model; ``training`` is for
        models whose losses need other networks. With a ``sample_weight``, ``(batch,)``, it is the mean of the products.

        Raises:
            ValueError: a loss has one value for the whole batch, and there are weights of samples.
        """
        num_classes = num_classes or self.num_classes
        values = self.loss_values(x, y_pred, num_classes, training)
        wanted = [loss for name, loss in self.chosen_losses.items() if self.loss_weights.get(name, 1.0)]
        terms = {
            loss.name: mean_over_batch(loss.name, loss(*(values[name] for name in loss.needs)), sample_weight)
            for loss in values.complete(wanted, training)
        }
        if "warped_one_hot" in values:
            found = ops.argmax(values["warped_one_hot"], axis=-1)
            update_dice(self.trackers["dice"], hard_dice(x["fixed_labels"][..., 0], found, num_classes))
        return terms

    def one_hot(self, labels: Tensor, num_classes: int | None = None) -> Tensor:
        """Integer labels ``(batch, *spatial, 1)`` as float32 ``(batch, *spatial, num_classes)``; errors: `one_hot_of`.

        Without ``num_classes`` the classes are the model's.
        """
        return one_hot_of(labels, num_classes or self.num_classes)

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Tensor = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """The weighted sum of the losses; each is logged by name, with Dice and the percentage of folded voxels.

        Added to it are a loss that was given to `compile`, on the outputs ``"warped"``, ``"displacement"``, ..., losses
        from `add_loss` and regularisers.
        """
        added = self.added_losses(x, y, y_pred, sample_weight, training)
        x = _named(x)
        x, num_classes = y_pred.get("pairs", x), None
        unknown = unknown_in_pairs(x, self.num_classes) if self.num_classes and "moving_labels" in x else 0.0
        if training and self.labels_per_step and "moving_labels" in x:
            x = some_labels(x, self.num_classes, self.labels_per_step, self._label_draws)
            num_classes = self.labels_per_step + 1
        terms = self.loss_terms(x, y_pred, num_classes, training, sample_weight)
        for name, value in terms.items():
            self.trackers[name].update_state(value)
        determinant = functional.jacobian_determinant(y_pred["displacement"])
        self.trackers["folded_percent"].update_state(100.0 * ops.mean(ops.cast(determinant <= 0, "float32")))
        total = self.total_loss(terms, x, y_pred, training) + unknown
        # A TensorFlow strategy sums the gradients of its devices; ours is the gradient of the mean over the batch.
        strategy = getattr(self, "distribute_strategy", None)
        parts = 1 if strategy is None else strategy.num_replicas_in_sync
        return (total if parts == 1 else total / parts) + added

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """As for every Keras model; a dictionary has no losses that were left out, see `loss_terms`."""
        found = super().evaluate(*args, **kwargs)
        if not isinstance(found, dict):
            return found
        # `sum`: the variable of several devices is no number by itself
        unmeasured = {name for name, tracker in self.trackers.items() if not float(ops.sum(tracker.count))}
        added = self._compile_loss is not None or self.losses
        if not added and unmeasured >= self.trackers.keys() & self.chosen_losses.keys():
            unmeasured.add("loss")  # a sum of nothing
        return {name: value for name, value in found.items() if name not in unmeasured}

    def total_loss(
        self, terms: Mapping[str, Tensor], x: Mapping[str, Tensor], y_pred: Mapping[str, Tensor], training: bool
    ) -> Tensor:
        """The weighted sum of the losses, a scalar, which is minimised."""
        if self.loss_weighting is None:
            weighted = [self.loss_weights[name] * value for name, value in terms.items() if name in self.loss_weights]
            return sum(weighted, ops.zeros(()))
        for name, weight in self.loss_weighting.loss_weights().items():
            self.trackers[f"weight_{name}"].update_state(weight)
        return self.loss_weighting(dict(terms))

    def remade(self, **changed: Any) -> Self:
        # A loss that was given as a function is found by its name, even if it is not registered.
        with keras.saving.custom_object_scope({n: x for n, x in self.chosen_losses.items() if n not in LOSSES}):
            return super().remade(**changed)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "integration_steps": self.integration_steps,
            **({"symmetric": True} if self.symmetric else {}),
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
            **{
                name: layer.get_config()
                for name, layer in (
                    ("augmentation", self.augmentation),
                    ("image_augmentation", self.image_augmentation),
                )
                if layer is not None
            },
            **({"recompute": self._recomputation.parts} if self._recomputation.parts else {}),
        }


def _named(inputs: Any) -> Mapping[str, Tensor]:
    """The inputs of a model by name; a tuple or list of two is the moving and the fixed image.

    Raises:
        ValueError: they are something else.
    """
    if isinstance(inputs, Mapping):
        return inputs
    if not isinstance(inputs, (tuple, list)) or len(inputs) != 2:
        raise ValueError(
            "A registration model takes a dictionary with 'moving' and 'fixed', or a list of these two images in this "
            f"order. Received: {type(inputs).__name__}"
            f"{f' of {len(inputs)}' if isinstance(inputs, (tuple, list)) else ''}"
        )
    return {"moving": inputs[0], "fixed": inputs[1]}


def _pad_edges(
    x: Tensor, before: list[int | Tensor], sizes: tuple[int | Tensor, ...], padded: list[int | Tensor]
) -> Tensor:
    """Repeats edge values so that each spatial axis has its ``padded`` size."""
    for axis, (b, n, p) in enumerate(zip(before, sizes, padded, strict=True), start=1):
        x = ops.take(x, ops.clip(ops.arange(p) - b, 0, n - 1), axis=axis)
    return x
