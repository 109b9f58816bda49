"""Keras layers for deformable registration, in 2-D and 3-D, on every Keras backend.

They depend on Keras and on no other part of acreg. Import them as ``acreg.layers``.
"""

if __name__ != "acreg.layers":
    raise ImportError(
        f"This package must be imported as 'acreg.layers'. Received: import of {__name__!r}. Under a second name its "
        "layers would be registered with Keras twice; write 'from acreg import layers' instead."
    )

from acreg.layers.affine_to_displacement import AffineToDisplacement
from acreg.layers.compose_displacements import ComposeDisplacements
from acreg.layers.image_augmentation import ImageAugmentation
from acreg.layers.integrate_velocity import IntegrateVelocity
from acreg.layers.resize_displacement import ResizeDisplacement
from acreg.layers.spatial_moments import SpatialMoments
from acreg.layers.spatial_transformer import SpatialTransformer
from acreg.layers.thin_plate_spline_augmentation import ThinPlateSplineAugmentation
from acreg.layers.uncertainty_weighting import UncertaintyWeighting

__all__ = [
    "AffineToDisplacement",
    "ComposeDisplacements",
    "ImageAugmentation",
    "IntegrateVelocity",
    "ResizeDisplacement",
    "SpatialMoments",
    "SpatialTransformer",
    "ThinPlateSplineAugmentation",
    "UncertaintyWeighting",
]
