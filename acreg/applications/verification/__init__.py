"""Checks of an installation: acreg's results are compared with other programs, mathematical laws and stored values.

`CHECKS` of each module lists its checks as data; `run_checks` runs them, and `write_page` writes the results::

    from acreg.applications.verification import all_checks, environment, run_checks, write_page

    write_page(folder, run_checks(all_checks()), environment())

A new check is a function that returns `Measured`, and an entry in the `CHECKS` of its module.
"""

from acreg.applications.verification.check import Check, Measured, Outcome, by_section, failed, run_checks
from acreg.applications.verification.machine import environment
from acreg.applications.verification.page import PAGE, RESULTS, write_page

__all__ = [
    "PAGE",
    "RESULTS",
    "Check",
    "Measured",
    "Outcome",
    "all_checks",
    "by_section",
    "environment",
    "failed",
    "run_checks",
    "write_page",
]


def all_checks(quick: bool = False) -> list[Check]:
    """All checks, in the order of the page; `quick` omits those of the presets, which take most of the time."""
    from acreg.applications.verification import fields, files, measures, presets, space

    checks = [*fields.CHECKS, *space.CHECKS, *measures.CHECKS, *files.CHECKS]
    return checks if quick else checks + presets.CHECKS
