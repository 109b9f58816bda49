"""Read a HDF5 file to its end, in a process of its own that may die of it: the library does not survive all damage.

Run by `acreg.io.stored_weights` as a program, which imports nothing of acreg and so starts in a third of a second.
"""

import os
import sys

import h5py


def read(path: str, most: int) -> None:
    """Read all arrays that take at most so many bytes; those kept in other files are passed over."""

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset) and not item.is_virtual and not item.external and item.nbytes <= most:
            item[()]

    with h5py.File(path, "r") as file:
        file.visititems(visit)


if __name__ == "__main__":
    try:
        read(sys.argv[1], min(1032 * os.path.getsize(sys.argv[1]), 2**30))
    except Exception:  # the caller finds what is wrong, in its own words
        sys.exit(1)
