"""What SQL does not reach: other files, the store's own as files, the machine, and anything that it could change."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

import fpve
from fpve.config import Job
from fpve.errors import QueryError, StoreCorrupt
from fpve.store import manifest as manifests
from fpve.store.manifest import Manifest

READS = [
    f"FROM {function}('{path}')"
    for function in (
        "read_csv",
        "read_parquet",
        "read_text",
        "read_blob",
        "read_json",
        "glob",
        "sniff_csv",
        "read_duckdb",
    )
    for path in (
        "/etc/passwd",
        "{store}/images/pets/*.parquet",
        "../outside/secret.csv",
        "secret.csv",
        "file:///etc/passwd",
    )
]
OTHERS = [
    "FROM '/etc/passwd'",
    "FROM '{store}/saved/mine.parquet'",
    'FROM "secret.csv"',
    "FROM parquet_metadata('{store}/saved/mine.parquet')",
    "FROM query_table('secret.csv')",
    "FROM query_table('/etc/passwd')",
    "FROM hits('../../outside/secret.csv')",
    "FROM hits('mine.parquet')",
    "FROM query('COPY images TO ''stolen.csv''')",
    "FROM query('FROM read_text(''/etc/passwd'')')",
    "FROM query('SELECT 1; SELECT 2')",
    "FROM json_execute_serialized_sql(json_serialize_sql('FROM read_text(''/etc/passwd'')'))",
    "SELECT (SELECT content FROM read_text('/etc/passwd'))",
    "SELECT getenv('HOME')",
    "COPY images TO '{store}/stolen.csv'",
    "COPY images TO '/tmp/stolen.csv'",
    "COPY (SELECT 1) TO 'stolen.parquet'",
    "COPY images FROM 'secret.csv'",
    "EXPORT DATABASE '{store}/all'",
    "IMPORT DATABASE '{store}/all'",
    "ATTACH '{store}/new.db'",
    "ATTACH ':memory:' AS more",
    "DETACH memory",
    "INSTALL httpfs",
    "LOAD httpfs",
    "LOAD '/tmp/any.duckdb_extension'",
    "SET enable_external_access = true",
    "SET memory_limit = '1TB'",
    "SET GLOBAL lock_configuration = false",
    "RESET ALL",
    "PRAGMA enable_profiling",
    "PRAGMA database_list",
    "CALL pragma_version()",
    "CALL enable_logging(storage = 'file', storage_path = '{store}/log')",
    "FROM enable_logging(storage = 'file', storage_path = '{store}/log')",
    "FROM enable_profiling(save_location := '{store}/profile.json')",
    "FROM add_grammar_extension('any')",
    "FROM duckdb_secrets()",
    "FROM which_secret('s3://bucket', 's3')",
    "FROM 's3://bucket/file.parquet'",
    "FROM 'https://example.com/file.csv'",
    "CREATE TABLE t AS SELECT 1",
    "CREATE TEMP TABLE t AS SELECT 1",
    "CREATE VIEW v AS SELECT 1",
    "CREATE OR REPLACE VIEW images AS SELECT 1",
    "CREATE MACRO m() AS 1",
    "CREATE SECRET s (TYPE s3)",
    "CREATE SCHEMA s",
    "DROP VIEW vectors",
    "ALTER VIEW images RENAME TO i",
    "INSERT INTO images VALUES (1)",
    "UPDATE images SET kind = 'x'",
    "DELETE FROM images",
    "TRUNCATE images",
    "BEGIN",
    "CHECKPOINT",
    "VACUUM",
    "USE saved",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "PIVOT images ON kind",
    "SELECT 1; SELECT 2",
    "SELECT 1; COPY images TO 'stolen.csv'",
    "SELECT 1;;; DROP VIEW images",
    "/* SELECT 1 */ COPY images TO 'stolen.csv'",
    "-- SELECT 1\nCOPY images TO 'stolen.csv'",
    "SELECT 1 /* ; */; DROP VIEW images",
    "\ufeffCOPY images TO 'stolen.csv'",
    "\u00a0COPY\u00a0images TO 'stolen.csv'",
    "COPY\u2003images TO 'stolen.csv'",
    "\uff23\uff2f\uff30\uff39 images TO 'stolen.csv'",
    "WITH x AS (COPY images TO 'stolen.csv') SELECT 1",
    "WITH x AS (INSERT INTO images VALUES (1) RETURNING *) FROM x",
    "EXPLAIN COPY images TO 'stolen.csv'",
    "EXPLAIN ANALYZE COPY images TO 'stolen.csv'",
    "EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1",
    "EXPLAIN /* SELECT 1 */ ANALYZE CREATE TABLE t AS SELECT 1",
    "/* /* */ EXPLAIN SELECT 1 */ EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1",
    "EXPLAIN SELECT 1; DROP VIEW images",
    "EXPLAIN ANALYZE SELECT 1; CREATE TABLE t AS SELECT 1",
    "EXPLAIN ANALYZE FROM read_text('/etc/passwd')",
    "nonsense",
    "SELECT nothing FROM images",
    "SELECT ?",
    "",
    ";",
    "-- nothing",
]


@pytest.fixture
def outside(job: Job, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The store's job, run, with a saved table; a folder beside it to stand in, with a file that nobody may read."""
    fpve.run(job)
    store = fpve.open(job.store)
    store.save("mine", store.images)
    folder = job.store.parent / "outside"
    folder.mkdir()
    (folder / "secret.csv").write_text("secret\n42\n")
    # DuckDB allows its own directory for temporary files, where there is one.
    (folder / ".tmp").mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_nothing_else_is_reached(outside: Path, job: Job, tree: Callable[[Path], dict[str, bytes]]) -> None:
    """Reading other files, writing, attaching, settings and several statements are refused, each in one line."""
    store = fpve.open(job.store)
    before = tree(job.store.parent)
    reached, told = [], []
    for query in [*READS, *OTHERS]:
        try:
            found = store.sql(query.format(store=job.store))
        except QueryError as error:
            told.append(str(error))
        else:
            reached.append((query, found.to_pylist()))
    assert reached == []
    assert [text for text in told if "\n" in text] == []
    assert tree(job.store.parent) == before
    assert not Path("/tmp/stolen.csv").exists()  # noqa: S108
    assert len(store.sql("FROM images")) == 12


