"""NRRD and MetaImage: a text header, and voxels in the same file or in other files."""

from acreg._moved import forward

__getattr__ = forward(__name__, "acreg.io.volumes.format")
