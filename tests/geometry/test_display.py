"""What images and transforms show of themselves."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest

from acreg.geometry import Displacement, Grid, Image, Transform
from acreg.geometry.display import PIXELS, thinned


def picture(image: Image) -> np.ndarray:
    return np.asarray(PIL.Image.open(io.BytesIO(image._repr_png_())))


def test_an_image_says_shape_spacing_kind_and_file() -> None:
    image = Image.from_array(np.zeros((4, 5, 6)), spacing=(3.0, 0.75, 0.75), name="/data/scan.nii.gz")
    assert repr(image) == "Image(4 x 5 x 6 voxels of 3 x 0.75 x 0.75 mm, intensity, scan.nii.gz)"
    assert repr(Image.from_array(np.ones((2, 2)), kind="labels")) == "Image(2 x 2 voxels of 1 x 1 mm, labels)"


def test_a_volume_is_shown_as_its_middle_axial_slice_in_its_proportions() -> None:
    array = np.zeros((6, 20, 30))
    array[3, :10] = 100
    shown = picture(Image.from_array(array, spacing=(5.0, 3.0, 1.0)))
    assert shown.shape == (PIXELS, PIXELS // 2), "60 mm by 30 mm"
    assert shown[PIXELS // 4].min() == 255 and shown[3 * PIXELS // 4].max() == 0
    turned = Image(array.transpose(1, 2, 0), Grid((20, 30, 6), (3.0, 1.0, 5.0), (), np.eye(3)[[2, 0, 1]].tolist()))
    np.testing.assert_array_equal(picture(turned), shown)


def test_labels_are_told_apart_by_colours_and_constant_images_shown() -> None:
    labels = np.zeros((12, 40), int)
    for value in range(1, 5):
        labels[:, 8 * value :] = 900 + value
    shown = picture(Image.from_array(labels, kind="labels"))
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) == 5 and not shown[:, 0].any()
    assert not picture(Image.from_array(np.full((3, 3), 7.0))).any()


@pytest.mark.parametrize("shape", [(6000, 7000), (300, 500, 500)])
def test_large_images_are_small_pictures(shape: tuple[int, ...]) -> None:
    shown = picture(Image.from_array(np.broadcast_to(np.arange(shape[-1], dtype=np.float32), shape)))
    assert max(shown.shape) == PIXELS and shown[0, 0] == 0 and shown[0, -1] == 255


def test_a_transform_says_its_grids_maps_and_folds() -> None:
    grid = Grid((40, 30), (2.0, 1.0))
    field = np.zeros((40, 30, 2))
    field[20:, :, 0] = -3.0
    transform = Transform(grid, grid, (Displacement(field, grid),))
    voxels = "40 x 30 voxels of 2 x 1 mm"
    assert repr(transform) == f"Transform(fixed {voxels}, moving {voxels}, maps: Displacement)"
    page = transform._repr_html_()
    assert f"<td>{transform.folding()['folded_percent']:.3f} %</td>" in page and "<td>6.00 mm</td>" in page
    assert "none (the identity)" in Transform(grid, grid)._repr_html_()


def test_a_thinned_image_lies_where_the_whole_does() -> None:
    image = Image(np.arange(24.0 * 20).reshape(24, 20), Grid((24, 20), (2.0, 3.0), (5.0, 7.0)))
    thin = thinned(image, 100)
    assert thin.array.size <= 100 and thinned(image, 1000) is image
    places = np.argwhere(np.ones(thin.grid.shape, bool))
    there = image.grid.to_index(thin.grid.to_world(places)).astype(int)
    np.testing.assert_array_equal(image.array[tuple(there.T)], thin.array.ravel())
