"""Attacks on a gallery that is served: each is refused, nothing is read that need not be, and it answers afterwards."""

from __future__ import annotations

import json
import socket
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from fastapi.testclient import TestClient
from hostile.kinds import png
from serving import Server, serving
from web.conftest import Gallery

from fpve.web.guard import MOST_HEADERS, MOST_QUERY
from fpve.web.names import Names, is_name
from fpve.web.settings import Settings

TOKEN = "open sesame, open sesame"  # noqa: S105 (a test's)
# How people spell a path that leads elsewhere.
TRAVERSALS = [
    "../../../../etc/passwd",
    "..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "pets/../../../../etc/passwd",
    "pets/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "..%252f..%252fetc%252fpasswd",
    "....//....//etc/passwd",
    "..\\..\\etc\\passwd",
    "..%5c..%5cetc%5cpasswd",
    "%2fetc%2fpasswd",
    "/etc/passwd",
    "file:///etc/passwd",
    "pets/00.png%00.jpg",
    "pets/00.png/..",
    "%c0%ae%c0%ae/%c0%ae%c0%ae/etc/passwd",
    "%ff%fe",
]
STRANGERS = [
    "evil.example",
    "evil.example:8000",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "",
    "10.0.0.1",
    "[::2]",
    "[::1].evil.example",
    "[::1",
    "localhost:80:evil.example",
    "someone@localhost",
    "localhost..",
    "0x7f000001",
    "127.0.0.1%00",
    "[::1%evil.example]",
    "2130706433",
    "127.0.0.1, evil.example",
    "a" * 300,
]
# With the server's own host in the place of {}.
ORIGINS = ["http://evil.example", "null", "https://{}", "http://{}:1", "http://{}.evil.example", ""]
METHODS = ["TRACE", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "PROPFIND", "get", "X" * 100]
_PLACES = ("/api/thumbnails/", "/api/pictures/", "/api/images/", "/api/queries/", "/", "/files/x/")
# Seconds after which a server that does not answer hangs.
_LONG = 20


class Answer(NamedTuple):
    """What a server answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> str:
        """Why it refused."""
        return str(json.loads(self.body)["error"])


@pytest.fixture(scope="module")
def server(asked_store: Path) -> Iterator[Server]:
    """A gallery in a process of its own, which survives all that comes."""
    with serving(asked_store) as server:
        # What is loaded for the first search would count as memory that an attack takes.
        assert ask(server, "GET /api/search?text=cat").status == 200
        yield server
        assert ask(server, "GET /api/status").status == 200
        assert not [line for line in server.said if "Traceback" in line]


def ask(server: Server, request: str, *headers: str, body: bytes = b"", host: str | None = None) -> Answer:
    """Send a request as it is, and read what comes until the connection ends."""
    name = server.address.removeprefix("http://").removesuffix("/")
    lines = [f"{request} HTTP/1.1", f"Host: {name if host is None else host}", "Connection: close", *headers]
    with connect(server) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        return read(connection)


def connect(server: Server) -> socket.socket:
    """A connection to a server."""
    host, port = server.address.removeprefix("http://").removesuffix("/").split(":")
    return socket.create_connection((host, int(port)), _LONG)


def read(connection: socket.socket) -> Answer:
    """Read an answer until the connection ends."""
    data = b""
    try:
        while part := connection.recv(65_536):
            data += part
    except ConnectionResetError:
        # It did not wait for all that was sent.
        pass
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return Answer(int(first.split()[1]), headers, body)


@pytest.mark.parametrize("path", TRAVERSALS)
def test_no_path_leads_out(server: Server, path: str) -> None:
    """However it is spelt: to no file of the machine, and to none of the program but those of the page."""
    for place in _PLACES:
        answer = ask(server, f"GET {place}{path}")
        assert answer.status in (200, 307, 400, 404, 410), place
        assert b"root:" not in answer.body
    for file in ("../app.py", "%2e%2e/app.py", "css/../../guard.py", "..%2fguard.py", "css/%2e%2e/%2e%2e/guard.py"):
        assert ask(server, f"GET /{file}").status == 404


@pytest.mark.parametrize("host", STRANGERS)
def test_a_name_that_was_bound_anew_is_none_of_the_server(server: Server, host: str) -> None:
    """A page of another site that had its name resolved to this machine reads nothing."""
    answer = ask(server, "GET /api/status", host=host)
    assert answer.status in (400, 403)
    assert b"snapshot" not in answer.body


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.1.2.3:80", "[::1]:8000", "localhost."])
def test_this_machine_has_many_names(server: Server, host: str) -> None:
    """By each it may be called, at any port: a tunnel has another."""
    assert ask(server, "GET /api/status", host=host).status == 200


def test_names_depend_on_where_it_listens() -> None:
    """At all addresses any of them will do, and the machine's name; else the name that it was given, and others."""
    own = socket.gethostname().lower()
    everywhere = Names(Settings(host="0.0.0.0", token=TOKEN))  # noqa: S104
    assert all(map(everywhere, (own, f"{own}:8000", "10.1.2.3:8000", "[fe80::1]:8000", "localhost")))
    assert not any(map(everywhere, ("evil.example", "", ":8000", "[evil]", "10.1.2.3.evil.example")))
    named = Names(Settings(host="gallery.home", allowed_hosts=("Proxy.Home",)))
    assert all(map(named, ("gallery.home:8000", "proxy.home", "localhost")))
    assert not any(map(named, ("10.1.2.3", own, "home")))
    six = Names(Settings(host="FD00:0:0::1%eth0", token=TOKEN))
    assert all(map(six, ("[fd00::1]:8000", "[fd00:0:0:0::1]")))
    assert not any(map(six, ("[fd00::2]", "fd00::1")))


