"""NRRD, MetaImage and what else SimpleITK decodes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from acreg.errors import AcregError
from acreg.geometry.grid import Grid
from acreg.io.files import check_colour_rank, check_rank, check_size, decoding, suffix, to_grey

DECODERS = {".nrrd": "NrrdImageIO", ".nhdr": "NrrdImageIO", ".mha": "MetaImageIO", ".mhd": "MetaImageIO"}
GEOMETRY = re.compile(
    rb"^[ \t]*(ndims|dimsize|transformmatrix|rotation|orientation|offset|position|origin|elementspacing|elementsize"
    rb"|dimension|sizes|spacings|space directions|space origin)[ \t]*[=:](.*)$",
    re.MULTILINE | re.IGNORECASE,
)
DATA_FILE = re.compile(rb"^(?:ElementDataFile\s*=|data ?file:)[ \t]*(.+?)\s*$", re.MULTILINE | re.IGNORECASE)


def load_itk(path: Path, labels: bool, decoder: str = "") -> tuple[np.ndarray, Grid]:
    """The array `(*spatial)` and the grid of a file, by the decoder of its suffix or by the one that is named."""
    with decoding(path):
        image = read_itk(path, decoder or DECODERS[suffix(path)])
        while image.GetDimension() > 2 and image.GetSize()[-1] == 1:
            image = _drop_itk_axis(image)
        return grey_array(image, path, labels), Grid.from_itk(image)


def read_itk(path: Path, decoder: str) -> Any:
    """The SimpleITK image of a file, after a look at what its header announces."""
    import SimpleITK as sitk

    stored = _stored(path)
    if suffix(path) in DECODERS:
        _check_text(path)
    # Only the decoder of the format: by content, any of ITK's would be tried.
    reader = sitk.ImageFileReader()
    reader.SetImageIO(decoder)
    reader.SetFileName(str(path))
    previous = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        reader.ReadImageInformation()
        channels = reader.GetNumberOfComponents()
        itemsize = sitk.GetArrayViewFromImage(sitk.Image([1, 1], reader.GetPixelID(), channels)).itemsize
        check_size(path, (*reader.GetSize(), channels), itemsize, stored)
        return reader.Execute()
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(previous)


def grey_array(image: Any, path: Path, labels: bool) -> np.ndarray:
    """The array `(*spatial)` of a SimpleITK image of 2 or 3 axes; a 2-D colour image becomes grey."""
    import SimpleITK as sitk

    array = sitk.GetArrayFromImage(image)
    channels = image.GetNumberOfComponentsPerPixel()
    if channels > 1:
        check_colour_rank(path, image.GetDimension())
        if channels > 4:
            raise AcregError(
                f"A pixel holds one value or a colour. Received: {path} with {channels} values a pixel. "
                "Save one channel."
            )
        array = to_grey(array, path, labels)
    check_rank(path, image.GetSize())
    return array


def save_itk(array: np.ndarray, grid: Grid, path: Path, vectors: bool = False) -> None:
    """Write `(*spatial)`, or `(*spatial, channels)` of vectors, by SimpleITK and read it back.

    ITK does not always report a full disk.
    """
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(array, isVector=vectors)
    grid.copy_to_itk(image)
    try:
        sitk.WriteImage(image, str(path), useCompression=True)
        complete = np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), array)
    except RuntimeError:
        complete = False
    if not complete:
        raise AcregError(
            f"The image must be written whole. Received: an incomplete {suffix(path)} file in {path.parent}. Check "
            "that the disk is not full and that the folder may be written to, or write .nii.gz."
        )


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(2**16)


def _check_text(path: Path) -> None:
    """Raise `AcregError` for numbers in a text header on which ITK hangs or crashes: odd ranks, huge coordinates."""
    for name, text in GEOMETRY.findall(_head(path)):
        low, high = (1, 10) if name.lower() in (b"ndims", b"dimension") else (-1e12, 1e12)
        for word in re.findall(rb"[^\s(),]+", text):
            try:
                number = float(word)
            except ValueError:  # "none" is a word that NRRD has here
                continue
            if number < low or number > high:
                raise AcregError(
                    f"The sizes and coordinates in a header are those of an image. Received: {path} with "
                    f"{word.decode()} as {name.decode()}. It is damaged; get the file again."
                )


def _stored(path: Path) -> int:
    """Bytes of the file that holds the voxels: the file itself, or the one that a .mhd or .nhdr names."""
    if suffix(path) not in DECODERS:
        return path.stat().st_size
    named = DATA_FILE.search(_head(path))
    name = named[1].decode("utf-8", "replace") if named else "LOCAL"
    if name.upper().startswith("LOCAL"):
        return path.stat().st_size
    if name.upper().startswith("LIST") or "%" in name:  # a file a slice
        return sum(file.stat().st_size for file in path.parent.iterdir() if file.is_file())
    data = path.parent / name
    if not data.is_file():
        raise AcregError(
            f"The file of the voxels must lie where the header says. Received: {path}, which names {name}; there is "
            f"no file {data}. Put it there, or correct the name in the header."
        )
    return data.stat().st_size


def _drop_itk_axis(image: Any) -> Any:
    """An ITK image without its last axis, of size 1; directions that lean out of the plane become the identity."""
    import SimpleITK as sitk

    rank = image.GetDimension() - 1
    direction = np.reshape(image.GetDirection(), (rank + 1, rank + 1))[:rank, :rank]
    if np.abs(np.linalg.norm(direction, axis=0) - 1).max() > 1e-3:
        direction = np.eye(rank)
    array = sitk.GetArrayFromImage(image)[0]
    result = sitk.GetImageFromArray(array, isVector=image.GetNumberOfComponentsPerPixel() > 1)
    result.SetSpacing(image.GetSpacing()[:rank])
    result.SetOrigin(image.GetOrigin()[:rank])
    result.SetDirection(direction.ravel().tolist())
    return result
