"""Opening of a page in the user's browser."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path

from acreg.cli.console import note


def show(page: Path) -> None:
    """Open a page, or say that there is no display for it: a browser in text mode must not start."""
    has_display = sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if not (has_display and webbrowser.open(page.resolve().as_uri())):
        note(f"There is no display here: open {page} in a browser that supports WebGL 2.")
