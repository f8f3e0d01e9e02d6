"""Selecting images, and having them as a file."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
from drawings import NASTY_FILE, NASTY_KIND
from playwright.sync_api import Locator, expect
from web.browser.screen import Screen

FORMATS = {"CSV": "csv", "JSON": "json", "JSON Lines": "jsonl", "Parquet": "parquet"}


def selected(screen: Screen) -> list[str]:
    """What the tiles that are marked are called."""
    return screen.grid.get_by_role("option", selected=True).locator(".caption").all_inner_texts()


def export(screen: Screen, opener: Locator, name: str) -> tuple[str, Path]:
    """Take an export from a menu: the name of the file, and where it is."""
    opener.click()
    with screen.page.expect_download() as download:
        screen.page.get_by_role("menuitem", name=f"{name} .{FORMATS[name]}", exact=True).click()
    return download.value.suggested_filename, download.value.path()


def read(path: Path, suffix: str) -> list[dict[str, Any]]:
    """The rows of a file."""
    if suffix == "parquet":
        return pq.read_table(path).to_pylist()
    text = path.read_text(encoding="utf-8")
    if suffix == "csv":
        return list(csv.DictReader(text.splitlines()))
    return json.loads(text) if suffix == "json" else [json.loads(line) for line in text.splitlines()]


def told(screen: Screen, **body: Any) -> bytes:
    """The file that the server makes."""
    answer = httpx.post(screen.server.url("/api/export"), json=body)
    answer.raise_for_status()
    return answer.content


def test_by_a_check_a_range_and_all(tall: Screen) -> None:
    """The mark of a tile takes it, Shift all up to another, Ctrl one more or less, Ctrl+A everything."""
    tall.open()
    names = tall.shown()
    first = tall.tile(names[1])
    first.hover()
    first.locator(".check").click()
    expect(first).to_have_attribute("aria-selected", "true")
    expect(tall.selection).to_contain_text("1 selected")
    tall.tile(names[5]).click(modifiers=["Shift"])
    expect(tall.selection).to_contain_text("5 selected")
    assert sorted(selected(tall)) == sorted(names[1:6])
    tall.tile(names[8]).click(modifiers=["Control"])
    tall.tile(names[2]).click(modifiers=["Control"])
    expect(tall.selection).to_contain_text("5 selected")
    assert sorted(selected(tall)) == sorted([names[1], *names[3:6], names[8]])
    tall.tile(names[8]).press("Control+a")
    expect(tall.selection).to_contain_text("60 selected")
    tall.selection.get_by_role("button", name="Clear the selection").click()
    expect(tall.selection).to_be_hidden()
    assert selected(tall) == []


def test_all_means_what_the_filters_leave(screen: Screen) -> None:
    """Ctrl+A takes every image that matches, and none that does not."""
    screen.open(filters={"colour": ["red"]})
    screen.tile("a red disc, number 0").press("Control+a")
    expect(screen.selection).to_contain_text("11 selected")


def test_selection_stays_and_is_shown_alone(tall: Screen) -> None:
    """What is selected stays so under another search, and can be looked at by itself."""
    tall.open()
    for name in ("a red disc, number 15", "a blue triangle, number 2"):
        tall.tile(name).click(modifiers=["Control"])
    tall.search("yellow square")
    tall.see([hit["prefix"] for hit in tall.api("/api/search", text="yellow square", k=5)["hits"]])
    expect(tall.selection).to_contain_text("2 selected")
    tall.selection.get_by_role("button", name="Show only these").click()
    expect(tall.page.get_by_role("heading", name="2 images")).to_be_visible()
    tall.until("() => document.querySelectorAll('#view-gallery [role=option]:not([hidden])').length", 2)
    assert sorted(tall.shown()) == ["a blue triangle, number 2", "a red disc, number 15"]
    tall.selection.get_by_role("button", name="Show all").click()
    tall.see_count("60 images")


def test_selection_is_in_the_address(tall: Screen) -> None:
    """A reload keeps it, going back undoes none of it, and a link that is copied shows what is selected alone."""
    tall.open(q="red disc")
    wanted = ["drawings/15.png", f"drawings/{NASTY_FILE}"]
    tall.tile("a red disc, number 15").click(modifiers=["Control"])
    tall.search("square")
    tall.see([hit["prefix"] for hit in tall.api("/api/search", text="square", k=5)["hits"]])
    tall.tile(NASTY_KIND).click(modifiers=["Control"])
    tall.until("() => new URL(location).searchParams.get('selected')", ",".join(wanted))
    tall.page.go_back()
    expect(tall.question).to_have_value("red disc")
    assert tall.state == {"q": "red disc", "selected": ",".join(wanted)}
    tall.page.reload()
    tall.settle()
    expect(tall.selection).to_contain_text("2 selected")
    tall.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tall.selection.get_by_role("button", name="Copy a link to these").click()
    expect(tall.page.locator("#toasts")).to_contain_text("Copied.")
    link = tall.page.evaluate("navigator.clipboard.readText()")
    tall.page.goto(link)
    tall.see_count("2 images")
    tall.see(["a red disc, number 15", NASTY_KIND])
    assert tall.state == {"only": "1", "selected": ",".join(wanted)}
    tall.selection.get_by_role("button", name="Clear the selection").click()
    tall.see_count("60 images")
    tall.until("() => location.search", "")


def test_ids_are_in_the_address_as_they_are_called(screen: Screen) -> None:
    """Whatever is in a name comes back; of more than 4,000 characters the address has none."""
    screen.open()
    names = ["a/b, c.png", "a\\b.png", ",", "a\\,b", "é &?#+%20.png", " "]
    told = screen.page.evaluate(
        """async ids => {
          const { address, State } = await import("/files/x/state.js");
          const { fitsAddress } = await import("/files/x/selection.js");
          history.replaceState(null, "", address({ selected: ids }));
          const most = Math.floor((4000 - "?selected=".length) / "a/000.png,".length);
          const many = Array.from({ length: most + 1 }, (_, at) => `a/${String(at).padStart(3, "0")}.png`);
          return [new State().get("selected"), fitsAddress(many.slice(0, most)), fitsAddress(many)];
        }""",
        names,
    )
    assert told == [names, True, False]


def test_selection_is_exported(tall: Screen) -> None:
    """The file that the browser keeps has the rows that are selected, as the server writes them, in every format."""
    tall.open()
    for caption in ("a red disc, number 15", NASTY_KIND, "compressed.jpg"):
        tall.tile(caption).click(modifiers=["Control"])
    expect(tall.selection).to_contain_text("3 selected")
    ids = ["drawings/15.png", f"drawings/{NASTY_FILE}", "drawings/compressed.jpg"]
    for name, suffix in FORMATS.items():
        file, path = export(tall, tall.selection.get_by_role("button", name="Export"), name)
        assert file == f"fpve-store-3.{suffix}"
        rows = {row["image_id"]: row for row in read(path, suffix)}
        assert rows.keys() == set(ids)
        assert rows[ids[0]]["prefix"] == "a red disc, number 15"
        assert float(rows[ids[0]]["price"]) == 3.75
        assert rows[ids[1]]["kind"] == NASTY_KIND
        assert not rows[ids[2]]["prefix"]
        assert path.read_bytes() == told(tall, format=suffix, ids=ids)


def test_what_was_found_is_exported_in_its_order(screen: Screen) -> None:
    """The export of a search has the hits of the filters with their scores, best first."""
    screen.open(q="red disc", where="price > 2")
    file, path = export(screen, screen.page.get_by_role("button", name="Export all of these"), "CSV")
    found = screen.api("/api/search", text="red disc", where="price > 2", k=1000)
    rows = read(path, "csv")
    assert file == f"fpve-store-{found['total']}.csv"
    assert [row["image_id"] for row in rows] == [hit["image_id"] for hit in found["hits"]]
    assert [round(float(row["score"]), 4) for row in rows] == [round(hit["score"], 4) for hit in found["hits"]]


def test_all_images_are_exported_in_their_order(screen: Screen) -> None:
    """Without a search the export has what the filters leave, in the order of the grid."""
    screen.open(sort="-price", filters={"kind": ["disc"]})
    _, path = export(screen, screen.page.get_by_role("button", name="Export all of these"), "JSON")
    rows = read(path, "json")
    shown = screen.api("/api/images", sort="-price", filters='{"kind": ["disc"]}')["images"]
    assert [row["image_id"] for row in rows] == [row["image_id"] for row in shown]
    assert [row["price"] for row in rows[:2]] == [12.5, 12.0]
