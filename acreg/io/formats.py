"""The table of image formats. Whatever reads, writes, lists or inspects image files looks the format up here.

A new format is one entry in `FORMATS` and one module, which is imported when a file of the format is used. The module
has these functions; only `read` is required:

- `read(path, labels, needs_spacing)` returns the array `(*spatial)` in array-axis order, as it is stored, and its
  `Grid`. `labels` says whether a label map is wanted; `needs_spacing` is False if the caller gives the spacing.
- `write(image, path)` writes an `Image` by way of `acreg.io.atomic_path`.
- `write_channels(channels, path)` writes a colour image; `reason_against(channels)` says why it cannot be written, or
  returns an empty text. See `acreg.io.colour`.
- `inspect(path)` returns the `acreg.io.contents.Contents` of a file. Without it `acreg inspect` shows the image.
- `files(path)` returns the files that hold an image, where these are several. See `acreg.io.image_files`.
- `holds_labels(path)` says whether a file is marked as a label map.

The list of formats for users is the table in docs/how-to/data.md; a test compares it with this one.

A reader wraps its decoder in `acreg.io.guards.decoding`, which turns any exception into one message, and calls
`acreg.io.guards.check_size` before it allocates memory.
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
        name: its name in messages.
        suffixes: suffixes of its files, in lower case.
        home: the name of its module.
        written: the suffixes that can be written; none if the format is read only.
        picture: whether it holds 2-D pictures: integers from 0 to 65535, without spacing and position.
        has_place: whether its header always gives the position of the image.
        mark: an offset and the bytes at that offset; they identify a file whose suffix is not known.
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

READ = tuple(ending for known in FORMATS for ending in known.suffixes)
"""The suffixes of all files that are read."""
WRITTEN = tuple(ending for known in FORMATS for ending in known.written)
"""The suffixes of all files that are written."""
_PICTURE_NAMES = [known.name for known in FORMATS if known.picture and known.written]
WRITTEN_PICTURES = f"{', '.join(_PICTURE_NAMES[:-1])} and {_PICTURE_NAMES[-1]}"
"""The formats in which 2-D pictures are written, for messages."""
_BY_SUFFIX = {ending: known for known in FORMATS for ending in known.suffixes}
_DOUBLE = tuple(ending for ending in READ if ending.count(".") > 1)


def suffix(path: Path) -> str:
    """The suffix that names the format, in lower case; `.nii.gz` counts as one suffix."""
    name = path.name.lower()
    return next((double for double in _DOUBLE if name.endswith(double)), Path(name).suffix)


def stem(name: str) -> str:
    """The name of a file without the suffix that names its format."""
    return name[: len(name) - len(suffix(Path(name)))]


def by_suffix(path: Path) -> Format | None:
    """The format of a file by its name; None if the name does not determine it."""
    return _BY_SUFFIX.get(suffix(path))


def is_picture(path: Path) -> bool:
    """Whether the name is that of a 2-D picture."""
    known = by_suffix(path)
    return known is not None and known.picture


def writer(path: Path) -> Format:
    """The format in which a file with this name is written. Raises `UsageError` if the format cannot be written."""
    known = by_suffix(path)
    if known is None or suffix(path) not in known.written:
        raise UsageError(f"Images are written as {', '.join(WRITTEN)}. Received: {path}. Choose one of these suffixes.")
    return known
