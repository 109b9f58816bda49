"""Pages in Chromium: what a reader of a page sees, clicks on and is told."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, Request, sync_playwright

REQUIRED = "ACREG_TEST_BROWSER"
"""Environment variable: if it is set, a test without Chromium fails instead of being skipped."""

FLAGS = (
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # WebGL without a GPU
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
)


@dataclass
class Opened:
    """A page that was opened from a file."""

    page: Page
    errors: list[str] = field(default_factory=list)
    """Errors and warnings on the console, and exceptions."""
    requests: list[str] = field(default_factory=list)
    """Addresses that the page asked for, besides its own file and data within it."""

    def picture(self, part: str | Locator | None = None) -> np.ndarray:
        """What is seen of the page, or of the element with this selector, ``(rows, columns, 3)``, uint8."""
        shown = self.page.locator(part) if isinstance(part, str) else part
        png = self.page.screenshot() if shown is None else shown.screenshot()
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium without a window."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        if os.environ.get(REQUIRED):
            pytest.fail(f"{REQUIRED} is set, and there is no Chromium: apt-get install chromium.")
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, file: Path, width: int = 1280, height: int = 800) -> Iterator[Opened]:
    """The page of a file, in a window of this size; nothing outside of the file can be reached."""
    context = browser.new_context(viewport={"width": width, "height": height}, offline=True)
    result = Opened(context.new_page())

    def asked(request: Request) -> None:
        if not request.url.startswith(("data:", "blob:")) and request.url.split("#")[0] != file.resolve().as_uri():
            result.requests.append(request.url)

    result.page.on("request", asked)
    result.page.on("pageerror", lambda error: result.errors.append(str(error)))
    result.page.on(
        "console",
        lambda said: result.errors.append(said.text) if said.type in ("error", "warning") else None,
    )
    result.page.goto(file.resolve().as_uri())
    try:
        yield result
    finally:
        context.close()
