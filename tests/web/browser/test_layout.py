"""The gallery fits its screen, by day and by night."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect
from serving import Server
from web.browser.screen import Screen

VIEWS = ["gallery", "map", "duplicates", "outliers", "labels", "quarantine", "runs"]
# Pixels by which the page, or what is seen in it and not scrolled by itself, is wider than the screen.
_WIDER = """() => {
  const scrolls = one => one && (getComputedStyle(one).overflowX !== "visible" || scrolls(one.parentElement));
  const wide = [...document.body.querySelectorAll("*")]
    .filter(one => one.checkVisibility() && one.getBoundingClientRect().right > innerWidth + 1)
    .filter(one => !scrolls(one.parentElement) && !one.closest(".visually-hidden"));
  return [document.documentElement.scrollWidth - innerWidth, ...wide.map(one => `${one.tagName}.${one.className}`)];
}"""
# What stands in a control, or beside it, and is read aloud.
_NAMELESS = """() => [...document.querySelectorAll("button, select, input, textarea, [role=img], [role=slider]")]
  .filter(one => one.checkVisibility() && !one.closest("[aria-hidden=true]"))
  .filter(one => !(one.ariaLabel || one.labels?.length || one.title || one.textContent.trim()))
  .map(one => one.outerHTML.slice(0, 80))"""
# The lightness of paper and ink, from 0 to 255.
_TONES = """() => ["backgroundColor", "color"].map(name => {
  const drawn = document.createElement("canvas").getContext("2d");
  drawn.fillStyle = getComputedStyle(document.body)[name];
  drawn.fillRect(0, 0, 1, 1);
  return drawn.getImageData(0, 0, 1, 1).data.slice(0, 3).reduce((sum, one) => sum + one / 3, 0);
})"""


@pytest.mark.parametrize("view", VIEWS)
def test_views_fit_a_phone(opens: Callable[..., Screen], server: Server, view: str) -> None:
    """Nothing is wider than the screen: a view with nasty names, with the panel of an image, with the filters."""
    screen = opens(server, width=390, height=844, has_touch=True, is_mobile=True)
    screen.open(view=view, label="kind", color="kind")
    assert screen.page.evaluate(_WIDER) == [0]
    if view not in ("quarantine", "runs"):
        screen.page.get_by_role("button", name="Filters", exact=True).click()
        expect(screen.filters.get_by_role("checkbox", name="red 11")).to_be_visible()
        assert screen.page.evaluate(_WIDER) == [0]
        screen.page.get_by_role("button", name="Close the filters").click()
    screen.open(view=view, label="kind", color="kind", image=f"drawings/{'long' * 50}.png")
    expect(screen.detail.get_by_role("heading", level=2)).to_be_visible()
    assert screen.page.evaluate(_WIDER) == [0]
    assert screen.page.evaluate(_NAMELESS) == []


@pytest.mark.parametrize("view", VIEWS)
def test_views_fit_a_wide_screen_by_night(opens: Callable[..., Screen], server: Server, view: str) -> None:
    """Where the system is dark the page is, in each view; every control has a name, every picture is seen."""
    screen = opens(server, scheme="dark").open(view=view, label="kind", color="kind")
    paper, ink = screen.page.evaluate(_TONES)
    assert paper < 64
    assert ink > 192
    assert screen.page.evaluate(_WIDER) == [0]
    assert screen.page.evaluate(_NAMELESS) == []


def test_pictures_are_seen(screen: Screen) -> None:
    """Every tile that is on the screen shows its picture."""
    screen.open()
    screen.until(
        """() => [...document.querySelectorAll("#view-gallery [role=option]:not([hidden]) img.thumb")]
          .filter(one => one.checkVisibility()).map(one => one.complete && one.naturalWidth)
          .reduce((all, one) => all.add(one), new Set()).size""",
        1,
    )
    first = screen.tile("a red disc, number 0").get_by_role("img")
    assert first.evaluate("one => [one.naturalWidth, one.alt]") == [200, "a red disc, number 0"]


def test_theme_is_chosen_and_kept(screen: Screen) -> None:
    """Whoever wants it dark or light has it so, whatever the system says, after a reload, too."""
    screen.open()
    button = screen.page.get_by_role("button", name="Theme:")
    expect(button).to_have_accessible_name("Theme: as the system has it")
    assert screen.page.evaluate(_TONES)[0] > 192
    button.click()
    button.click()
    expect(button).to_have_accessible_name("Theme: dark")
    screen.page.reload()
    screen.settle()
    assert screen.page.evaluate(_TONES)[0] < 64
    expect(button).to_have_accessible_name("Theme: dark")
