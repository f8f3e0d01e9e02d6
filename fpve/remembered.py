"""What was made lately, so that it need not be made again."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Made = TypeVar("Made")


class Remembered(Generic[Key, Made]):
    """The last things that were made, by their keys. Safe to use from many threads.

    Each is made by one thread, for which those that ask for the same wait, and no others.

    Args:
        most: how many are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = Lock()
        self._places: dict[Key, _Place[Made]] = {}

    def get(self, key: Key, make: Callable[[], Made]) -> Made:
        """What was made for a key, or what is made for it now; what that raises is not remembered."""
        with self._lock:
            # Put last again: what has not been asked for longest goes first.
            place = self._places.pop(key, None) or _Place()
            self._places[key] = place
            while len(self._places) > self._most:
                del self._places[next(iter(self._places))]
        return place.get(make)

    def forget(self, key: Key) -> None:
        """Keep something no longer."""
        with self._lock:
            self._places.pop(key, None)


class _Place(Generic[Made]):
    """Where one thing is, once it is made."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._made: list[Made] = []

    def get(self, make: Callable[[], Made]) -> Made:
        with self._lock:
            if not self._made:
                self._made.append(make())
            return self._made[0]
