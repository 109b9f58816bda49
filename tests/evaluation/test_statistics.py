import dataclasses
import itertools

import numpy as np
import pytest
from scipy import stats

from acreg.errors import UsageError
from acreg.evaluation.method_result import measured
from acreg.evaluation.statistics import compare_methods, rank_biserial, wilcoxon
from acreg.evaluation.tables import leader


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
    assert len(comparisons) == 6 * len(measured(results))
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


def test_mann_whitney_p_is_the_share_of_the_ways_to_part_the_values(make):
    rng = np.random.default_rng(4)
    a, b = rng.uniform(0.5, 0.9, 5), rng.uniform(0.6, 0.95, 5)
    found = compare_methods([make("a", a), make("b", b)], ["dsc"], test="mann-whitney")[0]
    both = np.concatenate([a, b])
    sums = []
    for chosen in itertools.combinations(range(10), 5):
        mine = both[list(chosen)]
        sums.append((mine[:, None] > np.delete(both, chosen)).sum())
    extreme = abs(found.statistic - 12.5)
    assert found.p == pytest.approx(np.mean(np.abs(np.array(sums) - 12.5) >= extreme - 1e-9))
    assert np.isnan(found.low) and np.isnan(found.high)


def test_mann_whitney_and_benjamini_hochberg_by_hand(make):
    rng = np.random.default_rng(1)
    results = [make(name, rng.uniform(low, 0.9, 9)) for name, low in zip("abc", (0.6, 0.5, 0.2))]
    comparisons = compare_methods(results, ["dsc"], test="mann-whitney")
    values = {result.name: result.values("dsc") for result in results}
    for found in comparisons:
        larger = (values[found.first][:, None] > values[found.second]).mean()
        assert found.effect == pytest.approx(2 * larger - 1)
        assert found.statistic == pytest.approx(81 * larger)
    order = np.argsort([found.p for found in comparisons])
    p = np.array([comparisons[i].p for i in order])
    expected = np.minimum.accumulate((p * 3 / np.arange(1, 4))[::-1])[::-1]
    assert [comparisons[i].p_corrected for i in order] == pytest.approx(np.minimum(expected, 1))


@pytest.mark.parametrize(("test", "reference"), [("mann-whitney", stats.mannwhitneyu), ("wilcoxon", stats.wilcoxon)])
def test_better_is_larger_of_the_dice_and_smaller_of_a_distance(make, test, reference):
    rng = np.random.default_rng(7)
    results = [make(name, rng.normal(mean, 0.05, 12)) for name, mean in (("new", 0.72), ("old", 0.7))]
    for metric, larger in (("dsc", "greater"), ("hd", "less"), ("tre", "less")):
        a, b = (result.values(metric) for result in results)
        other = {"greater": "less", "less": "greater"}[larger]
        for alternative, side in (("better", larger), ("worse", other), ("two-sided", "two-sided")):
            found = compare_methods(results, [metric], test, alternative=alternative)[0]
            assert found.p == pytest.approx(reference(a, b, alternative=side).pvalue) == found.p_corrected
            assert (found.first, found.alternative) == ("new", alternative)
        better = compare_methods(results, [metric], test, alternative="better")[0]
        turned = compare_methods(results[::-1], [metric], test, alternative="worse")[0]
        assert better.p == pytest.approx(turned.p) and better.p < 0.5


def test_one_sided_ps_are_corrected_like_others_and_other_tests_have_no_side(make):
    rng = np.random.default_rng(8)
    results = [make(name, rng.normal(mean, 0.05, 12)) for name, mean in zip("abc", (0.75, 0.72, 0.7))]
    found = compare_methods(results, ["tre"], "mann-whitney", alternative="better")
    assert [row.p_corrected for row in found] == pytest.approx(stats.false_discovery_control([row.p for row in found]))
    for test in ("welch", "tukey"):
        with pytest.raises(UsageError, match=f"one of wilcoxon, mann-whitney. Received: .*better.* with .*{test}"):
            compare_methods(results, ["tre"], test, alternative="better")
    with pytest.raises(UsageError, match="one of two-sided, better, worse. Received: alternative='greater'"):
        compare_methods(results, ["tre"], alternative="greater")


def test_tukey_is_the_studentised_range(make):
    rng = np.random.default_rng(2)
    results = [make(name, rng.normal(mean, 0.05, 12)) for name, mean in zip("abcd", (0.7, 0.72, 0.8, 0.7))]
    comparisons = compare_methods(results, ["dsc"], test="tukey")
    samples = {result.name: result.values("dsc") for result in results}
    pooled = np.sqrt(np.mean([sample.var(ddof=1) for sample in samples.values()]))
    for found in comparisons:
        difference = samples[found.first].mean() - samples[found.second].mean()
        assert found.mean_difference == pytest.approx(difference) and found.effect == pytest.approx(difference / pooled)
        q = abs(difference) / (pooled / np.sqrt(12))
        assert found.p_corrected == pytest.approx(stats.studentized_range.sf(q, 4, 4 * 11), rel=1e-6)
    assert min(found.p for found in comparisons) < 0.01 < max(found.p for found in comparisons)


