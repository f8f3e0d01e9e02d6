"""The map in the browser: what is alike is near, and what is drawn around is selected."""

from __future__ import annotations

import json
from typing import Any

from playwright.sync_api import FloatRect, Locator, expect
from web.browser.screen import Screen


def canvas(screen: Screen, **state: Any) -> Locator:
    """The map, opened and drawn."""
    screen.open(view="map", **state)
    drawn = screen.page.get_by_role("application", name="Map of")
    expect(drawn).to_be_visible()
    return drawn


def place(drawn: Locator) -> FloatRect:
    """Where the map is on the screen."""
    box = drawn.bounding_box()
    assert box is not None
    return box


def lasso(screen: Screen, box: FloatRect, left: float, right: float) -> None:
    """Draw around all of a map between two shares of its width."""
    x = [box["x"] + 2 + share * (box["width"] - 4) for share in (left, right)]
    y = [box["y"] + 2, box["y"] + box["height"] - 2]
    screen.page.mouse.move(x[0], y[0])
    screen.page.mouse.down()
    for at in ((x[1], y[0]), (x[1], y[1]), (x[0], y[1]), (x[0], y[0] + 4)):
        screen.page.mouse.move(*at, steps=8)
    screen.page.mouse.up()


def chosen(screen: Screen) -> set[str]:
    """The image_ids that are selected, as the file of an export has them."""
    screen.selection.get_by_role("button", name="Export").click()
    with screen.page.expect_download() as download:
        screen.page.get_by_role("menuitem", name="JSON .json", exact=True).click()
    return {row["image_id"] for row in json.loads(download.value.path().read_text(encoding="utf-8"))}


def test_lasso_selects_what_is_inside(screen: Screen) -> None:
    """What is drawn around is selected, and nothing else: on one side of a line lies one side of the plane."""
    box = place(canvas(screen))
    screen.page.get_by_role("button", name="Lasso").click()
    lasso(screen, box, 0, 1)
    expect(screen.selection).to_contain_text("60 selected")
    lasso(screen, box, 0, 0.5)
    expect(screen.selection).not_to_contain_text("60 selected")
    left = chosen(screen)
    told = screen.computed("/api/map", color="kind")
    others = set(told["image_id"]) - left
    assert left
    assert others
    at = {one: (x, y) for one, x, y in zip(told["image_id"], told["x"], told["y"], strict=True)}
    # The page may have turned the plane by a quarter, or mirrored it, so that it fits.
    sides = [
        max(sign * at[one][axis] for one in left) <= min(sign * at[one][axis] for one in others)
        for axis in (0, 1)
        for sign in (1, -1)
    ]
    assert any(sides)


def test_lasso_adds_with_a_key(screen: Screen) -> None:
    """With Alt held what is drawn around comes to what is selected; with nothing inside the selection ends."""
    drawn = canvas(screen)
    box = place(drawn)
    drawn.press("s")
    expect(screen.page.get_by_role("button", name="Lasso")).to_have_attribute("aria-pressed", "true")
    lasso(screen, box, 0, 0.5)
    expect(screen.selection).to_be_visible()
    screen.page.keyboard.down("Alt")
    lasso(screen, box, 0.5, 1)
    screen.page.keyboard.up("Alt")
    expect(screen.selection).to_contain_text("60 selected")


def test_what_the_map_selects_is_shown_in_the_gallery(screen: Screen) -> None:
    """A page that began with the map shows what was selected there in its grid, and nothing else."""
    drawn = canvas(screen, where="kind = 'disc'")
    drawn.press("v")
    expect(screen.selection).to_contain_text("18 selected")
    screen.selection.get_by_role("button", name="Show only these").click()
    screen.see_count("18 images")
    screen.until("() => document.querySelectorAll('#view-gallery [role=option]:not([hidden])').length", 18)


