"""The place of the largest error: on made pairs of which one spot is displaced."""

import numpy as np
import pytest
from scipy import ndimage

from acreg.evaluation.largest_error import largest_error
from acreg.geometry import Grid, unregistered
from acreg.io import Image
from acreg.plotting.warped_pair import warp_pair

SHAPE, SPACING = (16, 24, 20), (3.0, 1.0, 2.0)
GRID = Grid(SHAPE, SPACING, (-20.0, 5.0, 100.0))


def made(bump, labelled=True, grid=GRID):
    """A cuboid, and the same one with a bump of one label; label 2 is the same in both images."""
    labels = np.zeros(SHAPE, int)
    labels[4:11, 8:16, 6:12] = 1
    labels[12:15, 2:6, 2:6] = 2
    moved = labels.copy()
    moved[bump] = 1
    pictures = [ndimage.gaussian_filter(100.0 * (each > 0), 0.5) for each in (labels, moved)]
    fixed, moving = (Image(picture, grid, name=name) for picture, name in zip(pictures, "fm"))
    maps = [Image(each, grid, "labels") if labelled else None for each in (labels, moved)]
    transform = unregistered(fixed=fixed, moving=moving)
    return warp_pair(transform, fixed=fixed, moving=moving, fixed_labels=maps[0], moving_labels=maps[1])


BUMP = np.s_[6:9, 10:13, 12:16]


def test_with_labels_it_is_where_the_hausdorff_distance_is_attained() -> None:
    pair = made(BUMP)
    found = largest_error(pair, [1, 2])
    assert found.label == 1 and found.distance == pytest.approx(4 * 2.0)  # four voxels of 2 mm out of the cuboid
    assert found.voxel[2] == 15 and 6 <= found.voxel[0] < 9 and 10 <= found.voxel[1] < 13
    np.testing.assert_allclose(found.point, GRID.to_world(np.array(found.voxel)))
    assert found.text({1: "left lung"}) == "the largest surface distance, 8.0 mm, of left lung"


def test_of_the_given_labels_alone() -> None:
    assert largest_error(made(BUMP), [2]).distance == 0


@pytest.mark.parametrize("labelled", [False, True])
def test_without_a_label_in_both_maps_it_is_where_the_smoothed_images_differ_most(labelled) -> None:
    pair = made(np.s_[5:10, 9:15, 7:11], labelled)
    pair.warped[5:10, 9:15, 7:11] = 0  # a hole in the object
    pair.warped[1, 1, 1] = 255  # noise outside of the object
    found = largest_error(pair, [7])
    assert found.label is None and found.text({}) == "the largest difference of the smoothed images"
    assert np.abs(np.subtract(found.voxel, (7, 11.5, 8.5))).max() <= 1.5


def test_images_without_any_contrast_have_a_place_too() -> None:
    flat = Image.from_array(np.full((6, 5), 7.0))
    pair = warp_pair(unregistered(fixed=flat, moving=flat), fixed=flat, moving=flat)
    assert largest_error(pair, []).voxel == (0, 0)
