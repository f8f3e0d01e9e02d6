"""Many searches at once: the same hits as one by one, whatever the queries are, and failures that spoil no other."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from samples import FAKE, draw, make_job

import fpve
from fpve import batch
from fpve.config import EncoderConfig, Encoders
from fpve.engines import pictures as engine
from fpve.errors import QueryError, SourceNotFound
from fpve.progress import SilentProgress

OPTIONS: list[dict[str, Any]] = [
    {},
    {"k": 3, "offset": 2},
    {"where": "kind <> 'cat'", "exact": True},
    {"min_score": 0.2, "image_weight": 0.4},
    {"group_by": "kind"},
    {"dedup": 0.99, "k": 5},
]


@pytest.fixture(params=[1_000, 3])
def at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """All queries at once, and three at a time."""
    monkeypatch.setattr(batch, "_AT_ONCE", request.param)
    return request.param


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 12 pictures, their metadata, and the store of them."""
    root = tmp_path_factory.mktemp("batch")
    lines = ["path,caption,kind"]
    for number in range(12):
        kind = ("cat", "dog", "bird")[number % 3]
        draw(root / f"pictures/{kind}/{number:02d}.png", number)
        lines.append(f"{kind}/{number:02d}.png,{f'{kind} number {number}' if number % 2 == 0 else ''},{kind}")
    (root / "pictures/metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    fpve.run(make_job(root / "store", root / "pictures"))
    return root


@pytest.fixture(scope="module")
def store(root: Path) -> fpve.Store:
    """The store, open."""
    return fpve.open(root / "store")


def expected(hits: fpve.Hits, query: str, offset: int = 0) -> list[dict[str, Any]]:
    """Rows of a batch that are those of one search."""
    return [{"query": query, "rank": rank, **hit} for rank, hit in enumerate(hits, offset + 1)]


def close(found: pa.Table, rows: list[dict[str, Any]]) -> None:
    """The same rows, with scores that agree to five decimals."""
    assert [{key: value for key, value in row.items() if "score" not in key} for row in found.to_pylist()] == [
        {key: value for key, value in row.items() if "score" not in key} for row in rows
    ]
    for name in ("score", "image_score", "prefix_score"):
        theirs = np.array([row[name] for row in rows], float)
        np.testing.assert_allclose(np.array(found[name].to_pylist(), float), theirs, atol=1e-5)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_folder_of_pictures(root: Path, store: fpve.Store, options: dict[str, Any], at_once: int) -> None:
    """Each picture has the hits that it has alone, in the order of the paths."""
    found, report = store.search_many(root / "pictures", **options).collect()
    names = sorted(path.relative_to(root / "pictures").as_posix() for path in (root / "pictures").rglob("*.png"))
    offset = options.get("offset", 0)
    rows = [
        row for name in names for row in expected(store.search(image=root / "pictures" / name, **options), name, offset)
    ]
    close(found, rows)
    assert (report.queries, report.rows, report.failed) == (12, len(rows), ())
    assert (report.explanation.queries, report.explanation.images) == (12, 8 if "where" in options else 12)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_table_of_all_kinds(root: Path, store: fpve.Store, options: dict[str, Any], at_once: int) -> None:
    """Rows with a picture, a text or both are answered as these are, in the order of the table."""
    queries = [
        ("both", "cat/00.png", "dog number 4"),
        ("text", "", "cat number 6"),
        ("picture", "dog/01.png", ""),
        ("text again", "", "bird number 2"),
        ("both again", "bird/02.png", "cat number 0"),
    ]
    lines = ["id,path,text", *(",".join(query) for query in queries)]
    table = root / "pictures/queries.csv"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    found, report = store.search_many(table, **options).collect()
    rows = []
    for name, path, text in queries:
        query = {"image": root / "pictures" / path if path else None, "text": text or None}
        rows += expected(store.search(**query, **options), name, options.get("offset", 0))
    close(found, rows)
    assert (report.queries, report.failed) == (5, ())


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_ids_and_vectors(root: Path, store: fpve.Store, options: dict[str, Any], at_once: int) -> None:
    """Images of the store don't find themselves; vectors, fused or of pictures alone, are taken as they are."""
    ids = store.images["image_id"].to_pylist()[::-1]
    pq.write_table(pa.table({"image_id": ids}), root / "ids.parquet")
    found, _ = store.search_many(root / "ids.parquet", **options).collect()
    offset = options.get("offset", 0)
    close(found, [row for one in ids for row in expected(store.search(id=one, **options), one, offset)])
    vectors = store.sql("SELECT image_id, vector FROM vectors ORDER BY image_id").to_pydict()
    vectors["vector"][::2] = [one[:24] for one in vectors["vector"][::2]]
    pq.write_table(pa.table(vectors), root / "vectors.parquet", row_group_size=5)
    found, report = store.search_many(root / "vectors.parquet", **options).collect()
    pairs = zip(vectors["image_id"], vectors["vector"], strict=True)
    rows = [row for name, one in pairs for row in expected(store.search(vector=np.array(one), **options), name, offset)]
    close(found, rows)
    assert (report.queries, report.failed) == (12, ())


def test_queries_that_fail_spoil_no_other(root: Path, store: fpve.Store, tmp_path: Path, at_once: int) -> None:
    """A broken picture, a missing one and an empty row are named with their reasons; the others have their hits."""
    shutil.copytree(root / "pictures", tmp_path / "queries")
    (tmp_path / "queries/cat/00.png").write_bytes(b"no picture")
    lines = [
        "id,path,text",
        *("broken,cat/00.png,x", "good,dog/01.png,", "empty,,", "missing,cat/1.png,x", "text,,a", "odd,cat,"),
    ]
    (tmp_path / "queries/q.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found, report = store.search_many(tmp_path / "queries/q.csv", k=2).collect()
    assert found["query"].to_pylist() == ["good", "good", "text", "text"]
    assert [(one.query, one.reason) for one in report.failed] == [
        ("broken", "not a picture of any known format"),
        ("empty", "it names nothing to search by"),
        ("missing", "no such file"),
        ("odd", "can't be read: Is a directory"),
    ]
    assert report.queries == 2
    found, report = store.search_many(tmp_path / "queries", k=1).collect()
    assert len(found) == report.queries == 11
    assert [one.query for one in report.failed] == ["cat/00.png"]


def test_weights_and_values_that_leave_nothing_fail_alone(root: Path, store: fpve.Store, tmp_path: Path) -> None:
    """At weight 0 a picture without a text has nothing to rank by; unknown ids and odd vectors are named, too."""
    (root / "pictures/some.csv").write_text("path,text\ncat/00.png,a cat\ndog/01.png,\n", encoding="utf-8")
    found, report = store.search_many(root / "pictures/some.csv", image_weight=0, k=1).collect()
    assert found["query"].to_pylist() == ["cat/00.png"]
    assert [one.query for one in report.failed] == ["dog/01.png"]
    assert "ranks by the text alone" in report.failed[0].reason
    (tmp_path / "ids.csv").write_text("image_id\npets/cat/00.png\npets/cat/99.png\n", encoding="utf-8")
    found, report = store.search_many(tmp_path / "ids.csv", k=1).collect()
    assert [(one.query, one.reason) for one in report.failed] == [
        ("pets/cat/99.png", "no image 'pets/cat/99.png' in the store")
    ]
    rows = [[0.0] * 40, [1.0] * 40, None, [1.0] * 7, [float("nan")] * 24, [2.0] * 24, [None] * 24]
    pq.write_table(pa.table({"vector": rows}), tmp_path / "v.parquet")
    found, report = store.search_many(tmp_path / "v.parquet", k=1).collect()
    assert found["query"].to_pylist() == ["1", "5"]
    assert [(one.query, one.reason) for one in report.failed] == [
        ("0", "expected finite numbers that are not all zero"),
        ("2", "expected a vector of 40 numbers, or 24 of an image, found 0"),
        ("3", "expected a vector of 40 numbers, or 24 of an image, found 7"),
        ("4", "expected finite numbers that are not all zero"),
        ("6", "expected finite numbers that are not all zero"),
    ]


@pytest.mark.parametrize("name", ["hits.parquet", "hits.json", "hits.jsonl", "hits.csv"])
def test_hits_are_written_part_by_part(root: Path, store: fpve.Store, tmp_path: Path, name: str, at_once: int) -> None:
    """What is written is what is collected, in each format."""
    found, report = store.search_many(root / "pictures", k=4).collect()
    assert store.search_many(root / "pictures", k=4).write(tmp_path / name) == report
    path = tmp_path / name
    if name.endswith("parquet"):
        assert pq.read_table(path) == found
        assert pq.ParquetFile(path).num_row_groups == (1 if at_once == 1_000 else 4)
    elif name.endswith("json"):
        assert json.loads(path.read_text()) == found.to_pylist()
    elif name.endswith("jsonl"):
        assert [json.loads(line) for line in path.read_text().splitlines()] == found.to_pylist()
    else:
        assert len(path.read_text().splitlines()) == 1 + len(found)


def test_nothing_is_written_if_no_query_is_answered(root: Path, store: fpve.Store, tmp_path: Path) -> None:
    """An error names the first query and its reason, and leaves the file that was there."""
    (tmp_path / "q.csv").write_text("path\nx.png\ny.png\n", encoding="utf-8")
    (tmp_path / "hits.csv").write_text("before")
    with pytest.raises(QueryError, match=r"q.csv: none of its 2 queries can be answered; the first is x.png: no such"):
        store.search_many(tmp_path / "q.csv").write(tmp_path / "hits.csv")
    assert (tmp_path / "hits.csv").read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hits.csv", "q.csv"]


def test_what_no_query_can_have_is_said_before_anything_is_read(store: fpve.Store) -> None:
    """A wrong option comes before a missing source, and that before a model."""
    for options, message in (
        ({"k": 0}, "k: expected at least 1"),
        ({"where": "knid = 1"}, "where: .*knid"),
        ({"group_by": "knid"}, "did you mean 'kind'"),
    ):
        with pytest.raises(QueryError, match=message):
            store.search_many("missing.csv", **options)
    with pytest.raises(SourceNotFound, match=r"missing\.csv: no such table"):
        store.search_many("missing.csv")


def test_queries_without_hits_are_answered(root: Path, store: fpve.Store) -> None:
    """A condition that no image meets leaves no rows, and no failure."""
    found, report = store.search_many(root / "pictures", where="false").collect()
    assert (len(found), report.queries, report.rows, report.failed) == (0, 12, 0, ())
    assert found.schema == store.search_many(root / "pictures").schema


class Counting(SilentProgress):
    """Counts what is done."""

    def __init__(self) -> None:
        self.total: int | None = None
        self.done = 0

    def stage(self, name: str, total: int | None) -> Any:
        """Open the stage, which is this."""
        self.total = total
        return self

    def __enter__(self) -> Counting:
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""

    def advance(self, count: int = 1) -> None:
        """Count."""
        self.done += count


def test_progress_ends_at_the_number_of_queries(root: Path, store: fpve.Store, tmp_path: Path, at_once: int) -> None:
    """Pictures count as they are encoded, other queries as they are answered, failed ones as well."""
    (root / "pictures/p.csv").write_text("path,text\ncat/00.png,\nx.png,\n,a\n,b\ndog/01.png,c\n", encoding="utf-8")
    progress = Counting()
    store.search_many(root / "pictures/p.csv", progress=progress).collect()
    assert (progress.total, progress.done) == (5, 5)


def test_a_text_is_compared_with_pictures_of_its_space(root: Path, tmp_path: Path) -> None:
    """In a store of one space, texts alone have a cross_score and pictures an image_score, in one table."""
    own = Encoders(image=EncoderConfig("python:own_encoders:Colours"), text=EncoderConfig("python:own_encoders:Words"))
    job = make_job(tmp_path / "store", root / "pictures", prefix=None)
    fpve.run(replace(job, encoders=own))
    store = fpve.open(job.store)
    (root / "pictures/c.csv").write_text("path,text\ncat/00.png,\n,red\n", encoding="utf-8")
    found, _ = store.search_many(root / "pictures/c.csv", k=2).collect()
    alone = store.search(text="red", k=2)
    assert found["query"].to_pylist() == ["cat/00.png"] * 2 + ["1"] * 2
    assert found["image_id"].to_pylist()[2:] == [hit.image_id for hit in alone]
    assert found["cross_score"].to_pylist() == [None, None, *(hit.cross_score for hit in alone)]
    assert found["image_score"].null_count == 2


def test_pictures_of_a_batch_are_encoded_in_threads(root: Path, store: fpve.Store, monkeypatch: Any) -> None:
    """Batches of the model are filled in the order of the pictures; broken ones leave no gap, and say their number."""
    files = sorted((root / "pictures").rglob("*.png"))
    config = EncoderConfig("fake:24", batch_size=5)
    from fpve.encoders import open_image_encoder

    encoder = open_image_encoder(config)
    store_features = store.encode_images(files)
    from fpve.images import decode

    def read(number: int) -> Any:
        return decode(files[number].read_bytes() if number != 4 else b"x").image

    monkeypatch.setattr(engine, "cores", lambda: 3)
    found = engine.encode_pictures(encoder, 12, read)
    assert list(found.failed) == [4]
    good = np.arange(12) != 4
    np.testing.assert_allclose(found.features[good], store_features[good], atol=1e-4)
    assert not found.features[4].any()
    assert FAKE.image.name == config.name
    assert engine.encode_pictures(encoder, 0, read).features.shape == (0, 24)


def test_ten_thousand_queries_are_no_ten_thousand_searches(store: fpve.Store, monkeypatch: Any) -> None:
    """Vectors are ranked together, and ids looked up together: calls don't grow with the queries."""
    searcher = store._open.searcher
    calls: list[int] = []
    usual = searcher.nearest

    def counted(blocks: Any, **options: Any) -> Any:
        calls.append(len(blocks.image))
        return usual(blocks, **options)

    monkeypatch.setattr(searcher, "nearest", counted)
    monkeypatch.setattr(searcher, "row_of", lambda _: pytest.fail("one by one"))
    ids = store.images["image_id"].to_pylist() * 50
    assert len(store.search(ids=ids, k=3)) == 600
    vectors = np.random.default_rng(0).normal(size=(10_000, 40)).astype(np.float32)
    assert len(store.search(vectors=vectors, k=3)) == 10_000
    assert calls == [600, 10_000]
