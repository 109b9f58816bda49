"""JRS-Net: registration and segmentation by one generator, trained with discriminators and cycle consistency."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from operator import itemgetter
from typing import Any

import keras
from keras import ops

from acreg.errors import UsageError, images_by_name
from acreg.geometry import Transform
from acreg.io import Image
from acreg.io.inputs import ImageLike
from acreg.layers import functional
from acreg.layers.tensor import Tensor
from acreg.losses import Loss, PerceptualLoss, mean_squared_error
from acreg.losses.perceptual import keras_cache
from acreg.models.blocks import check_rank
from acreg.models.joint_losses import foreground, frozen, mask_error, outputs_to_judge
from acreg.models.joint_networks import discriminator, joint_generator, otsu_threshold
from acreg.models.loss_values import LossValues
from acreg.models.registration_model import RegistrationModel

ADVERSARIAL = ("adversarial", "cycle")
"""Losses that need the reverse generator and the discriminators."""
ADVERSARIAL_LOSSES = ("non_saturating", "minimax")
JUDGED = ("image", "outputs")


@keras.saving.register_keras_serializable("acreg")
class JRSNet(RegistrationModel):
    """A generator that registers and segments; the sum of its activations gives the mask of the registered image.

    In training, a second generator registers in the opposite direction, and two discriminators judge the results of
    both; a preset does not keep them. The generator sees the mask of the fixed image only in a share of the training
    samples, and never after training, so that two images are enough to register; with `takes_mask`, it is also an input
    of registration.

    Args:
        rank: 2 or 3.
        channels: number of channels of one image.
        filters: number of filters of each of the generator's convolutions.
        blocks: its residual blocks.
        direct: generate the registered image in the network, as in the paper, and compare it with the fixed image;
            by default, the registered image is the moving image, warped by the field.
        mask_share: share of the training samples with the mask among the inputs of the generator.
        discriminator_filters: filters of the first convolutions of a discriminator; the last have eight times as many.
        judged: what a discriminator sees: ``"image"``, or ``"outputs"`` for image, mask and displacement, as in the
            paper. Real outputs are then the image, its foreground and the true displacement, which training needs as
            ``"fixed_labels"``, ``"moving_labels"``, ``"displacement"`` and ``"inverse_displacement"`` among the inputs.
        adversarial_loss: what a generator minimises if a discriminator finds the probability D that its result is real:
            ``"non_saturating"``, -log D; or ``"minimax"``, log(1 - D), as in the paper.
        pretraining_steps: number of initial batches that minimise only the mean squared error of the images.
        perceptual_weights: file with the weights of VGG16, see `acreg.losses.PerceptualLoss`.
        seed: random seed for choosing the samples that see the mask.
        takes_mask: the mask of the fixed image is an input of `register` and `segment`, too, as in the paper. Scores of
            such a model on labelled pairs use the labels of the fixed image.
        levels: levels of stride 2 around the residual blocks, which then see more of the image; 0, as in the paper, for
            full resolution throughout. The field and the mask are always at full resolution.
        **kwargs: ``losses`` and the other options of `RegistrationModel`. Besides the losses of every model there are
            ``"mask"`` (minus the log Dice of the fixed foreground and the generated mask), ``"perceptual"``,
            ``"adversarial"`` and ``"cycle"``. The weights of the paper are the default: ``{"mutual_information": 1,
            "ssim": 1, "perceptual": 1, "mask": 1, "displacement_error": 1, "adversarial": 1, "cycle": 10}``, without
            the loss on the mask if there are no labels. Without the weights of VGG16, the perceptual loss is off, and a
            warning says so.

    Call arguments and result: see `RegistrationModel`. The result also has ``"activation"``, ``(batch, *spatial, 1)``
        in [0, 1], whose part above Otsu's threshold is the mask, and with ``direct`` also ``"synthesised"``.

    Raises:
        ValueError: an argument out of range, or trained loss weights with ``"adversarial"`` or ``"cycle"``.
        AcregError: ``perceptual_weights`` are not those of VGG16.

    Source: Mahapatra et al., Joint registration and segmentation of X-ray images using generative adversarial networks,
    MLMI 2018, eq. 1 to 6, with the signs with which minimising makes images, masks and fields similar.
    """

    DEFAULT_LOSSES: Mapping[str, float] = {
        "mutual_information": 1.0,
        "ssim": 1.0,
        "perceptual": 1.0,
        "mask": 1.0,
        "displacement_error": 1.0,
        "adversarial": 1.0,
        "cycle": 10.0,
    }

    def __init__(
        self,
        rank: int = 2,
        channels: int = 1,
        filters: int = 64,
        blocks: int = 16,
        direct: bool = False,
        mask_share: float = 0.5,
        discriminator_filters: int = 64,
        judged: str = "image",
        adversarial_loss: str = "non_saturating",
        pretraining_steps: int = 0,
        perceptual_weights: str | os.PathLike[str] | None = None,
        seed: int = 0,
        takes_mask: bool = False,
        levels: int = 0,
        **kwargs: Any,
    ) -> None:
        check_rank(rank)
        counts = min(filters, blocks, discriminator_filters), min(levels, pretraining_steps)
        if counts[0] < 1 or counts[1] < 0 or not 0 <= mask_share <= 1:
            raise ValueError(
                "`filters`, `blocks` and `discriminator_filters` must be at least 1, `mask_share` from 0 to 1, and "
                f"`levels` and `pretraining_steps` not negative. Received: filters={filters}, blocks={blocks}, "
                f"discriminator_filters={discriminator_filters}, mask_share={mask_share}, levels={levels}, "
                f"pretraining_steps={pretraining_steps}"
            )
        if takes_mask and not mask_share:
            raise ValueError(
                "A model that takes a mask must see masks in training. Received: takes_mask=True, mask_share=0"
            )
        if judged not in JUDGED or adversarial_loss not in ADVERSARIAL_LOSSES:
            raise ValueError(
                f"`judged` must be one of {JUDGED}, and `adversarial_loss` one of {ADVERSARIAL_LOSSES}. "
                f"Received: judged={judged!r}, adversarial_loss={adversarial_loss!r}"
            )
        dtype = kwargs.get("dtype")
        network = joint_generator(rank, channels, filters, blocks, direct, levels, dtype)
        own = [
            Loss("mask", ("fixed_labels", "activation"), mask_error),
            Loss("perceptual", ("fixed", "warped"), self._perceptual_loss),
            Loss("adversarial", ("adversaries",), itemgetter("adversarial")),
            Loss("cycle", ("adversaries",), itemgetter("cycle")),
        ]
        super().__init__(network, multiple=1, own_losses=own, **kwargs)
        self.filters = filters
        self.blocks = blocks
        self.levels = levels
        self.direct = direct
        self.mask_share = mask_share
        self.takes_mask = takes_mask
        self.discriminator_filters = discriminator_filters
        self.judged = judged
        self.adversarial_loss = adversarial_loss
        self.pretraining_steps = pretraining_steps
        self.perceptual_weights = perceptual_weights
        self.seed = seed
        self._shown = keras.random.SeedGenerator(seed)
        self._perceptual = self._make_perceptual()
        if pretraining_steps:
            self.steps = self.add_weight(shape=(), initializer="zeros", trainable=False, name="steps")
        self.reverse: keras.Model | None = None
        if any(self.loss_weights.get(name) for name in ADVERSARIAL):
            if self.weighting != "fixed" or self.integration_steps or self.labels_per_step:
                raise ValueError(
                    "Adversaries weigh against each other, judge a displacement, and compare the whole foreground: "
                    "they need `weighting='fixed'`, and neither `integration_steps` nor `labels_per_step`. Received: "
                    f"weighting={self.weighting!r}, integration_steps={self.integration_steps}, "
                    f"labels_per_step={self.labels_per_step}"
                )
            self.reverse = joint_generator(rank, channels, filters, blocks, direct, levels, dtype)
            seen = channels if judged == "image" else channels + 1 + rank
            self.judge_fixed = discriminator(rank, seen, discriminator_filters, "judge_fixed", dtype)
            self.judge_moving = discriminator(rank, seen, discriminator_filters, "judge_moving", dtype)
            self._recomputation.prepare(self.reverse)
            self.chosen_losses["discriminator"] = Loss("discriminator", ("adversaries",), itemgetter("discriminator"))
            self.trackers["discriminator"] = keras.metrics.Mean(name="discriminator")

    @property
    def segments(self) -> bool:
        """Whether the activations were trained to show the foreground: the loss ``"mask"`` has a weight."""
        return bool(self.loss_weights.get("mask"))

    def _make_perceptual(self) -> PerceptualLoss | None:
        if not self.loss_weights.get("perceptual"):
            return None
        if self.perceptual_weights is None and not keras_cache().is_file():
            warnings.warn(
                "The perceptual loss is off: it needs the weights of VGG16, and neither `perceptual_weights` nor the "
                f"folder of Keras ({keras_cache()}) has them. Give the file, or set the loss's weight to 0.",
                stacklevel=3,
            )
            self.loss_weights["perceptual"] = 0.0
            self.trackers.pop("perceptual")
            return None
        return PerceptualLoss(self.perceptual_weights)

    def _network_inputs(self, inputs: Mapping[str, Tensor], training: bool) -> dict[str, Tensor]:
        return {**super()._network_inputs(inputs, training), "mask": self._mask(inputs, "fixed", training)}

    def _mask(self, inputs: Mapping[str, Tensor], role: str, training: bool) -> Tensor:
        """The foreground for the samples that see it; zeros for the others."""
        name = f"{role}_labels"
        seen = self.mask_share if training else self.takes_mask
        if not seen or name not in inputs:
            return ops.zeros_like(ops.cast(inputs[role][..., :1], "float32"))
        mask = foreground(inputs[name])
        if not training:
            return mask
        count = (ops.shape(mask)[0],) + (1,) * (len(mask.shape) - 1)
        shown = keras.random.uniform(count, seed=self._shown) < self.mask_share
        return mask * ops.cast(shown, "float32")

    def _perceptual_loss(self, fixed: Tensor, warped: Tensor) -> Tensor:
        assert self._perceptual is not None  # otherwise, the loss has no weight
        return self._perceptual(fixed, warped)

    def loss_values(
        self, x: Mapping[str, Tensor], y_pred: Mapping[str, Tensor], num_classes: int | None, training: bool
    ) -> LossValues:
        values = super().loss_values(x, y_pred, num_classes, training)
        image = self._image(y_pred)
        values.add("warped", lambda: image)
        if self.reverse is not None:
            made = {"image": image, "field": y_pred["displacement"], "activation": y_pred["activation"]}
            values.add("adversaries", lambda: self._adversaries(x, made, training))
        return values

    def _adversaries(self, x: Mapping[str, Tensor], there: Mapping[str, Tensor], training: bool) -> dict[str, Tensor]:
        """The adversarial and cycle losses of both generators, and the losses of the discriminators.

        A discriminator is trained on results whose gradient is stopped, and judges with weights whose gradient is
        stopped, so that a single backward pass is enough.
        """
        moving, fixed = (ops.cast(x[name], "float32") for name in ("moving", "fixed"))
        image = there["image"]
        shown, nothing = self._mask(x, "moving", training), ops.zeros_like(moving[..., :1])
        back = self._generate(self.reverse, {"moving": fixed, "fixed": moving, "mask": shown}, training)
        again = self._generate(self.reverse, {"moving": image, "fixed": moving, "mask": nothing}, training)
        forth = self._generate(self.network, {"moving": back["image"], "fixed": fixed, "mask": nothing}, training)
        fooled, judged = [], []
        for judge, role, made in ((self.judge_fixed, "fixed", there), (self.judge_moving, "moving", back)):
            real, fake = self._judged_pair(x, role, made)
            logits = frozen(judge, fake)
            fooled.append(ops.softplus(-logits) if self.adversarial_loss == "non_saturating" else -ops.softplus(logits))
            judged += [ops.softplus(-judge(real)), ops.softplus(judge(ops.stop_gradient(fake)))]
        return {
            "adversarial": ops.mean(sum(fooled)),
            "cycle": ops.mean(ops.abs(again["image"] - moving)) + ops.mean(ops.abs(forth["image"] - fixed)),
            "discriminator": ops.mean(sum(judged)) / 4.0,
        }

    def _judged_pair(self, x: Mapping[str, Tensor], role: str, made: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """What a discriminator sees as real and as generated: see the argument ``judged``."""
        if self.judged == "image":
            return ops.cast(x[role], "float32"), made["image"]
        return outputs_to_judge(x, role, made)

    def _generate(self, generator: keras.Model, images: dict[str, Tensor], training: bool) -> dict[str, Tensor]:
        made = self._through(generator, images, training)
        image = made["synthesised"] if self.direct else functional.warp(images["moving"], made["field"])
        return {"image": image, "field": made["field"], "activation": made["activation"]}

    def total_loss(
        self, terms: Mapping[str, Tensor], x: Mapping[str, Tensor], y_pred: Mapping[str, Tensor], training: bool
    ) -> Tensor:
        total = super().total_loss(terms, x, y_pred, training) + terms.get("discriminator", 0.0)
        if not self.pretraining_steps:
            return total
        first = ops.mean(mean_squared_error(x["fixed"], self._image(y_pred)))
        total = ops.where(self.steps < self.pretraining_steps, first, total)
        if training:
            self.steps.assign_add(1.0)
        return total

    def _image(self, y_pred: Mapping[str, Tensor]) -> Tensor:
        return y_pred["synthesised"] if self.direct else y_pred["warped"]

    def predict_field(self, inputs: Mapping[str, Tensor], training: bool = False) -> dict[str, Tensor]:
        """As for every model; if it `segments`, with the threshold of each activation, ``(batch, 1, ..., 1)``.

        In training there is no threshold.
        """
        found = super().predict_field(inputs, training)
        if training or not self.segments:
            return found
        return {**found, "threshold": otsu_threshold(found["activation"])}

    @images_by_name
    def register(self, *, fixed: ImageLike, moving: ImageLike, fixed_mask: ImageLike | None = None) -> Transform:
        """As `RegistrationModel.register`.

        Args:
            fixed, moving: the images.
            fixed_mask: the mask of the fixed image, a label map that is 0 outside; for a model that `takes_mask`, which
                needs it.
        """
        return self._registering.register_many([fixed], [moving], [fixed_mask])[0]

    @images_by_name
    def segment(self, *, fixed: ImageLike, moving: ImageLike, fixed_mask: ImageLike | None = None) -> Image:
        """The mask of the registered image, and thus of the fixed image, from the activations.

        Args:
            fixed, moving, fixed_mask: as for `register`.

        Returns:
            Labels on the fixed image's grid: 1 where the activations, resampled there linearly, are above Otsu's
            threshold; 0 elsewhere and outside the network's grid.

        Raises:
            AcregError: as `register`.
            UsageError: the model was not trained with the loss ``"mask"``, so its activations show no mask.
        """
        if not self.segments:
            raise UsageError(
                "A mask comes from a network that was trained with the loss 'mask'. Received: a JRSNet without it, "
                "whose activations show nothing in particular. Use one with it, such as jrsnet-montgomery."
            )
        return self._registering.segment(fixed, moving, fixed_mask)

    def plain_copy(self) -> JRSNet:
        dropped = (*ADVERSARIAL, "perceptual")
        kept = {name: value for name, value in self.get_config()["losses"].items() if name not in dropped}
        plain: JRSNet = self.remade(losses=kept, perceptual_weights=None, pretraining_steps=0)
        plain.network.set_weights(self.network.get_weights())
        return plain

    def get_config(self) -> dict[str, Any]:
        weights = self.perceptual_weights
        return {
            **super().get_config(),
            "rank": self.rank,
            "channels": self.channels,
            "filters": self.filters,
            "blocks": self.blocks,
            **({"levels": self.levels} if self.levels else {}),
            "direct": self.direct,
            "mask_share": self.mask_share,
            **({"takes_mask": True} if self.takes_mask else {}),
            "discriminator_filters": self.discriminator_filters,
            "judged": self.judged,
            "adversarial_loss": self.adversarial_loss,
            "pretraining_steps": self.pretraining_steps,
            "perceptual_weights": None if weights is None else os.fspath(weights),
            "seed": self.seed,
        }
