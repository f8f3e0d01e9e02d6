"""What a browser would make of a page: its elements, and what is read in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

# Names that a page has to show as they are.
NASTY = (
    '<script>alert("label")</script>',
    "\"'><img src=x onerror=alert(1)>",
    "שלום & \u202eolleh",
    "very long " * 40 + "name",
    "{{ 7 * 7 }}",
)


@dataclass
class Element:
    """A tag, what it was given, and the text in it."""

    tag: str
    given: dict[str, str]
    text: str = ""


@dataclass
class Page(HTMLParser):
    """A page that was read."""

    elements: list[Element] = field(default_factory=list)
    _open: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    @classmethod
    def read(cls, path: Path) -> Page:
        """The page in a file."""
        page = cls()
        page.feed(path.read_text(encoding="utf-8"))
        page.close()
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.elements.append(element)
        if tag not in ("meta", "link", "img", "input", "line", "circle", "polyline"):
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        """Close the innermost element, which is of that tag in a page that is well formed."""
        if tag in ("line", "circle", "polyline"):
            return
        assert self._open.pop().tag == tag
        if tag not in ("b", "bdi", "i", "span"):
            self.handle_data(" ")

    def handle_data(self, data: str) -> None:
        """Add a text to all elements that it is in."""
        for element in self._open:
            element.text += data

    def all(self, tag: str, kind: str | None = None) -> list[Element]:
        """The elements of a tag, and of a class."""
        return [
            one
            for one in self.elements
            if one.tag == tag and (kind is None or kind in one.given.get("class", "").split())
        ]

    def texts(self, tag: str, kind: str | None = None) -> list[str]:
        """Their texts, with plain and single spaces."""
        return [" ".join(one.text.split()) for one in self.all(tag, kind)]

    @property
    def text(self) -> str:
        """What is read in it."""
        return self.texts("body")[0]

    def assert_self_contained(self, scripts: int) -> None:
        """Nothing is fetched, no script runs but the page's own, and every picture has a text."""
        addresses = [value for one in self.elements for name, value in one.given.items() if name in ("src", "href")]
        assert all(address.startswith("data:") for address in addresses)
        assert "@import" not in self.all("style")[0].text
        assert "url(" not in self.all("style")[0].text
        assert len(self.all("script")) == scripts
        assert not [name for one in self.elements for name in one.given if name.startswith("on")]
        assert all(one.given["alt"] for one in self.all("img"))
