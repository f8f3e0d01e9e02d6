"""Filters in the browser: values, ranges and conditions in SQL, each of them with what it leaves."""

from __future__ import annotations

import json
import re
from typing import Any

from playwright.sync_api import Locator, expect
from web.browser.screen import Screen

# What the lines of a facet say: its values, and how many images have each.
_LINES = """name => Object.fromEntries([...document.querySelectorAll("#sidebar [role=group]")]
  .filter(group => group.ariaLabel === name)
  .flatMap(group => [...group.querySelectorAll("label")])
  .map(line => [".value-name", ".value-count"].map(one => line.querySelector(one).textContent))
  .map(([name, count]) => [name, Number(count)]))"""


def counted(screen: Screen, column: str, **conditions: Any) -> dict[str, int]:
    """How many images have each value of a column, as the server counts them."""
    given = {name: json.dumps(one) if isinstance(one, dict) else one for name, one in conditions.items()}
    (facet,) = screen.api("/api/facets", columns=column, **given)["facets"]
    counts = {one["value"]: one["count"] for one in facet["values"]}
    return counts | ({"no value": facet["missing"]} if facet["missing"] else {})


def see_counts(screen: Screen, column: str, **conditions: Any) -> None:
    """Expect a facet to say what the server counts."""
    screen.until(_LINES, counted(screen, column, **conditions), column)


def box(screen: Screen, name: str) -> Locator:
    """A value to tick."""
    return screen.filters.get_by_role("checkbox", name=name)


def test_values_narrow_and_counts_follow(screen: Screen) -> None:
    """Ticking values leaves their images; other columns count what is left, the own one what there would be."""
    screen.open()
    assert counted(screen, "colour") == {"red": 11, "green": 11, "blue": 10, "yellow": 10, "black": 10, "no value": 8}
    see_counts(screen, "colour")
    see_counts(screen, "kind")
    box(screen, "red 11").check()
    screen.see_count("11 of 60 images")
    assert all(name.startswith("a red ") for name in screen.shown())
    see_counts(screen, "kind", filters={"colour": ["red"]})
    see_counts(screen, "colour")
    box(screen, "no value 8").first.check()
    screen.see_count("19 of 60 images")
    see_counts(screen, "kind", filters={"colour": ["red", None]})
    box(screen, "square 4").check()
    screen.see_count("4 of 60 images")
    assert json.loads(screen.state["filters"]) == {"colour": ["red", None], "kind": ["square"]}
    screen.filters.get_by_role("button", name="Clear all").click()
    screen.see_count("60 images")
    see_counts(screen, "kind")


def test_values_that_want_to_be_more_can_be_ticked(screen: Screen) -> None:
    """A value that is HTML is told and filtered by like any other."""
    screen.open()
    box(screen, "</script><script>alert(1)</script> 2").check()
    screen.see_count("2 of 60 images")
    assert screen.shown() == ["</script><script>alert(1)</script>", "{{ 7 * 7 }} & <b>bold</b>"]


def test_ranges_narrow(screen: Screen) -> None:
    """A bound that is typed leaves what is within, of numbers and of dates; all are there again when it is cleared."""
    screen.open()
    for field, text, count in (
        ("To, of price", "5", 21),
        ("From, of price", "12.5", 2),
        ("From, of drawn", "2024-12-09", 3),
    ):
        screen.filters.get_by_role("textbox", name=field).fill(text)
        screen.filters.get_by_role("textbox", name=field).press("Enter")
        screen.see_count(f"{count} of 60 images")
        column = field.rpartition(" ")[2]
        screen.filters.get_by_role("button", name=re.compile(f"^{column}: .*Clear")).click()
        screen.see_count("60 images")
        expect(screen.filters.get_by_role("slider", name=f"Lowest {column}")).to_have_value("0")


def test_range_is_moved_by_the_keyboard(screen: Screen) -> None:
    """A handle goes a step for each key, and the bound that it says is what is asked for."""
    screen.open()
    handle = screen.filters.get_by_role("slider", name="Highest price")
    handle.press("Home")
    screen.see_count("1 of 60 images")
    assert screen.shown() == ["a red disc, number 0"]
    handle.press("End")
    screen.see_count("60 images")


def test_condition_is_applied(screen: Screen) -> None:
    """A condition in SQL leaves what meets it, in grid, counts and address, together with what is ticked."""
    screen.open()
    condition = screen.filters.get_by_role("textbox", name="Condition in SQL")
    condition.fill("price > 10 AND kind = 'disc'")
    condition.press("Enter")
    screen.see(["a blue disc, number 42", "a red disc, number 45", "a yellow disc, number 48"])
    see_counts(screen, "colour", where="price > 10 AND kind = 'disc'")
    box(screen, "red 2").check()
    screen.see_count("2 of 60 images")
    assert screen.state["where"] == "price > 10 AND kind = 'disc'"
    condition.fill("")
    condition.press("Enter")
    screen.see_count("11 of 60 images")


def test_condition_that_is_wrong_harms_nothing(screen: Screen) -> None:
    """A mistake is told below the box in one line, what is shown stays, and the line goes with the next letter."""
    screen.watch.expect(400)
    screen.open(where="price > 10")
    condition, error = (
        screen.filters.get_by_role("textbox", name="Condition in SQL"),
        screen.page.locator("#where-error"),
    )
    screen.see_count("11 of 60 images")
    condition.fill("prise > 10")
    condition.press("Enter")
    expect(error).to_contain_text("prise")
    expect(condition).to_have_attribute("aria-invalid", "true")
    screen.see_count("11 of 60 images")
    assert screen.state == {"where": "price > 10"}
    condition.press("Backspace")
    expect(error).to_have_text("")
    condition.press("Escape")
    expect(condition).to_have_value("price > 10")


def test_condition_of_an_address_that_is_wrong_is_told(screen: Screen) -> None:
    """An address with a condition that can't be shows why, the other filters, and a way back without it."""
    screen.watch.expect(400)
    screen.open(where="nonsense >", filters={"kind": ["triangle"]})
    expect(screen.page.get_by_role("heading", name="This condition can't be used")).to_be_visible()
    expect(screen.page.locator("#where-error")).to_contain_text("syntax error")
    see_counts(screen, "colour", filters={"kind": ["triangle"]})
    screen.page.get_by_role("button", name="Remove the condition").click()
    screen.see_count("20 of 60 images")
    expect(screen.page.locator("#where-error")).to_have_text("")


def test_filters_and_a_search_go_together(screen: Screen) -> None:
    """What is searched for is looked for among what the filters leave."""
    screen.open(q="red disc", filters={"kind": ["triangle"]})
    found = screen.api("/api/search", text="red disc", filters='{"kind": ["triangle"]}', k=6)
    screen.see([hit["prefix"] for hit in found["hits"]])
    screen.see_count("20 of 60 images")
    expect(box(screen, "triangle 20")).to_be_checked()


def test_order_is_chosen(screen: Screen) -> None:
    """All images can be put in the order of a column, both ways; those without a value come last."""
    screen.open()
    screen.page.get_by_role("button", name="Order", exact=True).click()
    screen.page.get_by_role("menuitemradio", name="price descending").click()
    screen.see([row["prefix"] for row in screen.api("/api/images", sort="-price", limit=12)["images"]])
    assert screen.shown()[0] == "a green disc, number 51"
    assert screen.state == {"sort": "-price"}
