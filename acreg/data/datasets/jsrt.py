"""JSRT chest radiographs with the SCR masks of lungs and heart.

Original files: 247 ``.IMG`` files with 2048x2048 unsigned 16-bit big-endian values without header, of which 12 bits are
used, with pixels of 0.175 mm, and SCR masks ``.gif`` in one folder per organ (``fold1/masks/left lung/JPCLN001.gif``,
...), usually 1024x1024. High values in an ``.IMG`` file mean dark film (air), so they are inverted: bone is bright, as
in the public files.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from acreg.data.datasets.layout import Item, PublicDataset
from acreg.errors import AcregError
from acreg.geometry import resize_labels
from acreg.io import read_labels

SIDE = 2048
PIXEL_MM = 0.175
LARGEST = 4095  # 12 bits
DEPTH = 5
ORGANS = ("left lung", "right lung", "heart")


def find_original(root: Path) -> list[Item]:
    """The ``.IMG`` files below ``root``, with their masks by organ, if there are masks.

    Raises:
        AcregError: a subject has only some of its three masks.
    """
    files = _files(root)
    images = {p.stem: p for p in files if p.suffix.lower() == ".img"}
    if not images:
        return []
    masks: dict[str, dict[str, Path]] = {}
    for path in files:
        if path.suffix.lower() == ".gif" and path.parent.name.lower() in ORGANS:
            masks.setdefault(path.stem, {})[path.parent.name.lower()] = path
    for subject, found in masks.items():
        missing = [organ for organ in ORGANS if organ not in found]
        if subject in images and missing:
            raise AcregError(
                f"Each subject needs a mask of {', '.join(ORGANS)}. Received: {subject} without "
                f"{', '.join(missing)} below {root}. Unpack the SCR masks (fold1 and fold2) again."
            )
    if not set(masks) & set(images):
        raise AcregError(
            f"JSRT's labels are the SCR masks. Received: {root} with {len(images)} .IMG files and no mask of them. "
            "Unpack the SCR masks (folders fold1/masks/left lung and so on) below the same folder."
        )
    return [Item(subject, path, masks.get(subject, {})) for subject, path in images.items()]


def _files(root: Path) -> list[Path]:
    """``.IMG`` and ``.gif`` files up to five folders deep; folders without read permission are skipped."""
    found = []
    for folder, folders, names in os.walk(root):
        if len(Path(folder).relative_to(root).parts) >= DEPTH:
            folders.clear()
        found += [Path(folder, name) for name in names if name.lower().endswith((".img", ".gif"))]
    return sorted(found)


def read_img(path: Path) -> np.ndarray:
    """An ``.IMG`` as float32 ``(2048, 2048)`` in 0..255, inverted so that bone is bright.

    Raises:
        AcregError: the file has another length, or values of more than 12 bits (another byte order).
    """
    length = path.stat().st_size
    if length != SIDE * SIDE * 2:
        raise AcregError(
            f"A JSRT image has {SIDE * SIDE * 2} bytes. Received: {path} with {length} bytes. Get the file again."
        )
    raw = np.fromfile(path, dtype=">u2").reshape(SIDE, SIDE)
    if raw.max() > LARGEST:
        raise AcregError(
            f"A JSRT image has big-endian values of 0 to {LARGEST}. Received: {path} with {raw.max()}. Get the "
            "original file, not one with its bytes swapped."
        )
    return (LARGEST - raw.astype(np.float32)) * np.float32(255 / LARGEST)


def read_original(item: Item) -> tuple[np.ndarray, np.ndarray]:
    """Image float32 and ids int32, both ``(2048, 2048)``; masks of another size are enlarged over the same extent.

    The positions of the masks, not the names of the folders, determine which lung is the patient's left one (on the
    right of the image). Where masks overlap, the heart replaces the lungs.
    """
    image = read_img(item.image)
    masks = {organ: read_labels(path).array != 0 for organ, path in item.labels.items()}
    empty = [organ for organ, mask in masks.items() if not mask.any()]
    if empty or len({mask.shape for mask in masks.values()}) != 1:
        what = f"an empty mask of {', '.join(empty)}" if empty else "masks of different sizes"
        raise AcregError(
            f"Each organ needs a mask on one grid. Received: {item.subject} with {what}. Get the masks again."
        )
    lungs = sorted((masks["left lung"], masks["right lung"]), key=lambda mask: -np.nonzero(mask)[1].mean())
    ids = np.zeros(lungs[0].shape, np.int32)
    for label, mask in enumerate([*lungs, masks["heart"]], 1):
        ids[mask] = label
    return image, resize_labels(ids, image.shape)


DATASET = PublicDataset(
    name="jsrt",
    folder="JSRT",
    subject_pattern=r"JPC[LN]N\d{3}",
    label_names={0: "background", 1: "left lung", 2: "right lung", 3: "heart"},
    file_values={0: 0, 1: 1, 2: 2, 3: 3},
    extent=SIDE * PIXEL_MM,
    unit="mm",
    pixel=PIXEL_MM,
    align=False,
    licence="JSRT's terms of use; the SCR masks may not be redistributed",
    source="Shiraishi et al., AJR 174, 2000; masks: van Ginneken et al., Medical Image Analysis 10, 2006",
    original_layout="JPCLN001.IMG and so on, with the SCR masks fold1/masks/left lung/JPCLN001.gif",
    find_original=find_original,
    read_original=read_original,
)
