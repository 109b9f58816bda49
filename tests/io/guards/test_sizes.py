"""A header announces any size and a small file unpacks to any: memory is taken only for what a file can hold."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from acreg.errors import AcregError
from acreg.io import read_image
from acreg.io.guards import check_size

MASK, CUBE = (512, 512, 1000), (1024, 1024, 1024)
PATH = Path("a.nii.gz")


@pytest.mark.parametrize(
    ("shape", "itemsize", "stored", "ratio"),
    [
        (MASK, 1, 260_000, 1032),  # zeros of a whole body
        (MASK, 2, 150 * 2**20, 1032),  # its CT
        (CUBE, 1, 6 * 2**20, 1032),
        (CUBE, 4, 2**32, 1),
        ((512, 1024, 1024), 8, 2**32, 1),
    ],
)
def test_what_may_be_read(shape, itemsize, stored, ratio):
    check_size(PATH, shape, itemsize, stored, ratio)


@pytest.mark.parametrize(
    ("shape", "itemsize", "stored", "ratio", "message"),
    [
        (
            CUBE,
            1,
            2**20,
            1032,
            r"A file of 1048576 bytes becomes at most 1\.2 GiB.*take 5\.0 GiB.*uncompressed",
        ),
        (CUBE, 4, 4 * 2**20, 1032, "take 8.0 GiB"),
        (CUBE, 8, 2**33, 1, "at most 4 GiB of voxels"),
        ((1025, 1024, 1024), 1, 2**31, 1, "at most 4 GiB of voxels, of 4 bytes or more each"),  # as float32
        (CUBE, 1, 2**20 - 10, 1, "announces 1024x1024x1024 values of 1 bytes, where 1048566 bytes are stored"),
    ],
)
def test_what_may_not(shape, itemsize, stored, ratio, message):
    with pytest.raises(AcregError, match=message):
        check_size(PATH, shape, itemsize, stored, ratio)


def test_chunks_of_hdf5(tmp_path):
    """HDF5 unpacks a chunk whole, whatever part of it is in the image; what it says is stored may be said twice."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("image", (4, 4), "u1", maxshape=(None, None), chunks=(2**15, 2**15))
        dataset.id.write_direct_chunk((0, 0), b"x" * 100)
    with pytest.raises(AcregError, match="at most 256 MiB.*32768, 32768"):
        read_image(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("image", data=np.zeros((64, 64, 64), np.uint8), compression="gzip")
    content = (tmp_path / "b.h5").read_bytes()
    assert content.count(np.int64(64).tobytes() * 3) == 2  # the shape, and its largest
    (tmp_path / "b.h5").write_bytes(content.replace(np.int64(64).tobytes() * 3, np.int64(4096).tobytes() * 3))
    with pytest.raises(AcregError, match=r"announces 4096x4096x4096|at most 4 GiB|whole h5"):
        read_image(tmp_path / "b.h5")
