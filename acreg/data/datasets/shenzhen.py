"""Shenzhen chest X-rays (U.S. National Library of Medicine), lungs.

Original files: ``CXR_png/CHNCXR_0001_0.png`` with about 3000x3000 pixels of unknown physical size, so
distances are in pixels; ``mask/CHNCXR_0001_0_mask.png`` exists for 566 of the 662 images. Images without a mask are
left out.
"""

from __future__ import annotations

from pathlib import Path

from acreg.data.datasets.layout import Item, PublicDataset, read_lungs

SIDE = 3000


def find_original(root: Path) -> list[Item]:
    """The images in ``CXR_png``, with labels if ``mask`` has them."""
    if not (root / "CXR_png").is_dir() or not (root / "mask").is_dir():
        return []
    items = []
    for path in sorted((root / "CXR_png").glob("*.png")):
        mask = root / "mask" / f"{path.stem}_mask.png"
        items.append(Item(path.stem, path, {"lungs": mask} if mask.is_file() else {}))
    return items


DATASET = PublicDataset(
    name="shenzhen",
    folder="Shenzhen",
    subject_pattern=r"CHNCXR_\d{4}_[01]",
    label_names={0: "background", 1: "lungs"},
    file_values={0: 0, 255: 1},
    extent=float(SIDE),
    unit="px",
    pixel=1.0,
    align=True,
    licence="U.S. National Library of Medicine, free for research with citation; masks by Stirenko et al.",
    source="Jaeger et al., Quant. Imaging Med. Surg. 4(6), 2014; masks: Stirenko et al., ELNANO 2018",
    original_layout="CXR_png and mask in one folder",
    find_original=find_original,
    read_original=read_lungs,
)