def test_how_far_it_is_stands_in_its_place(screen: Screen) -> None:
    """While a map is computed, or waits for its turn, a bar says so, to those who hear the page as well."""
    told = [
        {"stage": None, "done": 0, "total": None, "seconds": 0},
        {"stage": None, "done": 0, "total": None, "seconds": 2.4},
        {"stage": "project", "done": 60, "total": 180, "seconds": 1},
        {"stage": "unfold", "done": 0, "total": None, "seconds": 12.3},
    ]
    expected = [
        (None, "Placing the images. Something else comes first."),
        (None, "Placing the images. 2 s"),
        ("33", "Placing the images. 33 %"),
        (None, "Placing the images. Unfolding: 12 s"),
    ]
    asked = screen.page.get_by_role("progressbar", name="Placing the images.")
    waits = "() => document.querySelector('.map-wait p').textContent"
    at = 0
    screen.page.route(
        "**/api/map?*", lambda route: route.fulfill(status=202, json={"state": "running", "snapshot": 1, **told[at]})
    )
    screen.open(view="map")
    for at, (now, words) in enumerate(expected):  # noqa: B007 (the route reads it)
        screen.until(waits, words)
        assert (asked.get_attribute("aria-valuenow"), asked.get_attribute("aria-valuetext")) == (now, words)
    screen.page.unroute("**/api/map?*")
    expect(screen.page.get_by_role("application", name="Map of 60 images")).to_be_visible()
    expect(asked).to_be_hidden()


def test_map_is_used_by_the_keyboard(screen: Screen) -> None:
    """V takes what is seen, + comes nearer, so that fewer are; Enter opens the image in the middle."""
    drawn = canvas(screen)
    drawn.press("v")
    expect(screen.selection).to_contain_text("60 selected")
    # So near that the outer ones are out of sight, and not so near that nothing is in the middle.
    for _ in range(3):
        drawn.press("+")
    # The address says where the map is once it stands still.
    screen.until("() => new URL(location).searchParams.has('at')", True)
    drawn.press("v")
    expect(screen.page.locator("#said")).not_to_have_text("60 images selected")
    drawn.press("0")
    drawn.press("Enter")
    expect(screen.detail).to_be_visible()
    assert screen.state["image"] in screen.api("/api/ids")["ids"]


def test_colours_and_filters_are_those_of_the_store(screen: Screen) -> None:
    """The legend has the values of the column that is chosen; a filter leaves only its images on the map."""
    canvas(screen, color="colour")
    legend = screen.page.get_by_role("complementary", name="Legend")
    for name in ("red", "green", "blue", "yellow", "black"):
        expect(legend).to_contain_text(name)
    screen.page.get_by_role("combobox", name="Colour").select_option("kind")
    expect(legend).to_contain_text("</script><script>alert(1)</script>")
    expect(screen.page.get_by_role("application", name="Map of 60 images, coloured by kind")).to_be_visible()
    screen.filters.get_by_role("checkbox", name="red 11").check()
    expect(screen.page.get_by_role("application", name="Map of 11 images, coloured by kind")).to_be_visible()
    assert screen.state == {"view": "map", "color": "kind", "filters": '{"colour":["red"]}'}


def test_hits_are_told_on_the_map(screen: Screen) -> None:
    """What a search finds stands out on the map, and can be let go."""
    canvas(screen, q="red disc")
    hits = screen.page.get_by_role("button", name="best hits of “red disc”")
    expect(hits).to_be_visible()
    hits.click()
    expect(hits).to_have_attribute("aria-pressed", "false")


def test_point_is_opened(screen: Screen) -> None:
    """A pointer over a point is told what it is, and a click opens it. That of one image is in the middle."""
    box = place(canvas(screen, where="image_id = 'drawings/15.png'"))
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    screen.page.mouse.move(*middle)
    expect(screen.page.locator(".map-card")).to_contain_text("a red disc, number 15")
    screen.page.mouse.click(*middle)
    expect(screen.detail.get_by_role("heading", level=2)).to_have_text("a red disc, number 15")
