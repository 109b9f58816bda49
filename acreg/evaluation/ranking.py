"""Ranking of methods over all pairs, with groups of methods that the tests cannot distinguish.

Source: Demsar, Journal of Machine Learning Research 7, 2006, section 3.2; groups by paired Wilcoxon tests with Holm's
correction instead of Nemenyi's test, whose answer depends on which other methods are there (Benavoli et al., Journal of
Machine Learning Research 17, 2016).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from acreg.evaluation.method_result import HIGHER_IS_BETTER, MethodResult
from acreg.evaluation.statistics import wilcoxon
from acreg.evaluation.tables import LEVEL


@dataclass(frozen=True)
class Ranking:
    """Mean ranks over pairs, where 1 is the best; failed registrations share the last ranks of their pair.

    Attributes:
        metric: metric by which the methods are ranked.
        names: names of the methods, the best mean rank first.
        ranks: the mean rank of each method.
        pairs: number of ranked pairs, that is, pairs for which some method has a value.
        friedman_p: p-value of the hypothesis that all methods are equal; NaN with fewer than three methods.
        groups: (first, last) positions in `names` of groups of methods, no two of which differ with Holm's p < 0.05;
            each group has at least two methods, and none lies within another.
    """

    metric: str
    names: tuple[str, ...]
    ranks: tuple[float, ...]
    pairs: int
    friedman_p: float
    groups: tuple[tuple[int, int], ...]


def rank_methods(results: Sequence[MethodResult], metric: str) -> Ranking:
    """Rank two or more methods on the same pairs (`check_same_pairs`)."""
    sign = -1 if metric in HIGHER_IS_BETTER else 1
    losses = np.array([sign * result.values(metric) for result in results])
    losses = losses[:, np.isfinite(losses).any(axis=0)]
    # a failed registration is worse than all others
    filled = np.where(np.isfinite(losses), losses, np.inf)
    ranks = stats.rankdata(filled, axis=0)
    means = ranks.mean(axis=1)
    order = np.argsort(means, kind="stable")
    couples = list(itertools.combinations(range(len(results)), 2))
    corrected = dict(zip(couples, holm([_p(filled[order[a]], filled[order[b]]) for a, b in couples]), strict=True))
    friedman = stats.friedmanchisquare(*ranks).pvalue if len(results) > 2 and np.ptp(ranks) else np.nan
    return Ranking(
        metric=metric,
        names=tuple(results[n].name for n in order),
        ranks=tuple(means[order].tolist()),
        pairs=losses.shape[1],
        friedman_p=float(friedman),
        groups=_groups(len(results), {couple for couple, p in corrected.items() if not p < LEVEL}),
    )


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Holm's step-down correction of p-values (Scandinavian Journal of Statistics 6, 1979); NaN stay NaN."""
    p = np.asarray(p, float)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    corrected = p.copy()
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1)
    return corrected


def _p(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    both = np.isfinite(first) & np.isfinite(second)
    return wilcoxon(first[both], second[both])[1]


def _groups(count: int, alike: set[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    found: list[tuple[int, int]] = []
    for first in range(count):
        last = first
        while last + 1 < count and all((n, last + 1) in alike for n in range(first, last + 1)):
            last += 1
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return tuple(found)