def test_tukeys_interval_is_that_of_kramer_and_agrees_with_p(make):
    rng = np.random.default_rng(3)
    results = [
        make(name, rng.normal(mean, 0.04, 14), failed=failed)
        for name, mean, failed in (("a", 0.8, ()), ("b", 0.76, (1, 4, 5)), ("c", 0.7, (0,)))
    ]
    samples = {r.name: values[np.isfinite(values)] for r in results for values in [r.values("dsc")]}
    left = sum(len(sample) - 1 for sample in samples.values())
    pooled = np.sqrt(sum(sample.var() * len(sample) for sample in samples.values()) / left)
    critical = stats.studentized_range.ppf(0.95, 3, left)
    comparisons = compare_methods(results, ["dsc"], test="tukey")
    for found in comparisons:
        a, b = samples[found.first], samples[found.second]
        width = critical * pooled / np.sqrt(2) * np.sqrt(1 / len(a) + 1 / len(b))
        difference = a.mean() - b.mean()
        assert found.statistic == pytest.approx(difference) and found.effect == pytest.approx(difference / pooled)
        assert (found.low, found.high) == pytest.approx((difference - width, difference + width), rel=1e-6)
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0)
    assert {found.p < 0.05 for found in comparisons} == {True, False}


def test_welch_and_hedges_by_hand(make):
    rng = np.random.default_rng(5)
    first, second = make("a", rng.normal(0.8, 0.02, 9)), make("b", rng.normal(0.77, 0.06, 9), failed=[2, 6])
    found = compare_methods([first, second], ["dsc"], test="welch")[0]
    a, b = first.values("dsc"), np.delete(second.values("dsc"), [2, 6])
    errors = a.var(ddof=1) / 9, b.var(ddof=1) / 7
    t = (a.mean() - b.mean()) / np.sqrt(sum(errors))
    freedom = sum(errors) ** 2 / (errors[0] ** 2 / 8 + errors[1] ** 2 / 6)
    assert found.statistic == pytest.approx(t) and found.p == pytest.approx(2 * stats.t.sf(abs(t), freedom))
    width = stats.t.ppf(0.975, freedom) * np.sqrt(sum(errors))
    assert (found.low, found.high) == pytest.approx((a.mean() - b.mean() - width, a.mean() - b.mean() + width))
    pooled = np.sqrt((8 * a.var(ddof=1) + 6 * b.var(ddof=1)) / 14)
    assert found.effect == pytest.approx((a.mean() - b.mean()) / pooled * (1 - 3 / (4 * 16 - 9)))
    assert found.n == 7, "pairs on which both have a value"


def test_welchs_p_is_corrected_within_a_metric_over_methods_and_labels(make):
    rng = np.random.default_rng(6)
    results = [make(name, rng.normal(mean, 0.05, 15)) for name, mean in zip("abc", (0.8, 0.77, 0.7))]
    for result in results:
        for pair in result.pairs:
            pair.labels[2]["dsc"] -= rng.uniform(0, 0.2)
    rows = compare_methods(results, ["dsc", "hd"], test="welch", labels=[1, 2])
    assert [(row.label, row.metric) for row in rows[:4]] == [("left lung", "dsc")] * 3 + [("heart", "dsc")]
    assert len(rows) == 12 and {row.comparisons for row in rows} == {6}
    dsc = [row for row in rows if row.metric == "dsc"]
    assert [row.p_corrected for row in dsc] == pytest.approx(stats.false_discovery_control([row.p for row in dsc]))
    a, b = (result.values("dsc", 2) for result in results[:2])
    assert dsc[3].p == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue)
    assert dsc[3].mean_difference == pytest.approx((a - b).mean()) and dsc[3].first == "a"


def test_values_that_do_not_vary_are_not_tested_by_welch(make):
    for second in ([0.5] * 4, [0.6] * 4, [0.6]):
        found = compare_methods([make("a", [0.5] * len(second)), make("b", second)], ["dsc"], test="welch")[0]
        assert np.isnan([found.p, found.p_corrected, found.effect, found.low]).all()


def test_shares_count_the_pairs_in_which_a_method_is_better_and_ties_for_neither(make):
    first, second = make("a", [0.9, 0.8, 0.5, 0.6, 0.7]), make("b", [0.8, 0.8, 0.6, 0.5, 0.6], failed=[4])
    for metric in ("dsc", "hd"):  # of which one is better the larger, one the smaller
        found = compare_methods([first, second], [metric])[0]
        assert (found.first_better, found.second_better) == (0.5, 0.25)
    second.pairs[:4] = make("b", [0.5] * 5, failed=range(5)).pairs[:4]
    assert np.isnan(compare_methods([first, second], ["dsc"])[0].first_better)


@pytest.mark.parametrize("test", ["wilcoxon", "mann-whitney", "welch", "tukey"])
def test_the_effect_is_positive_where_the_first_has_the_larger_values(two, test):
    for results, sign in ((two, 1), (two[::-1], -1)):
        found = {c.metric: c for c in compare_methods(results, test=test)}
        assert sign * found["dsc"].effect > 0.4 and sign * found["hd"].effect < -0.4
        assert leader(found["dsc"]) == leader(found["hd"]) == sign
        assert leader(dataclasses.replace(found["dsc"], p_corrected=0.05)) == 0
        assert leader(dataclasses.replace(found["dsc"], p_corrected=float("nan"))) == 0


def test_rank_biserial_is_one_where_all_differences_agree(make):
    assert rank_biserial(np.array([0.1, 2.0, 0.0])) == 1 and rank_biserial(-np.ones(3)) == -1
    assert rank_biserial(np.array([1.0, -2.0, 3.0])) == pytest.approx((1 - 2 + 3) / 6)
    assert rank_biserial(np.zeros(4)) == 0


@pytest.mark.parametrize("test", ["wilcoxon", "mann-whitney", "welch", "tukey"])
def test_failed_methods_have_no_p(make, test):
    results = [make("a", [0.9, 0.8, 0.7]), make("b", [0.5, 0.5, 0.6]), make("none", [0.5] * 3, failed=[0, 1, 2])]
    found = {(c.first, c.second): c for c in compare_methods(results, ["dsc"], test=test)}
    assert np.isnan(found["a", "none"].p_corrected) and np.isfinite(found["a", "b"].p_corrected)
