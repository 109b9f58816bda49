"""A notebook's kernel without a notebook: what it would show."""

from __future__ import annotations

from typing import Any


class Outputs:
    """The outputs of a cell.

    Attributes:
        shown: the data of each output by its display id, as last updated.
        messages: how many were sent.
    """

    def __init__(self) -> None:
        self.shown: dict[str, dict[str, Any]] = {}
        self.messages = 0

    def publish(self, data: dict[str, Any], *, transient: dict[str, str], update: bool = False, **rest: Any) -> None:
        """Take a message as IPython's display publisher does."""
        assert update == (transient["display_id"] in self.shown)
        self.shown[transient["display_id"]] = data
        self.messages += 1
