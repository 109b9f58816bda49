"""Transforms in files that other programs open.

ITK's composite transforms (`.h5`, `.tfm`), affine transforms (`.mat`) and displacement fields (`.nii.gz` with vector
intent, mm, LPS) for 3D Slicer and ANTs, which reads all of them, and the fields of the Learn2Reg challenges (voxels).
ITK-SNAP reads affine transforms alone. ITK's transforms take a point of the fixed image to the moving one, as acreg's
do; its axes and vectors are acreg's in reverse order.
"""

from acreg.io.transforms.learn2reg import read_learn2reg, write_learn2reg
from acreg.io.transforms.reading import read_transform
from acreg.io.transforms.writing import write_inverse, write_transform

__all__ = ["read_learn2reg", "read_transform", "write_inverse", "write_learn2reg", "write_transform"]
