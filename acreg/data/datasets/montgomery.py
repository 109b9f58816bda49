"""Montgomery County chest X-rays (U.S. National Library of Medicine), lungs.

Original files: ``CXR_png/MCUCXR_0001_0.png`` (4892x4020 or 4020x4892 pixels of 0.0875 mm) with ``ManualMask/leftMask``
and ``ManualMask/rightMask`` with the same names. Both lungs have one label, as in the paper.
"""

from __future__ import annotations

from pathlib import Path

from acreg.data.datasets.layout import Item, PublicDataset, read_lungs
from acreg.errors import AcregError
from acreg.names import some

SIDE = 4892
PIXEL_MM = 0.0875


def find_original(root: Path) -> list[Item]:
    """The images of ``CXR_png`` with both masks.

    Raises:
        AcregError: an image lacks a mask.
    """
    masks = root / "ManualMask"
    if not (root / "CXR_png").is_dir() or not masks.is_dir():
        return []
    items = [
        Item(path.stem, path, {side: masks / f"{side}Mask" / path.name for side in ("left", "right")})
        for path in sorted((root / "CXR_png").glob("*.png"))
    ]
    missing = [str(path) for item in items for path in item.labels.values() if not path.is_file()]
    if missing:
        raise AcregError(
            f"Each image needs a left and a right mask. Received: no {some(missing)}. Get the files again."
        )
    return items


DATASET = PublicDataset(
    name="montgomery",
    folder="Montgomery",
    subject_pattern=r"MCUCXR_\d{4}_[01]",
    label_names={0: "background", 1: "lungs"},
    file_values={0: 0, 255: 1},
    extent=SIDE * PIXEL_MM,
    unit="mm",
    pixel=PIXEL_MM,
    align=True,
    licence="U.S. National Library of Medicine, free for research with citation",
    source="Jaeger et al., Quant. Imaging Med. Surg. 4(6), 2014; Candemir et al., IEEE TMI 33(2), 2014",
    original_layout="CXR_png, ManualMask/leftMask and ManualMask/rightMask in one folder",
    find_original=find_original,
    read_original=read_lungs,
)