@pytest.mark.parametrize("name", ["gallery.example.org", "Gallery", "10.1.2.3", "fd00::1", "[fd00::1]", "a_b-c.d"])
def test_a_name_is_that_of_a_host(name: str) -> None:
    """Or its address, as --allow-host takes it."""
    assert is_name(name)


@pytest.mark.parametrize(
    "name", ["", "*", ".example.org", "https://x.org", "x.org:443", "x.org/", "[::1]:80", "b\xfccher"]
)
def test_what_would_never_be_called_is_no_name(name: str) -> None:
    """It is refused, where it would only not work."""
    assert not is_name(name)


@pytest.mark.parametrize("host", ["gallery.example.org", "gallery.example.org:8443", "127.0.0.1:8000"])
def test_a_proxy_may_have_a_certificate(gallery: Gallery, asked_store: Path, host: str) -> None:
    """Its page is the gallery's own, whether it passes its name on or not; a page of another name is not."""
    client = gallery(asked_store, allowed_hosts=("gallery.example.org",))

    def asked(origin: str) -> int:
        headers = {"Host": host, "Origin": origin, "Sec-Fetch-Site": "same-origin"}
        return client.post("/api/sql", json={"query": "SELECT 1"}, headers=headers).status_code

    assert asked("https://gallery.example.org") == 200
    assert asked("https://gallery.example.org:8443") == 200
    assert asked("http://gallery.example.org") == 200
    assert asked("https://evil.example.org") == 403
    assert asked("https://gallery.example.org.evil.example") == 403
    assert asked("https://gallery.example.org@evil.example") == 403
    assert asked("ftp://gallery.example.org") == 403
    assert asked("gallery.example.org") == 403


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("origin", ORIGINS)
def test_pages_of_other_sites_ask_in_vain(server: Server, method: str, origin: str) -> None:
    """Another origin is refused, an opaque one too, and so is this host by another scheme or port."""
    name = server.address.removeprefix("http://").removesuffix("/")
    answer = ask(server, f"{method} /api/search", f"Origin: {origin.format(name)}", "Content-Length: 0")
    assert answer.status == 403
    assert "expected a request of the gallery's own page" in answer.error
    own = ask(server, "GET /api/search?text=cat", f"Origin: http://{name}", "Sec-Fetch-Site: same-origin")
    assert own.status == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site", "whatever"])