def test_one_session_stays_as_it_is(outside: Path, job: Job) -> None:
    """What is refused in a session leaves nothing in it for the next query."""
    with fpve.open(job.store).sql_session() as session:
        for query in (
            "SET lock_configuration = false",
            "CREATE TABLE t AS SELECT 1",
            "EXPLAIN ANALYZE DROP VIEW images",
        ):
            with pytest.raises(QueryError, match="expected a SELECT query"):
                session.ask(query)
        names = session.ask("SHOW TABLES").collect()["name"].to_pylist()
        assert "t" not in names
        assert "images" in names


def test_python_variables_are_no_tables(outside: Path, job: Job) -> None:
    """DuckDB's replacement scans would read the program's own variables; they are off."""
    secret = pa.table({"a": [1]})  # noqa: F841
    with pytest.raises(QueryError, match="no view 'secret'"):
        fpve.open(job.store).sql("SELECT * FROM secret")


@pytest.mark.parametrize("name", ["images", "vectors", "prefixes", "saved.mine"])
def test_links_out_of_the_store_are_not_read(
    outside: Path, job: Job, name: str, tree: Callable[[Path], dict[str, bytes]]
) -> None:
    """A page, its copy, a segment, a table or saved rows that lead elsewhere are refused, whatever is there."""
    (path,) = _files_of(job.store, name, manifests.load(job.store))[:1]
    target = outside / path.name
    shutil.move(path, target)
    path.symlink_to(target)
    store = fpve.open(job.store)
    with pytest.raises((QueryError, StoreCorrupt), match=r"a link to|nothing is saved as 'mine'") as caught:
        store.sql(f"FROM {name}")
    assert "\n" not in str(caught.value)
    assert len(store.sql("SELECT 1 AS images, 2 AS vectors, 3 AS prefixes, 4 AS mine")) == 1


@pytest.mark.parametrize("folder", ["images", "images/pets", "vectors", "tables/prefixes"])
def test_folders_out_of_the_store_are_not_read(outside: Path, job: Job, folder: str) -> None:
    """Nor is what lies behind a folder that is a link; one within the store may be."""
    moved = outside / "moved"
    shutil.move(job.store / folder, moved)
    (job.store / folder).symlink_to(moved)
    view = {"images": "images", "vectors": "vectors", "tables": "prefixes"}[folder.split("/")[0]]
    with pytest.raises(StoreCorrupt, match=r"found a link to .*outside.*copy it to its place"):
        fpve.open(job.store).sql(f"FROM {view}")
    (job.store / folder).unlink()
    shutil.move(moved, job.store / "elsewhere")
    (job.store / folder).symlink_to(job.store / "elsewhere")
    assert len(fpve.open(job.store).sql(f"FROM {view}")) > 0


def test_a_store_behind_a_link_is_a_store(outside: Path, job: Job) -> None:
    """The store itself may be reached by a link: what lies in it does."""
    link = outside / "link"
    link.symlink_to(job.store)
    assert fpve.open(link).sql("SELECT count(*) AS n FROM vectors")["n"].to_pylist() == [12]


def test_reports_behind_links_are_no_reports(outside: Path, job: Job) -> None:
    """A link among the reports of runs is nobody's report."""
    report = next((job.store / "runs").iterdir())
    shutil.move(report, outside / report.name)
    report.symlink_to(outside / report.name)
    assert len(fpve.open(job.store).sql("FROM runs")) == 0


def _files_of(store: Path, name: str, manifest: Manifest) -> list[Path]:
    page = store / manifest.collections[0].pages[0].file.path
    return {
        "images": [page.with_suffix(".arrow"), page],
        "vectors": [store / manifest.segments[0].file.path],
        "prefixes": [store / one.file.path for one in manifest.tables_named("prefixes")],
        "saved.mine": [store / "saved/mine.parquet"],
    }[name]
