import numpy as np
import pytest
from matplotlib.figure import Figure

from acreg.geometry import Grid, Transform, unregistered
from acreg.io import Image
from acreg.plotting.drawing import checkerboard, draw_contours, draw_determinant, grid_lines, stretch
from acreg.plotting.warped_pair import view_pair


def test_a_volume_is_shown_at_the_slice_with_most_fixed_labels():
    array = np.arange(6 * 5 * 4, dtype=float).reshape(6, 5, 4)
    labels = np.zeros((6, 5, 4), int)
    labels[4, 1:3] = 1
    fixed = Image.from_array(array, spacing=[1.0, 3.0, 1.5])
    moving = Image.from_array(np.zeros((12, 5, 4)))
    field = np.zeros((6, 5, 4, 3), np.float32)
    field[4] = (9, 1, 2)
    view = view_pair(
        Transform.between_extents(fixed.grid, moving.grid, field),
        fixed=fixed,
        moving=moving,
        fixed_labels=Image.from_array(labels, kind="labels"),
    )
    np.testing.assert_array_equal(view.fixed, array[4])
    np.testing.assert_array_equal(view.displacement, np.broadcast_to([1.0, 2.0], (5, 4, 2)))
    assert view.aspect == 2 and view.moving.shape == (5, 4) and view.fixed_labels.sum() == 8


def test_before_is_where_headers_place_the_moving_image():
    fixed = Image(np.zeros((4, 4)), Grid((4, 4)), placed=True)
    moving = Image(np.tile([1.0, 2, 3, 4], (4, 1)), Grid((4, 4), (1, 1), (0, 2)))
    view = view_pair(unregistered(fixed=fixed, moving=moving), fixed=fixed, moving=moving)
    np.testing.assert_array_equal(view.before[0], [0, 0, 1, 2])


def test_before_is_the_moving_image_laid_over_the_fixed_extent_of_pictures():
    fixed, moving = Image.from_array(np.zeros((4, 4))), Image.from_array(np.repeat([[0.0, 100.0]], 2, 0))
    view = view_pair(unregistered(fixed=fixed, moving=moving), fixed=fixed, moving=moving)
    np.testing.assert_array_equal(view.before[0], [0, 25, 75, 100])
    np.testing.assert_array_equal(view.determinant, 1)


def test_checkerboard_takes_its_tiles_in_turn():
    a = np.tile([0.0, 1.0], (8, 4))
    board = checkerboard(a, 1 - a, tiles=4)
    np.testing.assert_array_equal(board[:2, :2], a[:2, :2])
    np.testing.assert_array_equal(board[:2, 2:4], 1 - a[:2, 2:4])


def test_tiles_are_square_in_mm():
    board = checkerboard(np.tile([0.0, 1.0], (4, 8)), np.tile([1.0, 0.0], (4, 8)), tiles=4, aspect=2.0)
    first = board == np.tile([0.0, 1.0], (4, 8))
    assert first[:2, :4].all() and not first[:2, 4:8].any() and not first[2:, :4].any()


def test_stretch_is_safe_on_constants():
    assert stretch(np.full((3, 3), 7.0)).max() == 0
    assert stretch(np.arange(10.0)).min() == 0 and stretch(np.arange(10.0)).max() == 1


def test_grid_lines_are_positions_plus_displacement():
    field = np.zeros((6, 8, 2))
    field[..., 0], field[..., 1] = 0.5, -0.25
    segments = grid_lines(field, lines=8)
    assert len(segments) == 6 + 8
    np.testing.assert_allclose(segments[2][0], [-0.25, 2.5])


def test_folded_voxels_are_magenta_and_the_identity_is_white():
    picture = draw_determinant(Figure().subplots(), np.array([[1.0, 0.0, -3.0, 5.0]])).get_array()
    np.testing.assert_array_equal(picture[0, 1], [1, 0, 1])
    np.testing.assert_array_equal(picture[0, 2], [1, 0, 1])
    assert picture[0, 0].min() > 0.95 and picture[0, 3, 0] > picture[0, 3, 2]


@pytest.mark.filterwarnings("error")
def test_contours_of_full_empty_and_border_labels():
    for labels in (np.ones((5, 6), int), np.zeros((5, 6), int), np.pad(np.ones((2, 2), int), ((0, 3), (0, 4)))):
        axes = Figure().subplots()
        draw_contours(axes, labels, "red")
        assert len(axes.collections) == int(labels.any())
        assert axes.get_xlim() == (-0.5, 5.5)


def test_a_volume_is_shown_upright_however_its_file_stores_it():
    rng = np.random.default_rng(0)
    fixed, moving = (Image.from_array(rng.random(shape), spacing=(2, 1, 1)) for shape in ((6, 9, 8), (7, 8, 10)))

    def turned(image):
        """Stored along (left, inferior, posterior)."""
        grid = Grid(
            tuple(np.take(image.grid.shape, (2, 0, 1))),
            tuple(np.take(image.grid.spacing, (2, 0, 1))),
            tuple(image.grid.to_world([image.grid.shape[0] - 1, 0, 0])),
            np.array([[0, -1, 0], [0, 0, 1], [1, 0, 0]]),
        )
        return Image(image.array.transpose(2, 0, 1)[:, ::-1], grid)

    expected = view_pair(unregistered(fixed=fixed, moving=moving), fixed=fixed, moving=moving)
    for pair in ((turned(fixed), moving), (fixed, turned(moving)), (turned(fixed), turned(moving))):
        transform = unregistered(fixed=pair[0], moving=pair[1], align="extents")
        view = view_pair(transform, fixed=pair[0], moving=pair[1])
        for name in ("fixed", "moving", "before", "warped"):
            np.testing.assert_allclose(getattr(view, name), getattr(expected, name), atol=1e-5, err_msg=name)
