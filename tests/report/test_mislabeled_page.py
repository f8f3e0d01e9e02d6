"""The page of doubtful labels: label against prediction, with both probabilities and those that voted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from report.parsed import NASTY, Page

import fpve
from fpve.curation.mislabeled import SCHEMA
from fpve.records import Records
from fpve.report import pictures
from fpve.report.mislabeled import write_mislabeled

DOUBT = {
    "rank": 1,
    "image_id": "pets/05.png",
    "label": "bird",
    "prediction": "cat",
    "confidence": 0.875,
    "label_probability": 0.0625,
    "neighbours": [
        {"image_id": "pets/06.png", "label": "cat", "score": 0.75},
        {"image_id": "pets/08.png", "label": "bird", "score": 0.5},
        {"image_id": "pets/07.png", "label": "dog", "score": 0.25},
    ],
    "prefix": "bird 5",
}
OTHER = DOUBT | {"rank": 2, "image_id": "pets/gone.png", "neighbours": [], "confidence": 0.625, "prefix": None}


def records(*rows: dict[str, Any]) -> Records:
    """Rows of doubtful labels."""
    return Records(pa.Table.from_pylist(list(rows), schema=SCHEMA))


def written(path: Path, found: Records, store: fpve.Store, **told: Any) -> Page:
    """The page of doubtful labels, which needs nothing else."""
    write_mislabeled(path / "page.html", found, store, **{"label": "kind", **told})
    page = Page.read(path / "page.html")
    page.assert_self_contained(scripts=1)
    return page


def test_a_label_stands_against_its_prediction(tmp_path: Path, store: fpve.Store) -> None:
    """Both with their probabilities; neighbours are marked by which of both they support, or neither."""
    page = written(tmp_path, records(DOUBT, OTHER), store, k=20, notes=["prefixes tell the label"])
    assert page.texts("h1") == ["2 labels are in doubt in kind"]
    assert page.texts("dl", "figures") == [
        "in doubt 2 8.3 % of 24 labelled images mean probability 75.0 % of the predictions"
    ]
    assert page.texts("ul", "chips") == ["bird → cat 2"]
    assert page.texts("h3") == ["bird or cat"] * 2
    assert page.texts("div", "shares") == ["bird 6.2 % cat 87.5 %", "bird 6.2 % cat 62.5 %"]
    assert page.texts("p", "label") == ["the nearest that voted: 1 for the label, 1 for the prediction"]
    assert page.texts("ol", "voters") == ["cat 0.750 bird 0.500 dog 0.250"]
    assert (page.texts("li", "other"), page.texts("li", "own")) == (["cat 0.750"], ["bird 0.500"])
    assert [one.given["alt"] for one in page.all("img")] == ["bird 5", "cat 6", "bird 8", "dog 7"]
    assert page.texts("section", "warnings") == ["Before you believe it prefixes tell the label"]
    assert "by the votes of its 20 nearest neighbours" in page.text


def test_how_labels_are_corrected_is_said(tmp_path: Path, store: fpve.Store) -> None:
    """By a table with the column of labels, which `fpve label` takes."""
    page = written(tmp_path, records(DOUBT), store, image_weight=1.0, where="kind <> 'dog'")
    assert page.texts("pre") == [
        f"fpve label {store.path} corrected.csv",
        f"fpve mislabeled {store.path} --label kind --image-weight 1 --where \"kind <> 'dog'\" "
        "--format csv --output doubts.csv",
    ]
    assert page.texts("code") == ["kind <> 'dog'", "image_id", "kind"]
    assert "1 6.2 % of 16 labelled images" in page.text


def test_doubts_can_be_sorted(tmp_path: Path, store: fpve.Store) -> None:
    """By rank, both probabilities, both names of classes, and image_id."""
    page = written(tmp_path, records(DOUBT), store)
    keys = [one.given["value"] for one in page.all("option")]
    assert keys == ["rank", "confidence", "own", "label", "prediction", "id"]
    card = page.all("li", "card")[0].given
    assert [card[f"data-{key}"] for key in keys] == ["1.0", "0.875", "0.0625", "bird", "cat", "pets/05.png"]


def test_without_doubts_the_page_says_so(tmp_path: Path, store: fpve.Store) -> None:
    """There is nothing to sort, and nothing to do."""
    page = written(tmp_path, records(), store)
    assert page.texts("h1") == ["No label is in doubt in kind"]
    assert "Each of 24 labelled images was classified" in page.text
    assert page.all("div", "arrange") == []


def test_names_are_text_whatever_is_in_them(tmp_path: Path, store: fpve.Store) -> None:
    """Classes, ids, captions and notes are shown as they are."""
    rows = [
        DOUBT
        | {
            "image_id": name,
            "label": name,
            "prediction": NASTY[at - 1],
            "prefix": name,
            "neighbours": [{"image_id": name, "label": name, "score": 0.5}],
        }
        for at, name in enumerate(NASTY)
    ]
    page = written(tmp_path, records(*rows), store, notes=NASTY)
    assert page.texts("h3") == [f"{name} or {NASTY[at - 1]}" for at, name in enumerate(NASTY)]
    assert page.texts("li", "own") == [f"no picture {name} 0.500" for name in NASTY]
    assert page.texts("p", "name") == list(NASTY)
    assert [one.given["data-label"] for one in page.all("li", "card")] == list(NASTY)
    assert page.texts("bdi")[1 : 2 * len(NASTY) + 1 : 2] == list(NASTY)


def test_of_many_the_surest_are_shown(tmp_path: Path, store: fpve.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are counted, and the page says that not all are shown."""
    monkeypatch.setattr(pictures, "_MOST_CARDS", 1)
    page = written(tmp_path, records(DOUBT, OTHER), store)
    assert page.texts("p", "left") == ["The first 1 of 2 images are shown; the table has all."]
    assert page.texts("h1") == ["2 labels are in doubt in kind"]


def test_what_a_store_finds_is_shown(tmp_path: Path, store: fpve.Store) -> None:
    """The rows of `store.mislabeled` as they come, each with its eight nearest voters."""
    found = store.mislabeled(label="kind", k=10)
    page = written(tmp_path, found, store)
    assert page.texts("p", "name") == [row.image_id for row in found]
    assert len(page.all("img")) == 9 * len(found) > 0
