"""HDF5: one dataset of voxels, with its grid in attributes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from acreg.errors import AcregError
from acreg.geometry.grid import Grid
from acreg.io.files import check_rank, check_size, decoding


def load_hdf5(path: Path) -> tuple[np.ndarray, Grid]:
    """The array `(*spatial)`, as stored, and the grid of the dataset `image`, or of the only dataset in the file.

    The attributes `spacing`, `origin` and `direction` of the dataset are those of `Grid`, in array-axis order; what is
    absent takes `Grid`'s default.
    """
    import h5py

    with decoding(path), h5py.File(path, "r") as file:
        dataset = _dataset(file, path)
        if dataset.dtype.kind not in "biuf":
            raise AcregError(
                f"An image in HDF5 is a dataset of numbers. Received: {path} with {dataset.dtype} in {dataset.name}. "
                "Store integers or floats."
            )
        check_rank(path, dataset.shape or ())
        if dataset.is_virtual or dataset.external:
            raise AcregError(
                f"An image in HDF5 lies in the file itself. Received: {path}, where {dataset.name} points to other "
                "files. Copy the values into one file, for example by h5repack."
            )
        check_size(path, dataset.shape, dataset.dtype.itemsize, dataset.id.get_storage_size())
        known = {name: dataset.attrs[name] for name in ("spacing", "origin", "direction") if name in dataset.attrs}
        return np.asarray(dataset[()]), Grid(dataset.shape, **known)


def check_transform(path: Path) -> None:
    """Raise `AcregError` for a damaged HDF5 transform, on which ITK may crash or take any amount of memory."""
    import h5py

    def check(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            check_size(path, item.shape or (), item.dtype.itemsize, item.id.get_storage_size())
            if name.endswith("/TransformType") and not (h5py.check_string_dtype(item.dtype) and all(item[()])):
                raise AcregError(f"Each part of a transform has a type. Received: {path} without one in {name}.")

    with decoding(path, "transform"), h5py.File(path, "r") as file:
        file.visititems(check)


def _dataset(file: Any, path: Path) -> Any:
    import h5py

    if "TransformGroup" in file:
        raise AcregError(
            f"An image is needed. Received: {path}, which is a transform (ITK's TransformGroup is in it). Name the "
            "image that it belongs to."
        )
    found: list[h5py.Dataset] = []
    # Links to other files are not followed.
    file.visititems(lambda name, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
    chosen = [dataset for dataset in found if dataset.name == "/image"] or found
    if len(chosen) != 1:
        names = ", ".join(f"{d.name.lstrip('/')} {d.shape}" for d in chosen[:10]) or "none"
        raise AcregError(
            f"An HDF5 file has a dataset named image, or a single dataset. Received: {path} with {len(chosen)}: "
            f"{names}{', ...' if len(chosen) > 10 else ''}. Name the one that is the image `image`."
        )
    return chosen[0]
