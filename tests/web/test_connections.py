"""Connections of clients that say little, or are too many: they are closed, and no others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from fpve.web import serving

HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
# Seconds after which a connection that is not closed hangs.
_LONG = 20


async def answer(_: Scope, __: Receive, send: Send) -> None:
    """Say that all is well."""
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def listening(patience: int = 1) -> AsyncIterator[int]:
    """A server of the gallery's connections, which waits so many seconds for the head of a request; its port."""
    config = uvicorn.Config(answer, lifespan="off", timeout_keep_alive=patience, log_config=None)
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: serving._Connection(config, state, {}), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("begun", [b"", b"GET / HT", HEAD, HEAD + b"\r\n" + HEAD])
def test_who_does_not_come_to_the_end_of_a_head_is_left(begun: bytes) -> None:
    """Before the first request and after one, whether anything was said or nothing."""

    async def ask() -> bytes:
        async with listening() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(begun)
            said = await asyncio.wait_for(reader.read(), _LONG)
            writer.close()
            return said

    said = asyncio.run(ask())
    assert said.startswith(b"HTTP/1.1 204") if HEAD + b"\r\n" in begun else said == b""


def test_requests_on_one_connection_are_answered() -> None:
    """Also one that comes in pieces, and several at once."""

    async def ask() -> bytes:
        async with listening() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for piece in (HEAD[:5], HEAD[5:], b"\r\n", (HEAD + b"\r\n") * 2, HEAD + b"Connection: close\r\n\r\n"):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.05)
            said = await asyncio.wait_for(reader.read(), _LONG)
            writer.close()
            return said

    assert asyncio.run(ask()).count(b"HTTP/1.1 204") == 4


def test_of_far_too_many_connections_none_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would be more than a process may have files open."""
    monkeypatch.setattr(serving, "_MOST_CONNECTIONS", 1)

    async def ask() -> bytes:
        async with listening(_LONG) as port:
            kept = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            # Accepted in the order in which they come.
            for _, writer in kept:
                writer.write(HEAD)
            await asyncio.sleep(0.05)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                said = await asyncio.wait_for(reader.read(), _LONG / 2)
            except ConnectionResetError:
                said = b"reset"
            kept[0][1].write(b"\r\n")
            answered = await asyncio.wait_for(kept[0][0].readline(), _LONG)
            for _, one in (*kept, (reader, writer)):
                one.close()
            return said + answered

    assert asyncio.run(ask()) in (b"HTTP/1.1 204 No Content\r\n", b"resetHTTP/1.1 204 No Content\r\n")
