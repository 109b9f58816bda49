"""Colour kept: what is read a channel at a time, warped, and written is what the file and SimpleITK have."""

from __future__ import annotations

import nibabel
import numpy as np
import PIL.Image
import pytest
import SimpleITK as sitk

from acreg.errors import AcregError, UsageError
from acreg.geometry import Affine, Grid, Transform
from acreg.io import Image, read_image
from acreg.io.colour import read_channels, warp_channels, write_channels


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def stacked(channels):
    return np.stack([channel.array for channel in channels], axis=-1)


def nifti(array, path):
    """`(*spatial, channels)` as RGB24 or RGBA32."""
    kind = np.dtype([(name, np.uint8) for name in "RGBA"[: array.shape[-1]]])
    stored = np.ascontiguousarray(np.moveaxis(array, -1, 0).T).view(kind)[..., 0]
    nibabel.save(nibabel.Nifti1Image(stored, np.diag([-2.0, -3.0, 4.0, 1.0])), path)


def save(array, path):
    if path.name.endswith(".nii.gz"):
        nifti(array, path)
    elif array.dtype == np.uint8 and path.suffix in (".png", ".tif"):
        PIL.Image.fromarray(array).save(path)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(array, isVector=True), str(path))


@pytest.mark.parametrize(
    ("name", "shape", "depth"),
    [
        ("rgb.png", (7, 9, 3), np.uint8),
        ("rgba.png", (7, 9, 4), np.uint8),
        ("grey_alpha.png", (7, 9, 2), np.uint8),
        ("deep.png", (7, 9, 3), np.uint16),
        ("deep_alpha.png", (7, 9, 4), np.uint16),
        ("rgb.tif", (7, 9, 3), np.uint8),
        ("rgba.tif", (7, 9, 4), np.uint8),
        ("deep.tif", (7, 9, 3), np.uint16),
        ("rgb.nii.gz", (7, 9, 3), np.uint8),
        ("volume.nii.gz", (5, 7, 9, 3), np.uint8),
        ("volume_alpha.nii.gz", (5, 7, 9, 4), np.uint8),
        ("rgb.nrrd", (7, 9, 3), np.uint8),
        ("volume.mha", (5, 7, 9, 3), np.uint16),
        ("volume.nrrd", (5, 7, 9, 3), np.float32),
    ],
)
def test_channels_are_read_warped_and_written(name, shape, depth, rng, tmp_path):
    colours = rng.integers(0, 256 if depth == np.uint8 else 60000, shape).astype(depth)
    save(colours, tmp_path / name)
    channels = read_channels(tmp_path / name)
    np.testing.assert_array_equal(stacked(channels), colours)
    grid = channels[0].grid
    step = np.eye(grid.rank + 1)
    step[:-1, -1] = 2.0 * np.asarray(grid.spacing)
    warped = warp_channels(channels, Transform(grid, grid, (Affine(step),)), fill=200.0)
    expected = np.full(shape, 200.0)
    if shape[-1] in (2, 4):
        expected[..., -1] = 0  # transparent
    inner = (slice(None, -2),) * grid.rank
    expected[inner] = colours[(slice(2, None),) * grid.rank]
    np.testing.assert_allclose(stacked(warped), expected, rtol=1e-5)
    write_channels(warped, tmp_path / f"out_{name}")
    again = read_channels(tmp_path / f"out_{name}")
    np.testing.assert_allclose(stacked(again), expected, rtol=1e-5)
    np.testing.assert_allclose(again[0].grid.matrix, grid.matrix, atol=1e-4)
    if name.endswith((".png", ".tif")) and shape[-1] > 2:
        theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"out_{name}")))
        assert theirs.dtype == depth
        np.testing.assert_allclose(theirs, expected)


def test_a_grey_file_has_one_channel_and_a_palette_its_colours(rng, tmp_path):
    grey = rng.integers(0, 256, (7, 9)).astype(np.uint8)
    PIL.Image.fromarray(grey).save(tmp_path / "grey.png")
    (only,) = read_channels(tmp_path / "grey.png")
    np.testing.assert_array_equal(only.array, grey)
    palette = PIL.Image.fromarray(grey % 3, mode="P")
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    palette.save(tmp_path / "colours.png")
    expected = np.eye(3, dtype=int)[grey % 3] * 255
    np.testing.assert_array_equal(stacked(read_channels(tmp_path / "colours.png")), expected)
    palette.putpalette([0, 0, 0, 9, 9, 9, 200, 200, 200])
    palette.save(tmp_path / "greys.png")
    (only,) = read_channels(tmp_path / "greys.png")
    np.testing.assert_array_equal(only.array, np.array([0, 9, 200])[grey % 3])


def test_networks_see_the_luminance_all_the_same(rng, tmp_path):
    colours = rng.integers(0, 256, (7, 9, 4)).astype(np.uint8)
    PIL.Image.fromarray(colours).save(tmp_path / "rgba.png")
    read_channels(tmp_path / "rgba.png")
    luminance = colours[..., :3] @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(read_image(tmp_path / "rgba.png").array, luminance, atol=1e-4)
    nifti(rng.integers(0, 256, (5, 7, 9, 3)).astype(np.uint8), tmp_path / "volume.nii.gz")
    with pytest.raises(AcregError, match="Colour is read from 2-D images only"):
        read_image(tmp_path / "volume.nii.gz")


@pytest.mark.parametrize(
    ("name", "shape", "largest", "reason"),
    [
        ("a.h5", (4, 5, 3), 255, "HDF5 has one value a voxel"),
        ("a.nii.gz", (4, 5, 3), 256, "NIfTI has three or four channels of 8 bits"),
        ("a.nii", (4, 5, 2), 255, "NIfTI has three or four channels"),
        ("a.png", (3, 4, 5, 3), 255, "hold 2-D images"),
        ("a.tif", (4, 5, 2), 300, "grey with alpha in 8 bits"),
    ],
)
def test_formats_that_cannot_hold_the_colours_refuse(name, shape, largest, reason, tmp_path):
    channels = [Image(np.full(shape[:-1], largest), Grid(shape[:-1])) for _ in range(shape[-1])]
    with pytest.raises(AcregError, match=f"{reason}.* Received: {shape[-1]} channels for .*{name}. Write it as .nrrd"):
        write_channels(channels, tmp_path / name)
    with pytest.raises(UsageError, match="Images are written as"):
        write_channels(channels, tmp_path / "a.jpg")
    assert not list(tmp_path.iterdir())
