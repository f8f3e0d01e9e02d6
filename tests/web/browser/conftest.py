"""A gallery that is served, and a browser that looks at it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chromium import NoChromium, chromium
from drawings import make_store
from filelock import FileLock
from playwright.sync_api import Browser
from serving import Server, serving
from web.browser.screen import PATIENCE, Screen

Opens = Callable[..., Screen]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium; without any, tests are skipped, or fail where one has to be.

    While it runs this thread has an event loop, which tests of other modules may want for themselves.
    """
    try:
        with chromium() as started:
            yield started
    except NoChromium as reason:
        if os.environ.get("FPVE_REQUIRE_BROWSER") == "1":
            pytest.fail(str(reason))
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def drawings(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The store of drawings, which all processes that run tests share: its models take some seconds."""
    root = tmp_path_factory.getbasetemp()
    folder = (root if worker_id == "master" else root.parent) / "drawings"
    with FileLock(f"{folder}.lock"):
        if not (folder / "store" / "snapshots").exists():
            folder.mkdir()
            make_store(folder, FPVE_CACHE=str(folder / "cache"))
    return folder / "store"


@pytest.fixture(scope="session")
def server(drawings: Path) -> Iterator[Server]:
    """The gallery of the drawings. Nobody can change anything by it, so tests share it."""
    with serving(drawings, FPVE_CACHE=str(drawings.parent / "cache")) as started:
        yield started


@pytest.fixture
def opens(browser: Browser) -> Iterator[Opens]:
    """Opens a screen of a server; at the end nothing may be wrong with any of them."""
    screens = []

    def opened(server: Server, *, width: int = 1440, height: int = 900, scheme: str = "light", **how: object) -> Screen:
        # Whoever wants no motion sees every state at once, as a test does.
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce", **how
        )
        context.set_default_timeout(PATIENCE)
        screens.append(Screen(context.new_page(), server))
        return screens[-1]

    yield opened
    for screen in screens:
        screen.page.context.close()
    assert [wrong for screen in screens for wrong in screen.watch.wrong] == []


@pytest.fixture
def screen(opens: Opens, server: Server) -> Screen:
    """The gallery of the drawings on a wide screen."""
    return opens(server)


@pytest.fixture
def tall(opens: Opens, server: Server) -> Screen:
    """The same on a screen that has room for all of them."""
    return opens(server, height=2400)
