"""The store changes, and the server goes: the page follows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect
from samples import draw, make_job
from serving import Server, serving
from web.browser.screen import Screen

import fpve

# The page looks at once when somebody comes back to it, and otherwise some times a minute.
_COME_BACK = "document.dispatchEvent(new Event('visibilitychange'))"


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """A store of 12 pictures that may be changed."""
    lines = ["path,caption,kind"]
    for number in range(12):
        draw(tmp_path / "pictures" / f"{number:02d}.png", number)
        lines.append(f"{number:02d}.png,a pet {number},{'cat' if number % 2 else 'dog'}")
    (tmp_path / "pictures" / "metadata.csv").write_text("\n".join(lines), encoding="utf-8")
    fpve.run(make_job(tmp_path / "store", tmp_path / "pictures"))
    return tmp_path / "store"


def test_new_snapshot_appears(shows: Callable[[Server], Screen], pets: Path) -> None:
    """What a writer publishes is shown without a reload: counts, values, and the panel that is open."""
    with serving(pets) as server:
        screen = shows(server).open(image="pets/03.png")
        kind = screen.detail.get_by_role("definition").get_by_role("button", name="cat")
        expect(kind).to_be_visible()
        expect(screen.filters.get_by_role("checkbox", name="cat 6")).to_be_visible()
        labels = pets.parent / "labels.csv"
        labels.write_text("image_id,kind\npets/03.png,bird\n", encoding="utf-8")
        assert fpve.label(pets, labels).snapshot == 2
        until_served(screen, 2)
        screen.page.evaluate(_COME_BACK)
        expect(screen.page.locator("#toasts")).to_contain_text("Snapshot 2 is published.")
        expect(screen.filters.get_by_role("checkbox", name="bird 1")).to_be_visible()
        expect(screen.filters.get_by_role("checkbox", name="cat 5")).to_be_visible()
        expect(screen.detail.get_by_role("definition").get_by_role("button", name="bird")).to_be_visible()
        assert screen.state == {"image": "pets/03.png"}


def test_images_come_and_go(shows: Callable[[Server], Screen], pets: Path) -> None:
    """A run that adds a picture and removes one changes the grid of whoever looks at it."""
    with serving(pets) as server:
        screen = shows(server).open()
        screen.see_count("12 images")
        pictures = pets.parent / "pictures"
        draw(pictures / "00a.png", 99)
        (pictures / "11.png").unlink()
        fpve.run(make_job(pets, pictures))
        until_served(screen, 2)
        screen.page.evaluate(_COME_BACK)
        screen.see(["a pet 0", "00a.png", "a pet 1"])
        screen.see_count("12 images")
        expect(screen.tile("a pet 11")).to_have_count(0)


def until_served(screen: Screen, snapshot: int) -> None:
    """Wait until the server has moved on."""
    while screen.api("/api/status")["snapshot"] != snapshot:
        pass


def test_server_that_is_gone_is_told_and_waited_for(shows: Callable[[Server], Screen], pets: Path) -> None:
    """When it can't be reached what was shown stays, with a line that says so; when it is back the line goes."""
    with serving(pets) as server:
        screen = shows(server).open()
    port = server.address.rstrip("/").rpartition(":")[2]
    screen.page.evaluate(_COME_BACK)
    banner = screen.page.get_by_role("alert").filter(has_text="can't be reached")
    expect(banner).to_be_visible()
    screen.see(["a pet 0", "a pet 1"])
    with serving(pets, "--port", port) as again:
        assert again == Server(server.address, again.pid, again.said)
        # The page asks by itself as well, and may have taken the line away by now.
        banner.get_by_role("button", name="Try now").evaluate_all("found => found.forEach(one => one.click())")
        expect(banner).to_be_hidden()
        screen.filters.get_by_role("checkbox", name="cat 6").check()
        screen.see_count("6 of 12 images")
