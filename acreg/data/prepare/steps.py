"""The processing steps for copies of your own images."""

from __future__ import annotations

import math
from dataclasses import dataclass

from acreg.data.tables.label_table import LabelTable
from acreg.errors import UsageError


@dataclass(frozen=True)
class Steps:
    """The processing steps for each subject, in this order.

    Attributes:
        merge: the table that merges or drops labels; None keeps them.
        spacing: mm by array axis, (z, y, x) or (rows, columns), or one number for all axes; empty keeps that of the
            files.
        crop: the label (after merging) around whose box image and labels are cropped; None keeps the extent.
        margin: mm around that box, limited by the border of the image.
        align: the subject to whose frame and grid all subjects are rigidly aligned by their labels, or "auto" for the
            subject that is most similar to the others; empty aligns nothing.
        size: voxels of all aligned images per axis, or one number, around the labels of that subject; if empty, its
            extent is used.

    Raises:
        UsageError: a spacing that is not positive and finite; a margin that is negative or without a label; a size that
            is not positive or without alignment; or both cropping and alignment.
    """

    merge: LabelTable | None = None
    spacing: tuple[float, ...] = ()
    crop: int | None = None
    margin: float = 0.0
    align: str = ""
    size: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not all(math.isfinite(s) and s > 0 for s in self.spacing) or len(self.spacing) > 3:
            raise UsageError(
                "The new spacing is one positive number, or one for each axis, in mm. Received: "
                f"spacing={','.join(f'{s:g}' for s in self.spacing)}. Give for example 1, or 3,1,1 for (z, y, x)."
            )
        if not (math.isfinite(self.margin) and self.margin >= 0) or (self.margin and self.crop is None):
            raise UsageError(
                "The margin around the cropped label is 0 mm or more. Received: "
                f"margin={self.margin:g} with crop={self.crop}. Give a label to crop around, and a margin in mm."
            )
        if not all(n >= 1 for n in self.size) or len(self.size) > 3 or (self.size and not self.align):
            raise UsageError(
                "The common size of aligned images is voxels by axis, 1 or more. Received: "
                f"size={','.join(map(str, self.size))} with align={self.align!r}. Give for example 16,64,64 for "
                "(z, y, x), and the subject to align to or auto."
            )
        if self.align and self.crop is not None:
            raise UsageError(
                f"Aligned images have one grid, cropped ones do not. Received: align={self.align!r} with "
                f"crop={self.crop}. Give --size instead of --crop."
            )
