"""`fpve sql`: queries from everywhere, results everywhere, and signals."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from commands import Done, command_alone, command_here

import fpve
from fpve.config import Job

FOREVER = "SELECT count(*) FROM range(10_000_000) a, range(10_000_000) b WHERE a.range * b.range % 7 = 3"
KINDS = [{"kind": "bird", "n": 4}, {"kind": "cat", "n": 4}, {"kind": "dog", "n": 4}]
BY_KIND = "SELECT kind, count(*) AS n FROM images GROUP BY kind ORDER BY kind"


@pytest.fixture
def store(job: Job) -> Path:
    """A store of the twelve pictures."""
    fpve.run(job)
    return job.store


def sql(*words: object, stdin: str | None = None) -> Done:
    """Run `fpve sql` in this process; without a text, stdin is nothing."""
    return command_here(["sql", *words], stdin=stdin)


def test_queries_come_from_the_command_line_and_from_stdin(store: Path) -> None:
    """QUERY, `-` and no QUERY are the same, whatever lies between the lines, and so is a pipe to another process."""
    for done in (
        sql(store, BY_KIND, "-f", "json"),
        sql(store, "-", "-f", "json", stdin=BY_KIND),
        sql(store, "-f", "json", stdin=f"-- kinds\n\n{BY_KIND};\n"),
        command_alone(["sql", store, "-f", "json"], stdin=f"-- kinds\n\n{BY_KIND};\n"),
    ):
        assert (json.loads(done.stdout), done.stderr, done.returncode) == (KINDS, "", 0)
    nothing = command_alone(["sql", store])
    assert (nothing.returncode, nothing.stderr) == (1, "fpve: SQL: expected one query, found 0\n")


def test_results_go_to_files_part_by_part(store: Path, tmp_path: Path) -> None:
    """A file can be larger than the memory that a result may take; a failure leaves what was there."""
    large = "SELECT range AS a, hash(range) AS b FROM range(3_000_000)"
    target = tmp_path / "large.parquet"
    done = sql(store, large, "--memory", "40MB", "-o", target)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert pq.read_metadata(target).num_rows == 3_000_000
    assert sql(store, large, "--memory", "40MB").stderr.startswith("fpve: SQL: the result is larger than the 40 MB")
    for name in ("rows.csv", "rows.jsonl", "rows.json"):
        assert sql(store, BY_KIND, "-o", tmp_path / name).returncode == 0
    assert [
        {"kind": one["kind"], "n": int(one["n"])}
        for one in csv.DictReader((tmp_path / "rows.csv").read_text().splitlines())
    ] == KINDS
    assert [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()] == KINDS
    assert json.loads((tmp_path / "rows.json").read_text()) == KINDS
    (tmp_path / "old.csv").write_text("old")
    failed = sql(store, "SELECT error('no') FROM images", "-o", tmp_path / "old.csv")
    assert (failed.returncode, (tmp_path / "old.csv").read_text()) == (1, "old")
    assert not list(tmp_path.glob(".*.tmp"))


def test_results_are_saved_and_joined(store: Path, tmp_path: Path) -> None:
    """`--save` keeps what is printed or written, and the next query has it."""
    dear = "SELECT image_id, price FROM images WHERE price > 8"
    done = sql(store, dear, "--save", "Dear", "-f", "json")
    assert len(json.loads(done.stdout)) == 4
    assert done.stderr == f'saved 4 rows: `fpve sql {store} "SELECT * FROM saved.dear"`\n'
    joined = (
        "SELECT i.kind, max(d.price) AS price FROM saved.dear d JOIN images i USING (image_id) GROUP BY ALL ORDER BY 1"
    )
    assert sql(store, joined, "--save", "dearest", "-o", tmp_path / "d.csv").returncode == 0
    assert (tmp_path / "d.csv").read_text() == '"kind","price"\n"bird",11.5\n"cat",9.5\n"dog",10.5\n'
    assert json.loads(sql(store, "SELECT name, rows FROM saved", "-f", "json").stdout) == [
        {"name": "dear", "rows": 4},
        {"name": "dearest", "rows": 3},
    ]


def test_an_interactive_session_reads_a_pipe(store: Path) -> None:
    """Queries end with ;, a mistake is one line, commands begin with a point, and the last query may lack its end."""
    text = f"\nSELECT 1\n  AS a;\n.help\nSELECT nope;\n.what\n{BY_KIND};\n.tables\nSELECT 2 AS b"
    done = command_alone(["sql", store, "--interactive", "-f", "jsonl"], stdin=text)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[:4] == ['{"a": 1}', *(json.dumps(one) for one in KINDS)]
    assert lines[4:7] == ["images", "vectors", "prefixes"]
    assert lines[-1] == '{"b": 2}'
    notes = done.stderr.splitlines()
    assert notes[0].startswith("1 row, ")
    assert "Ctrl-C drops what is written" in done.stderr
    assert 'fpve: SQL: Binder Error: Referenced column "nope" was not found because the FROM clause is missing' in notes
    assert "fpve: no command '.what'; .help tells which there are" in notes
    assert [one.split(",")[0] for one in notes if " s" in one and "row" in one] == ["1 row", "3 rows", "1 row"]
    several = sql(
        store, "-i", "-f", "jsonl", stdin="SELECT ';' AS a; SELECT nope; -- no;\n SELECT 2\n AS a; SELECT 3 AS a"
    )
    assert several.stdout == '{"a": ";"}\n{"a": 2}\n{"a": 3}\n'
    assert sql(store, "SELECT 1 WHERE false", "-f", "jsonl").stdout == ""
    assert sql(store, "-i", stdin="SELECT 1;\n.quit\nSELECT 2;").stdout == "1\n─\n1\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("SELECT 1", "-i"), "--interactive asks for queries itself: leave out QUERY"),
        (("-i", "-o", "x.csv"), "--output and --save are of one query: give it as QUERY"),
        (("-i", "--save", "x"), "--output and --save are of one query: give it as QUERY"),
    ],
)
def test_options_that_exclude_each_other(store: Path, words: tuple[str, ...], message: str) -> None:
    """What a session can't have is wrong usage."""
    done = sql(store, *words)
    assert (done.returncode, done.stderr) == (2, f"fpve: {message} (see `fpve sql --help`)\n")


