"""NRRD and MetaImage: a header in text, and voxels behind or beside it."""

from acreg._moved import forward

__getattr__ = forward(__name__, "acreg.io.volumes.format")
