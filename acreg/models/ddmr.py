"""DDMR: the U-Net of VoxelMorph, wide and deep, for organs of the abdomen and the brain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from acreg.models.blocks import check_rank
from acreg.models.registration_model import RegistrationModel
from acreg.models.voxelmorph import voxelmorph_unet


@keras.saving.register_keras_serializable("acreg")
class DDMR(RegistrationModel):
    """VoxelMorph's registration network, by default as wide and deep as in DDMR, trained with or without labels.

    The defaults are the baseline of the paper, BL-N, with image similarity alone. Its segmentation-guided models are
    this class with a label loss, such as ``losses={"ncc": 1, "soft_dice": 1, "diffusion": 5e-3}``; labels are then
    needed, but only in training. Other widths give the networks of VoxelMorph.

    Args:
        rank: 2 or 3.
        channels: number of channels of one image.
        encoder: filters of each level, finest first; each level halves the grid.
        decoder: filters of each level, coarsest first; as many as the encoder has.
        head: filters of the convolutions at full resolution before that of the field.
        integration_steps: squarings that turn the field into a diffeomorphic displacement; with 0, the field is the
            displacement.
        downsize: the field is resized to a grid that is coarser by this factor and integrated there, as in VoxelMorph
            (``int_downsize``, see `acreg.models.voxelmorph.RescaleField`). The velocity is then internal to the
            network: `register` returns the displacement, and `refine` optimises it.
        **kwargs: ``losses``, ``num_classes`` and the other options of `RegistrationModel`. The default losses are
            ``{"ncc": 1, "diffusion": 5e-3}``.

    Call arguments and result: see `RegistrationModel`.

    Raises:
        ValueError: a rank other than 2 and 3, an empty ``encoder`` or ``decoder`` or different lengths, a ``downsize``
            that is not a power of 2 or larger than that of the network, or an unknown loss.

    Source: Perez de Frutos et al., Learning deep abdominal CT registration through adaptive loss weighting and
    synthetic data generation, PLOS ONE 2023, section 2.2.

    Example:

    >>> model = acreg.models.DDMR(rank=3, num_classes=3, losses={"ncc": 1, "soft_dice": 1, "diffusion": 5e-3})
    >>> model.compile(optimizer=keras.optimizers.Adam(1e-3, gradient_accumulation_steps=8))
    >>> model.fit(acreg.data.tf_pairs(sampler), steps_per_epoch=100)
    """

    DEFAULT_LOSSES: Mapping[str, float] = {"ncc": 1.0, "diffusion": 5e-3}

    def __init__(
        self,
        rank: int = 3,
        channels: int = 1,
        encoder: Sequence[int] = (32, 64, 128, 256, 512, 1024),
        decoder: Sequence[int] = (1024, 512, 256, 128, 64, 32),
        head: Sequence[int] = (16, 16),
        integration_steps: int = 0,
        downsize: int = 1,
        **kwargs: Any,
    ) -> None:
        encoder, decoder, head = tuple(encoder), tuple(decoder), tuple(head)
        check_rank(rank)
        if not encoder or len(encoder) != len(decoder):
            raise ValueError(
                "`encoder` and `decoder` must have as many levels as each other, at least one; convolutions at full "
                f"resolution belong to `head`. Received: encoder={encoder}, decoder={decoder}"
            )
        multiple = 2 ** len(encoder)
        if downsize < 1 or multiple % downsize:
            raise ValueError(
                f"`downsize` must be a power of 2 up to {multiple}, which the network's sizes are multiples of. "
                f"Received: downsize={downsize}"
            )
        dtype = kwargs.get("dtype")
        network = voxelmorph_unet(rank, channels, encoder, decoder, head, integration_steps, downsize, dtype)
        super().__init__(
            network,
            multiple=multiple,
            integration_steps=0 if downsize > 1 else integration_steps,  # otherwise done inside the network
            **kwargs,
        )
        self.encoder = encoder
        self.decoder = decoder
        self.head = head
        self.downsize = downsize
        self._steps = integration_steps

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "rank": self.rank,
            "channels": self.channels,
            "encoder": self.encoder,
            "decoder": self.decoder,
            "head": self.head,
            "integration_steps": self._steps,
            "downsize": self.downsize,
        }
