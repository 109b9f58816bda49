"""Reading and writing of images, labels, displacements, points and transforms."""

from acreg.geometry import Image
from acreg.io.atomic import atomic_path, check_folder, require_space
from acreg.io.claims import check_empty, check_free
from acreg.io.folders import all_or_none, sole_writer, writes_into
from acreg.io.image import (
    read_image,
    read_labelled,
    read_labels,
    write_image,
)
from acreg.io.inputs import as_image
from acreg.io.nifti.displacement import read_displacement, write_displacement
from acreg.io.points import Points, read_points, write_points
from acreg.io.preprocessing import Preprocessing
from acreg.io.transforms import read_learn2reg, read_transform, write_inverse, write_learn2reg, write_transform

__all__ = [
    "Image",
    "Points",
    "Preprocessing",
    "all_or_none",
    "as_image",
    "atomic_path",
    "check_empty",
    "check_folder",
    "check_free",
    "read_displacement",
    "read_image",
    "read_labelled",
    "read_labels",
    "read_learn2reg",
    "read_points",
    "read_transform",
    "require_space",
    "sole_writer",
    "write_displacement",
    "write_image",
    "write_inverse",
    "write_learn2reg",
    "write_points",
    "write_transform",
    "writes_into",
]
