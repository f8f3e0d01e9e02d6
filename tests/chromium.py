"""A Chromium without a window, for tests and scripts that look at pages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Playwright, sync_playwright

NONE = (
    "found no Chromium: scripts/setup dev installs one as root; or apt-get install chromium, or playwright install "
    "chromium, or name one with FPVE_CHROMIUM"
)
_NAMES = ("chromium", "chromium-browser", "google-chrome")
# It is to ask for nothing but what it is shown.
_FLAGS = [
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


class NoChromium(Exception):
    """There is no Chromium here."""


@contextmanager
def chromium(file: str | None = None) -> Iterator[Browser]:
    """A browser: that of a file, of FPVE_CHROMIUM, of the PATH, or playwright's own.

    Raises:
        NoChromium: there is none.
    """
    with sync_playwright() as playwright:
        found = file or os.environ.get("FPVE_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
        # Root has no sandbox.
        browser = playwright.chromium.launch(
            executable_path=found or _own(playwright), args=_FLAGS, chromium_sandbox=os.geteuid() != 0
        )
        try:
            yield browser
        finally:
            browser.close()


def _own(playwright: Playwright) -> str:
    path = playwright.chromium.executable_path
    if not Path(path).exists():
        raise NoChromium(NONE)
    return path
