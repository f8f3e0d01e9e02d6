"""The page of hits: what was asked, what was found with which scores, and what could not be answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from report.parsed import NASTY, Page

import fpve
from fpve.batch import FailedQuery
from fpve.cli import cli
from fpve.records import Explanation, Records
from fpve.report import hits as pages
from fpve.report import pictures
from fpve.report.hits import Question, questions_of, totals, write_hits
from fpve.report.pictures import asked


def written(path: Path, questions: list[Question], store: fpve.Store, **told: Any) -> Page:
    """The page of some queries, which needs nothing else."""
    write_hits(path / "page.html", questions, store, **told)
    page = Page.read(path / "page.html")
    page.assert_self_contained(scripts=1)
    return page


def rows(*hits: dict[str, Any]) -> Records:
    """Hits, the metadata of which is a price and a kind."""
    common = {"collection": "pets", "path": "", "score": 0.5, "image_score": None, "prefix_score": None, "prefix": None}
    fields = {"image_id": pa.string(), **dict.fromkeys(("collection", "path"), pa.string())}
    fields |= dict.fromkeys(("score", "image_score", "prefix_score"), pa.float64()) | {"prefix": pa.string()}
    fields |= {"price": pa.float64(), "kind": pa.string()}
    return Records(pa.Table.from_pylist([common | hit for hit in hits], schema=pa.schema(fields)))


def test_a_search_is_shown(tmp_path: Path, shop: Path, store: fpve.Store) -> None:
    """The query's picture and text, and each hit with its picture, its score and both of its cosines, best first."""
    file = shop / "pictures/05.png"
    found = store.search(image=file, text="a bird", k=4)
    question = Question(found, asked(str(file), file), "a bird")
    options = {"image": file, "text": "a bird", "k": 4, "min_score": None, "exact": None, "explain": True}
    page = written(tmp_path, [question], store, explanation=found.explanation, options=options)
    assert page.texts("h1") == ["Images like this picture, and “a bird”"] == page.texts("title")
    assert page.texts("dl", "figures") == [
        f"hits 4 of 24 images, exact best score {found[0].score:.3f} image weight A 0.5"
    ]
    assert "The score is 0.5 times the cosine of the pictures, and 0.5 times that of the prefixes." in page.text
    assert page.texts("p", "score") == [f"{hit.score:.4f} {rank}" for rank, hit in enumerate(found, 1)]
    assert page.texts("div", "cosines") == [
        f"image {one.image_score:.3f} prefix {one.prefix_score:.3f}" for one in found
    ]
    assert page.texts("p", "name") == [hit.image_id for hit in found]
    assert [one.given["alt"] for one in page.all("img")] == [str(file), *(hit.prefix for hit in found)]
    assert page.texts("pre") == [
        f"fpve search {store.path} --image {file} --text 'a bird' -k 4 --explain --format csv --output hits.csv"
    ]


def test_what_was_asked_is_said(tmp_path: Path, shop: Path, store: fpve.Store) -> None:
    """By a text, an image of the store, a picture or a vector; at the ends of the weight one cosine is all."""
    text, image = store.search(text="a bird", k=1), store.search(id="pets/05.png", k=1)
    picture = store.search(image=shop / "pictures/05.png", k=1)
    vector = store.search(vector=np.ones(40, np.float32), k=1)
    asked_by = (
        (Question(text, text="a bird"), "Images for “a bird”", "of the prefixes alone"),
        (Question(image, image_id="pets/05.png"), "Images like pets/05.png", "0.5 times the cosine of the pictures"),
        (Question(picture, pictures.Shown("05.png")), "Images like this picture", "of the pictures alone"),
        (Question(vector), "Images near a vector", "0.5 times the cosine of the pictures"),
    )
    for question, title, meaning in asked_by:
        page = written(tmp_path, [question], store, explanation=question.hits.explanation)
        assert page.texts("h1") == [title]
        assert meaning in page.text, title
    # The picture of an image is the store's, beside that of its only hit.
    page = written(tmp_path, [asked_by[1][0]], store)
    assert [one.given["title"].split("\n")[0] for one in page.all("img")] == ["pets/05.png", image[0].image_id]


