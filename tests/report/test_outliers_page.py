"""The page of outliers: the oddest first, each beside the image that is most like it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from report.parsed import NASTY, Page

import fpve
from fpve.curation.outliers import SCHEMA
from fpve.records import Records
from fpve.report import pictures
from fpve.report.outliers import write_outliers

ODD = (
    {"rank": 1, "image_id": "pets/05.png", "distance": 0.8123, "z": 6.25, "nearest": "pets/06.png", "prefix": "bird 5"},
    {"rank": 2, "image_id": "pets/07.png", "distance": 0.7, "z": 4.0, "nearest": "pets/05.png", "prefix": None},
    {"rank": 3, "image_id": "pets/gone.png", "distance": 0.5, "z": 1.5, "nearest": None, "prefix": None},
)


def records(*rows: dict[str, Any]) -> Records:
    """Rows of outliers."""
    return Records(pa.Table.from_pylist(list(rows), schema=SCHEMA))


def written(path: Path, found: Records, store: fpve.Store, **told: Any) -> Page:
    """The page of outliers, which needs nothing else."""
    write_outliers(path / "page.html", found, store, **{"k": 10, "cut": 3.5, **told})
    page = Page.read(path / "page.html")
    page.assert_self_contained(scripts=1)
    return page


def test_outliers_are_shown_beside_their_nearest(tmp_path: Path, store: fpve.Store) -> None:
    """Each with its distance, z-score and rank, and the picture that is most like it."""
    page = written(tmp_path, records(*ODD[:2]), store)
    assert page.texts("h1") == ["2 of 24 images stand apart"]
    assert page.texts("dl", "figures") == ["outliers 2 8.3 % of 24 images highest z 6.2 largest distance 0.812"]
    assert page.texts("p", "scores") == ["z 6.2 distance 0.812 1", "z 4.0 distance 0.700 2"]
    assert page.texts("p", "name") == ["pets/05.png", "nearest: pets/06.png", "pets/07.png", "nearest: pets/05.png"]
    assert [one.given["alt"] for one in page.all("img")] == ["bird 5", "cat 6", "dog 7", "bird 5"]
    assert "1 less the mean cosine of its features with those of the 10 images nearest to it" in page.text
    assert "from 3.5 on an image is an outlier" in page.text
    assert page.texts("pre") == [f"fpve outliers {store.path} -k 10 --cut 3.5 --format csv --output outliers.csv"]


def test_what_is_usual_is_no_outlier(tmp_path: Path, store: fpve.Store) -> None:
    """Where all images are ranked those below the cut are shown, and not counted; a lonely one has no nearest."""
    page = written(tmp_path, records(*ODD), store, image_weight=0.25, where="kind <> 'bird'")
    assert page.texts("h1") == ["2 of 16 images stand apart"]
    assert [one.given["class"] for one in page.all("li")] == ["card", "card", "card usual"]
    assert len(page.all("figure")) == 2
    assert [one.given["aria-label"] for one in page.all("div", "missing")] == ["pets/gone.png"]
    assert "Pictures count 0.25 in the score, prefixes 0.75" in page.text
    assert "--image-weight 0.25" in page.texts("pre")[0]


def test_outliers_can_be_sorted(tmp_path: Path, store: fpve.Store) -> None:
    """By rank, distance, and both names."""
    page = written(tmp_path, records(*ODD), store)
    assert [one.given["value"] for one in page.all("option")] == ["rank", "distance", "id", "nearest"]
    cards = [{key: one.given[key] for key in one.given if key.startswith("data-")} for one in page.all("li", "card")]
    assert cards[0] == {
        "data-rank": "1.0",
        "data-distance": "0.8123",
        "data-id": "pets/05.png",
        "data-nearest": "pets/06.png",
    }
    assert "data-nearest" not in cards[2]


def test_without_outliers_the_page_says_so(tmp_path: Path, store: fpve.Store) -> None:
    """No z-score reaches the cut."""
    page = written(tmp_path, records(), store)
    assert page.texts("h1") == ["No image stands apart"]
    assert "None of 24 images is much farther from its neighbours" in page.text
    assert page.all("div", "arrange") == []


def test_names_are_text_whatever_is_in_them(tmp_path: Path, store: fpve.Store) -> None:
    """Ids and captions are shown as they are."""
    rows = [ODD[0] | {"image_id": name, "nearest": name, "prefix": name} for name in NASTY]
    page = written(tmp_path, records(*rows), store)
    assert page.texts("p", "caption") == list(NASTY)
    assert page.texts("p", "name")[::2] == list(NASTY)
    assert [one.given["data-nearest"] for one in page.all("li", "card")] == list(NASTY)


def test_of_many_the_oddest_are_shown(tmp_path: Path, store: fpve.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are counted, and the page says that not all are shown."""
    monkeypatch.setattr(pictures, "_MOST_CARDS", 2)
    page = written(tmp_path, records(*ODD), store, cut=1)
    assert page.texts("h1") == ["3 of 24 images stand apart"]
    assert page.texts("p", "left") == ["The first 2 of 3 images are shown; the table has all."]


def test_what_a_store_finds_is_shown(tmp_path: Path, store: fpve.Store) -> None:
    """All images of the store, as `store.outliers` ranks them."""
    found = store.outliers(k=3, everything=True)
    page = written(tmp_path, found, store, k=3)
    assert page.texts("p", "name")[::2] == [row.image_id for row in found]
    assert len(page.all("img")) == 48
