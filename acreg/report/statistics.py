"""Paired significance tests between methods."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from acreg.metrics import LABEL_METRICS
from acreg.report.results import MethodResult


@dataclass(frozen=True)
class Comparison:
    """A two-sided paired Wilcoxon signed-rank test of two methods on one metric.

    `n` pairs on which both have a value; differences are first - second; `p_corrected` is `p` times `comparisons`
    (Bonferroni), at most 1. With no pair, or no difference anywhere, nothing was tested: p is NaN, or 1.
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
    comparisons: int


def wilcoxon(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Statistic and two-sided p of the signed-rank test on paired values `(n,)`, pairs without difference left out."""
    difference = np.asarray(first, float) - np.asarray(second, float)
    if difference.size == 0:
        return float("nan"), float("nan")
    if not difference.any():
        return 0.0, 1.0
    result = stats.wilcoxon(difference, zero_method="wilcox", alternative="two-sided")
    return float(result.statistic), float(result.pvalue)


def compare_methods(results: Sequence[MethodResult], metrics: Sequence[str] = LABEL_METRICS) -> list[Comparison]:
    """Test all pairs of methods on each metric; Bonferroni within a metric, as the paper (Section 5.2) does.

    The results must hold the same pairs in the same order (`check_same_pairs` sees to it).
    """
    couples = list(itertools.combinations(results, 2))
    comparisons = []
    for metric in metrics:
        for a, b in couples:
            x, y = a.values(metric), b.values(metric)
            both = np.isfinite(x) & np.isfinite(y)
            difference = x[both] - y[both]
            statistic, p = wilcoxon(x[both], y[both])
            comparisons.append(
                Comparison(
                    metric=metric,
                    first=a.name,
                    second=b.name,
                    n=int(both.sum()),
                    mean_difference=float(difference.mean()) if difference.size else float("nan"),
                    median_difference=float(np.median(difference)) if difference.size else float("nan"),
                    statistic=statistic,
                    p=p,
                    p_corrected=float(np.minimum(p * len(couples), 1.0)),
                    comparisons=len(couples),
                )
            )
    return comparisons
