"""Read an HDF5 file to its end in a separate process, which may crash: the library does not survive all damage.

`acreg.io.stored_weights` runs this program. It imports nothing from acreg, so it starts in a third of a second.
"""

import os
import sys

import h5py


def read(path: str, most: int) -> None:
    """Read all arrays of at most `most` bytes; arrays in other files are skipped."""

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset) and not item.is_virtual and not item.external and item.nbytes <= most:
            item[()]

    with h5py.File(path, "r") as file:
        file.visititems(visit)


if __name__ == "__main__":
    try:
        read(sys.argv[1], min(1032 * os.path.getsize(sys.argv[1]), 2**30))
    except Exception:  # the caller finds and reports what is wrong
        sys.exit(1)
