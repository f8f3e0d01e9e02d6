"""The page of duplicates: clusters with the picture to keep first, and what could go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from report.parsed import NASTY, Page

import fpve
from fpve.curation.duplicates import SCHEMA
from fpve.records import Records
from fpve.report import duplicates as pages
from fpve.report import pictures
from fpve.report.duplicates import write_duplicates

KEPT = {"action": "keep", "cosine": 1.0, "width": 400, "height": 300, "bytes": 9_000, "collection": "pets", "path": "x"}
GONE = KEPT | {"action": "remove", "kind": "near", "cosine": 0.95, "mirrored": False, "pixels": 0.987, "bytes": 4_096}

PLAN = (
    KEPT | {"cluster": 1, "image_id": "pets/05.png", "prefix": "bird 5", "width": 4000, "bytes": 1_250_000},
    GONE | {"cluster": 1, "image_id": "pets/06.png", "prefix": "cat 6", "mirrored": True},
    GONE | {"cluster": 1, "image_id": "pets/07.png", "kind": "exact", "cosine": 1.0, "pixels": 1.0, "prefix": None},
    KEPT | {"cluster": 2, "image_id": "pets/08.png"},
    GONE
    | {"cluster": 2, "image_id": "pets/gone.png", "cosine": 0.9201, "pixels": None, "mirrored": None, "bytes": None},
)


def records(*rows: dict[str, Any]) -> Records:
    """Rows of a plan."""
    return Records(pa.Table.from_pylist(list(rows), schema=SCHEMA))


def written(path: Path, found: Records, store: fpve.Store, **told: Any) -> Page:
    """The page of a plan, which needs nothing else."""
    write_duplicates(path / "page.html", found, store, **{"threshold": 0.92, **told})
    page = Page.read(path / "page.html")
    page.assert_self_contained(scripts=1)
    return page


def test_a_plan_is_shown_cluster_by_cluster(tmp_path: Path, store: fpve.Store) -> None:
    """The kept picture is first and marked, then what could go with its cosine, kind, size in pixels and bytes."""
    page = written(tmp_path, records(*PLAN), store)
    assert page.texts("h1") == ["3 of 24 pictures look like copies"]
    assert page.texts("dl", "figures") == [
        "could go 3 12.5 % of 24 images clusters 2 one stays of each same file 1 look alike 2 "
        "bytes that could go 8.2 kB"
    ]
    assert page.texts("li", "member") == [
        "keep 4,000 \u00d7 300 · 1.2 MB bird 5 pets/05.png",
        "could go looks alike, mirrored cosine 0.9500 · pixels 0.987 400 \u00d7 300 · 4.1 kB cat 6 pets/06.png",
        "could go same file cosine 1.0000 · pixels 1.000 400 \u00d7 300 · 4.1 kB pets/07.png",
        "keep 400 \u00d7 300 · 9.0 kB pets/08.png",
        "no picture could go looks alike cosine 0.9201 400 \u00d7 300 pets/gone.png",
    ]
    assert [one.given["class"] for one in page.all("li", "member")][:2] == ["member keep", "member remove"]
    assert page.texts("li", "cluster")[0].startswith(
        "Cluster 1 3 pictures 1 same file 1 looks alike lowest cosine 0.9500 8.2 kB could go"
    )
    assert len(page.all("img")) == 4


def test_nothing_is_deleted_and_the_plan_can_be_had(tmp_path: Path, store: fpve.Store) -> None:
    """The page says so, when pictures look alike, and how to get the plan as a table."""
    page = written(tmp_path, records(*PLAN), store, pixels=0.9, where="kind = 'cat'")
    assert "Nothing was deleted, here or in the sources." in page.text
    assert "a cosine of 0.92 or more, and thumbnails with a correlation of 0.9 or more" in page.text
    assert page.texts("pre") == [
        f"fpve duplicates {store.path} --threshold 0.92 --pixels 0.9 --where \"kind = 'cat'\" "
        "--format csv --output plan.csv"
    ]
    # Eight of the 24 are cats.
    assert page.texts("h1") == ["3 of 8 pictures look like copies"]
    assert page.texts("code")[0] == "kind = 'cat'"


def test_clusters_can_be_sorted(tmp_path: Path, store: fpve.Store) -> None:
    """By size, by the lowest cosine of what could go, by bytes, and by name."""
    page = written(tmp_path, records(*PLAN), store)
    assert [one.given["value"] for one in page.all("option")] == ["cluster", "size", "lowest", "freed", "id"]
    first, second = (one.given for one in page.all("li", "cluster"))
    assert (first["data-size"], first["data-lowest"], first["data-freed"]) == ("3.0", "0.95", "8192.0")
    assert (second["data-size"], second["data-lowest"], second["data-freed"]) == ("2.0", "0.9201", "0.0")
    assert (first["data-id"], second["data-cluster"]) == ("pets/05.png", "2.0")


def test_the_kept_picture_is_first_wherever_its_row_is(tmp_path: Path, store: fpve.Store) -> None:
    """Rows of a cluster that were sorted by something else are shown with the kept one first."""
    page = written(tmp_path, records(PLAN[1], PLAN[0]), store)
    assert [text.split()[0] for text in page.texts("li", "member")] == ["keep", "could"]


def test_without_duplicates_the_page_says_so(tmp_path: Path, store: fpve.Store) -> None:
    """There is nothing to sort, and nothing to do."""
    page = written(tmp_path, records(), store)
    assert page.texts("h1") == ["No picture looks like a copy of another"]
    assert "No two of 24 images are the same file, or look alike: features with a cosine of 0.92 or more." in page.text
    assert (page.all("div", "arrange"), page.all("section")) == ([], [])


def test_names_are_text_whatever_is_in_them(tmp_path: Path, store: fpve.Store) -> None:
    """Ids and captions are shown as they are, in attributes too."""
    rows = [
        common | {"cluster": number, "image_id": f"{name}{common['action']}", "prefix": name}
        for number, name in enumerate(NASTY, 1)
        for common in (KEPT, GONE)
    ]
    page = written(tmp_path, records(*rows), store, where=NASTY[0].replace("<script>", "'<script>' = '") + "'")
    assert page.texts("p", "text") == [name for name in NASTY for _ in range(2)]
    assert [one.given["data-id"] for one in page.all("li", "cluster")] == [f"{name}keep" for name in NASTY]


def test_a_large_cluster_and_a_long_list_are_cut(
    tmp_path: Path, store: fpve.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are counted, some are shown, and the page says how many are not."""
    monkeypatch.setattr(pages, "_MEMBERS", 2)
    page = written(tmp_path, records(*PLAN), store)
    assert page.texts("li", "cluster")[0].endswith("… and 1 more, which the table names.")
    assert "3 pictures" in page.texts("li", "cluster")[0]
    monkeypatch.setattr(pictures, "_MOST_CARDS", 1)
    page = written(tmp_path, records(*PLAN), store)
    assert page.texts("p", "left") == ["The first 1 of 2 clusters are shown; the table has all."]
    assert page.texts("h1") == ["3 of 24 pictures look like copies"]


def test_a_page_has_so_many_bytes_at_most(tmp_path: Path, store: fpve.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster whose pictures no longer fit is left out, but never the first one."""
    size = len(store.thumbnail("pets/05.png") or b"")
    monkeypatch.setattr(pictures, "_MOST_BYTES", size)
    page = written(tmp_path, records(*PLAN), store)
    assert page.texts("h2")[1:] == ["Cluster 1"]


def test_what_a_store_finds_is_shown(tmp_path: Path, store: fpve.Store) -> None:
    """The rows of `store.duplicates` as they come: 24 pictures of noise, some of which are near enough at 0.01."""
    found = store.duplicates(threshold=0.01, pixels=-1)
    page = written(tmp_path, found, store, threshold=0.01)
    assert len(page.all("li", "member")) == len(found) > 0
    assert len(page.all("li", "keep")) == len(page.all("li", "cluster")) == found[-1].cluster