def test_hits_can_be_sorted_by_what_they_differ_in(tmp_path: Path, store: fpve.Store) -> None:
    """By scores, names and metadata that some hit has; a hit without a value has no attribute to compare."""
    found = rows(
        {"image_id": "pets/05.png", "score": 0.75, "image_score": 0.5, "price": 2.5},
        {"image_id": "pets/06.png", "price": 10},
        {"image_id": "pets/07.png"},
    )
    page = written(tmp_path, [Question(found, text="x")], store)
    assert page.texts("option") == ["rank, best first", "score", "image cosine", "image_id", "price"]
    assert [(one.given["value"], one.given["data-kind"], one.given["data-falls"]) for one in page.all("option")] == [
        ("rank", "number", ""),
        ("score", "number", "yes"),
        ("image", "number", "yes"),
        ("id", "text", ""),
        ("column-0", "number", "yes"),
    ]
    cards = [{key: one.given[key] for key in one.given if key.startswith("data-")} for one in page.all("li", "card")]
    assert cards == [
        {
            "data-rank": "1.0",
            "data-score": "0.75",
            "data-image": "0.5",
            "data-id": "pets/05.png",
            "data-column-0": "2.5",
        },
        {"data-rank": "2.0", "data-score": "0.5", "data-id": "pets/06.png", "data-column-0": "10.0"},
        {"data-rank": "3.0", "data-score": "0.5", "data-id": "pets/07.png"},
    ]
    assert page.texts("dt")[2:] == ["price", "price"]


def test_the_controls_are_hidden_until_the_script_runs(tmp_path: Path, store: fpve.Store) -> None:
    """Without a script there is no control that does nothing; each has a name, and what changes is read out."""
    page = written(tmp_path, [Question(store.search(text="a bird", k=2), text="a bird")], store)
    assert "hidden" in page.all("div", "arrange")[0].given
    assert page.texts("label")[1] == "Filter"
    assert page.all("output")[0].given["aria-live"] == "polite"
    nothing = written(tmp_path, [Question(store.search(text="a bird", min_score=1), text="a bird")], store)
    assert nothing.all("div", "arrange") == []
    assert "No image was found." in nothing.text


def test_queries_of_a_table_have_a_section_each(tmp_path: Path, shop: Path, store: fpve.Store) -> None:
    """In their order, with their pictures and texts; what could not be answered is named with the reason."""
    table = shop / "queries.csv"
    table.write_text("query_id,path,text\none,pictures/05.png,a bird\ntwo,,a cat\nthree,pictures/gone.png,\n")
    batch = store.search_many(table, k=3)
    found, report = batch.collect()
    page = written(tmp_path, list(questions_of(found, batch.queries)), store, **totals(report))
    assert page.texts("h1") == ["2 searches, 6 hits"]
    assert page.texts("h2") == ["1 query has no answer", "one", "two"]
    assert page.texts("section", "warnings") == ["1 query has no answer three: no such file"]
    assert page.texts("section")[1].startswith("one “a bird”")
    assert page.texts("p", "name") == found["image_id"].to_pylist()
    assert [one.given["alt"] for one in page.all("img")] == ["one", *found["prefix"].to_pylist()]
    assert "A differs by query" in page.text
    assert "image weight A varies" in page.text


def test_queries_by_id_show_the_images_of_the_store(tmp_path: Path, shop: Path, store: fpve.Store) -> None:
    """A query that is an image of the store has its thumbnail; one that is none is among those without an answer."""
    table = shop / "ids.csv"
    table.write_text("image_id\npets/06.png\npets/none.png\n")
    batch = store.search_many(table, k=1)
    found, report = batch.collect()
    page = written(tmp_path, list(questions_of(found, batch.queries)), store, **totals(report))
    assert page.all("img")[0].given["title"] == "pets/06.png\ncat 6"
    assert page.texts("section", "warnings") == [
        "1 query has no answer pets/none.png: no image 'pets/none.png' in the store"
    ]


def test_a_picture_that_is_gone_is_left_out(tmp_path: Path, shop: Path, store: fpve.Store) -> None:
    """Between the search and the page the files of queries can change: the hits are shown all the same."""
    folder = tmp_path / "queries"
    folder.mkdir()
    (folder / "05.png").write_bytes((shop / "pictures/05.png").read_bytes())
    batch = store.search_many(folder, k=2)
    found, report = batch.collect()
    (folder / "05.png").unlink()
    page = written(tmp_path, list(questions_of(found, batch.queries)), store, **totals(report))
    assert [one.given["aria-label"] for one in page.all("div", "missing")] == ["05.png"]
    assert len(page.all("img")) == 2


