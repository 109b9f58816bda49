"""Transforms in files that other programs open.

The formats are ITK composite transforms (`.h5`, `.tfm`), affine transforms (`.mat`) and displacement fields (`.nii.gz`
with vector intent, mm, LPS) for 3D Slicer and ANTs, which reads all of them, and the fields of the Learn2Reg challenges
(voxels). ITK-SNAP reads only affine transforms. Like acreg's transforms, those of ITK map a point of the fixed image to
the moving image; their axes and vectors are those of acreg in reverse order.
"""

from acreg.io.transforms.learn2reg import read_learn2reg, write_learn2reg
from acreg.io.transforms.reading import read_transform
from acreg.io.transforms.writing import write_inverse, write_transform

__all__ = ["read_learn2reg", "read_transform", "write_inverse", "write_learn2reg", "write_transform"]
