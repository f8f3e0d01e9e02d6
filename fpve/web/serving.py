"""The gallery on a port: bound, said where, and served until a signal ends it."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from fpve.errors import ServeError
from fpve.web.app import create_app
from fpve.web.guard import MOST_HEADERS, MOST_QUERY
from fpve.web.names import WILDCARDS, is_name
from fpve.web.settings import Settings

# Somebody who guesses a million a second needs more than the age of the universe for 16 letters and digits.
_SHORTEST_TOKEN = 16
# Bytes of a request line and headers: somewhat more than the guard lets through, which says in words what is wrong.
_MOST_HEADERS = MOST_QUERY + MOST_HEADERS + 65_536
# Far more connections than the browsers of one person have, and less than a process may have files open.
_MOST_CONNECTIONS = 200
# Longer than a person looks at a page before the next click, so that most clicks need no new connection; and than any
# client needs for the head of a request.
_KEEP_ALIVE = 30
# Answers that are under way when a signal comes are given so long.
_GRACE = 1
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


def serve(
    path: str | Path,
    settings: Settings,
    *,
    at: int | None = None,
    announce: Callable[[str], object] = lambda _: None,
) -> None:
    """Serve the gallery of a store until a signal comes.

    Args:
        path: of the store.
        settings: how.
        at: a snapshot to stay at; by default it moves on to newer ones.
        announce: is told the address when it can be opened.

    Raises:
        ServeError: it can't listen there, or others could see the store without a token.
        StoreNotFound: there is no store at `path`, or no snapshot `at`.
        StoreCorrupt: its manifest is damaged.
    """
    _check(settings)
    with _listening(settings) as listener:
        port = int(listener.getsockname()[1])
        app = create_app(path, replace(settings, port=port), at=at)
        app.state.served.is_alone = True
        # What is no form is refused, and no news.
        logging.getLogger("python_multipart").setLevel(logging.ERROR)
        config = uvicorn.Config(
            app,
            log_config=None,
            # Anybody may send what is no HTTP.
            log_level=logging.ERROR,
            access_log=False,
            server_header=False,
            ws="none",
            # Unlike the other one it bounds the size of headers.
            http=_Connection,
            h11_max_incomplete_event_size=_MOST_HEADERS,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_keep_alive=_KEEP_ALIVE,
            timeout_graceful_shutdown=_GRACE,
        )
        _Server(config, lambda: announce(f"http://{_in_url(settings.host)}:{port}/")).run([listener])


class _Connection(H11Protocol):
    """A connection that is closed when the head of a request is long in coming, the first one's as well.

    Otherwise whoever opens many and says nothing, for which no token is needed, would shut all others out.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait; of far too many connections keep none."""
        super().connection_made(transport)
        if len(self.connections) > 2 * _MOST_CONNECTIONS:
            transport.abort()
            return
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def data_received(self, data: bytes) -> None:
        """Go on to wait: a request ends that, and not a part of its head."""
        self.conn.receive_data(data)
        self.handle_events()


class _Server(uvicorn.Server):
    """Says that it has begun, and ends at a signal, without raising it once more: being stopped is how it ends.

    Args:
        config: of uvicorn.
        announce: is called when it has begun.
    """

    def __init__(self, config: uvicorn.Config, announce: Callable[[], object]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        self._announce()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end; what that cuts off is nothing that went wrong."""
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        super().handle_exit(sig, frame)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End at signals, but for those that whoever started this program had it ignore, as nohup does."""
        known = [number for name in _SIGNALS if (number := getattr(signal, name, None)) is not None]
        wanted = [one for one in known if signal.getsignal(one) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self.handle_exit) for number in wanted}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens at a host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check(settings: Settings) -> None:
    token = settings.token
    if token is None and not is_loopback(settings.host):
        raise ServeError(
            f"--host {settings.host}: others could see the store; give them a --token of {_SHORTEST_TOKEN} characters "
            "or more, or serve it at 127.0.0.1 and come by a tunnel"
        )
    for one in settings.allowed_hosts:
        if not is_name(one):
            raise ServeError(
                f"--allow-host {one}: expected a name such as gallery.example.org, without https:// and without a port"
            )
    if token is not None and (len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable()):
        raise ServeError(
            f"--token: expected {_SHORTEST_TOKEN} letters and digits or more, found {len(token)} characters; "
            '`python -c "import secrets; print(secrets.token_urlsafe())"` makes one'
        )


@contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    """A socket that listens where it is to be.

    Raises:
        ServeError: it can't.
    """
    host, port = settings.host, settings.port
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ServeError(f"--host {host}: expected a name or an address of this machine ({error.strerror})") from None
    with listener:
        # What was served here a moment ago leaves connections behind, which are no other server.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                reason = f"port {port} of {host} is in use; give another --port, or 0 for any that is free"
            elif error.errno == errno.EACCES:
                reason = f"port {port} is not for everybody to use; give a --port from 1024 to 65535"
            else:
                reason = f"--host {host}: expected an address of this machine ({error.strerror})"
            raise ServeError(reason) from None
        yield listener


def _in_url(host: str) -> str:
    """How a client calls a host; what listens at all addresses is called by this machine's name."""
    if host in WILDCARDS:
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host
