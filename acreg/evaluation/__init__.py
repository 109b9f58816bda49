"""Evaluation of methods on pairs: the run, the scores, their files and statistics."""

from acreg.evaluation.evaluation import Evaluation, evaluate
from acreg.evaluation.method_result import MethodResult, PairScores
from acreg.evaluation.results import check_same_pairs, keep_pairs, load_results, read_method, write_method

__all__ = [
    "Evaluation",
    "MethodResult",
    "PairScores",
    "check_same_pairs",
    "evaluate",
    "keep_pairs",
    "load_results",
    "read_method",
    "write_method",
]
