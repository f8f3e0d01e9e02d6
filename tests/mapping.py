"""Other processes without other processes: what goes there and comes back is pickled as if it did."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any


class PicklingMapper:
    """As many workers as it is told, all of them in this process.

    Attributes:
        size: how many.
        sent: bytes of all that was sent to them.
        opened: how many things were made.
        results: the most bytes of one result.
        closed: how often it was closed.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.sent = self.opened = self.results = self.closed = 0

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """The results of a function for some items; each worker has a function of its own."""
        functions = [self.there(function) for _ in range(self.size)]
        return (self.back(functions[number % self.size](self.there(item))) for number, item in enumerate(items))

    def hold(self, make: Callable[[Any], Any], items: Sequence[Any]) -> _Held:
        """Have a thing made of each item, when it is asked first."""
        return _Held(self, make, items)

    def close(self) -> None:
        """Count how often it is closed."""
        self.closed += 1

    def there(self, one: Any) -> Any:
        """What a worker gets."""
        data = pickle.dumps(one)
        self.sent += len(data)
        return pickle.loads(data)  # noqa: S301 (made just now)

    def back(self, one: Any) -> Any:
        """What comes back."""
        data = pickle.dumps(one)
        self.results = max(self.results, len(data))
        return pickle.loads(data)  # noqa: S301 (made just now)


class _Held:
    def __init__(self, mapper: PicklingMapper, make: Callable[[Any], Any], items: Sequence[Any]) -> None:
        assert len(items) <= mapper.size
        self._mapper = mapper
        self._make = mapper.there(make)
        self._items = [mapper.there(one) for one in items]
        self._things: dict[int, Any] = {}

    def each(self, function: Callable[[Any, Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        """What a function says of each thing and its item, where there is one."""
        assert len(items) == len(self._items)
        for number, item in enumerate(items):
            if item is None:
                continue
            if number not in self._things:
                self._things[number] = self._make(self._items[number])
                self._mapper.opened += 1
            said = self._mapper.there(function)(self._things[number], self._mapper.there(item))
            yield self._mapper.back(said)
