"""Construction of models and optimisers from a recipe."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras

from acreg import models
from acreg.data.stored_array import StoredArray
from acreg.errors import AcregError, UsageError
from acreg.models.arguments import check_memory, constructor_types
from acreg.models.registered import registered_models
from acreg.training import devices
from acreg.training.data import TrainingData
from acreg.training.schema import AutoencoderSection, OptimizerSection, Recipe

FILLED_IN = {
    "rank",
    "channels",
    "num_classes",
    "autoencoder",
    "preprocessing",
    "augmentation",
    "image_augmentation",
    "seed",
    "name",
    "dtype",
    "trainable",
}
"""Arguments of a model that are set by other sections of a recipe."""


def model_classes() -> dict[str, type]:
    """The models that a recipe may name: acreg's, and those of other packages, see `registered_models`."""
    return {**registered_models(models.RegistrationModel), **registered_models(models.Segmenter)}


def segments(recipe: Recipe) -> bool:
    """Whether a recipe's model is trained with single images, which it segments, instead of pairs."""
    return issubclass(model_classes().get(recipe.model.class_name, object), models.Segmenter)


def need_labels(data: TrainingData) -> StoredArray:
    """The training labels.

    Raises:
        AcregError: the dataset has no labels.
    """
    if data.train.labels is None:
        raise AcregError(
            f"A label autoencoder and a segmenter need labels. Received: {data.dataset.name}, which has none. Fill the "
            "column labels of its manifest, or register without: set autoencoder=null and leave out the prior."
        )
    return data.train.labels


def build_autoencoder(recipe: Recipe, section: AutoencoderSection, data: TrainingData) -> models.LabelAutoencoder:
    """The label autoencoder of a recipe, compiled but not trained.

    Raises:
        AcregError: the dataset has no labels; see `need_labels`.
        UsageError: the model refuses a value.
    """
    need_labels(data)
    classes = len(data.preprocessing.label_values)
    with _explicit_seed(recipe.seed, "autoencoder"), _as_usage_error("autoencoder"):
        model = models.LabelAutoencoder(
            shape=recipe.data.shape,
            num_classes=classes,
            code_size=section.code_size,
            noise=section.noise,
            noise_probability=section.noise_probability,
            seed=recipe.seed,
            preprocessing=data.preprocessing,
        )
    model.compile(optimizer=keras.optimizers.Adam(section.learning_rate))
    return model


def build_network(
    recipe: Recipe, data: TrainingData, autoencoder: models.LabelAutoencoder | None
) -> models.RegistrationModel | models.Segmenter:
    """The registration model or segmenter of a recipe, compiled but not trained.

    Raises:
        UsageError: the model refuses a value, such as an unknown loss.
    """
    model_class = model_classes()[recipe.model.class_name]
    known = constructor_types(model_class)
    follows: dict[str, Any] = {
        "rank": len(recipe.data.shape),
        "channels": data.train.images.shape[-1],
        "num_classes": data.num_classes,
        "preprocessing": data.preprocessing,
    }
    filled = {name: value for name, value in follows.items() if name in known}
    if recipe.data.synthetic is not None:
        filled["augmentation"] = {**recipe.data.synthetic.layer_arguments(), "seed": recipe.seed}
    if recipe.data.augmentation_in == "model":
        if "image_augmentation" not in known:
            raise UsageError(
                "data.augmentation_in: model is for networks that register. Received: "
                f"model.class={model_class.__name__}. Leave it out: the input augments."
            )
        filled["image_augmentation"] = {**recipe.data.augmentation.model_dump(), "seed": recipe.seed}
    if "autoencoder" in known:
        filled["autoencoder"] = autoencoder
        if autoencoder is not None and recipe.training.distribute:  # its variables must also be created for all devices
            filled["autoencoder"] = models.LabelAutoencoder.from_config(autoencoder.get_config())
            filled["autoencoder"].set_weights(autoencoder.get_weights())
    if "seed" in known:
        filled["seed"] = recipe.seed
    if recipe.training.mixed_precision:
        filled["dtype"] = recipe.training.mixed_precision
    with _explicit_seed(recipe.seed, "count"), _as_usage_error("model"):
        check_memory(model_class, {**recipe.model.arguments, **filled}, copies=4)
    with _explicit_seed(recipe.seed, "network"), _as_usage_error("model"):
        model = model_class(**recipe.model.arguments, **filled)
        _check_network(model, data.train.images.shape, recipe.training.mixed_precision)
    if recipe.training.distribute:
        devices.synchronise(model)
    compile_network(model, recipe, recipe.training.steps)
    return model


