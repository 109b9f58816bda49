"""The figure of a transform: panels, sides of the patient, the grid and what lies behind it."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest

from acreg.errors import AcregError
from acreg.geometry import Affine, Displacement, Grid, Image, Transform
from acreg.geometry.notebook_figure import NotebookFigure


def lines(axes) -> list[np.ndarray]:
    return axes.collections[0].get_segments()


@pytest.mark.parametrize("direction", [np.eye(3), np.diag([-1.0, 1.0, -1.0]), np.eye(3)[[1, 2, 0]]])
def test_a_volume_is_drawn_in_three_planes_as_in_radiology(direction: np.ndarray) -> None:
    """Everything moves by 3 mm to the patient's left and 2 mm up; the marker lies at the left."""
    shape = tuple(np.abs(direction.T @ (10, 12, 14)).astype(int))
    grid = Grid(shape, (1.0, 1.0, 1.0), (), direction.tolist())
    vectors = np.broadcast_to(direction.T @ (2.0, 0.0, 3.0), (*shape, 3))
    transform = Transform(grid, grid, (Displacement(vectors, grid),))
    left = grid.to_world(np.moveaxis(np.indices(shape), 0, -1))[..., 2]
    figure = transform.plot(image=Image(np.where(left > np.median(left), 1.0, 0.0), grid))
    panels = figure.axes
    assert [axes.get_title() for axes in panels[:6]] == [
        f"{plane}: {what}"
        for what in ("deformed grid", "Jacobian determinant")
        for plane in ("axial", "coronal", "sagittal")
    ]
    for axes, moved, sides in zip(panels, ((3, 0), (3, -2), (0, -2)), ("APRL", "SIRL", "SIAP")):
        np.testing.assert_allclose(lines(axes)[0][0] - (0, 0), moved, atol=1e-6)
        assert "".join(text.get_text() for text in axes.texts) == sides
    for axes in panels[:2]:
        behind = axes.images[0].get_array()
        assert behind[:, -1].min() == 1 and behind[:, 0].max() == 0, "the left is on the right"
    assert panels[6].get_ylabel() == "local volume; folded: magenta"
    np.testing.assert_allclose(panels[3].images[0].get_array(), 0.966, atol=0.03)  # white: no change of volume


def test_affine_maps_are_left_out_unless_they_are_all() -> None:
    grid = Grid((20, 30), (2.0, 1.0))
    shift = Affine(np.array([[1.0, 0, 40], [0, 1, 0], [0, 0, 1]]))
    bend = Displacement(np.full((20, 30, 2), 0.5), grid)
    alone, bent, both = (Transform(grid, grid, maps).plot() for maps in ((shift,), (bend,), (bend, shift)))
    assert [len(figure.axes) for figure in (alone, bent, both)] == [3, 3, 3]
    np.testing.assert_allclose(lines(alone.axes[0])[0][0], (0, 20))
    np.testing.assert_allclose(lines(both.axes[0])[0][0], (0.5, 0.5))
    assert both.axes[0].get_title() == "grid without affine maps" and bent.axes[0].get_title() == "deformed grid"


def test_folded_pixels_are_magenta_and_proportions_those_of_the_image() -> None:
    grid = Grid((30, 20), (3.0, 1.0))
    field = np.zeros((30, 20, 2))
    field[15:, :, 0] = -4
    figure = Transform(grid, grid, (Displacement(field, grid),)).plot()
    folded = (figure.axes[1].images[0].get_array() == (1, 0, 1)).all(axis=-1)
    np.testing.assert_array_equal(
        folded.any(axis=1), Transform(grid, grid, (Displacement(field, grid),)).jacobian_determinant()[:, 0] <= 0
    )
    assert figure.axes[0].get_aspect() == 3
    box = figure.axes[0].get_position()
    height, width = box.height * figure.get_figheight(), box.width * figure.get_figwidth()
    assert height / width == pytest.approx(4.5)
    shown = PIL.Image.open(io.BytesIO(figure._repr_png_()))
    assert shown.size == pytest.approx((figure.get_figwidth() * 80, figure.get_figheight() * 80), abs=1)


def test_an_image_with_other_axes_is_refused() -> None:
    with pytest.raises(AcregError, match=r"^The image behind a deformed grid has .* Received: image of shape \(2, 2\)"):
        Transform(Grid((3, 4, 5)), Grid((3, 4, 5))).plot(Image.from_array(np.zeros((2, 2))))


def test_a_name_that_is_no_mathematics_is_shown_as_it_is() -> None:
    figure = NotebookFigure(figsize=(2, 1))
    figure.suptitle("a $^$ b")
    assert PIL.Image.open(io.BytesIO(figure._repr_png_())).size == (200, 100)
