"""Who may ask what: nothing that a page of another site makes a browser send, and nothing without bounds.

A gallery listens where a browser can reach it, and a browser sends requests for any page that it shows. Requests are
refused that were not meant for this server (`Host`, which a name that is bound anew to this machine gives away), that
come from pages of others (`Origin`, `Sec-Fetch-Site`), that don't know the token where there is one, or whose body is
too large; of the last no more is read than is allowed. What is answered says that it is for this page alone.
"""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache
from http import HTTPStatus
from urllib.parse import parse_qsl, urlencode

from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fpve.web.bodies import CLOSE, Bodies, Body, too_large
from fpve.web.names import Names
from fpve.web.refusals import Refused, refuse_as
from fpve.web.settings import Settings

METHODS = ("GET", "HEAD", "POST")
# Bytes of a query string, and of all headers together: a filter of a thousand names, percent-encoded, has room.
MOST_QUERY = 200_000
MOST_HEADERS = 65_536
# Bytes of a path: an image_id has 4,096, and each can be three.
_MOST_PATH = 16_384
_MOST_HOST = 261
_OURS = b"same-origin"
# What a person typed, or chose from the bookmarks.
_NOBODYS = b"none"
_READ = frozenset(
    (
        b"host",
        b"origin",
        b"sec-fetch-site",
        b"sec-fetch-mode",
        b"sec-fetch-dest",
        b"authorization",
        b"cookie",
        b"content-type",
        b"content-length",
        b"transfer-encoding",
    )
)
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
]
_ASK_AGAIN = (b"cache-control", b"no-cache")
_COOKIE = "fpve-token"
_FORM = b"multipart/form-data"

Read = dict[bytes, bytes]


