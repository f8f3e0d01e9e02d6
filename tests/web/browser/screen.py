"""The gallery as somebody sees it: what is shown, and the ways to get something else shown."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
from playwright.sync_api import Locator, Page, expect
from serving import Server
from web.browser.watch import Watch

# Tiles are put to use again wherever there is room: their places say which comes first.
_SHOWN = """() => [...document.querySelectorAll("#view-gallery [role=option][aria-posinset]")]
  .filter(one => one.checkVisibility() && one.querySelector(".caption").textContent)
  .sort((one, other) => one.ariaPosInSet - other.ariaPosInSet)
  .map(one => one.querySelector(".caption").textContent)"""

_UNTIL = """async ([expected, argument, patience]) => {
  const reads = READS, wanted = JSON.stringify(expected), end = performance.now() + patience;
  for (;;) {
    const value = reads(argument);
    if (JSON.stringify(value) === wanted || performance.now() > end) return value;
    await new Promise(resolve => setTimeout(resolve, 20));
  }
}"""
# Milliseconds: what has not come by then does not come, on however busy a machine.
PATIENCE = 20_000
expect.set_options(timeout=PATIENCE)


class Screen:
    """A page of the gallery.

    Attributes:
        page: the page itself.
        server: what it is a page of.
        watch: what is wrong with it.
    """

    def __init__(self, page: Page, server: Server) -> None:
        self.page = page
        self.server = server
        self.watch = Watch(page, server.address)

    def open(self, **state: str | float | dict[str, Any]) -> Screen:
        """Go to an address, and wait for what is shown there."""
        given = {name: json.dumps(value) if isinstance(value, dict) else value for name, value in state.items()}
        self.page.goto(f"{self.server.address}?{urlencode(given)}")
        self.settle()
        return self

    def settle(self) -> None:
        """Wait until nothing on the page is on its way."""
        self.page.wait_for_load_state("load")
        self.until("() => !document.querySelector('[aria-busy=true]') && document.title !== 'fpve'", True)

    def until(self, reads: str, expected: Any, argument: Any = None) -> None:
        """Wait until a function of the page gives a value.

        Playwright's own way evaluates text in the page, which the page's policy forbids, as it should.
        """
        value = self.page.evaluate(_UNTIL.replace("READS", reads), [expected, argument, PATIENCE])
        assert value == expected

    def api(self, path: str, **parameters: Any) -> Any:
        """What the server answers itself."""
        answer = httpx.get(self.server.url(path), params=parameters, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def computed(self, path: str, **parameters: Any) -> Any:
        """What the server answers itself, when it has been computed."""
        while (told := self.api(path, **parameters)).get("state") == "running":
            pass
        return told

    @property
    def state(self) -> dict[str, str]:
        """What the address says."""
        return dict(parse_qsl(urlsplit(self.page.url).query))

    # The grid

    @property
    def grid(self) -> Locator:
        """The list of images."""
        return self.page.get_by_role("listbox", name="Images")

    def tile(self, name: str) -> Locator:
        """An image of the grid, by its caption."""
        return self.grid.get_by_role("option").filter(has=self.page.get_by_text(name, exact=True))

    def shown(self) -> list[str]:
        """The captions of the images that are there, in their order."""
        captions: list[str] = self.page.evaluate(_SHOWN)
        return captions

    def see(self, captions: list[str]) -> None:
        """Expect these images to come first."""
        self.until(f"number => ({_SHOWN})().slice(0, number)", captions, len(captions))

    def see_count(self, text: str) -> None:
        """Expect what is said of how many images are shown."""
        expect(self.page.get_by_role("region", name="Gallery").get_by_role("heading", level=1)).to_have_text(text)

    # The question

    @property
    def question(self) -> Locator:
        """The field for a text."""
        return self.page.get_by_role("searchbox", name="Search by text")

    def search(self, text: str) -> None:
        """Ask for a text."""
        self.question.fill(text)
        self.question.press("Enter")

    @property
    def weight(self) -> Locator:
        """The slider between picture and text."""
        return self.page.get_by_role("slider", name="Weight of the picture against the text")

    # The parts beside

    @property
    def filters(self) -> Locator:
        """The sidebar."""
        return self.page.get_by_role("complementary", name="Filters")

    @property
    def detail(self) -> Locator:
        """The panel of an image."""
        return self.page.locator("#detail")

    @property
    def selection(self) -> Locator:
        """What says how much is selected."""
        return self.page.get_by_role("region", name="Selection")

    def tab(self, title: str) -> Locator:
        """The way to a view."""
        return self.page.get_by_role("navigation", name="Views").get_by_role("link", name=title)
