"""What images and transforms show of themselves."""

from __future__ import annotations

import io
import time
import tracemalloc

import numpy as np
import PIL.Image
import pytest

from acreg.geometry import Affine, Displacement, Grid, Image, Transform, Velocity
from acreg.geometry.display import table_html
from acreg.geometry.pictures import GAP, PANEL, PIXELS, TITLE


def picture(image: Image) -> np.ndarray:
    return np.asarray(PIL.Image.open(io.BytesIO(image._repr_png_())))


def test_an_image_says_shape_spacing_kind_and_file() -> None:
    image = Image.from_array(np.zeros((4, 5, 6)), spacing=(3.0, 0.75, 0.75), name="/data/scan.nii.gz")
    assert repr(image) == "Image(4 x 5 x 6 voxels of 3 x 0.75 x 0.75 mm, intensity, scan.nii.gz)"
    assert repr(Image.from_array(np.ones((2, 2)), kind="labels")) == "Image(2 x 2 voxels of 1 x 1 mm, labels)"


def test_a_picture_has_the_proportions_of_the_image() -> None:
    array = np.zeros((20, 30))
    array[:10] = 100
    shown = picture(Image.from_array(array, spacing=(3.0, 1.0)))
    assert shown.shape == (PIXELS, PIXELS // 2), "60 mm by 30 mm"
    assert shown[PIXELS // 4].min() == 255 and shown[3 * PIXELS // 4].max() == 0


@pytest.mark.parametrize("direction", [np.eye(3), np.diag([1.0, -1.0, -1.0]), np.eye(3)[[2, 0, 1]]])
def test_a_volume_is_shown_in_three_planes_with_the_left_on_the_right(direction: np.ndarray) -> None:
    """A marker at the patient's left, anterior and superior of the middle, in arrays of any orientation."""
    shape = tuple(np.abs(direction.T @ (12, 16, 20)).astype(int))
    grid = Grid(shape, (5.0, 5.0, 5.0), (), direction.tolist())
    centred = grid.to_world(np.moveaxis(np.indices(shape), 0, -1)) - grid.to_world(np.array(shape) // 2)
    superior, posterior, left = np.moveaxis(centred, -1, 0)
    array = np.where((superior >= -5) & (posterior <= 5) & (left >= -5), 100.0, 1.0)
    shown = picture(Image(array, grid))
    pixels = PANEL / 20
    widths = [round(pixels * n) for n in (20, 20, 16)]
    assert shown.shape[1] == sum(widths) + 4 * GAP, "axial, coronal and sagittal side by side at one scale"
    bright = (shown == 255).all(axis=-1)
    start = GAP
    for width, height, right in zip(widths, (16, 12, 12), (True, True, False)):
        panel = bright[:, start : start + width]
        rows, columns = np.nonzero(panel)
        middle = TITLE + (shown.shape[0] - TITLE - GAP) / 2
        assert rows.max() <= middle + 2 * pixels and rows.min() >= middle - pixels * height / 2 - 1, "above the middle"
        assert (columns.min() >= width / 2 - 2 * pixels) if right else (columns.max() <= width / 2 + 2 * pixels)
        start += width + GAP


def test_labels_are_shown_where_they_are() -> None:
    array = np.zeros((40, 50, 60), int)
    array[4, 10:20, 5:9] = 7  # far from the middle slices
    shown = picture(Image.from_array(array, kind="labels"))
    coloured = (shown.max(axis=-1) > 200) & (shown.min(axis=-1) < 120) & (np.ptp(shown.astype(int), axis=-1) > 60)
    axial = coloured[:, GAP : GAP + PANEL]
    assert axial.sum() > 500
    page = Image.from_array(array, kind="labels")._repr_html_()
    assert "slices with the most labels, radiological: the patient&#x27;s left is on the right" in page
    assert "<td>0, 7</td>" in page
    assert picture(Image.from_array(np.zeros((4, 4, 4)), kind="labels")).shape[2] == 3


def test_an_image_shows_its_size_orientation_and_range() -> None:
    grid = Grid.from_affine(np.diag([-0.75, 0.75, 3.0, 1.0]), (4, 5, 6))
    page = Image(np.linspace(-1024, 3071, 120).reshape(4, 5, 6), grid, name="/data/<scan>.nii.gz")._repr_html_()
    assert page.startswith('<img src="data:image/png;base64,')
    for cell in (
        "4 x 5 x 6 voxels of 3 x 0.75 x 0.75 mm",
        "12 x 3.75 x 4.5 mm",
        "LAS: the axes of the array point to superior, anterior, left",
        "-1024 to 3071",
        "/data/&lt;scan&gt;.nii.gz",
    ):
        assert f"<td>{cell}</td>" in page
    page = Image.from_array(np.arange(900).reshape(30, 30), kind="labels")._repr_html_()
    assert "<td>not known (a picture or an array)</td>" in page and "<td>900, from 0 to 899</td>" in page


@pytest.mark.filterwarnings("error")
def test_a_damaged_object_shows_the_reason() -> None:
    image = Image.from_array(np.ones((5, 6)))
    image.array[2, 3] = np.nan
    page = image._repr_html_()
    assert page.startswith("<p>No picture: The values of an image are finite numbers. Received: 1 ")
    assert "<td>5 x 6 voxels of 1 x 1 mm</td>" in page and image._repr_png_() is None
    object.__setattr__(image, "array", None)
    assert "No picture: " in image._repr_html_() and "not known: " in image._repr_html_() and "5 x 6" in repr(image)
    object.__setattr__(image, "grid", None)
    assert image._repr_html_().startswith("<p>No display: ")
    grid = Grid((1, 8, 9))
    flat = Transform(grid, grid, (Displacement(np.zeros((1, 8, 9, 3)), grid),))
    page = flat._repr_html_()
    assert page.startswith("<p>No picture: A Jacobian needs at least 2 voxels") and flat._repr_png_() is None
    assert "<td>not known: A Jacobian needs at least 2 voxels along each axis." in page and "<td>0.00 mm</td>" in page
    object.__setattr__(flat, "maps", None)
    assert flat._repr_html_().startswith("<p>No display: ") and flat._repr_png_() is None


def test_labels_are_told_apart_by_colours_and_constant_images_shown() -> None:
    labels = np.zeros((12, 40), int)
    for value in range(1, 5):
        labels[:, 8 * value :] = 900 + value
    shown = picture(Image.from_array(labels, kind="labels"))
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) == 5 and not shown[:, 0].any()
    assert not picture(Image.from_array(np.full((3, 3), 7.0))).any()


@pytest.mark.parametrize("shape", [(6000, 7000), (300, 500, 500)])
def test_large_images_are_small_pictures(shape: tuple[int, ...]) -> None:
    values = np.broadcast_to(np.arange(shape[-1], dtype=np.float32), shape)
    image = Image.from_array(values)
    tracemalloc.start()
    start = time.process_time()
    page, shown = image._repr_html_(), picture(image)
    seconds, (_, peak) = time.process_time() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 2 and peak < 2**26 and f"<td>0 to {shape[-1] - 1}</td>" in page
    assert max(shown.shape) < 1000
    if len(shape) == 2:
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
    assert f"<td>{6 * 20 / 40:.2f} mm</td>" in page, "the mean displacement"
    assert f"<td>displacement on {voxels}</td>" in page and page.startswith('<img src="data:image/png;base64,')
    assert "none (the identity)" in Transform(grid, grid)._repr_html_()
    turned = np.array([[0.0, -2.0, 5.0], [2.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    maps = (Affine(turned), Affine(np.diag([-1.0, 1.0, 1.0])), Velocity(np.zeros((40, 30, 2)), grid))
    words = "affine map that turns by 90.0 degrees, area x 4.000; affine map that mirrors, area x 1.000; "
    assert f"<td>{words}flow of a velocity on {voxels}</td>" in Transform(grid, grid, maps)._repr_html_()


def test_numbers_of_a_large_transform_come_from_some_of_its_voxels() -> None:
    grid = Grid((100, 100, 100))
    field = np.zeros((100, 100, 100, 3), np.float32)
    field[:, :, 50:, 2] = -30  # folds in two slices of 100
    page = Transform(grid, grid, (Displacement(field, grid),))._repr_html_()
    assert "<td>65536 of 1000000 voxels, at random</td>" in page and "<td>30.00 mm</td>" in page
    folded = float(page.split("folded voxels</th><td>")[1].split(" %")[0])
    assert folded == pytest.approx(2, abs=0.2)


def test_a_table_has_bold_cells_and_shows_texts_literally() -> None:
    page = table_html([["**a**", "**0.8 (0.1)**", "**", "x < y"]], ["method", "b", "c", "d"], "title & more")
    assert "<caption>title &amp; more</caption>" in page and ">**a**</th>" in page, "a name is a name"
    assert "<td><b>0.8 (0.1)</b></td><td>**</td><td>x &lt; y</td>" in page
