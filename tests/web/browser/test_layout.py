"""The gallery fits its screen, by day and by night."""

from __future__ import annotations

from collections.abc import Callable

from drawings import NASTY_FILE
from playwright.sync_api import expect
from serving import Server
from web.browser.screen import Screen

Opens = Callable[..., Screen]

VIEWS = ["gallery", "map", "duplicates", "outliers", "labels", "quarantine", "runs"]
WITHOUT_FILTERS = ["quarantine", "runs"]
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


def go(screen: Screen, view: str) -> None:
    """Open another view."""
    screen.tab(view.capitalize()).click()
    expect(screen.page.locator(f"#view-{view}")).to_be_visible()
    screen.settle()


def wrong_with(screen: Screen) -> list[object]:
    """What is wider than the screen, and what has no name."""
    wider, *wide = screen.page.evaluate(_WIDER)
    return [*([wider] if wider else []), *wide, *screen.page.evaluate(_NAMELESS)]


def test_views_fit_a_phone(opens: Opens, server: Server) -> None:
    """Nothing is wider than the screen, in any view, with the filters or the panel of an image with nasty names."""
    screen = opens(server, width=390, height=844, has_touch=True, is_mobile=True).open(label="kind", color="kind")
    wrong: dict[str, list[object]] = {}
    for view in VIEWS:
        go(screen, view)
        wrong[view] = wrong_with(screen)
        if view in WITHOUT_FILTERS:
            continue
        screen.page.get_by_role("button", name="Filters").first.click()
        expect(screen.filters.get_by_role("checkbox", name="red 11")).to_be_visible()
        wrong[f"{view} with filters"] = wrong_with(screen)
        screen.page.get_by_role("button", name="Close the filters").click()
    for file in (f"{'long' * 50}.png", NASTY_FILE):
        screen.open(image=f"drawings/{file}", label="kind")
        expect(screen.detail.get_by_role("heading", level=2)).to_be_visible()
        wrong[file] = wrong_with(screen)
    assert {name: one for name, one in wrong.items() if one} == {}


def test_views_fit_a_wide_screen_by_night(opens: Opens, server: Server) -> None:
    """Where the system is dark the page is, in each view; every control has a name."""
    screen = opens(server, color_scheme="dark").open(label="kind", color="kind")
    wrong: dict[str, list[object]] = {}
    for view in VIEWS:
        go(screen, view)
        wrong[view] = wrong_with(screen)
        paper, ink = screen.page.evaluate(_TONES)
        assert paper < 64
        assert ink > 192
    assert {name: one for name, one in wrong.items() if one} == {}


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