def test_what_a_browser_says_of_a_request_is_heeded(server: Server, site: str) -> None:
    """Pictures, scripts, frames and forms of other sites are refused; a link to the gallery is followed."""

    def asked(request: str, mode: str, to: str) -> int:
        fetch = (f"Sec-Fetch-Site: {site}", f"Sec-Fetch-Mode: {mode}", f"Sec-Fetch-Dest: {to}")
        return ask(server, request, *fetch).status

    assert asked("GET /api/thumbnails/pets/00.png", "no-cors", "image") == 403
    assert asked("GET /api/status", "cors", "empty") == 403
    assert asked("GET /", "navigate", "iframe") == 403
    assert asked("POST /", "navigate", "document") == 403
    assert asked("GET /api/pictures/pets/00.png", "navigate", "document") == 403
    assert asked("GET /?q=cat", "navigate", "document") == 200
    assert ask(server, "GET /api/status", "Sec-Fetch-Site: none").status == 200


@pytest.mark.parametrize("method", METHODS)
def test_only_what_reads_is_a_method(server: Server, method: str) -> None:
    """All else is refused before anything looks at it."""
    answer = ask(server, f"{method} /api/status")
    assert answer.status in (400, 405)
    assert "snapshot" not in answer.body.decode()
    if answer.status == 405:
        assert answer.headers["allow"] == "get, head, post"


def test_a_large_body_is_refused_before_it_is_read(server: Server) -> None:
    """A gigabyte that is announced is answered at once, and the connection ends."""
    with connect(server) as connection:
        lines = ["POST /api/search HTTP/1.1", "Host: localhost", "Content-Type: multipart/form-data; boundary=x"]
        connection.sendall("\r\n".join([*lines, "Content-Length: 1000000000", "", ""]).encode())
        answer = read(connection)
    assert (answer.status, answer.headers["connection"]) == (413, "close")
    assert answer.error == "expected at most 32,000,000 bytes"


def test_a_body_without_an_end_is_cut_off(server: Server) -> None:
    """Of a stream in chunks no more is taken than may be, whatever route it is for, and memory stays as it was."""
    before = memory(server)
    for path in ("/api/search", "/api/sql", "/api/export"):
        with connect(server) as connection:
            kind = "multipart/form-data; boundary=x" if path == "/api/search" else "application/json"
            lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Type: {kind}", "Transfer-Encoding: chunked"]
            connection.sendall("\r\n".join([*lines, "", ""]).encode())
            start = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
            connection.sendall(f"{len(start):x}\r\n".encode() + start + b"\r\n")
            chunk = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
            sent = 0
            try:
                # Half a gigabyte, if it took that.
                while sent < 500:
                    connection.sendall(chunk)
                    sent += 1
            except (BrokenPipeError, ConnectionResetError):
                pass
            assert sent < 50
    assert memory(server) - before < 200_000_000


def test_a_body_that_is_cut_off_is_told_so(gallery: Gallery, asked_store: Path) -> None:
    """It is 413 whatever the route made of the part that it got."""
    client = gallery(asked_store, max_upload=10_000)

    def chunks() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        yield from [bytes(1_000)] * 20

    form = {"Content-Type": "multipart/form-data; boundary=x"}
    for path in ("/api/search", "/api/sql"):
        response = client.post(path, content=chunks(), headers=form)
        assert (response.status_code, response.json()["error"]) == (413, "expected at most 10,000 bytes")
        assert response.headers["connection"] == "close"
    assert client.post("/api/search", content=b"x" * 10_001, headers=form).status_code == 413
    assert client.get("/api/status").status_code == 200


