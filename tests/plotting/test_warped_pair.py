"""The three planes of a volume: radiological view, however the file stores the volume."""

import numpy as np
import pytest

from acreg.geometry import Displacement, Grid, Transform
from acreg.io import Image
from acreg.plotting.warped_pair import PLANES, SIDES, warp_pair

SHAPE = (6, 9, 8)  # superior, posterior, left
GRID = Grid(SHAPE, (3.0, 1.0, 2.0))
CORNER = (5, 0, 0)
"""The superior, anterior, right corner."""


def stored(array, order, flips):
    """The volume along other axes, some of them backward, at the same place."""
    direction = np.eye(3)[:, order] * np.where(flips, -1, 1)
    first = np.zeros(3)
    first[list(order)] = np.where(flips, np.take(SHAPE, order) - 1, 0)
    shape, spacing = tuple(np.take(SHAPE, order)), tuple(np.take(GRID.spacing, order))
    grid = Grid(shape, spacing, tuple(GRID.to_world(first)), direction)
    return Image(array.transpose(order)[tuple(slice(None, None, -1 if f else 1) for f in flips)], grid)


@pytest.mark.parametrize(
    ("order", "flips"), [((0, 1, 2), (False,) * 3), ((2, 0, 1), (False, True, True)), ((1, 2, 0), (True,) * 3)]
)
def test_the_right_is_on_the_left_and_the_head_is_up(order, flips):
    array = np.zeros(SHAPE)
    array[CORNER] = 1
    image = stored(array, order, flips)
    field = np.zeros((*image.grid.shape, 3), np.float32)
    backward = np.where(flips, -1, 1)
    field[..., order.index(0)] = 2 * backward[order.index(0)]  # two voxels up
    field[..., order.index(2)] = -1 * backward[order.index(2)]  # one voxel to the right
    pair = warp_pair(Transform(image.grid, image.grid, (Displacement(field, image.grid),)), fixed=image, moving=image)
    np.testing.assert_array_equal(pair.fixed.array, array)
    assert PLANES == ("Axial", "Coronal", "Sagittal")
    for axis, (shape, step, moved) in enumerate(
        [((9, 8), 2.0, (0, -1)), ((6, 8), 2.0, (-2, -1)), ((6, 9), 1.0, (-2, 0))]
    ):
        view = pair.plane(axis, CORNER[axis])
        top, _, left, _ = SIDES[axis]
        assert (top, left) == [("A", "R"), ("S", "R"), ("S", "A")][axis]
        assert view.fixed.shape == shape and view.step == step
        assert pair.place(axis, CORNER) == (0, 0) and view.fixed[0, 0] == 1 == view.fixed.sum()
        np.testing.assert_allclose(view.displacement, np.broadcast_to(moved, (*shape, 2)), atol=1e-6)
        np.testing.assert_allclose(view.determinant, 1, atol=1e-6)
    assert pair.plane(1, 0).aspect == 3.0 / 2.0


def test_the_middle_has_most_labels_along_each_axis():
    labels = np.zeros(SHAPE, int)
    labels[2, 3:5, 6] = 4
    image = Image(np.zeros(SHAPE), GRID)
    pair = warp_pair(Transform(GRID, GRID), fixed=image, moving=image, fixed_labels=Image(labels, GRID, "labels"))
    assert pair.middle() == (2, 3, 6)
    assert warp_pair(Transform(GRID, GRID), fixed=image, moving=image).middle() == (3, 4, 4)
