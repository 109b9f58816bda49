import itertools

import numpy as np
import pytest

from acreg.metrics import LABEL_METRICS
from acreg.report.statistics import compare_methods, wilcoxon


def test_known_example():
    """Darwin's maize plants, crossed minus self-fertilised, in eighths of an inch: the example of SciPy's manual."""
    difference = np.array([6, 8, 14, 16, 23, 24, 28, 29, 41, -48, 49, 56, 60, -67, 75])
    statistic, p = wilcoxon(difference, np.zeros(15))
    assert statistic == 24 and p == pytest.approx(0.041259765625, abs=1e-12)


def test_equals_counting_all_signs():
    difference = np.array([0.4, -0.1, 0.9, 1.3, -0.6, 2.0])
    ranks = np.abs(difference).argsort().argsort() + 1
    observed = min(ranks[difference > 0].sum(), ranks[difference < 0].sum())
    sums = [sum(r for r, s in zip(ranks, signs) if s) for signs in itertools.product((0, 1), repeat=6)]
    exact = 2 * np.mean([s <= observed for s in sums])
    assert wilcoxon(difference, np.zeros(6)) == (observed, pytest.approx(min(exact, 1)))


def test_nothing_to_test_is_no_error():
    assert wilcoxon(np.ones(4), np.ones(4)) == (0.0, 1.0)
    assert np.isnan(wilcoxon(np.array([]), np.array([]))[1])


def test_bonferroni_counts_the_pairs_of_methods_of_a_metric(make):
    rng = np.random.default_rng(0)
    results = [make(name, rng.uniform(0.5, 0.9, 10)) for name in "abcd"]
    comparisons = compare_methods(results)
    assert len(comparisons) == 6 * len(LABEL_METRICS)
    for comparison in comparisons:
        assert comparison.comparisons == 6
        assert comparison.p_corrected == pytest.approx(min(1, 6 * comparison.p))
    assert compare_methods(results[:1]) == []


def test_pairs_without_a_value_on_either_side_are_left_out(make):
    a, b = make("a", [0.9, 0.8, 0.7, 0.6], failed=[0]), make("b", [0.5, 0.5, 0.5, 0.5], failed=[3])
    comparison = compare_methods([a, b], ["dsc"])[0]
    assert comparison.n == 2 and comparison.mean_difference == pytest.approx(0.25)
    empty = compare_methods([make("a", [0.5] * 4, failed=range(4)), b], ["dsc"])[0]
    assert empty.n == 0 and np.isnan(empty.p) and np.isnan(empty.p_corrected)


def test_sign_of_the_difference_is_first_minus_second(two):
    found = {c.metric: c for c in compare_methods(two)}
    assert found["dsc"].mean_difference > 0 > found["hd"].mean_difference
    assert found["dsc"].p_corrected < 0.01 and found["dsc"].comparisons == 1
