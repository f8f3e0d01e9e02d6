"""What a store has open at one snapshot, for all that is asked of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from fpve.browsing import Browser
from fpve.mapper import Mapper
from fpve.queries import QueryEncoders
from fpve.remembered import Remembered
from fpve.search import Searcher
from fpve.selection import Selector

Made = TypeVar("Made")
# Whoever classifies again does so by one of a few labels, in the same way.
_REMEMBERED = 8


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
        self._made: Remembered[Hashable, Any] = Remembered(_REMEMBERED)

    def over(self, mapper: Mapper) -> Opened:
        """The same, whose segments are searched by other processes."""
        return Opened(self.searcher.over(mapper), self.encoders)

    def remembered(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What was made for a key lately, such as a classifier that has been calibrated; or what is made for it now."""
        found: Made = self._made.get(key, make)
        return found
