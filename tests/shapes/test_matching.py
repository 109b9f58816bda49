"""Both matchers carry a template's points onto a subject's surfaces, by the way that neighbours go together."""

from __future__ import annotations

import numpy as np
import pytest

from acreg.errors import UsageError
from acreg.geometry import Grid
from acreg.io import Image
from acreg.shapes import Surface, matcher, region_surface


def bent(points: np.ndarray) -> np.ndarray:
    """A smooth map of space: a stretch, a bend and a shift."""
    moved = points * ([1.15, 0.9, 1.0][: points.shape[1]]) + [3.0, -2.0, 1.0][: points.shape[1]]
    moved[:, 0] += 2.0 * np.sin(points[:, 1] / 12)
    return moved


def ellipsoids(shape: tuple[int, ...], fine: float) -> list[Surface]:
    """Two regions that touch, as surfaces."""
    grid = Grid(shape)
    places = np.moveaxis(np.indices(shape), 0, -1) - (np.array(shape) - 1) / 2
    inside = (places / (np.array([11, 8, 7][: len(shape)]))) ** 2
    labels = (inside.sum(axis=-1) < 1) * (1 + (places[..., 0] > 2))
    return [region_surface(Image(labels, grid, "labels"), [value], fine) for value in (1, 2)]


@pytest.mark.parametrize(
    ("name", "shape", "order"),
    [
        ("point-drift", (32, 28), (0, 1, 0)),
        ("point-drift", (32, 26, 24), (0, 1)),
        ("currents", (32, 28), (0, 1, 0)),
        ("currents", (32, 26, 24), (0,)),
    ],
)
def test_the_template_is_carried_onto_each_subject(name: str, shape: tuple[int, ...], order: tuple[int, ...]) -> None:
    template = ellipsoids(shape, 2.5)
    subjects = [[s.moved(bent(s.points) * factor) for s in ellipsoids(shape, 1.9)] for factor in (1.0, 1.1)]
    carries = matcher(name)
    answers = [carries.match(template, subjects[i]) for i in order]
    for region, surface in enumerate(template):
        for points, subject in zip(answers, subjects, strict=False):
            moved = surface.moved(points[region])
            # Half of these distances is that between the points of the subject's surface.
            assert subject[region].distance(moved.points).mean() < 0.8
            assert moved.distance(subject[region].points).mean() < 0.9
            # Neighbours stay neighbours, and no cell is turned over.
            lengths = [
                np.linalg.norm(np.diff(s.points[s.cells[:, :2]], axis=1), axis=-1).mean() for s in (moved, surface)
            ]
            assert 0.7 < lengths[0] / lengths[1] < 1.5
        if len(order) > 2:  # nothing is left of the subject between
            np.testing.assert_allclose(answers[0][region], answers[2][region], atol=1e-4)


def test_a_template_matched_to_itself_stays() -> None:
    template = ellipsoids((32, 28), 2.5)
    for surface, points in zip(template, matcher("point-drift").match(template, template), strict=True):
        assert np.abs(points - surface.points).max() < 0.3


def test_another_matcher_is_refused() -> None:
    with pytest.raises(UsageError, match="one of currents, point-drift. Received: 'icp'"):
        matcher("icp")
