"""What workers of a cluster are given to do: small functions, and one that is the death of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from fpve.errors import QueryError


def doubled(number: int) -> int:
    """A function that other processes can be given by its name."""
    if number < 0:
        raise QueryError(f"expected a number that is not negative, found {number}")
    return 2 * number


@dataclass(frozen=True)
class Dying:
    """A function that kills its process as often as it leaves marks in a folder."""

    folder: Path
    times: int

    def __call__(self, number: int) -> int:
        """Die, or give the number back."""
        for time in range(self.times):
            try:
                (self.folder / f"{time}").touch(exist_ok=False)
            except FileExistsError:
                continue
            os._exit(1)
        return number


@dataclass(frozen=True)
class Thing:
    """Something that is held, and says of which process it is."""

    number: int

    def ask(self, times: int) -> tuple[int, int]:
        """A multiple of the number, and the process that holds it."""
        return self.number * times, os.getpid()

    def die(self, folder: Path) -> int:
        """Kill the process that holds it, once."""
        return Dying(folder, 1)(self.number)