def test_names_are_text_whatever_is_in_them(tmp_path: Path, store: fpve.Store) -> None:
    """Images, captions, metadata and queries are shown as they are; images that are not there are named only."""
    hits = [{"image_id": name, "prefix": f"caption of {name}", "kind": name} for name in NASTY]
    questions = [Question(rows(*hits), text=name, name=name) for name in NASTY]
    failed = [FailedQuery(name, name) for name in NASTY]
    told = {"queries": 5, "failed": failed, "options": {"text": NASTY[1], "where": NASTY[0]}}
    page = written(tmp_path, questions, store, **told)
    assert page.texts("p", "name") == [*NASTY] * 5
    assert page.texts("p", "caption") == [f"caption of {name}" for name in NASTY] * 5
    assert page.texts("dd")[3:] == [name if len(name) < 300 else f"{name[:299]} …" for name in NASTY] * 5
    assert page.texts("h2")[1:6] == list(NASTY)
    assert [one.given["data-id"] for one in page.all("li", "card")] == [*NASTY] * 5
    assert page.texts("code") == [NASTY[0]]
    assert len(page.all("div", "missing")) == 25


def test_a_long_value_is_cut(tmp_path: Path, store: fpve.Store) -> None:
    """What is longer than a person reads ends in an ellipsis: the table has it."""
    page = written(tmp_path, [Question(rows({"image_id": "x", "kind": "k" * 1000}), text="x")], store)
    assert page.texts("dd")[-1] == "k" * 300 + "…"


def test_what_does_not_fit_is_said(tmp_path: Path, store: fpve.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many hits, and of many queries, the first are shown; a page holds so many bytes of pictures at most."""
    monkeypatch.setattr(pages, "_HITS", 2)
    found = store.search(text="a bird", k=5)
    page = written(tmp_path, [Question(found, text="a bird")], store)
    assert page.texts("p", "left") == ["The first 2 of 5 hits are shown; the table has all."]
    assert "hits 5" in page.text
    monkeypatch.setattr(pages, "_QUERIES", 3)
    questions = [Question(found, text="a bird", name=f"query {number}") for number in range(4)]
    page = written(tmp_path, questions, store, queries=4, hits=20)
    assert page.texts("h1") == ["4 searches, 20 hits"]
    assert page.texts("p", "left")[-1].startswith("3 queries of 4 with their hits are shown")
    monkeypatch.setattr(pictures, "_MOST_BYTES", 1)
    page = written(tmp_path, questions, store, queries=4, hits=20)
    assert page.texts("h2") == ["query 0"]


def test_hits_of_a_graph_are_said_to_be_approximate(tmp_path: Path, store: fpve.Store) -> None:
    """An index that was built to find a share of the true hits says so."""
    explanation = Explanation(1, 1200, (0.5, 0.5), 10, (), 0.95)
    page = written(tmp_path, [Question(rows({"image_id": "x"}), text="x")], store, explanation=explanation)
    assert "hits 1 of 1,200 images, 95.0 % of the true ones" in page.text


def test_the_command_writes_a_page(tmp_path: Path, shop: Path, store: fpve.Store) -> None:
    """Beside the rows, of one query or of many; the page names the command that gave them."""
    file, page, table = shop / "pictures/05.png", tmp_path / "page.html", tmp_path / "hits.parquet"
    words = ["search", str(store.path), "--html", str(page)]
    done = CliRunner().invoke(cli, [*words, "--image", str(file), "--text", "a bird", "-k", "2"])
    assert (done.exit_code, done.stderr) == (0, f"wrote {page}\n")
    assert Page.read(page).texts("pre") == [
        f"fpve search {store.path} --image {file} --text 'a bird' -k 2 --format csv --output hits.csv"
    ]
    done = CliRunner().invoke(cli, [*words, "--queries", str(file.parent), "-k", "2", "--output", str(table)])
    assert done.exit_code == 0
    assert Page.read(page).texts("h1") == ["24 searches, 48 hits"]
    assert pq.read_metadata(table).num_rows == 48


def test_curation_tells_its_options_to_its_pages(tmp_path: Path, store: fpve.Store) -> None:
    """The commands that find duplicates, outliers and doubtful labels name themselves in their pages."""
    commands = {
        "duplicates": ("--threshold", "0.5", "--pixels", "-1"),
        "outliers": ("-k", "3", "--cut", "-10"),
        "mislabeled": ("--label", "kind", "-k", "10"),
    }
    for name, options in commands.items():
        page = tmp_path / f"{name}.html"
        words = [name, str(store.path), *options, "--where", "kind IS NOT NULL", "--html", str(page)]
        done = CliRunner().invoke(cli, words)
        assert done.exit_code == 0, done.output
        shown = Page.read(page).texts("pre")[-1]
        assert shown.startswith(f"fpve {name} {store.path} {' '.join(options)} --where 'kind IS NOT NULL' "), shown
