"""Significance tests between methods."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
from scipy import stats

from acreg.errors import UsageError, argument
from acreg.evaluation.method_result import HIGHER_IS_BETTER, NAN, MethodResult, compared_by

Test = Literal["wilcoxon", "mann-whitney", "welch", "tukey"]
TESTS: tuple[Test, ...] = get_args(Test)
Alternative = Literal["two-sided", "better", "worse"]
"""What a small p speaks for: the two methods differ; the first is better; the first is worse. Better are larger values
of the metrics in `HIGHER_IS_BETTER`, and smaller values of the others."""
SIDES: dict[str, str] = {
    "two-sided": "two-sided",
    "better": "one-sided (the first method is better)",
    "worse": "one-sided (the first method is worse)",
}
"""How texts call each alternative."""
ONE_SIDED = ("wilcoxon", "mann-whitney")
"""The tests that may be one-sided."""
DESCRIPTIONS: dict[str, tuple[str, str]] = {
    "wilcoxon": ("Paired Wilcoxon", "p Bonferroni-corrected by {n}; effect: matched-pairs rank-biserial correlation"),
    "mann-whitney": ("Mann-Whitney U", "p Benjamini-Hochberg-corrected over {n}; effect: rank-biserial correlation"),
    "welch": ("Welch's t-test", "p Benjamini-Hochberg-corrected over {n}; effect: Hedges' g"),
    "tukey": (
        "Tukey's range test",
        "p of the range over all methods; effect: difference in pooled standard deviations",
    ),
}
"""For each test: its name, and the meaning of p and effect, with the number of tests for which p is corrected."""
EFFECT_SYMBOLS: dict[str, str] = {"wilcoxon": "r", "mann-whitney": "r", "welch": "g", "tukey": "d"}
"""The symbol of the effect in tables."""
WITH_INTERVAL = ("welch", "tukey")
"""The tests that give an interval for the difference of the means."""


@dataclass(frozen=True)
class Comparison:
    """A test of two methods on one metric.

    Differences are first - second. `n` is the number of pairs for which both have a value; `first_better` and
    `second_better` are the shares of these pairs in which that method is better (the rest are ties). `p_corrected` is
    corrected within the metric over `comparisons` tests, that is, over the pairs of methods and, if labels are tested,
    over the labels. `effect` is positive if the first method has the larger values. Without any pair or any difference,
    nothing is tested: p is NaN or 1, respectively. `low` and `high` bound the 95% confidence interval of the difference
    of the means: Welch's interval is for this difference alone, Tukey's holds simultaneously for all pairs of methods;
    other tests have NaN. `label` is the name of a label, or "" for the mean over labels. `alternative` says what a
    small p speaks for.
    """

    metric: str
    first: str
    second: str
    n: int
    mean_difference: float
    median_difference: float
    statistic: float
    p: float
    p_corrected: float
    effect: float
    comparisons: int
    test: Test = "wilcoxon"
    low: float = NAN
    high: float = NAN
    first_better: float = NAN
    second_better: float = NAN
    label: str = ""
    alternative: Alternative = "two-sided"


class _Found(NamedTuple):
    """The result of one test for one pair of methods."""

    statistic: float
    p: float
    effect: float
    low: float = NAN
    high: float = NAN


Side = Literal["two-sided", "greater", "less"]


def wilcoxon(first: np.ndarray, second: np.ndarray, side: Side = "two-sided") -> tuple[float, float]:
    """Statistic and p of the signed-rank test on paired values `(n,)`, without pairs that do not differ.

    `side` is SciPy's alternative hypothesis: "greater" if the first values are.
    """
    difference = np.asarray(first, float) - np.asarray(second, float)
    if difference.size == 0:
        return float("nan"), float("nan")
    if not difference.any():
        return 0.0, 1.0
    result = stats.wilcoxon(difference, zero_method="wilcox", alternative=side)
    return float(result.statistic), float(result.pvalue)


def mann_whitney(first: np.ndarray, second: np.ndarray, side: Side = "two-sided") -> tuple[float, float]:
    """U of the first sample and p of the rank-sum test, which assumes independent samples; `side` as in `wilcoxon`."""
    if min(len(first), len(second)) == 0:
        return float("nan"), float("nan")
    result = stats.mannwhitneyu(first, second, alternative=side)
    return float(result.statistic), float(result.pvalue)


def welch(first: np.ndarray, second: np.ndarray) -> tuple[float, float, float, float, float]:
    """Welch's t and two-sided p of independent samples, Hedges' g, and the 95% interval of the difference of the means.

    g is the difference of the means in pooled standard deviations, multiplied by 1 - 3 / (4 (n1 + n2) - 9) to correct
    its bias in small samples (Hedges, 1981). All are NaN if a sample has fewer than two values, or if neither sample
    varies.
    """
    spread = sum(((sample - sample.mean()) ** 2).sum() for sample in (first, second) if len(sample) > 1)
    if min(len(first), len(second)) < 2 or spread == 0:
        return NAN, NAN, NAN, NAN, NAN
    result = stats.ttest_ind(first, second, equal_var=False)
    low, high = result.confidence_interval(0.95)
    left = len(first) + len(second) - 2
    g = (first.mean() - second.mean()) / np.sqrt(spread / left) * (1 - 3 / (4 * left - 1))
    return float(result.statistic), float(result.pvalue), float(g), float(low), float(high)


def rank_biserial(difference: np.ndarray) -> float:
    """For paired differences: the share of ranks in favour minus the share against, in [-1, 1] (Kerby, 2014)."""
    if difference.size == 0:
        return float("nan")
    difference = difference[difference != 0]
    if difference.size == 0:
        return 0.0
    ranks = stats.rankdata(np.abs(difference))
    return float((ranks * np.sign(difference)).sum() / ranks.sum())


def compare_methods(
    results: Sequence[MethodResult],
    metrics: Sequence[str] | None = None,
    test: Test = "wilcoxon",
    labels: Sequence[int] | None = None,
    alternative: Alternative = "two-sided",
) -> list[Comparison]:
    """Test all pairs of methods on each metric.

    Args:
        results: with the same pairs in the same order (checked by `check_same_pairs`).
        metrics: the metrics to compare; if None, all label metrics that were measured or, without labels, the image
            metrics.
        test: "wilcoxon", paired, with Bonferroni correction within a metric, as in the AC-RegNet paper (Section 5.2);
            "mann-whitney", unpaired, with Benjamini-Hochberg correction within a metric; "tukey", the range test over
            all methods; "welch", unpaired, as in the SVF-Net paper, with Benjamini-Hochberg correction within a metric.
            The DDMR paper tests the TRE: its designs on IXI by Tukey's test; on CT, the benefit of transfer learning by
            a one-sided Mann-Whitney test, and that of guidance, of trained weights, and over ANTs by Mann-Whitney tests
            whose side it does not state. It corrects over the two or three comparisons of each question, so compare
            these methods alone for its p-values.
        labels: labels to test one by one; if None, the mean over labels is tested.
        alternative: what a small p speaks for, with the methods of each pair in the order of `results`. Fix that order
            before the results are known: with the better method first, a one-sided p is too small.

    Raises:
        UsageError: the alternative is unknown, or a test that is not in `ONE_SIDED` is to be one-sided.
    """
    received = argument("alternative", alternative)
    if alternative not in SIDES:
        raise UsageError(f"An alternative is one of {', '.join(SIDES)}. Received: {received}. Choose one of these.")
    if alternative != "two-sided" and test not in ONE_SIDED:
        raise UsageError(
            f"A one-sided test is one of {', '.join(ONE_SIDED)}. Received: {received} with {argument('test', test)}. "
            f"Choose one of these tests, or leave out {argument('alternative')}."
        )
    couples = list(itertools.combinations(range(len(results)), 2))
    comparisons: list[Comparison] = []
    for metric in (compared_by(results) if metrics is None else metrics) if couples else ():
        rows: list[Comparison] = []
        for label in (None,) if labels is None else labels:
            values = [result.values(metric, label) for result in results]
            name = "" if label is None else results[0].label_names[label]
            for (a, b), found in zip(couples, _test(values, couples, test, _side(metric, alternative)), strict=True):
                names = results[a].name, results[b].name
                rows.append(_comparison(metric, name, names, values[a] - values[b], found, test, alternative))
        corrected = _corrected(np.array([row.p for row in rows]), test)
        comparisons += [
            dataclasses.replace(row, p_corrected=float(q), comparisons=len(rows))
            for row, q in zip(rows, corrected, strict=True)
        ]
    return comparisons


def _side(metric: str, alternative: Alternative) -> Side:
    """The alternative in terms of a metric's values."""
    if alternative == "two-sided":
        return "two-sided"
    return "greater" if (alternative == "better") == (metric in HIGHER_IS_BETTER) else "less"


