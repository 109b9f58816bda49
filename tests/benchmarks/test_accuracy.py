"""The changes of awkward images are what they are called, and intervals are those of the mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from acreg.evaluation.method_result import PairScores
from acreg.geometry import Grid, Image
from acreg.io.documents import write_json
from benchmarks import stress
from benchmarks.accuracy import SETS, _value, interval

SHAPES = {2: (12, 9), 3: (8, 7, 6)}


def pair(rank: int) -> tuple[Image, Image]:
    array = np.random.default_rng(0).random(SHAPES[rank]).astype(np.float32)
    grid = Grid(SHAPES[rank], (2.0, 1.5, 1.0)[:rank], (5.0, -3.0, 1.0)[:rank])
    return Image(array, grid), Image((array > 0.5).astype(np.int32), grid, kind="labels")


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("change", list(stress.CHANGES))
def test_each_change_keeps_image_and_labels_together(rank: int, change: str) -> None:
    image, labels = stress.CHANGES[change](*pair(rank), np.random.default_rng(1))
    assert image.grid == labels.grid and image.array.shape == labels.array.shape
    assert labels.kind == "labels" and set(np.unique(labels.array)) <= {0, 1}
    assert np.isfinite(image.array).all()


@pytest.mark.parametrize("rank", [2, 3])
def test_other_axes_leave_every_point_where_it_is(rank: int) -> None:
    image, _ = pair(rank)
    found = stress.reordered(image)
    assert found.grid.shape == image.grid.shape[::-1]
    for index in ((1,) * rank, (3, *range(1, rank))):
        there = np.rint(found.grid.to_index(image.grid.to_world(np.array(index)))).astype(int)
        assert found.array[tuple(there)] == image.array[index]


@pytest.mark.parametrize("rank", [2, 3])
def test_a_turn_is_about_the_centre_and_of_that_angle(rank: int) -> None:
    image, _ = pair(rank)
    found = stress.turned(90)(image)
    middle = (np.array(image.grid.shape) - 1) / 2
    np.testing.assert_allclose(found.grid.to_world(middle), image.grid.to_world(middle), atol=1e-9)
    step = np.eye(rank)[-1]
    arm, turned = (grid.to_world(middle + step) - grid.to_world(middle) for grid in (image.grid, found.grid))
    assert arm @ turned == pytest.approx(0, abs=1e-9) and np.linalg.norm(turned) == pytest.approx(np.linalg.norm(arm))


def test_an_interval_is_of_the_mean_and_a_failure_counts_zero() -> None:
    values = np.random.default_rng(0).normal(5.0, 2.0, 400)
    mean, low, _, high = interval(values.tolist()).replace("(", "").replace(")", "").split()
    half = 1.96 * values.std() / 20
    assert float(mean) == pytest.approx(values.mean(), abs=6e-3)
    assert float(low) == pytest.approx(values.mean() - half, abs=0.03)
    assert float(high) == pytest.approx(values.mean() + half, abs=0.03)
    assert interval([float("nan")]) == "–"
    assert _value(PairScores("a", "b", failure="no"), "dsc") == 0.0
    assert np.isnan(_value(PairScores("a", "b", failure="no"), "hd"))


def test_the_page_names_verdicts_beside_the_dice(tmp_path: Path) -> None:
    one = SETS[0]
    found = {"dice": [0.9, 0.7], "verdicts": ["ok", "failed"]}
    write_json(stress._path(one, "acreg:deformable", "as it is", tmp_path), found)
    lines = stress.table(one, tmp_path)
    assert lines[2] == "2 pairs." and lines[4] == "| moving image | `acreg:deformable` |"
    assert lines[6] == "| as it is | 0.800 (1, 0) |" and lines[7].endswith("|  |")
