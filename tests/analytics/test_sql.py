"""SQL over a store: its views, and its results."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import fpve
from fpve.analytics import matching_rows, split_statements
from fpve.config import CollectionConfig, Job
from fpve.errors import QueryError
from fpve.store.snapshot import Snapshot


@pytest.fixture
def store(job: Job) -> fpve.Store:
    """A store of the twelve pictures."""
    fpve.run(job)
    return fpve.open(job.store)


def test_questions_are_answered_as_pandas_would(store: fpve.Store) -> None:
    """Grouping and arithmetic over metadata give what pandas gives on the same rows."""
    frame = store.images.to_pandas()
    found = store.sql("SELECT kind, count(*) AS n, avg(price) AS price, count(prefix) AS p FROM images GROUP BY kind")
    expected = frame.groupby("kind").agg(n=("image_id", "count"), price=("price", "mean"), p=("prefix", "count"))
    rows = found.to_pandas().set_index("kind").sort_index()
    assert (rows == expected.sort_index()).all().all()


def test_every_view_is_there(store: fpve.Store, job: Job) -> None:
    """images, vectors, prefixes, quarantine and runs can be asked; vectors are those of the segments."""
    counts = [
        store.sql(f"SELECT count(*) AS n FROM {view}")["n"][0].as_py()
        for view in ("images", "vectors", "prefixes", "quarantine", "runs")
    ]
    assert counts == [12, 12, 6, 0, 1]
    row = store.sql(
        "SELECT i.segment, i.row, v.vector FROM images i JOIN vectors v USING (image_id) LIMIT 1"
    ).to_pylist()[0]
    snapshot = Snapshot.open(job.store)
    stored = snapshot.segment_rows(next(one for one in snapshot.manifest.segments if one.name == row["segment"]))
    np.testing.assert_array_equal(np.array(row["vector"], np.float32), stored.vectors[row["row"]])
    kind = store.sql("SELECT typeof(vector) AS t FROM vectors LIMIT 1")["t"][0].as_py()
    assert kind == "FLOAT[40]"


def test_sql_sees_images_as_they_are(job: Job, pictures: Path) -> None:
    """All columns, in order, with full paths: of a folder whose name has a quote in it, and of a table's own paths."""
    folder = pictures.rename(pictures.with_name("Ada's pictures"))
    table = folder.parent / "more.csv"
    table.write_text(f"file\n{folder / 'cat/00.png'}\n")
    first = replace(job.collections[0], source=folder, metadata=folder / "metadata.csv")
    second = CollectionConfig(name="more", source=table, source_key="file")
    fpve.run(replace(job, collections=(first, second)))
    store = fpve.open(job.store)
    found = store.sql("SELECT * FROM images")
    assert found.equals(store.images.combine_chunks().cast(found.schema))
    assert found.column_names == store.images.column_names
    paths = [str(folder / "cat/00.png"), str(folder / "cat/00.png")]
    assert store.sql("SELECT path FROM images WHERE path LIKE '%/00.png'")["path"].to_pylist() == paths
    snapshot = Snapshot.open(job.store)
    assert matching_rows(snapshot, f"path = '{paths[0].replace(chr(39), chr(39) * 2)}'").tolist() == [0, 5]
    assert matching_rows(snapshot, "kind = 'dog' AND price > 5").tolist() == [11, 12]


def test_results_have_distinct_names_and_plain_types(store: fpve.Store) -> None:
    """Two columns of one name get different names, and sums of integers are integers."""
    found = store.sql("SELECT 1 AS a, 2 AS a, sum(width) AS w, avg(price) AS p FROM images")
    assert found.to_pylist() == [{"a": 1, "a_1": 2, "w": 480, "p": 6.0}]


def test_unions_are_texts(store: fpve.Store) -> None:
    """A column of a union is one of texts, whether there are rows or not, whole and part by part."""
    query = (
        "SELECT union_value(a := 1)::UNION(a INTEGER, b VARCHAR) AS u UNION ALL SELECT 'x'::UNION(a INTEGER, b VARCHAR)"
    )
    assert sorted(store.sql(query)["u"].to_pylist()) == ["1", "x"]
    empty = store.sql(f"FROM ({query}) WHERE false")
    assert (empty.schema, len(empty)) == (pa.schema([("u", pa.string())]), 0)
    with store.sql_session() as session:
        answer = session.ask(query)
        assert {str(part.schema) for part in answer.parts()} == {str(answer.schema)} == {"u: string"}


def test_errors_drive_no_terminal(store: fpve.Store) -> None:
    """What an error quotes of the data has no escapes."""
    with pytest.raises(QueryError, match=r"Invalid Input Error: a \[31mb$"):
        store.sql("SELECT error('a' || chr(27) || '[31mb')")


@pytest.mark.parametrize(
    ("text", "found", "rest"),
    [
        ("SELECT 1; SELECT 2;", ["SELECT 1;", "SELECT 2;"], ""),
        ("SELECT ';' AS \";\"; SELECT 'it''s;", ["SELECT ';' AS \";\";"], " SELECT 'it''s;"),
        ("SELECT 1 -- one;\n", [], "SELECT 1 -- one;\n"),
        ("SELECT 1; -- done;\n", ["SELECT 1;"], ""),
        ("/* a; /* b; */ c; */ SELECT 1; /* open;", ["/* a; /* b; */ c; */ SELECT 1;"], " /* open;"),
        ("SELECT $$a;b$$; SELECT $t$;$$;$t$; SELECT $1;", ["SELECT $$a;b$$;", "SELECT $t$;$$;$t$;", "SELECT $1;"], ""),
        ("SELECT E'a\\';b'; SELECT 'a\\'; x", ["SELECT E'a\\';b';", "SELECT 'a\\';"], " x"),
        (" ;; ; -- nothing\n", [], ""),
    ],
)
def test_statements_are_told_apart(text: str, found: list[str], rest: str) -> None:
    """A ; in a text, a name or a comment ends nothing, and comments alone are no statement."""
    assert split_statements(text) == (found, rest)


def test_little_is_imported(store: fpve.Store) -> None:
    """Opening a store and asking SQL imports nothing that fits models, nor what reads datasets, until it is needed."""
    code = (
        f"import fpve, sys; fpve.open({str(store.path)!r}).sql('SELECT count(*) FROM images'); "
        "print({'scipy', 'sklearn', 'torch', 'pyarrow.dataset'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_snapshot_is_let_go_with_its_session(store: fpve.Store) -> None:
    """Nothing of a session that is closed waits for the garbage collector: the snapshot can be pruned at once."""
    opened = fpve.open(store.path)
    held = weakref.ref(opened._open.searcher.snapshot)
    gc.disable()
    try:
        opened.sql("SELECT count(*) FROM vectors")
        with pytest.raises(QueryError):
            opened.sql("SELECT nothing FROM images")
        del opened
        assert held() is None
    finally:
        gc.enable()
