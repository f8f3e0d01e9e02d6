"""The address of the page says what is shown; and the keyboard leads everywhere."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import expect
from web.browser.screen import Screen

STATES = {
    "search": {"q": "red disc", "where": "price > 2", "filters": {"kind": ["disc"]}, "image": "drawings/30.png"},
    "like": {"like": "drawings/07.png", "weight": 0.8, "size": 120},
    "order": {"sort": "-price", "filters": {"price": {"min": 2, "max": 9.5}}},
    "map": {"view": "map", "color": "colour", "image": "drawings/30.png"},
    "labels": {"view": "labels", "label": "colour"},
    "selected": {"only": "1", "selected": "drawings/30.png,drawings/07.png"},
}


@pytest.mark.parametrize("name", STATES)
def test_address_says_what_is_shown(screen: Screen, name: str) -> None:
    """After a reload the page shows the same, and its address is as it was."""
    screen.open(**STATES[name])
    before, state = screen.shown(), screen.state
    given = {key: json.dumps(one) if isinstance(one, dict) else str(one) for key, one in STATES[name].items()}
    assert state == given
    screen.page.reload()
    screen.settle()
    screen.see(before)
    assert screen.state == state
    if "image" in given:
        expect(screen.detail.get_by_role("heading", level=2)).to_have_text("a red disc, number 30")


def test_back_and_forward(screen: Screen) -> None:
    """Each step can be undone and done again: a search, a filter, an image, a view."""
    screen.open()
    everything = screen.shown()
    screen.search("red disc")
    screen.see(["a red disc, number 15"])
    found = screen.shown()
    screen.filters.get_by_role("checkbox", name="triangle 20").check()
    screen.see_count("20 of 60 images")
    narrowed = screen.shown()
    screen.tile(narrowed[0]).click()
    expect(screen.detail).to_be_visible()
    screen.tab("Runs").click()
    expect(screen.page.get_by_role("table")).to_be_visible()
    steps = [screen.state]
    for names, is_open in ((narrowed, True), (narrowed, False), (found, False), (everything, False)):
        screen.page.go_back()
        screen.see(names)
        expect(screen.detail).to_be_visible(visible=is_open)
        steps.append(screen.state)
    expect(screen.question).to_have_value("")
    assert steps[-1] == {}
    for expected in steps[-2::-1]:
        screen.page.go_forward()
        assert screen.state == expected
    expect(screen.page.get_by_role("table")).to_be_visible()


def test_address_that_was_cut_short_shows_a_page(screen: Screen) -> None:
    """Nonsense in the address does no harm: what can be read of it is shown."""
    screen.page.goto(f"{screen.server.address}?filters=%7B%22kind&size=x&weight=&view=none&sort=price")
    screen.settle()
    screen.see(["a red disc, number 0", "a green square, number 1"])
    screen.see_count("60 images")


def test_keyboard_leads_everywhere(screen: Screen) -> None:
    """Searching, moving, opening, leafing, closing and selecting need no pointer."""
    screen.open()
    page, keyboard = screen.page, screen.page.keyboard
    keyboard.press("/")
    expect(screen.question).to_be_focused()
    keyboard.type("red disc")
    keyboard.press("Enter")
    screen.see(["a red disc, number 15"])
    names = screen.shown()
    keyboard.press("ArrowDown")
    expect(screen.tile(names[0])).to_be_focused()
    keyboard.press("ArrowRight")
    keyboard.press("ArrowRight")
    expect(screen.tile(names[2])).to_be_focused()
    keyboard.press("Enter")
    heading = screen.detail.get_by_role("heading", level=2)
    expect(heading).to_have_text(names[2])
    keyboard.press("ArrowLeft")
    expect(heading).to_have_text(names[1])
    keyboard.press("Escape")
    expect(screen.detail).to_be_hidden()
    expect(screen.tile(names[1])).to_be_focused()
    keyboard.press("x")
    expect(screen.selection).to_contain_text("1 selected")
    keyboard.press("Shift+ArrowRight")
    keyboard.press("Shift+ArrowRight")
    expect(screen.selection).to_contain_text("3 selected")
    keyboard.press("l")
    page.wait_for_url(re.compile("like="))
    keyboard.press("Escape")
    expect(screen.selection).to_be_hidden()
    keyboard.press("2")
    expect(screen.page.get_by_role("application", name="Map of")).to_be_visible()
    keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_hidden()
    keyboard.press("1")
    keyboard.press("f")
    expect(screen.filters).to_be_hidden()
    keyboard.press("f")
    expect(screen.filters).to_be_visible()


def test_tab_leads_through_the_page_in_its_order(screen: Screen) -> None:
    """Tab begins with a way to the images; the grid is one stop, whatever it holds."""
    screen.open()
    keyboard = screen.page.keyboard
    keyboard.press("Tab")
    expect(screen.page.get_by_role("link", name="To the images")).to_be_focused()
    keyboard.press("Enter")
    stops = 0
    while not screen.grid.get_by_role("option").and_(screen.page.locator(":focus")).count():
        keyboard.press("Tab")
        stops += 1
        assert stops < 8
    keyboard.press("Tab")
    expect(screen.grid.get_by_role("option").and_(screen.page.locator(":focus"))).to_have_count(0)
