"""Ranks over pairs: by hand, against SciPy, and with methods that cannot be told apart."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import PIL.Image
import pytest
from scipy import stats

from acreg.evaluation.ranking import holm, rank_methods
from acreg.plotting.figures import THEMES, to_png
from acreg.report.overview_plots import cost_plots, ranking_plot


def test_holms_correction_by_hand() -> None:
    """0.005 * 4, 0.01 * 3, then 0.03 * 2, which 0.04 * 1 may not fall below."""
    np.testing.assert_allclose(holm([0.01, 0.04, np.nan, 0.03, 0.005]), [0.03, 0.06, np.nan, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.6, 0.7]), [1, 1])


def test_ranks_by_hand_ties_and_failures_last(make: Any) -> None:
    first = make("first", [0.9, 0.8, 0.7, 0.5])
    second = make("second", [0.8, 0.9, 0.7, 0.4], failed=(3,))
    third = make("third", [0.1, 0.1, 0.1, 0.3])
    found = rank_methods([third, second, first], "dsc")
    assert found.names == ("first", "second", "third") and found.pairs == 4
    np.testing.assert_allclose(found.ranks, [(1 + 2 + 1.5 + 1) / 4, (2 + 1 + 1.5 + 3) / 4, (3 + 3 + 3 + 2) / 4])
    by_distance = rank_methods([third, second, first], "hd")
    assert by_distance.names == found.names and by_distance.ranks == pytest.approx(found.ranks)


def test_groups_are_what_paired_tests_do_not_tell_apart(make: Any) -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(0.5, 0.8, 40)
    gains = {"a": 0.1, "b": 0.1, "c": 0.05, "d": 0.0}
    results = [make(name, base + gain + rng.normal(0, 0.004, 40)) for name, gain in gains.items()]
    found = rank_methods(results, "dsc")
    assert set(found.names[:2]) == {"a", "b"} and found.names[2:] == ("c", "d") and found.groups == ((0, 1),)
    assert found.friedman_p == pytest.approx(stats.friedmanchisquare(*(r.values("dsc") for r in results)).pvalue)

    # a chain: neighbours alike, ends not, as two overlapping groups
    middle = base + 0.005 + rng.normal(0, 0.05, 40)
    chain = [make("x", base + 0.01), make("y", middle), make("z", base)]
    found = rank_methods(chain, "dsc")
    assert found.names == ("x", "y", "z") and found.groups == ((0, 1), (1, 2))

    same = rank_methods([make("one", base), make("two", base)], "dsc")
    assert same.groups == ((0, 1),) and np.isnan(same.friedman_p) and same.ranks == (1.5, 1.5)


@pytest.mark.filterwarnings("error")
def test_pictures_grow_with_the_methods_and_differ_by_theme(make: Any) -> None:
    rng = np.random.default_rng(0)
    results = [make(name, rng.uniform(0.5, 0.9, 12)) for name in "abcdef"]
    results += [make("none", [0.5] * 12, failed=range(12)), make("unregistered", [0.3] * 12)]
    heights = []
    for count in (2, 6):
        ranking = rank_methods(results[:count], "dsc")
        pictures = [PIL.Image.open(io.BytesIO(to_png(ranking_plot(results, ranking, theme)))) for theme in THEMES]
        assert pictures[0].tobytes() != pictures[1].tobytes()
        heights.append(pictures[0].size[1])
    assert heights[1] > heights[0] + 4 * 25, "a row of at least 25 pixels a method"
    drawn = PIL.Image.open(io.BytesIO(to_png(cost_plots(results))))
    assert drawn.size[0] == 1365 and len(drawn.convert("RGB").getcolors(1 << 20)) > 20
