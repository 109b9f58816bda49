"""Evaluation of methods on pairs: the run, the scores, their files and statistics."""

from acreg.evaluation.results import (
    MethodResult,
    PairScores,
    check_same_pairs,
    keep_pairs,
    load_results,
    read_method,
    write_method,
)

__all__ = [
    "MethodResult",
    "PairScores",
    "check_same_pairs",
    "keep_pairs",
    "load_results",
    "read_method",
    "write_method",
]
