"""Errors that acreg raises for what a user gave it.

Each message is one paragraph: the rule, what was received, and what to do. The command line prints it without a
traceback and exits with ``exit_code``.
"""

from __future__ import annotations


class AcregError(ValueError):
    """Something in the data or in a run is not as it must be (exit code 1)."""

    exit_code = 1


class UsageError(AcregError):
    """The call itself is wrong: arguments, names, recipe keys (exit code 2)."""

    exit_code = 2


class Requeue(AcregError):
    """The work was stopped from outside and goes on when it is started again (exit code 75, EX_TEMPFAIL)."""

    exit_code = 75
