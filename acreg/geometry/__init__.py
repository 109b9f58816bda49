"""Grids, transforms and operations on displacements, in NumPy."""

from acreg.geometry.displacement import jacobian_determinant, warp_array
from acreg.geometry.extents import unregistered
from acreg.geometry.grid import Grid
from acreg.geometry.image import Image
from acreg.geometry.label_grid import labels_on
from acreg.geometry.maps import Affine, Displacement, Velocity
from acreg.geometry.regularity import folding, log_determinant
from acreg.geometry.resample import inside, respaced, sample_cubic, sample_nearest
from acreg.geometry.resize import resize_displacement, resize_image, resize_labels, sample_image, sample_labels
from acreg.geometry.transform import Transform

__all__ = [
    "Affine",
    "Displacement",
    "Grid",
    "Image",
    "Transform",
    "Velocity",
    "folding",
    "inside",
    "jacobian_determinant",
    "labels_on",
    "log_determinant",
    "resize_displacement",
    "resize_image",
    "resize_labels",
    "respaced",
    "sample_cubic",
    "sample_image",
    "sample_labels",
    "sample_nearest",
    "unregistered",
    "warp_array",
]