def _test(values: Sequence[np.ndarray], couples: Sequence[tuple[int, int]], test: Test, side: Side) -> list[_Found]:
    """The result of the test for each pair of the methods' values `(pairs,)`."""
    samples = [value[np.isfinite(value)] for value in values]
    if test == "tukey":
        tukey = _tukey(samples)
        return [tukey[couple] for couple in couples]
    found: list[_Found] = []
    for a, b in couples:
        if test == "welch":
            found.append(_Found(*welch(samples[a], samples[b])))
        elif test == "mann-whitney":
            u, p = mann_whitney(samples[a], samples[b], side)
            found.append(_Found(u, p, 2 * u / max(1, len(samples[a]) * len(samples[b])) - 1))
        else:
            both = np.isfinite(values[a]) & np.isfinite(values[b])
            first, second = values[a][both], values[b][both]
            found.append(_Found(*wilcoxon(first, second, side), rank_biserial(first - second)))
    return found


def _comparison(
    metric: str,
    label: str,
    names: tuple[str, str],
    difference: np.ndarray,
    found: _Found,
    test: Test,
    alternative: Alternative,
) -> Comparison:
    """One row, not yet corrected, from the differences of all pairs (NaN if one method has no value)."""
    difference = difference[np.isfinite(difference)]
    gain = difference if metric in HIGHER_IS_BETTER else -difference
    known = difference.size > 0
    return Comparison(
        metric=metric,
        first=names[0],
        second=names[1],
        n=difference.size,
        mean_difference=float(difference.mean()) if known else NAN,
        median_difference=float(np.median(difference)) if known else NAN,
        statistic=found.statistic,
        p=found.p,
        p_corrected=found.p,
        effect=found.effect,
        comparisons=1,
        test=test,
        low=found.low,
        high=found.high,
        first_better=float((gain > 0).mean()) if known else NAN,
        second_better=float((gain < 0).mean()) if known else NAN,
        label=label,
        alternative=alternative,
    )


