import numpy as np
import pytest
from scipy.linalg import expm

from acreg.data.prepare.rigid_alignment import degrees, medoid, rigid_map, thinned_labels
from acreg.errors import AcregError
from acreg.geometry import Affine, Grid
from acreg.io import Image

STACK = Grid((12, 60, 60), (8.0, 1.5, 1.5), (-40.0, -45.0, 1000.0))
FLAT = Grid((90, 80), (0.9, 1.1), (-500.0, 40.0))


def places(grid):
    return grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1))


def blobs(grid, rigid, number):
    """Labels drawn in world coordinates: a bent, tapering body, then smaller ones beside it, moved by a rigid map."""
    middle = grid.to_world((np.array(grid.shape) - 1) / 2)
    points = rigid.inverse()(places(grid).reshape(-1, grid.rank)) - middle
    along, across = points[:, 0], points[:, -1]
    second = points[:, -2] if grid.rank == 3 else 0 * along
    reach = 30.0
    body = (along / reach) ** 2 + (second / 9) ** 2 + ((across - 0.006 * along**2) / (16 - 0.2 * along)) ** 2 < 1
    labels = body.astype(np.int32)
    for label, (a, b, c) in enumerate(
        [(12.0, -9.0, -24.0), (-16.0, 14.0, 22.0), (-14.0, -16.0, -14.0)][: number - 1], 2
    ):
        labels[
            ((along - a) / 9) ** 2 + ((second - (b if grid.rank == 3 else 0)) / 8) ** 2 + ((across - c) / 8) ** 2 < 1
        ] = label
    return Image(labels.reshape(grid.shape), grid, "labels", f"{number} blobs")


def rigid(grid, angles, shift):
    """Turned about the middle of a grid by degrees in each plane of two axes, then shifted by mm."""
    skew = np.zeros((grid.rank, grid.rank))
    for (a, b), angle in zip([(-2, -1), (0, -1), (0, 1)], np.radians(angles)):
        skew[a, b], skew[b, a] = -angle, angle
    matrix = np.eye(grid.rank + 1)
    matrix[:-1, :-1] = expm(skew)
    middle = grid.to_world((np.array(grid.shape) - 1) / 2)
    matrix[:-1, -1] = middle + shift - matrix[:-1, :-1] @ middle
    return Affine(matrix)


def corner_error(grid, found, true):
    """Largest distance, in voxels of the grid, between where the two maps take its corners."""
    ends = np.stack(np.meshgrid(*([0, n - 1] for n in grid.shape), indexing="ij"), axis=-1).reshape(-1, grid.rank)
    corners = grid.to_world(ends)
    return np.abs((found(corners) - true(corners)) / np.asarray(grid.spacing)).max()


@pytest.mark.parametrize(
    ("grid", "number", "angles", "shift"),
    [
        (STACK, 1, (14, 0, 0), (5, 6, -7)),
        (STACK, 1, (-8, 7, 5), (0, -4, 3)),
        (STACK, 4, (150, 4, 0), (3, 5, 1)),
        (FLAT, 1, (15,), (6, -7)),
        (FLAT, 3, (-120,), (2, 3)),
        (FLAT, 1, (170,), (2, 3)),
    ],
)
def test_a_known_rigid_map_is_found(grid, number, angles, shift):
    true = rigid(grid, angles, shift)
    fixed, moving = (thinned_labels(blobs(grid, map_, number)) for map_ in (rigid(grid, [0], 0), true))
    found = rigid_map(fixed=fixed, moving=moving)
    turn = found.matrix[:-1, :-1]
    np.testing.assert_allclose(turn @ turn.T, np.eye(grid.rank), atol=1e-9)
    assert np.linalg.det(turn) > 0
    assert corner_error(grid, found, true) < 1
    assert degrees(true) == pytest.approx(degrees(found), abs=1.5)
    np.testing.assert_array_equal(rigid_map(fixed=fixed, moving=moving).matrix, found.matrix)


def test_oblique_and_flipped_headers_do_not_matter():
    true = rigid(STACK, (12, 4, 3), (4, 5, -6))
    other = Grid(
        (60, 70, 30), (1.5, 1.2, 4.0), (-50.0, 42.0, 1120.0), ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0), (-1.0, 0.0, 0.0))
    )
    fixed, moving = blobs(STACK, rigid(STACK, [0], 0), 4), blobs(STACK, true, 4)
    points = STACK.to_index(places(other))
    index = np.rint(points).astype(int)
    inside = STACK.contains(points)
    array = np.where(
        inside, moving.array[tuple(np.where(inside[..., None], index, 0).reshape(-1, 3).T)].reshape(other.shape), 0
    )
    assert (array > 0).sum() > 1000
    found = rigid_map(fixed=thinned_labels(fixed), moving=thinned_labels(Image(array, other, "labels")))
    assert corner_error(STACK, found, true) < 2.5  # drawn in thick slices, then sampled across them


def test_a_round_label_keeps_its_turn():
    grid = Grid((80, 80), (1.0, 1.0))
    discs = [np.hypot(*(np.indices((80, 80)) - np.reshape(c, (2, 1, 1)))) < 18 for c in ((38, 40), (42.3, 37.6))]
    first, second = (thinned_labels(Image(disc.astype(int), grid, "labels")) for disc in discs)
    found = rigid_map(fixed=first, moving=second)
    assert degrees(found) < 5
    np.testing.assert_allclose(found(np.array([[38.0, 40.0]])), [(42.3, 37.6)], atol=0.3)
    np.testing.assert_array_equal(rigid_map(fixed=first, moving=first).matrix, np.eye(3))


def test_the_middle_subject_is_the_reference():
    sizes = {"small": 6, "middle": 9, "again": 9, "large": 12, "huge": 15}
    images = {
        name: thinned_labels(
            Image((np.hypot(*(np.indices((60, 60)) - 20 - size)) < size).astype(int), Grid((60, 60)), "labels")
        )
        for name, size in sizes.items()
    }
    assert medoid(images) == "middle"
    assert medoid(dict(reversed(images.items()))) == "again"


def test_thinned_labels_stay_where_they_are():
    array = np.zeros((200, 30), int)
    array[31:171, 5:25] = 3
    image = Image(array, Grid(array.shape, (0.5, 2.0), (7.0, -3.0), ((0.6, -0.8), (0.8, 0.6))), "labels")
    small = thinned_labels(image)
    assert small.array.shape == (47, 20) and small.grid.spacing == (1.5, 2.0)
    middles = [i.grid.to_world(np.argwhere(i.array).mean(axis=0)) for i in (image, small)]
    assert np.linalg.norm(middles[1] - middles[0]) < 0.5


def test_labels_that_cannot_be_aligned():
    with pytest.raises(AcregError, match="Received: void without a voxel of a label"):
        thinned_labels(Image(np.zeros((4, 4), int), Grid((4, 4)), "labels", "void"))
    one, two, deep = (Image(np.full(shape, value), Grid(shape), "labels", name) for shape, value, name in
                      (((4, 4), 1, "a"), ((4, 4), 2, "b"), ((4, 4, 4), 1, "c")))  # fmt: skip
    with pytest.raises(AcregError, match=r"labels that they share. Received: b with \[2\], a with \[1\]"):
        rigid_map(fixed=one, moving=two)
    with pytest.raises(AcregError, match="one number of axes. Received: a with 2 and c with 3"):
        rigid_map(fixed=one, moving=deep)
