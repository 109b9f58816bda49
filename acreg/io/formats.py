"""The table of image formats: one entry each, which all that reads, writes, lists or inspects images asks.

A format's module is imported when a file of the format is used. It has these functions:

- `read(path, labels, needs_spacing)`: the array `(*spatial)` in array-axis order and its `Grid`. `labels`: whether a
  label map is read; `needs_spacing`: False where the caller gives the spacing.
- `write(image, path)`, if the format is written: writes an `Image` through `acreg.io.atomic_path`.
- `write_channels(channels, path)`, if it is written in colour, and `reason_against(channels)`, where it does not hold
  every colour image; see `acreg.io.colour`.
- `inspect(path)`: the `acreg.io.contents.Contents` of a file, where its header says more than an image shows.
- `holds_labels(path)`, where a file says itself that it is a label map.

Whatever a decoder raises is worded by `acreg.io.guards.decoding`, and sizes are checked by `acreg.io.guards.check_size`
before memory is taken.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acreg.errors import UsageError


@dataclass(frozen=True)
class Format:
    """A format of image files.

    Args:
        name: what messages call it.
        suffixes: of its files, in lower case.
        home: its module, see above.
        written: the suffixes of the files that are written.
        picture: whether it is a format of 2-D pictures: without spacing or place, of whole numbers from 0 to 65535.
        has_place: whether its header always says where the image lies.
        mark: an offset and the bytes that stand there, by which a file without a known suffix is recognised.
    """

    name: str
    suffixes: tuple[str, ...]
    home: str
    written: tuple[str, ...] = ()
    picture: bool = False
    has_place: bool = False
    mark: tuple[int, bytes] | None = None

    @property
    def module(self) -> Any:
        """The module with the functions of the format."""
        return importlib.import_module(self.home)


_PICTURES, _VOLUMES = "acreg.io.pictures.format", "acreg.io.volumes.format"
NIFTI = Format("NIfTI", (".nii", ".nii.gz"), "acreg.io.nifti.format", written=(".nii", ".nii.gz"), has_place=True)
DICOM = Format("DICOM", (".dcm", ".dicom", ".ima"), "acreg.io.dicom.format", mark=(128, b"DICM"))
HDF5 = Format("HDF5", (".h5", ".hdf5"), "acreg.io.hdf5", written=(".h5", ".hdf5"))
FORMATS = (
    Format("PNG", (".png",), _PICTURES, written=(".png",), picture=True),
    Format("JPEG", (".jpg", ".jpeg"), _PICTURES, picture=True),
    Format("TIFF", (".tif", ".tiff"), _PICTURES, written=(".tif", ".tiff"), picture=True),
    Format("BMP", (".bmp",), _PICTURES, picture=True),
    Format("GIF", (".gif",), _PICTURES, picture=True),
    NIFTI,
    Format("MGH", (".mgh", ".mgz"), "acreg.io.nifti.reading", has_place=True),
    Format("NRRD", (".nrrd", ".nhdr"), _VOLUMES, written=(".nrrd",), has_place=True),
    Format("MetaImage", (".mha", ".mhd"), _VOLUMES, written=(".mha",), has_place=True),
    DICOM,
    HDF5,
)
"""All formats, in the order in which messages list them."""

READ = tuple(suffix for known in FORMATS for suffix in known.suffixes)
"""The suffixes of all files that are read."""
WRITTEN = tuple(suffix for known in FORMATS for suffix in known.written)
"""The suffixes of all files that are written."""
_BY_SUFFIX = {suffix: known for known in FORMATS for suffix in known.suffixes}
_DOUBLE = tuple(suffix for suffix in READ if suffix.count(".") > 1)


def suffix(path: Path) -> str:
    """The suffix that names the format, in lower case: `.nii.gz` as one."""
    name = path.name.lower()
    return next((double for double in _DOUBLE if name.endswith(double)), Path(name).suffix)


def stem(name: str) -> str:
    """The name of a file without the suffix that names its format."""
    return name[: len(name) - len(suffix(Path(name)))]


def by_suffix(path: Path) -> Format | None:
    """The format that the name of a file says, None if it says none."""
    return _BY_SUFFIX.get(suffix(path))


def is_picture(path: Path) -> bool:
    """Whether the name is that of a 2-D picture."""
    known = by_suffix(path)
    return known is not None and known.picture


def writer(path: Path) -> Format:
    """The format in which a file of this name is written. Raises `UsageError` if it is none that is written."""
    known = by_suffix(path)
    if known is None or suffix(path) not in known.written:
        raise UsageError(f"Images are written as {', '.join(WRITTEN)}. Received: {path}. Choose one of these suffixes.")
    return known
