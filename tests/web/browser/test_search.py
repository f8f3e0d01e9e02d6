"""Searching in the browser: by a text, a picture, an image of the store, and both sides weighed."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Route, expect
from web.browser.screen import Screen

RED_DISCS = {f"a red disc, number {number}" for number in (0, 15, 30, 45)}
# What a person does that lets a picture fall onto the page, or pastes it: playwright has no gesture for files.
_TRANSFER = """([bytes, name, type]) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([new Uint8Array(bytes)], name, {type}));
  return transfer;
}"""

# Milliseconds: the first picture has the server load a model.
_LOADING = 60_000


@pytest.fixture
def picture(drawings: Path) -> Path:
    """The file of a picture: a blue triangle."""
    return drawings.parent / "pictures" / "32.png"


def captions(answer: dict) -> list[str]:
    """What the hits of an answer are called."""
    return [hit["prefix"] or Path(hit["path"]).name for hit in answer["hits"]]


def test_text_finds_what_it_says(screen: Screen) -> None:
    """The images that a text describes come first, as the server ranks them, with their scores."""
    screen.open().search("red disc")
    found = screen.api("/api/search", text="red disc", k=12)
    screen.see(captions(found))
    assert set(screen.shown()[:4]) == RED_DISCS
    expect(screen.tile(captions(found)[0]).locator(".scores b")).to_have_text(f"{found['hits'][0]['score']:.3f}")
    screen.see_count("60 images")
    assert screen.state == {"q": "red disc"}


def test_what_a_search_waits_for_is_said(screen: Screen) -> None:
    """A search that comes before the models are loaded says so, and one that is slow that it goes on."""
    screen.open()
    page, is_warm = screen.page, False
    waiting: list[Route] = []
    page.route("**/api/search?*", lambda route: waiting.append(route))
    page.route("**/api/status", lambda route: route.fulfill(json={**route.fetch().json(), "is_warm": is_warm}))
    for words in ("Loading the text encoder…", "Searching…"):
        screen.search(f"red disc {len(waiting)}")
        expect(page.locator(".grid-wait")).to_have_text(words)
        expect(page.locator("#said")).to_have_text(words)
        expect(page.locator(".counts")).to_have_text("60 images")
        is_warm = True
    answer = screen.api("/api/search", id="drawings/15.png", k=100)
    waiting[-1].fulfill(json=answer)
    expect(page.locator(".grid-wait")).to_be_hidden()
    screen.see(captions(answer)[:4])
    page.unroute_all()


def test_text_is_searched_for_while_it_is_typed(screen: Screen) -> None:
    """Nobody has to press Enter, and each of the letters is no step of its own to go back by."""
    screen.open()
    screen.question.press_sequentially("yellow triangle")
    screen.see(captions(screen.api("/api/search", text="yellow triangle", k=8)))
    screen.page.go_back()
    screen.see(captions_of_all(screen))
    expect(screen.question).to_have_value("")


def test_examples_are_texts_of_the_store(screen: Screen) -> None:
    """The empty field offers what could be searched for, by pointer and keyboard, until there is a text."""
    screen.open()
    examples = screen.page.get_by_role("group", name="Examples")
    expect(examples).to_be_hidden()
    screen.question.click()
    expect(examples.get_by_role("button")).to_have_count(4)
    texts = examples.get_by_role("button").all_inner_texts()
    screen.question.press("ArrowDown")
    screen.page.keyboard.press("ArrowRight")
    expect(examples.get_by_role("button", name=texts[1], exact=True)).to_be_focused()
    screen.page.keyboard.press("Enter")
    expect(screen.question).to_have_value(texts[1])
    screen.see(captions(screen.api("/api/search", text=texts[1], k=8)))
    expect(examples).to_be_hidden()
    screen.page.get_by_role("button", name="Clear the search").click()
    expect(examples).to_be_hidden()


def test_text_that_wants_to_be_more_stays_text(screen: Screen) -> None:
    """HTML in a question is what is searched for, and shown as it is."""
    nasty = "<img src=x onerror=alert(1)>{{ 7 * 7 }}"
    screen.open().search(nasty)
    screen.see(captions(screen.api("/api/search", text=nasty, k=8)))
    expect(screen.page.locator("#view-gallery .counts")).to_contain_text(f"ranked by “{nasty}”")


def test_picture_is_chosen(screen: Screen, picture: Path) -> None:
    """A file that is chosen is what is searched by: itself comes first, and it is shown beside the question."""
    screen.open()
    with screen.page.expect_file_chooser() as chooser:
        screen.page.get_by_role("button", name="Search by a picture").click()
    chooser.value.set_files(picture)
    expect_picture(screen)


def test_picture_is_dropped(screen: Screen, picture: Path) -> None:
    """A file may be let fall anywhere onto the page, which says so while it is held over it."""
    screen.open()
    transfer = screen.page.evaluate_handle(_TRANSFER, [list(picture.read_bytes()), picture.name, "image/png"])
    screen.page.locator("body").dispatch_event("dragenter", {"dataTransfer": transfer})
    expect(screen.page.locator("#veil")).to_be_visible()
    screen.page.locator("body").dispatch_event("drop", {"dataTransfer": transfer})
    expect(screen.page.locator("#veil")).to_be_hidden()
    expect_picture(screen)


def test_picture_is_pasted(screen: Screen, picture: Path) -> None:
    """A picture on the clipboard may be pasted anywhere."""
    screen.open()
    screen.page.evaluate(
        f"""given => document.body.dispatchEvent(new ClipboardEvent("paste", {{
          clipboardData: ({_TRANSFER})(given), bubbles: true, cancelable: true}}))""",
        [list(picture.read_bytes()), picture.name, "image/png"],
    )
    expect_picture(screen)


def expect_picture(screen: Screen) -> None:
    """The picture is what is asked for; what is most like it comes first, and that is the picture itself."""
    screen.page.wait_for_url("**picture=*", timeout=_LOADING)
    found = screen.api("/api/search", picture=screen.state["picture"], k=10)
    assert captions(found)[0] == "a blue triangle, number 32"
    screen.see(captions(found))
    chip = screen.page.get_by_role("search").locator("img")
    assert chip.evaluate("one => one.decode().then(() => one.naturalWidth)") == 200


def test_what_is_no_picture_is_refused(screen: Screen, tmp_path: Path) -> None:
    """A file that is none is told in words, and nothing else changes."""
    screen.watch.expect(415)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    screen.open()
    with screen.page.expect_file_chooser() as chooser:
        screen.page.get_by_role("button", name="Search by a picture").click()
    chooser.value.set_files(tmp_path / "broken.png")
    expect(screen.page.locator("#toasts")).to_contain_text("not a picture of any known format")
    assert screen.state == {}
    screen.see(captions_of_all(screen))


def test_more_like_this(screen: Screen) -> None:
    """An image of the store is searched by from its panel; it is not among what is found."""
    screen.open(image="drawings/07.png")
    screen.detail.get_by_role("button", name="More like this").click()
    found = screen.api("/api/search", id="drawings/07.png", k=10)
    screen.see(captions(found))
    screen.see_count("59 of 60 images")
    assert screen.state["like"] == "drawings/07.png"
    expect(screen.weight).to_be_enabled()


def test_weight_ranks_anew_while_it_moves(screen: Screen) -> None:
    """With the knob still held, the images are in the order of the weight that it is at."""
    screen.open(like="drawings/07.png")
    before = captions(screen.api("/api/search", id="drawings/07.png", k=20))
    screen.see(before)
    box = screen.weight.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    screen.page.mouse.move(box["x"] + box["width"] / 2, middle)
    screen.page.mouse.down()
    orders = [before]
    for share in (0.1, 0.9):
        screen.page.mouse.move(box["x"] + share * box["width"], middle, steps=5)
        screen.until("share => Math.abs(new URL(location).searchParams.get('weight') - 1 + share) < 0.1", True, share)
        asked = float(screen.state["weight"])
        orders.append(captions(screen.api("/api/search", id="drawings/07.png", image_weight=asked, k=20)))
        screen.see(orders[-1])
        expect(screen.page.locator(".weight-value")).to_have_text(f"{100 * asked:.0f} %")
    screen.page.mouse.up()
    assert len({tuple(one) for one in orders}) == 3


def test_picture_and_text_are_weighed(screen: Screen, picture: Path) -> None:
    """Beside a picture a text can be asked for, and the weight goes to either side by the keyboard."""
    screen.open()
    with screen.page.expect_file_chooser() as chooser:
        screen.page.get_by_role("button", name="Search by a picture").click()
    chooser.value.set_files(picture)
    screen.page.wait_for_url("**picture=*")
    expect(screen.weight).to_be_disabled()
    screen.search("red disc")
    screen.page.wait_for_url("**q=red+disc*")
    asked = {"picture": screen.state["picture"], "text": "red disc", "k": 12}
    screen.see(captions(screen.api("/api/search", **asked)))
    screen.weight.press("End")
    screen.see(captions(screen.api("/api/search", image_weight=0, **asked)))
    assert set(screen.shown()[:4]) == RED_DISCS
    screen.weight.press("Home")
    screen.see(captions(screen.api("/api/search", image_weight=1, **asked)))
    assert screen.shown()[0] == "a blue triangle, number 32"


def test_question_is_emptied(screen: Screen) -> None:
    """One press leads back to all images, in the order of their names."""
    screen.open(q="red disc")
    screen.page.get_by_role("button", name="Clear the search").click()
    screen.see(captions_of_all(screen))
    assert screen.state == {}


def captions_of_all(screen: Screen) -> list[str]:
    """What the first images of the store are called."""
    return [row["prefix"] or Path(row["path"]).name for row in screen.api("/api/images", limit=12)["images"]]
