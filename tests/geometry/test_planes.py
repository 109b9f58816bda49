"""Slices as in radiology: sides of the patient, whatever the axes of the array are."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from acreg.geometry import Grid
from acreg.geometry.planes import planes, towards, upright, upright_grid

TURNS = [
    np.eye(3)[:, list(order)] * signs
    for order in itertools.permutations(range(3))
    for signs in ((1, 1, 1), (-1, 1, -1), (1, -1, -1))
]


@pytest.mark.parametrize("direction", TURNS)
def test_each_side_of_the_patient_is_where_its_letter_is(direction: np.ndarray) -> None:
    """A marker at each end of each world axis, in arrays of any orientation, and somewhat oblique."""
    tilt = 0.2
    oblique = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]]) @ direction
    grid = Grid((13, 15, 17), (2.0, 1.0, 1.5), (5.0, -3.0, 8.0), oblique.tolist())
    indices = np.moveaxis(np.indices(grid.shape), 0, -1)
    centre = grid.to_world((np.array(grid.shape) - 1) / 2)
    position = (grid.to_world(indices) - centre) @ oblique @ direction.T  # along the world axes before the tilt
    at = tuple(n // 2 for n in upright_grid(grid).shape)
    coordinates = [upright(position[..., world], grid) for world in range(3)]
    ends = {"S": (0, 1), "I": (0, -1), "P": (1, 1), "A": (1, -1), "L": (2, 1), "R": (2, -1)}
    shown = planes(grid)
    assert [plane.name for plane in shown] == ["axial", "coronal", "sagittal"]
    for plane in shown:
        pictures = [plane.cut(each, at) for each in coordinates]
        edges = {side: [picture[edge] for picture in pictures] for side, edge in zip(plane.sides, _edges())}
        for side, values in edges.items():
            axis, sign = ends[side]
            assert (sign * values[axis] > 0).all(), (plane.name, side)
    assert {plane.name: plane.sides for plane in shown} == {
        "axial": ("A", "P", "R", "L"),
        "coronal": ("S", "I", "R", "L"),
        "sagittal": ("S", "I", "A", "P"),
    }


def _edges() -> tuple[tuple[slice | int, slice | int], ...]:
    """The pixels at the top, at the bottom, on the left and on the right of a picture."""
    return ((0, slice(None)), (-1, slice(None)), (slice(None), 0), (slice(None), -1))


def test_an_upright_array_lies_on_its_grid() -> None:
    grid = Grid((4, 5, 6), (1, 2, 3), (7, 8, 9), (TURNS[7]).tolist())
    world = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1))
    turned = np.stack([upright(world[..., d], grid) for d in range(3)], axis=-1)
    found = upright_grid(grid)
    np.testing.assert_allclose(turned, found.to_world(np.moveaxis(np.indices(found.shape), 0, -1)), atol=1e-9)


@pytest.mark.parametrize("codes", ["LPS", "RAS", "SRA", "PIL"])
def test_orientation_is_that_of_nibabel(codes: str) -> None:
    orientations = pytest.importorskip("nibabel.orientations")
    ornt = orientations.axcodes2ornt(codes)
    affine = np.zeros((4, 4))
    affine[ornt[:, 0].astype(int), range(3)] = ornt[:, 1]
    affine[3, 3] = 1
    assert towards(Grid.from_affine(affine, (4, 5, 6))) == codes


def test_a_slice_with_a_place_is_upright_and_a_picture_is_as_it_is() -> None:
    coronal = Grid.from_affine(np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]]), (5, 6))
    assert coronal.rank == 2 and towards(coronal) == "RS"
    (plane,) = planes(coronal)
    assert (plane.name, plane.sides) == ("coronal", ("S", "I", "R", "L"))
    rows, columns = np.indices((5, 6))
    np.testing.assert_array_equal(plane.cut(upright(rows, coronal), (2, 3))[:, 0], [4, 3, 2, 1, 0])
    np.testing.assert_array_equal(plane.cut(upright(columns, coronal), (2, 3))[0], [5, 4, 3, 2, 1, 0])
    picture = Grid((5, 6))
    (plane,) = planes(picture)
    assert (plane.name, plane.sides, towards(picture)) == ("", ("", "", "", ""), "")
    np.testing.assert_array_equal(plane.cut(upright(rows, picture), (2, 3)), rows)


def test_a_volume_of_one_slice_is_shown_in_one_plane() -> None:
    assert [plane.name for plane in planes(Grid((1, 5, 6)))] == ["axial"]
    assert [plane.name for plane in planes(Grid((7, 1, 6)))] == ["coronal"]
    assert [plane.name for plane in planes(Grid((1, 1, 6)))] == ["axial"]