def test_json_has_a_bound_of_its_own(gallery: Gallery, asked_store: Path) -> None:
    """It is parsed while nobody else is answered: less of it is taken than of a form, whatever it is called."""
    client = gallery(asked_store, max_json=10_000)
    for kind in ("application/json", "Application/JSON; charset=utf-8", "text/plain", None):
        headers = {} if kind is None else {"Content-Type": kind}
        for content in (b" " * 10_001, iter([b" " * 10_001])):
            response = client.post("/api/export", content=content, headers=headers)
            assert (response.status_code, response.json()["error"]) == (413, "expected at most 10,000 bytes")
    fits = b" " * (10_000 - len('{"ids":[]}')) + b'{"ids":[]}'
    assert client.post("/api/export", content=fits, headers={"Content-Type": "application/json"}).status_code == 200
    assert client.post("/api/search", files={"image": ("a.png", bytes(20_000))}).status_code == 415


def test_only_so_many_bodies_are_held_at_once(gallery: Gallery, asked_store: Path) -> None:
    """What is held is given back with each answer, however it ends."""
    client = gallery(asked_store, max_upload=10_000, max_json=10_000)
    for _ in range(20):
        assert client.post("/api/search", files={"image": ("a.png", bytes(9_000))}).status_code == 415


def test_forms_have_few_parts(server: Server) -> None:
    """A thousand fields, files, or headers of a part, and one of a megabyte, are refused."""

    def post(*parts: str) -> Answer:
        body = "".join(f"--x\r\n{part}\r\n" for part in parts).encode() + b"--x--\r\n"
        kind = "Content-Type: multipart/form-data; boundary=x"
        return ask(server, "POST /api/search", kind, f"Content-Length: {len(body)}", body=body)

    def field(name: str, value: str = "1") -> str:
        return f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'

    assert post(*(field(f"a{number}") for number in range(1000))).status == 400
    assert post(*[field('image"; filename="a')] * 1000).status == 400
    assert post(field("text", "x" * 1_000_000)).status == 400
    assert post("X: y\r\n" * 10_000 + field("text")).status == 400
    assert post(f"X: {'y' * 1_000_000}\r\n" + field("text")).status == 400
    assert post("no header at all").status == 400


def test_bombs_are_no_pictures(server: Server) -> None:
    """A picture of 3.6 gigapixels in few bytes, and one that is cut off, are refused with the reason."""

    def post(data: bytes) -> Answer:
        head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        body = head + data + b"\r\n--x--\r\n"
        kind = "Content-Type: multipart/form-data; boundary=x"
        return ask(server, "POST /api/search", kind, f"Content-Length: {len(body)}", body=body)

    before = memory(server)
    bomb = post(png(60_000, 60_000, 8, 2, b""))
    assert bomb.status == 415
    assert "60000 x 60000" in bomb.error
    assert memory(server) - before < 100_000_000
    whole = png(8, 8, 8, 0, zlib.compress(bytes(72)))
    assert post(whole).status == 200
    assert post(whole[:-30]).status == 415


