import numpy as np
import pytest

from acreg.errors import UsageError
from acreg.geometry import Grid, Image, unregistered
from acreg.geometry.extents import ALIGNMENTS


def image(shape, spacing, origin, placed=True):
    return Image(np.zeros(shape), Grid(shape, spacing, origin), placed=placed)


PAIR = {"fixed": image((10, 20), (2.0, 1.0), (5.0, -3.0)), "moving": image((30, 12), (1.0, 0.5), (0.0, 0.0))}
CORNERS = {"fixed": np.array([[4.0, -3.5], [24.0, 16.5]]), "moving": np.array([[-0.5, -0.25], [29.5, 5.75]])}
"""Of the extents in mm, half a voxel beyond the outermost centres."""


def test_by_their_headers_images_lie_where_they_are():
    points = np.array([[1.0, 2.0], [300.0, -7.0]])
    np.testing.assert_array_equal(unregistered(**PAIR).warp_points(points, "moving"), points)


def test_aligned_extents_take_corner_to_corner_and_so_scale():
    found = unregistered(**PAIR, align="extents").warp_points(CORNERS["fixed"], "moving")
    np.testing.assert_allclose(found, CORNERS["moving"], atol=1e-9)


def test_aligned_centres_take_centre_to_centre_and_do_not_scale():
    centres = {name: corners.mean(axis=0) for name, corners in CORNERS.items()}
    found = unregistered(**PAIR, align="centres").warp_points(centres["fixed"] + [[0, 0], [3, 4]], "moving")
    np.testing.assert_allclose(found, centres["moving"] + [[0, 0], [3, 4]], atol=1e-9)


@pytest.mark.parametrize("placed", [(False, False), (True, False), (False, True)])
def test_without_a_header_that_says_where_both_lie_extents_are_aligned(placed):
    pair = [image((10, 20), (2.0, 1.0), (0.0, 0.0), placed[0]), image((30, 12), (1.0, 0.5), (0.0, 0.0), placed[1])]
    found, extents = (unregistered(fixed=pair[0], moving=pair[1], align=align) for align in ALIGNMENTS[:2])
    np.testing.assert_array_equal(found.affine_part.matrix, extents.affine_part.matrix)
    assert not np.allclose(found.affine_part.matrix, np.eye(3))


def test_another_word_is_refused():
    with pytest.raises(UsageError, match="`align` is one of headers, extents, centres. Received: align='middle'"):
        unregistered(**PAIR, align="middle")
