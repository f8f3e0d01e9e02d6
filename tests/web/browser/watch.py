"""What a page does that no page may: errors, words on the console, requests to others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from playwright.sync_api import ConsoleMessage, Dialog, Error, Page, Request, Response

_LOCAL = ("data:", "blob:")
_NOT_LOADED = "Failed to load resource"


class Watch:
    """Listens to a page, and remembers what is wrong with it.

    Attributes:
        wrong: a line for each thing, in the order in which they came.
    """

    def __init__(self, page: Page, address: str) -> None:
        self.wrong: list[str] = []
        self._address = address
        self._expected: set[int] = set()
        self._page = page
        self._hears: dict[Any, Callable[..., None]] = {
            "request": self._requested,
            "response": self._answered,
            "console": self._said,
            "pageerror": self._failed,
            "dialog": self._alerted,
        }
        for event, hear in self._hears.items():
            page.on(event, hear)

    def end(self) -> None:
        """Listen no more."""
        for event, hear in self._hears.items():
            self._page.remove_listener(event, hear)

    def expect(self, *statuses: int) -> None:
        """Answers of these statuses are what a test is about."""
        self._expected |= set(statuses)

    def _requested(self, request: Request) -> None:
        if not request.url.startswith((self._address, *_LOCAL)):
            self.wrong.append(f"it asks for {request.url}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400 and response.status not in self._expected:
            self.wrong.append(f"{response.status}: {response.url}")

    def _said(self, message: ConsoleMessage) -> None:
        # Which answers were refused is known from the answers themselves.
        if not message.text.startswith(_NOT_LOADED):
            self.wrong.append(f"the console says {message.type}: {message.text}")

    def _failed(self, error: Error) -> None:
        self.wrong.append(f"a script fails: {error}")

    def _alerted(self, dialog: Dialog) -> None:
        self.wrong.append(f"what is text runs: {dialog.message}")
        dialog.dismiss()
