"""RegNet: unsupervised registration by one network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from acreg.models.blocks import check_rank
from acreg.models.faim import faim
from acreg.models.pyramid import pyramid
from acreg.models.registration_model import RegistrationModel
from acreg.models.unet import vector_cnn

NETWORKS = ("unet", "pyramid", "faim")


@keras.saving.register_keras_serializable("acreg")
class RegNet(RegistrationModel):
    """A registration network trained on image similarity and a regulariser.

    Args:
        rank: 2 or 3.
        channels: number of channels of one image.
        network: ``"unet"``, the VectorCNN of the paper, or ``"pyramid"``, which uses one encoder for both images and
            refines the field from coarse to fine, up to half the images' resolution; or ``"faim"``, see
            `acreg.models.faim.faim`.
        filters: number of filters of each level; the default depends on the network.
        dropout: dropout rate of the ``"unet"``.
        head_batch_norm: batch normalisation of the field (only for ``"unet"``; needed by the authors' weights).
        integration_steps: see `RegistrationModel`.
        **kwargs: ``losses``, ``num_classes`` and the other options of `RegistrationModel`. The default losses are those
            of the paper: ``{"ncc": 1, "total_variation_sum": 5e-5}``.

    Call arguments and result: see `RegistrationModel`.

    Raises:
        ValueError: an unknown network or loss, filters that a network cannot have, or a rank other than 2 and 3.

    Source: Mansilla et al., section 3.1.

    Example:

    >>> model = acreg.models.RegNet()
    >>> model.compile(optimizer=keras.optimizers.Adam(1e-3))
    >>> model.fit(acreg.data.tf_pairs(sampler), steps_per_epoch=100)
    """

    DEFAULT_LOSSES: Mapping[str, float] = {"ncc": 1.0, "total_variation_sum": 5e-5}

    def __init__(
        self,
        rank: int = 2,
        channels: int = 1,
        network: str = "unet",
        filters: Sequence[int] | None = None,
        dropout: float = 0.5,
        head_batch_norm: bool = False,
        integration_steps: int = 0,
        **kwargs: Any,
    ) -> None:
        check_rank(rank)
        if network not in NETWORKS:
            raise ValueError(f"`network` must be one of {NETWORKS}. Received: network={network!r}")
        if network == "unet":
            filters = tuple(filters or (16, 32, 64, 128))
            body = vector_cnn(rank, channels, filters, dropout, head_batch_norm, kwargs.get("dtype"))
            multiple = 2 ** (len(filters) - 1)
        elif network == "faim":
            filters = tuple(filters or (32, 32, 32))
            body = faim(rank, channels, filters, kwargs.get("dtype"))
            multiple = 2 ** (len(filters) - 1)
        else:
            filters = tuple(filters or (32, 48, 64, 64))
            body = pyramid(rank, channels, filters, integration_steps, kwargs.get("dtype"))
            multiple = 2 ** len(filters)
        super().__init__(
            body,
            multiple=multiple,
            integration_steps=integration_steps,
            **kwargs,
        )
        self.network_name = network
        self.filters = filters
        self.dropout = dropout
        self.head_batch_norm = head_batch_norm

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "rank": self.rank,
            "channels": self.channels,
            "network": self.network_name,
            "filters": self.filters,
            "dropout": self.dropout,
            "head_batch_norm": self.head_batch_norm,
        }
