import h5py
import numpy as np
import pytest
import SimpleITK as sitk

from acreg.errors import AcregError
from acreg.geometry import Grid
from acreg.io import Image, read_image, read_labels, write_image

GRID = Grid((4, 5, 6), (3.0, 1.2, 0.7), (1e5, -20.0, 7.0), ((1, 0, 0), (0, 0.8, -0.6), (0, 0.6, 0.8)))


@pytest.fixture
def array():
    return np.random.default_rng(0).integers(0, 9, GRID.shape).astype(np.int16)


def write(path, attributes=(), **datasets):
    with h5py.File(path, "w") as file:
        for name, data in datasets.items():
            dataset = file.create_dataset(name.replace("__", "/"), data=data)
            dataset.attrs.update(attributes)


@pytest.mark.parametrize("name", ["a.h5", "a.HDF5"])
def test_the_array_and_its_grid(tmp_path, array, name):
    known = {key: getattr(GRID, key) for key in ("spacing", "origin", "direction")}
    write(tmp_path / name, known, image=array, other=array[0])
    image = read_image(tmp_path / name)
    np.testing.assert_array_equal(image.array, array)
    assert image.grid == GRID
    assert read_image(tmp_path / name, spacing=(1, 2, 3)).grid.spacing == (1, 2, 3)
    np.testing.assert_array_equal(read_labels(tmp_path / name, values=range(9)).array, array)


def test_the_only_dataset_and_the_grids_defaults(tmp_path, array):
    write(tmp_path / "a.h5", study__scan=array[0])
    image = read_image(tmp_path / "a.h5")
    np.testing.assert_array_equal(image.array, array[0])
    assert image.grid == Grid((5, 6))


@pytest.mark.parametrize(
    ("datasets", "attributes", "message"),
    [
        ({"a": np.zeros((2, 3)), "b__c": np.zeros(4)}, {}, r"with 2: a \(2, 3\), b/c \(4,\)\. Name the one"),
        ({}, {}, "with 0: none"),
        ({"TransformGroup__0__TransformType": np.zeros(1)}, {}, "which is a transform"),
        ({"image": np.zeros((1, 2, 3, 4))}, {}, "2 or 3 axes"),
        ({"image": 5.0}, {}, "2 or 3 axes"),
        ({"image": [[b"a", b"b"]]}, {}, "dataset of numbers.*in image"),
        ({"image": np.zeros((2, 3))}, {"spacing": (1.0, 2.0, 3.0)}, r"spacing of a grid with 2 axes.*a\.h5"),
        ({"image": np.zeros((2, 3))}, {"direction": np.ones((2, 2))}, "unit vectors"),
        ({"image": np.zeros((2, 3))}, {"spacing": "wide"}, "whole h5 image"),
        ({"image": np.full((2, 3), np.nan)}, {}, "6 NaN"),
    ],
)
def test_refusals(tmp_path, datasets, attributes, message):
    write(tmp_path / "a.h5", attributes, **datasets)
    with pytest.raises(AcregError, match=message) as caught:
        read_image(tmp_path / "a.h5")
    assert "a.h5" in str(caught.value) and "\n" not in str(caught.value)


def test_a_transform_is_not_an_image(tmp_path):
    sitk.WriteTransform(sitk.AffineTransform(3), str(tmp_path / "t.h5"))
    with pytest.raises(AcregError, match=r"t\.h5, which is a transform"):
        read_image(tmp_path / "t.h5")


def test_files_that_point_to_others_or_hold_nothing(tmp_path, array):
    write(tmp_path / "other.h5", image=array)
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["image"] = h5py.ExternalLink("other.h5", "/image")
    with pytest.raises(AcregError, match="with 0: none"):
        read_image(tmp_path / "link.h5")
    layout = h5py.VirtualLayout(array.shape, array.dtype)
    layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "image", array.shape)
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        file.create_virtual_dataset("image", layout)
    with pytest.raises(AcregError, match="lies in the file itself"):
        read_image(tmp_path / "virtual.h5")
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file.create_dataset("image", (10**5,) * 3, "f4", chunks=(64,) * 3)
    with pytest.raises(AcregError, match="announces 100000x100000x100000 values of 4 bytes, where 0 bytes are stored"):
        read_image(tmp_path / "empty.h5")


@pytest.mark.parametrize(
    ("values", "kind", "stored"),
    [
        ((0, 16), "labels", "u1"),
        ((0, 300), "labels", "u2"),
        ((-1, 5), "labels", "i1"),
        ((-1024, 3071), "intensity", "i2"),
        ((0, 0.5), "intensity", "f4"),
        ((0, 1e20), "intensity", "f4"),
    ],
)
def test_written_and_read_back(tmp_path, values, kind, stored):
    array = np.resize(np.array(values), GRID.shape)
    write_image(Image(array, GRID, kind), tmp_path / "new" / "a.h5")
    with h5py.File(tmp_path / "new" / "a.h5") as file:
        assert file["image"].dtype == np.dtype(stored)
        assert file["image"].chunks and file["image"].compression == "gzip"
    read = (read_labels if kind == "labels" else read_image)(tmp_path / "new" / "a.h5")
    np.testing.assert_array_equal(read.array, array.astype(read.array.dtype))
    assert read.grid == GRID


def test_a_file_that_compresses_well_is_read_back(tmp_path):
    grid = Grid((200, 201, 202))
    write_image(Image(np.zeros(grid.shape, np.int32), grid, "labels"), tmp_path / "a.h5")
    assert not read_labels(tmp_path / "a.h5").array.any()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_file_cut_short_is_named(tmp_path, share):
    image = Image(np.random.default_rng(0).normal(size=(20, 30, 40)), Grid((20, 30, 40)))
    write_image(image, tmp_path / "a.h5")
    content = (tmp_path / "a.h5").read_bytes()
    (tmp_path / "a.h5").write_bytes(content[: int(share * len(content))])
    with pytest.raises(AcregError, match=r"must be a whole h5 image\. Received: .*a\.h5.*cut off"):
        read_image(tmp_path / "a.h5")


def test_an_interrupted_write_leaves_the_old_file(tmp_path, array, monkeypatch):
    write_image(Image(array, GRID), tmp_path / "a.h5")
    before = (tmp_path / "a.h5").read_bytes()

    def full(path, content):
        path.open("wb").write(bytes(content)[:10])
        raise OSError("No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        write_image(Image(array + 1, GRID), tmp_path / "a.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]
    assert (tmp_path / "a.h5").read_bytes() == before
