"""Losses for learned registration, one value per sample, ``(batch,)``; 0 is best, except for `mutual_information`."""

from acreg.losses.anatomical_prior import AnatomicalPrior
from acreg.losses.displacements import displacement_error, endpoint_error
from acreg.losses.information import mutual_information
from acreg.losses.labels import cross_entropy, hausdorff_erosion, log_dice, soft_dice
from acreg.losses.loss import DISPLACEMENTS, FIELD, IMAGES, JACOBIAN, ONE_HOT, Loss, LossWeights, by_name, choose_losses
from acreg.losses.mind import mind_ssc, mind_ssc_features
from acreg.losses.perceptual import PerceptualLoss
from acreg.losses.regularisers import bending, diffusion, negative_jacobian, total_variation_mean, total_variation_sum
from acreg.losses.similarity import local_ncc, mean_squared_error, ncc, squared_ncc
from acreg.losses.structural import ms_ssim, ssim

IMAGE_LOSSES = by_name(
    IMAGES, ncc, squared_ncc, local_ncc, mean_squared_error, ssim, ms_ssim, mutual_information, mind_ssc
)
"""Losses of two images, `(batch, *spatial, channels)` each, by name."""
LABEL_LOSSES = by_name(ONE_HOT, cross_entropy, soft_dice, log_dice, hausdorff_erosion)
"""Losses of two one-hot label maps, `(batch, *spatial, classes)` each, by name."""
DISPLACEMENT_LOSSES = by_name(DISPLACEMENTS, displacement_error, endpoint_error)
"""Losses of a predicted displacement and the true one, by name."""
FIELD_LOSSES = by_name(FIELD, total_variation_sum, total_variation_mean, diffusion, bending)
"""Losses of a displacement or velocity alone, by name."""
JACOBIAN_LOSSES = by_name(JACOBIAN, negative_jacobian)
"""Losses of the complete displacement alone, also of a model that predicts a velocity, by name."""
LOSSES = {**IMAGE_LOSSES, **FIELD_LOSSES, **JACOBIAN_LOSSES, **DISPLACEMENT_LOSSES, **LABEL_LOSSES}
"""The losses of every registration model, by name."""

__all__ = [
    "DISPLACEMENT_LOSSES",
    "FIELD_LOSSES",
    "IMAGE_LOSSES",
    "JACOBIAN_LOSSES",
    "LABEL_LOSSES",
    "LOSSES",
    "AnatomicalPrior",
    "Loss",
    "LossWeights",
    "PerceptualLoss",
    "bending",
    "choose_losses",
    "cross_entropy",
    "diffusion",
    "displacement_error",
    "endpoint_error",
    "hausdorff_erosion",
    "local_ncc",
    "log_dice",
    "mean_squared_error",
    "mind_ssc",
    "mind_ssc_features",
    "ms_ssim",
    "mutual_information",
    "ncc",
    "negative_jacobian",
    "soft_dice",
    "squared_ncc",
    "ssim",
    "total_variation_mean",
    "total_variation_sum",
]
