"""The panel of an image: all that the store knows of it, and the ways on from there."""

from __future__ import annotations

import re

from drawings import NASTY_FILE, NASTY_KIND, TURNED_FILE
from playwright.sync_api import Locator, expect
from web.browser.screen import Screen


def fact(screen: Screen, name: str) -> Locator:
    """What stands beside a term of the panel."""
    term = screen.page.get_by_role("term").filter(has_text=re.compile(f"^{name}$"))
    return screen.detail.locator("dl > div").filter(has=term).get_by_role("definition")


def test_panel_tells_of_an_image(screen: Screen) -> None:
    """A click on an image opens it: the picture itself, prefix, metadata, file."""
    screen.open()
    screen.tile("a red disc, number 15").click()
    expect(screen.detail.get_by_role("heading", level=2)).to_have_text("a red disc, number 15")
    told = screen.api("/api/images/drawings/15.png")
    assert screen.state == {"image": "drawings/15.png"}
    expect(fact(screen, "image_id")).to_have_text(told["image_id"])
    expect(fact(screen, "path")).to_have_text(told["path"])
    expect(fact(screen, "content")).to_have_text(told["content_hash"])
    expect(fact(screen, "size")).to_have_text(f"200 \N{MULTIPLICATION SIGN} 200, {told['bytes']} bytes")
    for name, text in {"colour": "red", "drawn": "2024-04-15", "price": "3.75", "collection": "drawings"}.items():
        expect(fact(screen, name).get_by_role("button")).to_have_text(text)
    expect(fact(screen, "tags").get_by_role("button")).to_have_text(["red", "odd"])
    expect(screen.detail.locator(".provenance")).to_contain_text("filled in from metadata {caption}")
    picture = screen.detail.get_by_role("button", name="Enlarge").locator("img.picture-large")
    expect(picture).to_be_visible()
    assert picture.evaluate("one => [one.naturalWidth, new URL(one.src).pathname]") == [
        200,
        "/api/pictures/drawings/15.png",
    ]


def test_neighbours_say_what_it_is(screen: Screen) -> None:
    """The prediction of its label is told with those who voted; of another column when that is chosen."""
    screen.open(image="drawings/50.png", label="kind")
    told = screen.computed("/api/predictions/drawings/50.png", label="kind")
    assert (told["truth"], told["prediction"]) == ("disc", "triangle")
    expect(fact(screen, "It is")).to_have_text(told["truth"])
    expect(fact(screen, "Neighbours say")).to_have_text(told["prediction"])
    expect(screen.detail.get_by_text("they disagree")).to_be_visible()
    voters = screen.detail.locator(".detail-voters a")
    expect(voters).to_have_count(10)
    hrefs = voters.evaluate_all("all => all.map(one => new URL(one.href).searchParams.get('image'))")
    assert hrefs == [one["image_id"] for one in told["neighbours"][:10]]
    screen.detail.get_by_role("combobox", name="Label column").select_option("colour")
    other = screen.computed("/api/predictions/drawings/50.png", label="colour")
    expect(fact(screen, "It is")).to_have_text(other["truth"])
    expect(fact(screen, "Neighbours say")).to_have_text(other["prediction"])
    assert screen.state["label"] == "colour"


def test_scores_of_a_hit_are_told(screen: Screen) -> None:
    """An image that was found says how near it is, on both sides."""
    screen.open(like="drawings/07.png")
    hit = screen.api("/api/search", id="drawings/07.png", k=1)["hits"][0]
    screen.tile(hit["prefix"]).click()
    expect(fact(screen, "Score")).to_have_text(f"{hit['score']:.3f}")
    expect(fact(screen, "Picture")).to_have_text(f"{hit['image_score']:.3f}")
    expect(fact(screen, "Prefix")).to_have_text(f"{hit['prefix_score']:.3f}")


def test_previous_and_next(screen: Screen) -> None:
    """The panel leafs through what is shown, by its buttons and by arrows, and stops at either end."""
    screen.open(q="red disc")
    order = screen.shown()[:3]
    screen.tile(order[0]).click()
    heading = screen.detail.get_by_role("heading", level=2)
    for name in order[1:]:
        screen.detail.get_by_role("button", name="Next image").click()
        expect(heading).to_have_text(name)
    screen.detail.get_by_role("button", name="Previous image").press("ArrowLeft")
    expect(heading).to_have_text(order[1])
    screen.detail.get_by_role("button", name="Previous image").click()
    expect(heading).to_have_text(order[0])
    screen.detail.get_by_role("button", name="Previous image").click()
    expect(screen.page.locator("#said")).to_have_text("This is the first one")
    expect(heading).to_have_text(order[0])


def test_metadata_is_a_way_to_filter(screen: Screen) -> None:
    """A click on a value leaves the images that have it."""
    screen.open(image="drawings/15.png")
    fact(screen, "price").get_by_role("button").click()
    screen.see_count("1 of 60 images")
    fact(screen, "tags").get_by_role("button", name="odd").click()
    screen.see_count("1 of 60 images")
    fact(screen, "collection").get_by_role("button").click()
    screen.see_count("1 of 60 images")


def test_names_that_want_to_be_more_are_shown_as_they_are(tall: Screen) -> None:
    """Names and captions of any kind are text: in tile, panel and address; and their pictures are found."""
    tall.open()
    heading = tall.detail.get_by_role("heading", level=2)
    for file, caption in ((NASTY_FILE, NASTY_KIND), (TURNED_FILE, "{{ 7 * 7 }} & <b>bold</b>")):
        tall.tile(caption).click()
        expect(heading).to_have_text(caption)
        expect(fact(tall, "image_id")).to_have_text(f"drawings/{file}")
        expect(tall.detail.locator("img.picture-large")).to_be_visible()
        assert tall.state == {"image": f"drawings/{file}"}
    tall.page.reload()
    expect(heading).to_have_text(caption)
    assert tall.page.locator("script").count() == tall.page.locator("head > script[src]").count()


def test_image_without_a_prefix_is_called_by_its_file(tall: Screen) -> None:
    """Where there is no text the name of the file stands for it."""
    tall.open()
    tall.tile("compressed.jpg").click()
    expect(tall.detail.get_by_role("heading", level=2)).to_have_text("compressed.jpg")


def test_picture_is_enlarged(screen: Screen) -> None:
    """A click on the picture shows it alone; Escape leads back to the panel, and again to the grid."""
    screen.open(image="drawings/15.png")
    screen.detail.get_by_role("button", name="Enlarge").click()
    large = screen.page.get_by_role("dialog")
    expect(large).to_be_visible()
    assert large.locator("img").first.evaluate("one => one.decode().then(() => one.naturalWidth)") == 200
    screen.page.keyboard.press("Escape")
    expect(large).to_be_hidden()
    expect(screen.detail).to_be_visible()
    screen.page.keyboard.press("Escape")
    expect(screen.detail).to_be_hidden()
    assert screen.state == {}


def test_image_that_is_not_there_is_told(screen: Screen) -> None:
    """An address of an image that is none says so."""
    screen.watch.expect(404)
    screen.open(image="drawings/none.png")
    expect(screen.detail.get_by_role("heading", name="This image is not in the store")).to_be_visible()
    screen.detail.get_by_role("button", name="Close").click()
    expect(screen.detail).to_be_hidden()
