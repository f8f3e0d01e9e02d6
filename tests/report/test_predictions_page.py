"""The page of predictions: what was said of each picture, how surely, and by whom."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from report.parsed import NASTY, Page

import fpve
from fpve.classify import Abstention, schema_of
from fpve.classify.predictions import told_of_head
from fpve.queries import Picture
from fpve.records import Predictions
from fpve.report import predictions as pages
from fpve.report.predictions import write_predictions


def written(
    path: Path,
    predictions: Predictions,
    store: fpve.Store,
    *,
    names: Sequence[str] | None = None,
    pictures: Sequence[Picture | None] | None = None,
    abstention: Abstention | None = None,
) -> Page:
    """The page of predictions of `kind`, which needs nothing else."""
    count = len(predictions)
    write_predictions(
        path / "page.html",
        predictions,
        names or [f"{number}.png" for number in range(count)],
        pictures or [None] * count,
        store,
        label="kind",
        abstention=abstention,
    )
    page = Page.read(path / "page.html")
    page.assert_self_contained(scripts=0)
    return page


def answers(*rows: dict[str, Any], is_multiple: bool = False) -> Predictions:
    """Predictions of these rows; what they leave out is as common as can be."""
    common = {"prediction": None, "confidence": 0.5, "novelty": 0.5, "probabilities": [], "neighbours": []}
    return Predictions(pa.Table.from_pylist([common | row for row in rows], schema=schema_of(is_multiple=is_multiple)))


def test_a_classification_is_shown(tmp_path: Path, shop: Path, store: fpve.Store) -> None:
    """Each file has a card with its picture, what was predicted, and its nearest eight voters with theirs."""
    files = sorted((shop / "pictures").glob("*.png"))[5:8]
    found = store.classify(files, label="kind", k=10)
    page = written(tmp_path, found, store, names=[file.name for file in files], pictures=list(files))
    assert page.texts("h1") == ["Predicted kind"]
    assert page.texts("h3") == [row.prediction for row in found]
    assert page.texts("p", "name") == ["05.png", "06.png", "07.png"]
    assert len(page.all("img")) == 3 * 9
    assert [text.split(":")[0] for text in page.texts("p", "label")] == ["10 voted"] * 3
    scores = [f"{voter['score']:.3f}" for row in found for voter in row.neighbours[:8]]
    assert [text for text in page.texts("i") if text] == scores


def test_the_header_counts(tmp_path: Path, store: fpve.Store) -> None:
    """Queries, the share that is answered, how sure these are on average, and how many there are of each class."""
    rows = [{"prediction": "cat", "confidence": 0.75}] * 2 + [{"prediction": "dog", "confidence": 0.9}, {}]
    page = written(tmp_path, answers(*rows), store)
    assert page.texts("dl") == ["queries 4 answered 75.0 % 3 of 4 abstained 1 mean confidence 80.0 % of those answered"]
    assert page.texts("ul", "chips") == ["cat 2 dog 1"]


def test_what_abstains_says_why(tmp_path: Path, store: fpve.Store) -> None:
    """Low confidence, novelty, or both; without the thresholds there are the figures."""
    rows = ({"confidence": 0.3, "novelty": 0.99}, {"confidence": 0.3}, {"confidence": 0.7, "novelty": 0.999})
    page = written(tmp_path, answers(*rows), store, abstention=Abstention(0.4, 0.98))
    assert page.texts("h3") == ["abstained"] * 3
    assert page.texts("p", "reason") == [
        "low confidence: 30.0 % is less than 40.0 %; novelty: 0.990 is more than 0.98",
        "low confidence: 30.0 % is less than 40.0 %",
        "novelty: 0.999 is more than 0.98",
    ]
    assert "answered 0 % 0 of 3 abstained 3" in page.text
    assert "mean confidence" not in page.text
    bare = written(tmp_path, answers(*rows), store)
    assert bare.texts("p", "reason")[1] == "confidence 30.0 %; novelty 0.500"


def test_the_most_probable_classes_are_drawn(tmp_path: Path, store: fpve.Store) -> None:
    """Five of them, and what is left; none that would be shown as nothing, nor one alone that is all."""
    shares = [0.5, 0.2, 0.1, 0.08, 0.05, 0.03, 0.02]
    many = [{"label": f"c{number}", "probability": share} for number, share in enumerate(shares)]
    sure = [{"label": "cat", "probability": 0.99999}, {"label": "dog", "probability": 0.00001}]
    rows = ({"prediction": "c0", "probabilities": many}, {"prediction": "cat", "probabilities": sure})
    page = written(tmp_path, answers(*rows), store)
    assert page.texts("div", "shares") == ["c0 50.0 % c1 20.0 % c2 10.0 % c3 8.0 % c4 5.0 % all others 7.0 %"]
    assert [one.given["style"] for one in page.all("i")][1:3] == ["width: 50.0%", "width: 20.0%"]


def test_a_head_has_no_neighbours(tmp_path: Path, store: fpve.Store) -> None:
    """What a head says has probabilities, and neither neighbours nor a novelty."""
    told = told_of_head(np.array([[0.75, 0.25], [0.4, 0.6]]), ("cat", "dog"), Abstention(below=0.7))
    page = written(tmp_path, Predictions(told), store, abstention=Abstention(below=0.7))
    assert page.texts("h3") == ["cat", "abstained"]
    assert page.texts("div", "shares") == ["cat 75.0 % dog 25.0 %", "dog 60.0 % cat 40.0 %"]
    assert "Each picture was classified by a trained head." in page.text
    assert (page.all("ol", "voters"), "ovelty" in page.text) == ([], False)


def test_lists_of_classes_are_shown_as_such(tmp_path: Path, store: fpve.Store) -> None:
    """A picture can have several classes, or none of them; a neighbour agrees if it has one of them."""
    voters = [
        {"image_id": "pets/05.png", "label": ["red", "round"], "score": 0.9},
        {"image_id": "pets/06.png", "label": [], "score": 0.8},
    ]
    shares = [{"label": "red", "probability": 0.9}, {"label": "round", "probability": 0.8}]
    rows = (
        {"prediction": ["red", "round"], "probabilities": shares, "neighbours": voters},
        {"prediction": [], "probabilities": [], "neighbours": voters[1:]},
        {"probabilities": shares, "neighbours": voters},
    )
    page = written(tmp_path, answers(*rows, is_multiple=True), store)
    assert page.texts("h3") == ["red, round", "none of the classes", "abstained"]
    assert page.texts("div", "shares") == ["red 90.0 % round 80.0 %"] * 2
    assert page.texts("li", "for") == ["red, round 0.900"] * 2
    assert page.texts("ul", "chips") == ["red 1 round 1"]


def test_names_are_text_whatever_is_in_them(tmp_path: Path, store: fpve.Store) -> None:
    """Files, classes and images are shown as they are; half a character of a file's name as its number."""
    rows = [
        {
            "prediction": name,
            "probabilities": [{"label": name, "probability": 0.5}],
            "neighbours": [{"image_id": name, "label": name, "score": 0.5}],
        }
        for name in (*NASTY, "plain")
    ]
    page = written(tmp_path, answers(*rows), store, names=[*NASTY, "half \udcff.png"])
    assert page.texts("h3") == [*NASTY, "plain"]
    assert page.texts("p", "name") == [*NASTY, "half \\udcff.png"]
    assert [one.given["title"] for one in page.all("div", "missing")][::2] == [*NASTY, "half \\udcff.png"]


