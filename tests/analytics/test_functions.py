"""Functions of SQL over a store: cosines, searches as tables, and saved rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fpve
from fpve.config import Job
from fpve.errors import ImageNotFound, QueryError, StoreCorrupt
from fpve.records import Hits

FOUND = ["image_id", "score", "image_score", "prefix_score"]


@pytest.fixture
def store(job: Job) -> fpve.Store:
    """A store of the twelve pictures, half of them with a prefix."""
    fpve.run(job)
    return fpve.open(job.store)


def test_cosines_are_those_of_numpy(store: fpve.Store) -> None:
    """Of whole vectors, halves, lists and constants; null where a side is null, zero, or has no block."""
    pairs = store.sql(
        "SELECT a.image_id AS a, b.image_id AS b, a.vector AS v, b.vector AS w, cosine(a.vector, b.vector) AS both, "
        "image_cosine(a.vector, b.vector) AS image, prefix_cosine(a.vector, b.vector) AS prefix "
        "FROM vectors a, vectors b"
    ).to_pylist()
    assert len(pairs) == 144
    for one in pairs:
        left, right = np.array(one["v"]), np.array(one["w"])
        assert one["both"] == pytest.approx(_cosine(left, right), abs=1e-6)
        assert one["image"] == pytest.approx(_cosine(left[:24], right[:24]), abs=1e-6)
        expected = _cosine(left[24:], right[24:])
        assert one["prefix"] == (None if np.isnan(expected) else pytest.approx(expected, abs=1e-6))
    assert sum(one["prefix"] is None for one in pairs) == 144 - 36
    found = store.sql(
        "SELECT cosine([1, 2], [2, 4]) AS a, cosine([1.5, 2], [0, 0]) AS b, cosine(NULL, [1]) AS c, "
        "cosine(NULL, NULL) AS d, cosine([1, 2]::DOUBLE[], [2.0, -1]) AS e, cosine([]::FLOAT[], []) AS f"
    ).to_pylist()[0]
    assert found == {"a": pytest.approx(1, abs=1e-6), "b": None, "c": None, "d": None, "e": 0, "f": None}
    mixed = store.sql("SELECT cosine(vector, vector::DOUBLE[]) AS a, cosine(vector, NULL) AS b FROM vectors LIMIT 1")
    assert mixed.to_pylist() == [{"a": pytest.approx(1, abs=1e-6), "b": None}]
    with pytest.raises(QueryError, match="dimensions must be equal"):
        store.sql("SELECT cosine(vector, [1, 2]) FROM vectors")


def _cosine(left: np.ndarray, right: np.ndarray) -> float:
    with np.errstate(invalid="ignore"):
        return float(left @ right / (np.linalg.norm(left) * np.linalg.norm(right)))


def test_search_is_a_table(store: fpve.Store) -> None:
    """`search` finds what a search finds, at any weight, joined with what else is known of the images."""
    found = store.sql("FROM search('dog number 4', k := 3)")
    hits = store.search(text="dog number 4", k=3)
    assert found.column_names == ["rank", *FOUND]
    assert found["rank"].to_pylist() == [1, 2, 3]
    _assert_same(found, hits)
    assert len(store.sql("FROM search('dog number 4')")) == 10
    joined = store.sql("SELECT i.kind, s.score FROM search('dog number 4', 2) s JOIN images i USING (image_id)")
    assert sorted(joined["score"].to_pylist(), reverse=True) == pytest.approx([hits[0].score, hits[1].score])
    weighted = store.sql("SELECT * FROM search('dog number 4', k := 3, image_weight := 0.25) ORDER BY rank")
    _assert_same(weighted, store.search(text="dog number 4", k=3, image_weight=0.25))


def test_neighbours_are_found_for_every_row(store: fpve.Store) -> None:
    """`neighbours` answers for each row of another table, with options of its own; a null has none."""
    found = store.sql(
        "SELECT i.image_id AS of, n.* FROM images i, neighbours(i.image_id, k := 4, image_weight := 1) n ORDER BY ALL"
    )
    assert len(found) == 48
    for image_id in store.images["image_id"].to_pylist():
        mine = found.filter(pa.compute.equal(found["of"], image_id))
        assert mine["rank"].to_pylist() == [1, 2, 3, 4]
        _assert_same(mine, store.search(id=image_id, k=4, image_weight=1))
    options = store.sql(
        "SELECT t.k, n.rank, n.image_id FROM (VALUES ('pets/cat/00.png', 1), ('pets/dog/01.png', 3), (NULL, 5)) "
        "AS t(image_id, k), neighbours(t.image_id, k := t.k) n ORDER BY ALL"
    )
    assert options["k"].to_pylist() == [1, 3, 3, 3]
    outer = store.sql(
        "SELECT t.image_id, n.rank FROM (VALUES ('pets/cat/00.png'), (NULL)) AS t(image_id) "
        "LEFT JOIN neighbours(t.image_id, k := 1) n ON true ORDER BY ALL"
    )
    assert outer.to_pylist() == [{"image_id": "pets/cat/00.png", "rank": 1}, {"image_id": None, "rank": None}]
    assert len(store.sql("FROM neighbours(NULL)")) == 0
    assert len(store.sql("FROM neighbours((SELECT min(image_id) FROM images), k := 2)")) == 2


def test_vectors_are_had_by_image_id(store: fpve.Store) -> None:
    """`vector_of` gives what the view `vectors` has, for each row of a table; of null null."""
    found = store.sql(
        "SELECT vector_of(i.image_id) AS mine, v.vector, typeof(vector_of(i.image_id)) AS kind, "
        "cosine(v.vector, vector_of('pets/dog/01.png')) AS same, vector_of(NULL) AS none "
        "FROM images i JOIN vectors v USING (image_id) ORDER BY image_id"
    )
    np.testing.assert_allclose(np.array(found["mine"].to_pylist()), np.array(found["vector"].to_pylist()), atol=1e-6)
    assert set(found["kind"].to_pylist()) == {"FLOAT[40]"}
    assert set(found["none"].to_pylist()) == {None}
    at = store.images["image_id"].to_pylist().index("pets/dog/01.png")
    assert found["same"][at].as_py() == pytest.approx(1, abs=1e-6)


def _assert_same(found: pa.Table, hits: Hits) -> None:
    rows, expected = found.select(FOUND).to_pylist(), hits.to_arrow().select(FOUND).to_pylist()
    assert [one["image_id"] for one in rows] == [one["image_id"] for one in expected]
    for name in FOUND[1:]:
        assert [one[name] for one in rows] == pytest.approx([one[name] for one in expected], nan_ok=True)


@pytest.mark.parametrize(
    ("query", "kind", "reason"),
    [
        ("FROM neighbours('pets/cat/0.png')", ImageNotFound, "no image 'pets/cat/0.png'.*did you mean"),
        ("SELECT vector_of('pets/cat/0.png')", ImageNotFound, "no image 'pets/cat/0.png'.*did you mean"),
        ("FROM neighbours('pets/cat/00.png', k := 0)", QueryError, "k: expected at least 1, found 0"),
        ("FROM neighbours('pets/cat/00.png', image_weight := 2)", QueryError, "image weight: expected a number from 0"),
        ("FROM search('')", QueryError, "text: expected words, found an empty text"),
        ("FROM search('a dog', image_weight := 1)", QueryError, "image weight 1 ranks by the picture alone"),
        ("FROM search()", QueryError, r"\(query, k := NULL, image_weight := NULL\)"),
        ("FROM serch('a dog')", QueryError, 'Did you mean "search"'),
        ("FROM imags", QueryError, "no view 'imags'; did you mean 'images'?"),
        ("FROM nothing_like_it", QueryError, "no view 'nothing_like_it'; there is images, vectors, prefixes"),
        ("SELECT captoin FROM images", QueryError, 'Candidate bindings: "caption"'),
        ("FROM saved.cat", QueryError, "nothing is saved as 'cat'; did you mean 'cats'?"),
        ("FROM hits('dogs')", QueryError, "nothing is saved as 'dogs'; there is cats"),
    ],
)
def test_mistakes_are_told_in_one_line(store: fpve.Store, query: str, kind: type[Exception], reason: str) -> None:
    """What a search refuses is refused as there; a name that is none is told with the nearest one."""
    store.save("cats", store.images)
    with pytest.raises(kind, match=reason) as caught:
        store.sql(query)
    assert "\n" not in str(caught.value)


def test_a_store_without_prefixes_says_so(job: Job, pictures: Path) -> None:
    """A text finds nothing where there is nothing to compare it with; a picture does."""
    (pictures / "metadata.csv").write_text("path,kind\ncat/00.png,cat\n")
    fpve.run(_without_prefixes(job))
    store = fpve.open(job.store)
    with pytest.raises(QueryError, match="no image has a prefix that a text could be compared with"):
        store.sql("FROM search('a dog')")
    assert len(store.sql("FROM neighbours('pets/cat/00.png', k := 3)")) == 3
    found = store.sql(
        "SELECT prefix_cosine(vector, vector) AS p, image_cosine(vector, vector) AS i FROM vectors LIMIT 1"
    )
    assert found.to_pylist() == [{"p": None, "i": pytest.approx(1, abs=1e-6)}]


def _without_prefixes(job: Job) -> Job:
    from dataclasses import replace

    return replace(job, collections=tuple(replace(one, prefix=None) for one in job.collections))


def test_saved_rows_are_views(store: fpve.Store) -> None:
    """`saved.NAME` and `hits('NAME')` are the rows, in any case; `saved` lists them; SQL's own are saved too."""
    store.save("dogs", store.search(text="dog number 4", k=3))
    store.save("order", store.sql("SELECT kind, sum(price) AS total FROM images GROUP BY kind"))
    for query in ("FROM saved.dogs", "FROM SAVED.Dogs", "FROM hits('dogs')", "FROM hits('Do' || 'gs')"):
        assert store.sql(query)["image_id"][0].as_py() == "pets/dog/04.png"
    assert store.sql("SELECT name, rows FROM saved").to_pylist() == [
        {"name": "dogs", "rows": 3},
        {"name": "order", "rows": 3},
    ]
    assert len(store.sql("SELECT * FROM saved.order JOIN images USING (kind) JOIN saved.dogs USING (image_id)")) == 3
    store.save("dogs", store.images)
    assert len(store.sql("FROM saved.dogs")) == 12


