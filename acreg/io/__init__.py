"""Reading and writing of images, labels and displacements."""

from acreg.io.atomic import atomic_path, require_space
from acreg.io.image import Image, read_displacement, read_image, read_labels, write_displacement, write_image
from acreg.io.preprocessing import Preprocessing

__all__ = [
    "Image",
    "Preprocessing",
    "atomic_path",
    "read_displacement",
    "read_image",
    "read_labels",
    "require_space",
    "write_displacement",
    "write_image",
]