def _check_network(
    model: models.RegistrationModel | models.Segmenter, images: Sequence[int], precision: str | None
) -> None:
    """Check that a network takes the training images, `(n, *spatial, channels)`, and computes in half precision.

    Raises:
        ValueError: another rank or number of channels, or no layer of that precision, which the network ignores.
    """
    name, rank, channels = type(model).__name__, len(images) - 2, images[-1]
    if (model.rank, model.channels) != (rank, channels):
        raise ValueError(
            f"The network of {name} must take the images of the recipe, which have {rank} axes and {channels} "
            f"channels. Received: {model.rank} axes and {model.channels} channels. A constructor with the arguments "
            "`rank` and `channels` is given these numbers."
        )
    half = (precision or "").removeprefix("mixed_")
    if half and all(layer.compute_dtype != half for layer in model.network._flatten_layers()):
        raise ValueError(
            f"{name} must pass its argument `dtype` on to the layers of its network. Received: "
            f"training.mixed_precision={precision}, and no layer that computes in {half}."
        )


def compile_network(
    model: models.RegistrationModel | models.Segmenter, recipe: Recipe, steps: int, frozen: Sequence[str] = ()
) -> None:
    """Give a model a new optimiser for `steps` steps in which some of its parts are frozen.

    Raises:
        UsageError: a part that the network does not have, or more warm-up steps than steps.
    """
    with _as_usage_error("start"):
        model.freeze(*frozen)
    optimizer = build_optimizer(recipe.optimizer, steps, recipe.training.steps_per_epoch)
    if model.loss_weighting is not None:  # decay would pull the weight of every loss towards one
        optimizer.exclude_from_weight_decay(var_list=model.loss_weighting.trainable_variables)
    model.compile(optimizer=optimizer, jit_compile=recipe.training.jit_compile)


def build_optimizer(section: OptimizerSection, steps: int, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """The optimiser of a recipe for training with `steps` steps, in epochs of `steps_per_epoch`.

    Raises:
        UsageError: there are more warm-up steps than steps.
    """
    if section.warmup_steps >= steps:
        raise UsageError(
            "optimizer.warmup_steps must be fewer than training.steps, and than those before and after "
            "start.freeze_steps. "
            f"Received: warmup_steps={section.warmup_steps}, steps={steps}. Lower the one or raise the other."
        )
    rate: float | keras.optimizers.schedules.LearningRateSchedule = section.learning_rate
    if section.schedule == "step":
        length = section.step_epochs * steps_per_epoch
        rates = [max(rate * section.step_factor**stage, section.floor) for stage in range(1 + (steps - 1) // length)]
        falls = [stage for stage in range(1, len(rates)) if rates[stage] < rates[stage - 1]]
        if falls:  # a boundary is the last step, counted from 0, at the rate before it
            boundaries = [stage * length - 1 for stage in falls]
            rate = keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, [rate, *(rates[i] for i in falls)])
    elif section.schedule == "cosine" or section.warmup_steps:
        fraction = section.final_fraction if section.schedule == "cosine" else 1.0
        left = steps - section.warmup_steps
        if section.warmup_steps:
            rate = keras.optimizers.schedules.CosineDecay(
                0.0, left, alpha=fraction, warmup_target=rate, warmup_steps=section.warmup_steps
            )
        else:
            rate = keras.optimizers.schedules.CosineDecay(rate, left, alpha=fraction)
    chosen = {"adam": keras.optimizers.Adam, "adamw": keras.optimizers.AdamW}[section.name]
    decay = {} if section.weight_decay is None else {"weight_decay": section.weight_decay}
    accumulated = section.gradient_accumulation_steps
    return chosen(
        rate,
        beta_1=section.beta_1,
        clipnorm=section.clipnorm,
        gradient_accumulation_steps=accumulated,
        **decay,
    )


@contextmanager
def _explicit_seed(seed: int, purpose: str) -> Iterator[None]:
    """Make weights and dropout depend only on `seed`.

    For each initialiser and dropout layer without a seed, Keras draws one from Python's own generator, which gets
    a separate state here; its old state is restored afterwards.
    """
    before = random.getstate()
    random.seed(f"{purpose} {seed}")
    try:
        yield
    finally:
        random.setstate(before)


@contextmanager
def _as_usage_error(section: str) -> Iterator[None]:
    """Report what a constructor refuses as a mistake in the recipe."""
    try:
        yield
    except AcregError:
        raise
    except Exception as error:  # constructors and Keras raise many types of error for invalid values
        said = " ".join(str(error).split())
        raise UsageError(
            f"The recipe's section {section} must be accepted by the model. The model says: "
            f"{said if said.endswith(('.', '?', '!')) else said + '.'} Correct that key of the recipe."
        ) from error
