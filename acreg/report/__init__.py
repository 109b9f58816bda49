"""Tables, charts and pages of evaluations and applications."""

from acreg.report.comparison import MethodComparison, compare

__all__ = ["MethodComparison", "compare"]
