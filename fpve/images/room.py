"""Room for decoding: how much memory pictures may take, all threads together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, Lock

from fpve.errors import ImageError

# With the file itself and all else that a run holds, below 1 GiB. A picture of 100 megapixels takes 400 MB of it.
MEMORY = 512 * 10**6
# The whole of a file is in memory while it is decoded. 100 megapixels that are not compressed at all are 300 MB.
MAX_FILE_BYTES = 320 * 10**6
TOO_LARGE = f"more than {MAX_FILE_BYTES // 10**6} MB, which is more than is read of a picture"


class Room:
    """So many bytes, of which each holder takes some, in the order in which they came."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._used = 0
        self._door = Lock()
        self._changed = Condition()

    @contextmanager
    def hold(self, count: int) -> Iterator[None]:
        """Wait for so many bytes, and give them back afterwards. Not to be nested.

        Raises:
            ImageError: there are not so many in all.
        """
        if count > self.total:
            raise ImageError(
                f"a picture that takes {count / 1e6:,.0f} MB of memory to decode, "
                f"more than the {self.total / 1e6:,.0f} MB that there are for it"
            )
        # Who waits keeps the door shut: a large picture would wait forever while small ones pass it by.
        with self._door, self._changed:
            self._changed.wait_for(lambda: self._used + count <= self.total)
            self._used += count
        try:
            yield
        finally:
            with self._changed:
                self._used -= count
                self._changed.notify_all()


# A process has one memory, whatever engines, queries and threads it has.
ROOM = Room(MEMORY)