def test_bounds_are_options(store: Path) -> None:
    """--timeout and --memory end a query in one line."""
    late = sql(store, FOREVER, "--timeout", "0.3")
    assert (late.returncode, late.stdout) == (1, "")
    assert late.stderr == "fpve: SQL: no answer within 0.3 s; allow more (timeout, --timeout), or ask for less\n"
    much = sql(store, "SELECT DISTINCT range, hash(range) FROM range(10_000_000)", "--memory", "40MB")
    assert (much.returncode, much.stdout) == (1, "")
    assert much.stderr.startswith("fpve: SQL: the query needs more than the 40 MB of memory")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("fetching", [False, True])
def test_a_signal_ends_a_query(
    store: Path, tmp_path: Path, number: int, fetching: bool, tree: Callable[[Path], dict[str, bytes]]
) -> None:
    """Ctrl-C and SIGTERM end the process while it computes or writes, with the code of the signal; nothing is left."""
    before = tree(store)
    query = "SELECT a.range FROM range(10_000_000) a, range(10_000_000) b" if fetching else FOREVER
    words = [sys.executable, "-m", "fpve", "sql", str(store), query, "-o", str(tmp_path / "rows.csv")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        if fetching:
            _wait_for(lambda: any(path.stat().st_size > 1_000_000 for path in tmp_path.glob(".*.tmp")))
        else:
            _wait_for(lambda: "duckdb" in Path(f"/proc/{process.pid}/maps").read_text())
            begun = _cpu_seconds(process.pid)
            # Longer than it takes from there to the query.
            _wait_for(lambda: _cpu_seconds(process.pid) > begun + 2)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert errors == "fpve: interrupted; what was finished is kept, run the same command again to go on\n"
    assert tree(store) == before
    assert not list(tmp_path.glob("*rows*")) + list(tmp_path.glob(".*.tmp"))


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _wait_for(condition: Callable[[], bool]) -> None:
    last = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < last
        time.sleep(0.05)
