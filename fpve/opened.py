"""What a store has open at one snapshot, for all that is asked of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, TypeVar

from fpve.browsing import Browser
from fpve.queries import QueryEncoders
from fpve.search import Searcher
from fpve.selection import Selector

Made = TypeVar("Made")
# Whoever classifies again does so by the same label, in the same way.
_REMEMBERED = 4


class Opened:
    """What a store has open at one snapshot.

    Attributes:
        searcher: searches its images.
        encoders: its own encoders.
        selector: selects hits.
        browser: looks through the images without a query.
    """

    def __init__(self, searcher: Searcher, encoders: QueryEncoders) -> None:
        self.searcher = searcher
        self.encoders = encoders
        self.selector = Selector(searcher)
        self.browser = Browser(searcher)
        self._lock = Lock()
        self._made: dict[Hashable, Any] = {}

    def remembered(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What was made for a key lately, such as a classifier that has been calibrated; or what is made for it now."""
        with self._lock:
            # Put last again: what has not been asked for longest goes first.
            found: Made = self._made.pop(key) if key in self._made else make()
            self._made[key] = found
            while len(self._made) > _REMEMBERED:
                del self._made[next(iter(self._made))]
            return found
