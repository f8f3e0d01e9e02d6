"""Who may look: in a browser, as it sends what it sends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from samples import draw, make_job
from serving import serving
from web.browser.screen import Screen

import fpve

TOKEN = "known-to-this-test"  # noqa: S105 (of nothing but this)
# What a page of another site may try: to read, to send, to show pictures and scripts of the gallery as its own.
_ATTEMPTS = """async address => {
  const sent = (path, how) => fetch(address + path, how).then(() => "answered", () => "refused");
  const shown = (tag, name, path) => new Promise(resolve => {
    const made = document.createElement(tag);
    made.onload = () => resolve("shown");
    made.onerror = () => resolve("refused");
    made[name] = address + path;
    document.body.append(made);
  });
  return {
    read: await sent("api/status", {credentials: "include"}),
    send: await sent("api/sql", {method: "POST", headers: {"Content-Type": "application/json"}, body: "{}"}),
    picture: await shown("img", "src", "api/thumbnails/pets/00.png"),
    script: await shown("script", "src", "files/x/state.js"),
  };
}"""


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of three pictures."""
    root = tmp_path_factory.mktemp("guarded")
    for number in range(3):
        draw(root / "pictures" / f"{number:02d}.png", number)
    fpve.run(make_job(root / "store", root / "pictures", metadata=None, prefix=None))
    return root / "store"


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """Another site, at a port of its own, with an empty page."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><link rel=icon href=data:,><body>")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()


def test_token_opens_the_gallery(opens: Callable[..., Screen], pets: Path) -> None:
    """Who comes with the token sees everything, and keeps seeing it; it does not stay in the address."""
    with serving(pets, "--token", TOKEN) as server:
        screen = opens(server)
        screen.page.goto(f"{server.address}?token={TOKEN}&sort=-image_id")
        screen.settle()
        screen.see(["02.png", "01.png", "00.png"])
        assert screen.state == {"sort": "-image_id"}
        screen.page.goto(server.address)
        screen.settle()
        screen.see(["00.png", "01.png", "02.png"])
        assert TOKEN not in screen.page.content()


def test_without_the_token_nothing_is_shown(opens: Callable[..., Screen], pets: Path) -> None:
    """Who does not know it is told so, and no more."""
    with serving(pets, "--token", TOKEN) as server:
        for address in (server.address, f"{server.address}?token=another-token-than-it"):
            screen = opens(server)
            screen.watch.expect(401)
            answer = screen.page.goto(address)
            assert answer is not None
            assert answer.status == 401
            expect(screen.page.locator("body")).to_contain_text("token")
            expect(screen.page.get_by_role("listbox")).to_have_count(0)


def test_pages_of_other_sites_get_nothing(browser: Browser, pets: Path, elsewhere: str) -> None:
    """A page from elsewhere can neither read the gallery nor send it anything, nor show what is in it."""
    context = browser.new_context()
    page = context.new_page()
    with serving(pets) as server:
        # It is there, for who comes by its own address.
        for path in ("/api/thumbnails/pets/00.png", "/files/x/state.js"):
            assert page.request.get(server.url(path)).status == 200
        page.goto(elsewhere)
        found = page.evaluate(_ATTEMPTS, server.address)
    assert found == dict.fromkeys(("read", "send", "picture", "script"), "refused")
    context.close()
