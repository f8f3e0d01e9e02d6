"""What was made lately, so that it need not be made again."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Made = TypeVar("Made")


class Remembered(Generic[Key, Made]):
    """The last things that were made, by their keys. Safe to use from many threads; each is made by one of them.

    Args:
        most: how many are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = Lock()
        self._made: dict[Key, Made] = {}

    def get(self, key: Key, make: Callable[[], Made]) -> Made:
        """What was made for a key, or what is made for it now."""
        with self._lock:
            # Put last again: what has not been asked for longest goes first.
            found = self._made.pop(key) if key in self._made else make()
            self._made[key] = found
            while len(self._made) > self._most:
                del self._made[next(iter(self._made))]
            return found

    def forget(self, key: Key) -> None:
        """Keep something no longer."""
        with self._lock:
            self._made.pop(key, None)
