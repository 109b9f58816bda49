"""Significance tests between methods."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
from scipy import stats

from acreg.report.results import NAN, MethodResult, measured

Test = Literal["wilcoxon", "mann-whitney", "tukey"]
TESTS: tuple[Test, ...] = get_args(Test)
DESCRIPTIONS: dict[str, tuple[str, str]] = {
    "wilcoxon": ("Paired Wilcoxon", "p Bonferroni-corrected by {n}; effect: matched-pairs rank-biserial correlation"),
    "mann-whitney": ("Mann-Whitney U", "p Benjamini-Hochberg-corrected over {n}; effect: rank-biserial correlation"),
    "tukey": (
        "Tukey's range test",
        "p of the range over all methods; effect: difference in pooled standard deviations",
    ),
}
"""Of each test: its name, and what its p and effect are, with the number of pairs of methods."""
EFFECT_SYMBOLS: dict[str, str] = {"wilcoxon": "r", "mann-whitney": "r", "tukey": "d"}
"""What tables call the effect."""


@dataclass(frozen=True)
class Comparison:
    """A two-sided test of two methods on one metric.

    Differences are first - second; `n` pairs on which both have a value. `p_corrected` is corrected within the metric
    over `comparisons` pairs of methods. `effect` is positive where the first has the larger values. With no pair, or
    no difference anywhere, nothing was tested: p is NaN, or 1. `low` and `high` bound the 95% confidence interval of
    Tukey's statistic, the difference of the two samples' means, simultaneous over the pairs of methods; the other tests
    have none, NaN.
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


class _Found(NamedTuple):
    """What one test says of one pair of methods."""

    statistic: float
    p: float
    effect: float
    low: float = NAN
    high: float = NAN


def wilcoxon(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Statistic and two-sided p of the signed-rank test on paired values `(n,)`, pairs without difference left out."""
    difference = np.asarray(first, float) - np.asarray(second, float)
    if difference.size == 0:
        return float("nan"), float("nan")
    if not difference.any():
        return 0.0, 1.0
    result = stats.wilcoxon(difference, zero_method="wilcox", alternative="two-sided")
    return float(result.statistic), float(result.pvalue)


def mann_whitney(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """U of the first sample and two-sided p of the rank-sum test, which takes the samples as independent."""
    if min(len(first), len(second)) == 0:
        return float("nan"), float("nan")
    result = stats.mannwhitneyu(first, second, alternative="two-sided")
    return float(result.statistic), float(result.pvalue)


def rank_biserial(difference: np.ndarray) -> float:
    """Of paired differences: the share of ranks in favour minus that against, in [-1, 1] (Kerby, 2014)."""
    if difference.size == 0:
        return float("nan")
    difference = difference[difference != 0]
    if difference.size == 0:
        return 0.0
    ranks = stats.rankdata(np.abs(difference))
    return float((ranks * np.sign(difference)).sum() / ranks.sum())


def compare_methods(
    results: Sequence[MethodResult], metrics: Sequence[str] | None = None, test: Test = "wilcoxon"
) -> list[Comparison]:
    """Test all pairs of methods on each metric.

    Args:
        results: with the same pairs in the same order (`check_same_pairs` sees to it).
        metrics: what is compared; all label metrics that were measured if None.
        test: "wilcoxon", paired, Bonferroni within a metric, as the AC-RegNet paper has it (Section 5.2);
            "mann-whitney", unpaired, with Benjamini and Hochberg's correction within a metric, and "tukey", the range
            test over all methods, as the DDMR paper has them.
    """
    couples = list(itertools.combinations(range(len(results)), 2))
    comparisons: list[Comparison] = []
    for metric in (measured(results) if metrics is None else metrics) if couples else ():
        values = [result.values(metric) for result in results]
        samples = [value[np.isfinite(value)] for value in values]
        tukey = _tukey(samples) if test == "tukey" else None
        found: list[_Found] = []
        differences: list[np.ndarray] = []
        for a, b in couples:
            both = np.isfinite(values[a]) & np.isfinite(values[b])
            difference = values[a][both] - values[b][both]
            differences.append(difference)
            if tukey is not None:
                found.append(tukey[a, b])
            elif test == "mann-whitney":
                u, p = mann_whitney(samples[a], samples[b])
                found.append(_Found(u, p, 2 * u / max(1, len(samples[a]) * len(samples[b])) - 1))
            else:
                found.append(_Found(*wilcoxon(values[a][both], values[b][both]), rank_biserial(difference)))
        corrected = _corrected(np.array([one.p for one in found]), test)
        for (a, b), difference, one, q in zip(couples, differences, found, corrected, strict=True):
            comparisons.append(
                Comparison(
                    metric=metric,
                    first=results[a].name,
                    second=results[b].name,
                    n=difference.size,
                    mean_difference=float(difference.mean()) if difference.size else float("nan"),
                    median_difference=float(np.median(difference)) if difference.size else float("nan"),
                    statistic=one.statistic,
                    p=one.p,
                    p_corrected=float(q),
                    effect=one.effect,
                    comparisons=len(couples),
                    test=test,
                    low=one.low,
                    high=one.high,
                )
            )
    return comparisons


def _corrected(p: np.ndarray, test: Test) -> np.ndarray:
    if test == "wilcoxon":
        return np.minimum(p * len(p), 1.0)
    if test == "mann-whitney":
        known = np.isfinite(p)
        corrected = p.copy()
        if known.any():
            corrected[known] = stats.false_discovery_control(p[known], method="bh")
        return corrected
    return p  # Tukey's test has the family in it


def _tukey(samples: Sequence[np.ndarray]) -> dict[tuple[int, int], _Found]:
    """What the test finds, by pair of positions: the mean difference is the statistic."""
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