def test_a_damaged_saved_table_matters_to_who_asks_for_it(store: fpve.Store) -> None:
    """It is named with the remedy; other queries, and those that only seem to name it, are answered."""
    store.save("kind", store.images)
    (store.path / "saved/kind.parquet").write_bytes(b"PAR1")
    with pytest.raises(StoreCorrupt, match=r"kind\.parquet.*fpve saved .* --remove kind"):
        store.sql("FROM saved.kind")
    with pytest.raises(StoreCorrupt, match=r"kind\.parquet.*fpve saved .* --remove kind"):
        store.sql("FROM hits('ki' || 'nd')")
    assert len(store.sql("SELECT DISTINCT kind FROM images")) == 3
    assert "kind" in store.sql("FROM saved")["name"].to_pylist()


def test_a_damaged_table_matters_to_who_asks_for_it(store: fpve.Store) -> None:
    """So does a table of the store: what does not need it is answered."""
    next((store.path / "tables/prefixes").iterdir()).write_bytes(b"x")
    with pytest.raises(StoreCorrupt, match="its content has changed"):
        store.sql("FROM prefixes")
    assert store.sql("SELECT count(prefix) AS prefixes FROM images")["prefixes"].to_pylist() == [6]


def test_what_is_there_can_be_asked(store: fpve.Store) -> None:
    """SHOW, DESCRIBE, SUMMARIZE and EXPLAIN answer; only what is meant to be asked is shown."""
    names = ["corrections", "generated", "images", "labels", "means", "predicted", "predictions", "prefixes"]
    assert store.sql("SHOW TABLES")["name"].to_pylist() == [*names, "quarantine", "runs", "saved", "vectors"]
    for query in ("-- all\nSHOW", "show /* all */ tables", "/* all */ DESCRIBE"):
        assert "vectors" in store.sql(query)["name"].to_pylist()
    found = store.sql("DESCRIBE vectors").to_pylist()
    assert [(one["column_name"], one["column_type"]) for one in found] == [
        ("image_id", "VARCHAR"),
        ("vector", "FLOAT[40]"),
    ]
    assert "kind" in store.sql("SUMMARIZE images")["column_name"].to_pylist()
    assert len(store.sql("FROM information_schema.tables WHERE table_name = 'images'")) == 1
    assert "Scan" in store.sql("EXPLAIN SELECT * FROM images")["explain_value"][0].as_py()
    assert "Total Time" in store.sql("-- plan\nexplain analyze FROM images")["explain_value"][0].as_py()
    assert len(store.sql("FROM query_table('im' || 'ages')")) == 12
    assert store.sql('SELECT count(*) AS n FROM "IMAGES"')["n"].to_pylist() == [12]


def test_files_of_others_are_not_saved_rows(store: fpve.Store) -> None:
    """A Parquet file that somebody put there is named, and not shown."""
    store.save("mine", store.images)
    pq.write_table(pa.table({"a": [1]}), store.path / "saved/mine.parquet")
    with pytest.raises(StoreCorrupt, match="expected a saved result, found a table that nobody saved"):
        store.sql("FROM saved.mine")
