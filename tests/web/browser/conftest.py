"""A gallery that is served, and a browser that looks at it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import NoChromium, chromium
from drawings import make_store
from filelock import FileLock
from playwright.sync_api import Browser, Page, ViewportSize
from serving import Server, serving
from web.browser.screen import PATIENCE, Screen

Opens = Callable[..., Screen]
WIDE: ViewportSize = {"width": 1440, "height": 900}


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
            make_store(folder, **_models(folder))
    return folder / "store"


@pytest.fixture(scope="session")
def server(drawings: Path) -> Iterator[Server]:
    """The gallery of the drawings. Nobody can change anything by it, so tests share it."""
    with serving(drawings, **_models(drawings.parent)) as started:
        yield started


def _models(folder: Path) -> dict[str, str]:
    """What is told to whoever encodes: by another runtime the scores of copies differ, in the last bit."""
    return {"FPVE_CACHE": str(folder / "cache"), "FPVE_RUNTIME": "openvino"}


@pytest.fixture
def opens(browser: Browser) -> Iterator[Opens]:
    """Opens windows of their own, each of which knows nothing; at the end nothing may be wrong with any."""
    screens = []

    def opened(server: Server, *, width: int = WIDE["width"], height: int = WIDE["height"], **how: object) -> Screen:
        screens.append(Screen(_window(browser, viewport={"width": width, "height": height}, **how), server))
        return screens[-1]

    yield opened
    for screen in screens:
        screen.page.context.close()
    assert [wrong for screen in screens for wrong in screen.watch.wrong] == []


@pytest.fixture(scope="module")
def window(browser: Browser) -> Iterator[Page]:
    """A wide window in which the tests of a module take turns: a new one takes half as long as a test."""
    page = _window(browser, viewport=WIDE)
    yield page
    page.context.close()


@pytest.fixture
def shows(window: Page) -> Iterator[Callable[[Server], Screen]]:
    """Shows a gallery in that window, which remembers nothing of the test before; nothing may be wrong with it."""
    screens = []

    def shown(server: Server) -> Screen:
        screens.append(Screen(window, server))
        return screens[-1]

    yield shown
    for screen in screens:
        screen.watch.end()
    # Whatever a test that failed has left.
    window.mouse.up()
    window.evaluate("[localStorage, sessionStorage].forEach(one => one.clear())")
    window.goto("about:blank")
    window.set_viewport_size(WIDE)
    assert [wrong for screen in screens for wrong in screen.watch.wrong] == []


@pytest.fixture
def screen(shows: Callable[[Server], Screen], server: Server) -> Screen:
    """The gallery of the drawings on a wide screen."""
    return shows(server)


@pytest.fixture
def tall(screen: Screen) -> Screen:
    """The same on a screen that has room for all of them."""
    screen.page.set_viewport_size({"width": WIDE["width"], "height": 2400})
    return screen


def _window(browser: Browser, **how: Any) -> Page:
    # Whoever wants no motion sees every state at once, as a test does.
    context = browser.new_context(reduced_motion="reduce", **how)
    context.set_default_timeout(PATIENCE)
    return context.new_page()
