"""The joint affine and deformable network: no pre-alignment, one forward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from acreg.layers import AffineToDisplacement, functional
from acreg.layers.tensor import Tensor
from acreg.losses import IMAGE_LOSSES, LABEL_LOSSES, Loss
from acreg.models.affine_deformable import affine_deformable
from acreg.models.blocks import check_rank
from acreg.models.label_values import warp_one_hot
from acreg.models.loss_values import LossValues
from acreg.models.registration_model import RegistrationModel

AFFINE = "affine_"
AFFINE_LOSSES = [
    *(Loss(AFFINE + name, ("fixed", "affine_warped"), loss.function) for name, loss in IMAGE_LOSSES.items()),
    *(Loss(AFFINE + name, ("fixed_one_hot", "affine_one_hot"), loss.function) for name, loss in LABEL_LOSSES.items()),
]
"""Losses of the result of the affine map alone."""


@keras.saving.register_keras_serializable("acreg")
class AffineDeformableNet(RegistrationModel):
    """Predicts an affine map and the deformation that is applied before it, with one encoder for both.

    An image or label loss whose name begins with ``affine_``, such as ``affine_squared_ncc``, acts on the result of the
    affine part alone; other losses act on the complete result. Field losses act on the deformation (or its velocity),
    not on the affine map, in voxels of its own grid.

    Args:
        rank: 2 or 3.
        channels: number of channels of one image.
        filters: number of filters of each level of the encoder, finest first; each level after the first halves the
            grid.
        decoder: filters of the decoder levels, coarsest first, including that of the dilated block: with as many levels
            as ``filters``, the field is on the grid of the images; with one fewer, it has half the resolution, at a
            fraction of the cost.
        affine: ``"affine"``, ``"similarity"`` or ``"rigid"``, see `acreg.layers.AffineToDisplacement`; ``"none"`` for
            the deformable part alone.
        affine_passes: number of passes of the affine part; from the second pass on, it sees the image as
            aligned so far. It is 1 in the paper.
        affine_moments: order of the `acreg.layers.SpatialMoments` that pool the last level of the encoder for the
            affine part; 0 is the average, as in the paper.
        deformable: False for the affine part alone.
        norm: ``"group"``, for batches of one pair, or ``"batch"``, as in the paper's encoder.
        dilated_norm: that of the dilated block, ``"group"`` in the paper; None for ``norm``.
        integration_steps: see `RegistrationModel`.
        **kwargs: ``losses``, ``num_classes`` and the other options of `RegistrationModel`. The default losses are
            ``{"affine_squared_ncc": 1, "local_ncc": 1, "diffusion": 1}``, with ``"soft_dice": 1`` if ``num_classes`` is
            given. (The weight of 1000 for the diffusion in the paper is plausible for coordinates from -1 to 1; for
            voxels of its 192-voxel grid and a mean over components and axes, it corresponds to 0.11.)

    Call arguments and result: see `RegistrationModel`; with an affine part, the result includes ``"affine"`` and
    ``"deformation"``.

    Raises:
        ValueError: an unsupported rank, kind or norm, filters and decoder that do not match, neither part, or an
            unknown loss.

    Source: the paper of the joint affine and deformable network, section 2. Details that the paper does not give: the
    strided convolutions have the filters of the level that they begin; residual modules have two convolutions; there
    are 8 groups; the slope is 0.2; features pass a ReLU before they are pooled for the affine part; the linear layer
    starts at 0, so that a new network is the identity except for the random initial deformation.

    Example:

    >>> model = acreg.models.AffineDeformableNet(rank=3, num_classes=32, integration_steps=6)
    >>> model.compile(optimizer=keras.optimizers.Adam(1e-4))
    >>> model.fit(acreg.data.tf_pairs(sampler), steps_per_epoch=100)
    """

    DEFAULT_LOSSES: Mapping[str, float] = {
        "affine_squared_ncc": 1.0,
        "local_ncc": 1.0,
        "diffusion": 1.0,
        "soft_dice": 1.0,
    }

    def __init__(
        self,
        rank: int = 3,
        channels: int = 1,
        filters: Sequence[int] = (16, 32, 32, 32),
        decoder: Sequence[int] = (32, 32, 32, 16),
        affine: str = "affine",
        affine_passes: int = 1,
        affine_moments: int = 2,
        deformable: bool = True,
        norm: str = "group",
        dilated_norm: str | None = None,
        integration_steps: int = 0,
        **kwargs: Any,
    ) -> None:
        filters, decoder = tuple(filters), tuple(decoder)
        check_rank(rank)
        if len(filters) < 2 or len(decoder) not in (len(filters) - 1, len(filters)):
            raise ValueError(
                "`filters` must have at least two levels, and `decoder` as many or one less. "
                f"Received: filters={filters}, decoder={decoder}"
            )
        if norm not in ("group", "batch") or dilated_norm not in (None, "group", "batch"):
            raise ValueError(
                "`norm` must be 'group' or 'batch', and `dilated_norm` one of these or None. "
                f"Received: norm={norm!r}, dilated_norm={dilated_norm!r}"
            )
        if affine_passes < 1 or (affine == "none" and affine_passes > 1):
            raise ValueError(
                "`affine_passes` must be at least 1, and needs an affine part. "
                f"Received: affine_passes={affine_passes}, affine={affine!r}"
            )
        if affine == "none" and not deformable:
            raise ValueError("One part at least must be there. Received: affine='none', deformable=False")
        if kwargs.get("symmetric") and affine != "none":
            raise ValueError(
                "`symmetric` is for networks without an affine part, whose velocity is all they predict. "
                f"Received: symmetric=True, affine={affine!r}"
            )
        self._map = None if affine == "none" else AffineToDisplacement(affine)
        dtype = kwargs.get("dtype")
        network = affine_deformable(
            rank,
            channels,
            filters,
            decoder,
            affine,
            affine_passes,
            affine_moments,
            deformable,
            norm,
            norm if dilated_norm is None else dilated_norm,
            dtype,
        )
        super().__init__(
            network,
            multiple=2 ** (len(filters) - 1),
            integration_steps=integration_steps,
            own_losses=[] if self._map is None else AFFINE_LOSSES,
            **kwargs,
        )
        self.filters = filters
        self.decoder = decoder
        self.affine = affine
        self.affine_passes = affine_passes
        self.affine_moments = affine_moments
        self.deformable = deformable
        self.norm = norm
        self.dilated_norm = dilated_norm

    def affine_part(self) -> AffineDeformableNet:
        """A model that registers with only the affine part of this model, with copied weights; it is much faster.

        Raises:
            ValueError: there is no affine part.
        """
        if self.affine == "none":
            raise ValueError("A model has an affine part if it was made with one. Received: affine='none'")
        part: AffineDeformableNet = self.remade(
            deformable=False, integration_steps=0, losses={}, weighting="fixed", recompute=(), name=None
        )
        for name in ("encoder", "affine_parameters"):
            part.network.get_layer(name).set_weights(self.network.get_layer(name).get_weights())
        return part

    def default_losses(self) -> dict[str, float | Mapping[str, Any]]:
        return {n: w for n, w in super().default_losses().items() if self._map is not None or not n.startswith(AFFINE)}

    def _run_network(
        self, images: Mapping[str, Tensor], sizes: tuple[int | Tensor, ...], training: bool
    ) -> dict[str, Tensor]:
        outputs = super()._run_network(images, sizes, training)
        if self._map is not None:
            padded = self._padded(sizes)
            matrix = self._map.matrix(outputs.pop("parameters"), padded)
            # A voxel of the images has an offset in the padded images.
            before = ops.stack([ops.cast((p - n) // 2, "float32") for n, p in zip(sizes, padded, strict=True)])
            moved = ops.squeeze(ops.matmul(matrix[..., :-1], before[:, None]), -1) - before
            outputs["affine"] = ops.concatenate([matrix[..., :-1], matrix[..., -1:] + moved[..., None]], axis=-1)
        return outputs

    def loss_values(
        self, x: Mapping[str, Tensor], y_pred: Mapping[str, Tensor], num_classes: int | None, training: bool
    ) -> LossValues:
        values = super().loss_values(x, y_pred, num_classes, training)
        if self._map is not None:
            sizes = functional.spatial_shape(x["fixed"])
            values.add("affine_displacement", lambda: functional.affine_displacement(y_pred["affine"], sizes))
            values.add("affine_warped", lambda: functional.warp(x["moving"], values["affine_displacement"]))
            if "moving_one_hot" in values:
                values.add(
                    "affine_one_hot", lambda: warp_one_hot(values["moving_one_hot"], values["affine_displacement"])
                )
        return values

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "rank": self.rank,
            "channels": self.channels,
            "filters": self.filters,
            "decoder": self.decoder,
            "affine": self.affine,
            "affine_passes": self.affine_passes,
            "affine_moments": self.affine_moments,
            "deformable": self.deformable,
            "norm": self.norm,
            "dilated_norm": self.dilated_norm,
        }