def test_headers_have_bounds(server: Server) -> None:
    """A flood of them, one without an end, a URL without an end, two hosts, and what is no HTTP at all."""
    flood = [f"X-{number}: {'y' * 100}" for number in range(MOST_HEADERS // 100)]
    assert ask(server, "GET /api/status", *flood).status == 431
    assert ask(server, "GET /api/status", f"X: {'y' * 2_000_000}").status == 400
    assert ask(server, f"GET /api/search?text={'x' * (MOST_QUERY + 1)}").status == 414
    assert ask(server, f"GET /{'x' * 20_000}").status == 414
    assert ask(server, "GET /api/status", "Host: localhost").status == 400
    assert ask(server, "GET /api/status", "Content-Length: -1").status == 400
    both = ask(server, "POST /api/sql", "Content-Length: 5", "Transfer-Encoding: chunked", body=b"0\r\n\r\n")
    assert (both.status, both.error) == (400, "expected a Content-Length or a Transfer-Encoding, found both")
    assert ask(server, "GET /api/status", "Content-Length: 1", "Content-Length: 2").status == 400
    assert ask(server, "\x16\x03\x01 nonsense").status == 400


def test_connections_that_say_nothing_hold_nobody_up(server: Server) -> None:
    """Beside a hundred that are open and silent, in the middle of a header or a body, requests are answered."""
    begun = [b"", b"GET / HT", b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nx"]
    connections = [connect(server) for _ in range(100)]
    try:
        for number, connection in enumerate(connections):
            connection.sendall(begun[number % len(begun)])
        assert ask(server, "GET /api/status").status == 200
    finally:
        for connection in connections:
            connection.close()
    time.sleep(0.1)


def test_every_answer_says_whose_it_is(server: Server) -> None:
    """Pages, answers, refusals and errors: no script of others, no frame, no guess; and no server says its name."""
    for path in ("/", "/api/status", "/api/nothing", "/api/search", "/openapi.json", "/metrics"):
        for headers in ((), ("Origin: http://evil.example",)):
            answer = ask(server, f"GET {path}", *headers)
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert answer.headers["cross-origin-resource-policy"] == "same-origin"
            assert answer.headers["cross-origin-opener-policy"] == "same-origin"
            assert "access-control-allow-origin" not in answer.headers
            assert "server" not in answer.headers
            assert answer.headers["cache-control"] == "no-cache"


def test_a_token_opens_the_gallery(gallery: Gallery, asked_store: Path) -> None:
    """As a header, or once in the URL of the page, from which it is gone at once; a cookie then stands for it."""
    client = gallery(asked_store, token=TOKEN)
    for path in ("/", "/api/status", "/api/thumbnails/pets/00.png", "/metrics", "/openapi.json", "/nothing"):
        response = client.get(path)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.json()["error"].startswith("expected the token")
    for wrong in ("", TOKEN[:-1], TOKEN + "x", "é", "x" * 10_000):
        headers = {"Authorization": f"Bearer {wrong}".encode()}
        assert client.get("/api/status", headers=headers).status_code == 401
        assert client.get("/", params={"token": wrong}, follow_redirects=False).status_code == 401
    assert client.get("/api/status", headers={"Authorization": f"Basic {TOKEN}"}).status_code == 401
    assert client.get("/api/status", headers={"Authorization": f"bearer {TOKEN}"}).status_code == 200
    # Only the page takes it from a URL, which logs and histories keep.
    assert client.get("/api/status", params={"token": TOKEN}).status_code == 401
    opened = client.get("/", params={"token": TOKEN, "q": "a b", "view": "map"}, follow_redirects=False)
    assert (opened.status_code, opened.headers["location"]) == (303, "/?q=a+b&view=map")
    cookie = opened.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    assert client.get("/api/status").status_code == 200
    client.cookies.clear()
    assert client.get("/api/status").status_code == 401
    name = cookie.partition("=")[0]
    assert client.get("/api/status", headers={"Cookie": f"{name}={TOKEN}"}).status_code == 401
    assert client.get("/api/status", headers={"Cookie": f"other=1; {cookie.partition(';')[0]}"}).status_code == 200


def test_a_link_of_another_site_with_the_token_opens_it_too(gallery: Gallery, asked_store: Path) -> None:
    """Browsers send no strict cookie along with a redirect of such a link, so the page leads on by itself."""
    client = gallery(asked_store, token=TOKEN)
    fetch = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    response = client.get("/", params={"token": TOKEN, "q": "x"}, headers=fetch, follow_redirects=False)
    assert (response.status_code, response.headers["refresh"]) == (200, "0; url=/?q=x")
    assert client.get("/api/status").status_code == 200


def test_a_gallery_without_a_token_asks_for_none(client: TestClient) -> None:
    """What is sent as one does not matter."""
    assert client.get("/api/status", headers={"Authorization": "Bearer x"}).status_code == 200
    assert client.get("/?token=x", follow_redirects=False).status_code == 200


def memory(server: Server) -> int:
    """Bytes of memory that a server has."""
    lines = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))
