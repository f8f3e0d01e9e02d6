"""Room for decoding: how much memory pictures may take, all threads together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Condition, Lock

from PIL import _imaging

from fpve.errors import ImageError

# With the file itself and all else that a run holds, below 1 GiB. 100 megapixels take 400 MB, those of 8K as WebP 540.
MEMORY = 560 * 10**6
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
        """Wait for so many bytes, and give them back afterwards. None may be held while waiting.

        Raises:
            ImageError: there are not so many in all.
        """
        if count > self.total:
            raise ImageError(
                f"a picture that takes {count / 1e6:,.0f} MB of memory to decode, "
                f"more than the {self.total / 1e6:,.0f} MB that there are for it"
            )
        if not count:
            yield
            return
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


@cache
def give_memory_back() -> None:
    """Have Pillow ask for memory in blocks that the C library gives back to the system when they are freed.

    Those of 32 MB and less glibc keeps, for each thread that ever had them: of four threads that decoded a picture of
    400 MB one after the other, 1.6 GB remain. Pillow's own are of 16 MB.
    """
    _imaging.set_block_size(64 * 2**20)


# A process has one memory, whatever engines, queries and threads it has.
ROOM = Room(MEMORY)
