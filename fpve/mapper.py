"""What does work that falls into parts in other processes; without one it is done here, one part after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Thing = TypeVar("Thing")
# Things are held, and only asked for what they say.
Kept = TypeVar("Kept", covariant=True)


class Held(Protocol[Kept]):
    """Things that other processes hold, so that they are made once and asked many times."""

    def each(self, function: Callable[[Kept, Item], Result], items: Sequence[Item | None]) -> Iterator[Result]:
        """What a function says of each thing and its item, in their order; a thing whose item is None is not asked.

        Args:
            function: the same for all; it is sent once.
            items: one for each thing; one that was sent last time is not sent again.
        """
        ...


class Mapper(Protocol):
    """Other processes, on this machine or on others, that see the same stores.

    Functions, items and results are pickled, and should be small: where files are, not what is in them. A part that is
    lost with its process is done again, and so must be one that can be.
    """

    @property
    def size(self) -> int:
        """How many processes there are at most."""

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """The results of a function for some items, in their order; each is done by whoever is free.

        A process that does several keeps the function that it was given, and what that remembers.
        """
        ...

    def hold(self, make: Callable[[Item], Thing], items: Sequence[Item]) -> Held[Thing]:
        """Have a thing made of each item, by the process that will be asked for it: when it is asked first, or again.

        Args:
            make: makes a thing.
            items: what of; as many as there are processes, at most, are made at once.
        """
        ...

    def close(self) -> None:
        """Let go of the processes; used again, it begins anew."""
