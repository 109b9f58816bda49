"""Results of evaluations: their files, tables, statistics, plots, pictures and the HTML report."""

from acreg.report.results import (
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
