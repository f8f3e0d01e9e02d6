"""The other views: what is there twice, what is odd, whose label is doubted, what could not be read, what runs did."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from drawings import BROKEN_FILE
from playwright.sync_api import Locator, expect
from web.browser.screen import Screen


def listed(screen: Screen, name: str) -> Locator:
    """The items of a list."""
    return screen.page.get_by_role("list", name=name).locator("> li")


def ids(rows: list[dict[str, Any]]) -> list[str]:
    """The image_ids of an answer's rows."""
    return [row["image"]["image_id"] for row in rows]


def links(items: Locator) -> list[str]:
    """The image_ids that the first tile of each item leads to."""
    found: list[str] = items.evaluate_all(
        "all => all.map(one => new URL(one.querySelector('a').href).searchParams.get('image'))"
    )
    return found


def exported(screen: Screen) -> list[str]:
    """The image_ids of a view's export."""
    with screen.page.expect_download() as download:
        screen.page.get_by_role("button", name="Export as CSV").click()
    with Path(download.value.path()).open(encoding="utf-8", newline="") as file:
        return [row["image_id"] for row in csv.DictReader(file)]


def test_duplicates_are_told_by_cluster(screen: Screen) -> None:
    """Each cluster has the image that stays first, and the others with what makes them copies; they can be selected."""
    screen.open().tab("Duplicates").click()
    told = screen.computed("/api/duplicates")
    assert ids(told["rows"]) == ["drawings/mirrored.png", "drawings/02.png", "drawings/copy.png"]
    clusters = listed(screen, "Clusters")
    expect(clusters).to_have_count(1)
    members = clusters.get_by_role("listitem")
    expect(members).to_have_count(3)
    assert links(members) == ids(told["rows"])
    expect(members.nth(0)).to_contain_text("keep")
    expect(members.nth(1)).to_contain_text("mirrored")
    expect(screen.page.get_by_role("heading", name="2 images could go")).to_be_visible()
    screen.page.get_by_role("button", name="Select all that could go").click()
    expect(screen.selection).to_contain_text("2 selected")
    assert sorted(exported(screen)) == ["drawings/02.png", "drawings/copy.png"]


def test_duplicates_are_compared(screen: Screen) -> None:
    """Two pictures of a cluster are shown beside each other, or one over the other, until Escape."""
    screen.open(view="duplicates")
    screen.page.get_by_role("button", name="Compare").click()
    dialog = screen.page.get_by_role("dialog", name="Comparison")
    pictures = dialog.get_by_role("img")
    expect(pictures).to_have_count(2)
    sources = "all => Promise.all(all.map(one => one.decode().then(() => one.naturalWidth)))"
    assert pictures.evaluate_all(sources) == [200, 200]
    for way in ("Wipe", "Difference", "Side by side"):
        dialog.get_by_role("button", name=way).click()
        expect(dialog.get_by_role("button", name=way)).to_have_attribute("aria-pressed", "true")
    dialog.get_by_role("button", name="Next").click()
    expect(dialog).to_contain_text("2 of 2")
    screen.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_duplicates_of_another_bound(screen: Screen) -> None:
    """The slider asks anew with the bound that it says; back brings the former."""
    screen.open(view="duplicates")
    members = listed(screen, "Clusters").get_by_role("listitem")
    expect(members).to_have_count(3)
    slider = screen.page.get_by_role("slider", name="Alike from")
    slider.fill("0.995")
    slider.dispatch_event("change")
    expect(members).to_have_count(2)
    expect(screen.page.get_by_role("heading", name="1 image could go")).to_be_visible()
    assert screen.state == {"view": "duplicates", "alike": "0.995"}
    screen.page.go_back()
    expect(members).to_have_count(3)


def test_outliers_are_told_the_oddest_first(screen: Screen) -> None:
    """What is like no other comes first, with its z-score; filters leave some of them."""
    screen.open().tab("Outliers").click()
    told = screen.computed("/api/outliers")
    items = listed(screen, "Outliers")
    expect(items).to_have_count(told["total"])
    assert links(items) == ids(told["rows"])
    assert links(items)[0] == "drawings/noise.png"
    expect(items.first).to_contain_text(f"z {told['rows'][0]['z']:.1f}")
    assert exported(screen) == links(items)
    items.first.get_by_role("link").first.click()
    expect(screen.detail.get_by_role("heading", level=2)).to_have_text("nothing at all")


def test_labels_in_doubt_are_told(screen: Screen) -> None:
    """The images whose neighbours disagree with their label are listed, the surest first, with what speaks for it."""
    screen.open(view="labels", label="kind")
    told = screen.computed("/api/mislabeled", label="kind")
    items = listed(screen, "Labels in doubt")
    expect(items).to_have_count(told["total"])
    assert links(items) == ids(told["rows"])
    # These two drawings are called what they are not.
    assert links(items)[:2] == ["drawings/51.png", "drawings/50.png"]
    expect(items.first.get_by_role("heading")).to_have_text("labelled square, looks like disc")
    screen.page.get_by_role("button", name="Select all in doubt").click()
    expect(screen.selection).to_contain_text(f"{told['total']} selected")


def test_inputs_that_could_not_be_read_are_told(screen: Screen) -> None:
    """What is in quarantine has its reason; the tab says how many there are."""
    screen.open()
    tab = screen.tab("Quarantine")
    expect(tab).to_contain_text("1")
    tab.click()
    row = screen.page.get_by_role("table").get_by_role("row").filter(has_text=BROKEN_FILE)
    expect(row).to_contain_text("not a picture of any known format")
    screen.page.get_by_role("searchbox", name="Filter by name or reason").fill("no such thing")
    expect(screen.page.get_by_role("heading", name="None of them is called so.")).to_be_visible()
    screen.page.get_by_role("button", name="Show all").click()
    expect(row).to_be_visible()


def test_runs_are_told(screen: Screen) -> None:
    """Each run has a line with what it did, and all its figures below."""
    screen.open().tab("Runs").click()
    line = screen.page.get_by_role("table").get_by_role("row").filter(has_text="published")
    expect(line).to_have_count(1)
    # One of the 60 is a copy, which is encoded once.
    expect(line).to_contain_text("59")
    line.get_by_role("button", name="All columns").click()
    expect(screen.page.get_by_role("table")).to_contain_text("images per second")


def test_filters_hold_in_every_view(screen: Screen) -> None:
    """What is filtered away is in no view; and where nothing is left, that is told."""
    screen.open(view="duplicates", where="image_id = 'drawings/15.png'")
    expect(screen.page.get_by_role("heading", name="No picture is there twice.")).to_be_visible()
    screen.tab("Outliers").click()
    expect(screen.page.get_by_role("heading", name="Nothing is out of place.")).to_be_visible()