def _corrected(p: np.ndarray, test: Test) -> np.ndarray:
    if test == "wilcoxon":
        return np.minimum(p * len(p), 1.0)
    if test in ("mann-whitney", "welch"):
        known = np.isfinite(p)
        corrected = p.copy()
        if known.any():
            corrected[known] = stats.false_discovery_control(p[known], method="bh")
        return corrected
    return p  # Tukey's test already covers the family of comparisons


def _tukey(samples: Sequence[np.ndarray]) -> dict[tuple[int, int], _Found]:
    """The result of the test by pair of positions; the statistic is the mean difference."""
    usable = [index for index, sample in enumerate(samples) if len(sample) > 1]
    found = dict.fromkeys(itertools.combinations(range(len(samples)), 2), _Found(NAN, NAN, NAN))
    if len(usable) < 2:
        return found
    pooled = np.sqrt(
        sum(((samples[i] - samples[i].mean()) ** 2).sum() for i in usable) / sum(len(samples[i]) - 1 for i in usable)
    )
    if pooled == 0:
        return found
    result = stats.tukey_hsd(*(samples[i] for i in usable))
    interval = result.confidence_interval(0.95)
    for (row, a), (column, b) in itertools.combinations(enumerate(usable), 2):
        difference, p, low, high = (
            float(matrix[row, column]) for matrix in (result.statistic, result.pvalue, interval.low, interval.high)
        )
        found[a, b] = _Found(difference, p, difference / float(pooled), low, high)
    return found
