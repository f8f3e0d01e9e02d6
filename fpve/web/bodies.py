"""Bodies of requests, read within bounds: of each, of all that are held at once, and of the time between two pieces."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from starlette.types import Message, Receive

from fpve.web.refusals import Refused

# Seconds between two pieces of a body: a connection that is silent for longer is of nobody who waits.
_PATIENCE = 30.0
# Bodies of the largest size that are held at once.
_AT_ONCE = 4
# After a body that was not read the connection can't be used again.
CLOSE = {"Connection": "close"}


class Bodies:
    """The bodies that a server holds.

    Args:
        most: bytes that the largest may have.
    """

    def __init__(self, most: int) -> None:
        self._room = _AT_ONCE * most
        self._held = 0

    def hold(self, count: int) -> bool:
        """Hold so many bytes more; whether there is room for them."""
        self._held += count
        return self._held <= self._room

    def let_go(self, count: int) -> None:
        """Hold so many bytes less."""
        self._held -= count


def too_large(most: int) -> Refused:
    """The refusal of a body that has more bytes than it may."""
    return Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {most:,} bytes", headers=CLOSE)


class Body:
    """The body of one request, as far as it may be read.

    Attributes:
        size: bytes that have come.
        refused: why no more is read.

    Args:
        bodies: that are held.
        most: bytes that it may have.
        receive: gives its next piece.
    """

    def __init__(self, bodies: Bodies, most: int, receive: Receive) -> None:
        self.size = 0
        self.refused: Refused | None = None
        self._most = most
        self._bodies = bodies
        self._receive = receive
        self._is_whole = False

    async def receive(self) -> Message:
        """The next piece; where no more may be read the client seems to be gone."""
        if self.refused is not None:
            return {"type": "http.disconnect"}
        if self._is_whole:
            return await self._receive()
        try:
            async with asyncio.timeout(_PATIENCE):
                message = await self._receive()
        except TimeoutError:
            return self._end(Refused(408, f"expected more of the body within {_PATIENCE:g} s", headers=CLOSE))
        if message["type"] != "http.request":
            return message
        count = len(message.get("body", b""))
        self.size += count
        self._is_whole = not message.get("more_body", False)
        has_room = self._bodies.hold(count)
        if self.size > self._most:
            return self._end(too_large(self._most))
        if not has_room:
            headers = {"Retry-After": "2", **CLOSE}
            return self._end(Refused(503, "too many uploads at once; try again in some seconds", headers=headers))
        return message

    def _end(self, refused: Refused) -> Message:
        self.refused = refused
        return {"type": "http.disconnect"}