class Guard:
    """Lets through to an application only what it may be asked.

    Args:
        app: the application.
        settings: who may ask, and how much.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._token = None if settings.token is None else settings.token.encode()
        # Of the cookie only: whoever finds it in a browser does not know what to send from elsewhere.
        self._digest = hashlib.sha256(b"fpve cookie " + (self._token or b"")).hexdigest()
        self._names = Names(settings)
        self._is_known = lru_cache(maxsize=256)(self._names)
        self._bodies = Bodies(max(settings.max_upload, settings.max_json))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_head = scope["method"] == "HEAD"
        send = _guarded(send, is_head=is_head)
        body = Body(self._bodies, self._most(scope), receive)
        has_begun = False

        async def send_of_body(message: Message) -> None:
            nonlocal has_begun
            if body.refused is None:
                has_begun = True
                await send(message)
            elif not has_begun:
                # Whatever the application makes of a body that it did not get.
                has_begun = True
                await refuse_as(body.refused)(scope, receive, send)

        try:
            answer = self._check(scope)
        except Refused as error:
            answer = refuse_as(error)
        if answer is not None:
            await answer(scope, receive, send)
            return
        # Routes know no HEAD: it is a GET whose body nobody wants.
        inner = {**scope, "method": "GET"} if is_head else scope
        try:
            await self._app(inner, body.receive, send_of_body)
        finally:
            self._bodies.let_go(body.size)
            scope["route"] = inner.get("route")

    def _most(self, scope: Scope) -> int:
        """Bytes that the body of a request may have: more of a form, which is not parsed at once as JSON is."""
        kind = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
        return self._settings.max_upload if kind.lower().startswith(_FORM) else self._settings.max_json

    def _check(self, scope: Scope) -> Response | None:
        """What a request is answered with before the application sees it; None if it may.

        Raises:
            Refused: it may not.
        """
        if scope["method"] not in METHODS:
            allowed = ", ".join(METHODS)
            headers = {"Allow": allowed, **CLOSE}
            raise Refused(405, f"expected one of {allowed}, found {scope['method'][:20]}", headers=headers)
        read = _read(scope)
        host = read.get(b"host", b"").decode("latin-1").lower()
        # None of a name is longer, and what is remembered is to stay small.
        if len(host) > _MOST_HOST or not self._is_known(host):
            raise Refused(403, f"expected a name of this server, found Host {host[:100]!r}; --allow-host NAME adds one")
        self._check_origin(scope, read, host)
        length = read.get(b"content-length", b"0")
        if b"transfer-encoding" in read and b"content-length" in read:
            # What is before this server may have taken the other one for the end of the body.
            raise Refused(400, "expected a Content-Length or a Transfer-Encoding, found both", headers=CLOSE)
        if not length.isdigit():
            raise Refused(400, "expected a Content-Length in digits", headers=CLOSE)
        # So many digits are more than any that may come.
        if int(length[:20]) > (most := self._most(scope)):
            raise too_large(most)
        return None if self._token is None else self._check_token(scope, read, self._token)

    def _check_origin(self, scope: Scope, read: Read, host: str) -> None:
        """Refuse what a page of another site had a browser send.

        Raises:
            Refused: it is such a request.
        """
        origin = read.get(b"origin", b"").decode("latin-1").lower()
        if b"origin" in read and origin != f"{scope['scheme']}://{host}" and not self._names.is_of_proxy(origin):
            raise Refused(403, f"expected a request of the gallery's own page, found Origin {origin[:100]!r}")
        site = read.get(b"sec-fetch-site")
        if site is None or site in (_OURS, _NOBODYS):
            return
        # A link to the gallery is followed: what it shows, the page that has the link can't see.
        is_link = read.get(b"sec-fetch-mode") == b"navigate" and read.get(b"sec-fetch-dest") == b"document"
        if not (is_link and scope["path"] == "/" and scope["method"] == "GET"):
            raise Refused(403, "expected a request of the gallery's own page, found one of another site")

    def _check_token(self, scope: Scope, read: Read, token: bytes) -> Response | None:
        # Cookies are of a host, whatever the port: two galleries on one machine have one each.
        name = f"{_COOKIE}-{(scope.get('server') or ('', None))[1]}"
        if scope["path"] == "/" and scope["method"] == "GET":
            query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
            given = next((value for key, value in query if key == "token"), "").encode("utf-8", "surrogateescape")
            if hmac.compare_digest(given, token):
                rest = urlencode([(key, value) for key, value in query if key != "token"])
                response = _led_on(f"/?{rest}" if rest else "/", is_ours=read.get(b"sec-fetch-site") != b"cross-site")
                secure = scope["scheme"] == "https"
                response.set_cookie(name, self._digest, httponly=True, samesite="strict", secure=secure)
                return response
        kind, _, said = read.get(b"authorization", b"").partition(b" ")
        if kind.lower() == b"bearer" and hmac.compare_digest(said.strip(), token):
            return None
        if hmac.compare_digest(_cookie(read.get(b"cookie", b""), name.encode()), self._digest.encode()):
            return None
        raise Refused(
            401,
            "expected the token that this gallery was started with: open /?token=…, or send `Authorization: Bearer …`",
            headers={"WWW-Authenticate": "Bearer"},
        )


def _read(scope: Scope) -> Read:
    """The headers that decide, each once.

    Raises:
        Refused: there are too many, or one of these twice.
    """
    found: Read = {}
    size = 0
    for name, value in scope["headers"]:
        size += len(name) + len(value)
        if name in _READ:
            if name in found:
                raise Refused(400, f"expected one header {name.decode()}, found two", headers=CLOSE)
            found[name] = value
    if size > MOST_HEADERS:
        raise Refused(431, f"expected at most {MOST_HEADERS:,} bytes of headers", headers=CLOSE)
    if len(scope["query_string"]) > MOST_QUERY or len(scope.get("raw_path") or b"") > _MOST_PATH:
        raise Refused(414, f"expected a URL of at most {MOST_QUERY:,} bytes", headers=CLOSE)
    return found


def _cookie(header: bytes, name: bytes) -> bytes:
    """The value of a cookie; empty if there is none of this name."""
    for pair in header.split(b";"):
        key, _, value = pair.strip().partition(b"=")
        if key == name:
            return value
    return b""


def _led_on(url: str, *, is_ours: bool) -> Response:
    """A response that leads on to a URL of the gallery."""
    if is_ours:
        return RedirectResponse(url, HTTPStatus.SEE_OTHER)
    # After a link of another site a redirect would be the link's, and go without the cookie that it has just got.
    return HTMLResponse("", headers={"Refresh": f"0; url={url}"})


def _guarded(send: Send, *, is_head: bool) -> Send:
    """Send with what browsers are to heed; of an answer to HEAD no body."""

    async def send_guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", ()), *_HEADERS]
            if not any(name == b"cache-control" for name, _ in headers):
                headers.append(_ASK_AGAIN)
            message = {**message, "headers": headers}
        elif is_head and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return send_guarded
