"""Losses of learned registration, one value per sample, ``(batch,)``; 0 is best, `mutual_information` has no 0."""

from acreg.losses.anatomical_prior import AnatomicalPrior
from acreg.losses.displacements import displacement_error, endpoint_error
from acreg.losses.information import mutual_information
from acreg.losses.labels import cross_entropy, hausdorff_erosion, log_dice, soft_dice
from acreg.losses.perceptual import PerceptualLoss
from acreg.losses.regularisers import bending, diffusion, total_variation_mean, total_variation_sum
from acreg.losses.similarity import local_ncc, mean_squared_error, ncc, squared_ncc
from acreg.losses.structural import ms_ssim, ssim

IMAGE_LOSSES = {
    "ncc": ncc,
    "squared_ncc": squared_ncc,
    "local_ncc": local_ncc,
    "mean_squared_error": mean_squared_error,
    "ssim": ssim,
    "ms_ssim": ms_ssim,
    "mutual_information": mutual_information,
}
"""Losses of two images, `(batch, *spatial, channels)` each, by name."""
LABEL_LOSSES = {
    "cross_entropy": cross_entropy,
    "soft_dice": soft_dice,
    "log_dice": log_dice,
    "hausdorff_erosion": hausdorff_erosion,
}
"""Losses of two one-hot label maps, `(batch, *spatial, classes)` each, by name."""
DISPLACEMENT_LOSSES = {
    "displacement_error": displacement_error,
    "endpoint_error": endpoint_error,
}
"""Losses of a displacement and the true one, by name."""
FIELD_LOSSES = {
    "total_variation_sum": total_variation_sum,
    "total_variation_mean": total_variation_mean,
    "diffusion": diffusion,
    "bending": bending,
}
"""Losses of a displacement or velocity alone, by name."""

__all__ = [
    "DISPLACEMENT_LOSSES",
    "FIELD_LOSSES",
    "IMAGE_LOSSES",
    "LABEL_LOSSES",
    "AnatomicalPrior",
    "PerceptualLoss",
    "bending",
    "cross_entropy",
    "diffusion",
    "displacement_error",
    "endpoint_error",
    "hausdorff_erosion",
    "local_ncc",
    "log_dice",
    "mean_squared_error",
    "ms_ssim",
    "mutual_information",
    "ncc",
    "soft_dice",
    "squared_ncc",
    "ssim",
    "total_variation_mean",
    "total_variation_sum",
]
