"""Many images: the page holds those that are seen and some more, and the last one can be reached."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import expect
from serving import Server, serving
from web.browser.screen import Screen

import fpve

COUNT = 6_000
# More than two screens of tiles, and far fewer than there are images.
MOST = 150
_TILES = "document.querySelectorAll('#view-gallery [role=option]').length"
_LAST = "() => Math.max(...[...document.querySelectorAll('[aria-posinset]')].map(one => one.ariaPosInSet))"


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The gallery of many rows that somebody else made, without pictures."""
    root = tmp_path_factory.mktemp("crowd")
    vectors = np.random.default_rng(0).standard_normal((COUNT, 8)).astype(np.float32)
    table = {
        "image_id": [f"{number:05d}" for number in range(COUNT)],
        "vector": pa.array(list(vectors), pa.list_(pa.float32())),
        "number": list(range(COUNT)),
    }
    pq.write_table(pa.table(table), root / "made.parquet")
    fpve.import_vectors(root / "store", vectors=root / "made.parquet")
    with serving(root / "store") as server:
        yield server


@pytest.fixture
def screen(shows: Callable[[Server], Screen], crowd: Server) -> Screen:
    """It on a wide screen."""
    return shows(crowd)


def test_last_image_is_reached_by_a_key(screen: Screen) -> None:
    """End leads to the last image, whose name is there, Home back to the first; tiles stay few."""
    screen.open()
    screen.see_count("6,000 images")
    screen.tile("00000").first.focus()
    screen.page.keyboard.press("End")
    last = screen.tile("05999")
    expect(last).to_be_focused()
    expect(last).to_be_in_viewport()
    expect(last).to_have_attribute("aria-setsize", str(COUNT))
    assert screen.page.evaluate(_TILES) < MOST
    screen.page.keyboard.press("Home")
    expect(screen.tile("00000")).to_be_focused()
    expect(screen.tile("00000")).to_be_in_viewport()


def test_page_stays_small_while_it_is_scrolled(screen: Screen) -> None:
    """However far the wheel goes, there are only as many tiles as a screen or two has."""
    screen.open()
    box = screen.grid.bounding_box()
    assert box is not None
    screen.page.mouse.move(box["x"] + 200, box["y"] + 200)
    most, reached = 0, 0
    while reached < COUNT:
        screen.page.mouse.wheel(0, 20_000)
        # Where the wheel led to, tiles are put with the next frame.
        screen.page.evaluate(
            "() => new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(resolve)))"
        )
        most = max(most, screen.page.evaluate(_TILES))
        reached = screen.page.evaluate(_LAST)
    assert most < MOST
    expect(screen.tile("05999")).to_be_in_viewport()
    assert screen.page.evaluate("document.querySelectorAll('*').length") < 5_000


def test_place_is_kept_by_the_address(screen: Screen) -> None:
    """Whoever goes back to all images from a search is where the scrolling had ended."""
    # These images have no pictures, of which the page learns by asking.
    screen.watch.expect(404)
    screen.open()
    screen.tile("00000").first.focus()
    screen.page.keyboard.press("End")
    expect(screen.tile("05999")).to_be_in_viewport()
    screen.tile("05999").click()
    screen.detail.get_by_role("button", name="More like this").click()
    screen.see([hit["path"].rpartition("/")[2] for hit in screen.api("/api/search", id="made/05999", k=5)["hits"]])
    screen.page.go_back()
    expect(screen.tile("05999")).to_be_in_viewport()


def test_map_has_them_all(screen: Screen) -> None:
    """The map of all of them is drawn, and all that is seen of it can be selected."""
    screen.open(view="map")
    drawn = screen.page.get_by_role("application", name="Map of 6,000 images")
    expect(drawn).to_be_visible()
    drawn.press("v")
    expect(screen.selection).to_contain_text("6,000 selected")