def test_pictures_come_as_files_bytes_or_pillow(tmp_path: Path, shop: Path, store: fpve.Store) -> None:
    """All give a thumbnail; what is missing or broken has a place without one."""
    file = shop / "pictures/05.png"
    with Image.open(file) as image:
        pictures = [file, str(file), file.read_bytes(), image, None, shop / "gone.png", b"broken"]
        page = written(tmp_path, answers(*[{"prediction": "cat"}] * 7), store, pictures=pictures)
    addresses = [one.given["src"] for one in page.all("img")]
    assert len(addresses) == 4
    assert len(set(addresses)) == 1
    assert [one.given["aria-label"] for one in page.all("div", "missing")] == ["4.png", "5.png", "6.png"]


def test_one_query_has_no_statistics(tmp_path: Path, store: fpve.Store) -> None:
    """Of a single picture there is its card, and nothing is counted."""
    page = written(tmp_path, answers({"prediction": "cat", "confidence": 0.75}), store)
    assert (page.all("dl"), page.all("ul", "chips"), page.texts("h3")) == ([], [], ["cat"])
    assert page.texts("title") == ["kind of 1 picture"]


def test_of_many_queries_the_first_are_shown(
    tmp_path: Path, store: fpve.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are counted, and the page says that not all are shown."""
    monkeypatch.setattr(pages, "_MOST", 2)
    page = written(tmp_path, answers(*[{"prediction": "cat"}] * 3, {}), store)
    assert len(page.all("li", "card")) == 2
    assert "answered 75.0 % 3 of 4" in page.text
    assert "The first 2 of 4 queries are shown." in page.text


def test_every_prediction_has_a_name_and_a_picture(tmp_path: Path, store: fpve.Store) -> None:
    """One name too few is an error, and nothing is written."""
    with pytest.raises(ValueError, match="zip"):
        write_predictions(tmp_path / "page.html", answers({}, {}), ["one"], [None, None], store, label="kind")
    assert list(tmp_path.iterdir()) == []
