"""The command `search`: what it says on stdout and stderr, and the queries of a folder or a table."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from commands import command_here
from samples import make_job

import fpve
from fpve.cli import cli


@pytest.fixture
def store(tmp_path: Path, pictures: Path) -> Path:
    """A store of 12 pictures."""
    job = make_job(tmp_path / "store", pictures)
    fpve.run(job)
    return job.store


def search(store: Path, *words: object) -> Result:
    """Run `fpve search` in this process."""
    done = CliRunner().invoke(cli, ["search", str(store), *map(str, words)], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done


def as_json(store: Path, *words: object) -> list[dict]:
    """The hits that `fpve search` prints."""
    return json.loads(search(store, *words, "-f", "json").stdout)


def test_options_are_those_of_the_library(store: Path) -> None:
    """Each option of the command does what the one of `Store.search` does."""
    opened = fpve.open(store)
    for words, options in (
        (["--offset", 3, "-k", 2], {"offset": 3, "k": 2}),
        (["--min-score", 0.1], {"min_score": 0.1}),
        (["--group-by", "kind"], {"group_by": "kind"}),
        (["--dedup", 0.5], {"dedup": 0.5}),
        (["--exact", "-A", 0.2], {"exact": True, "image_weight": 0.2}),
    ):
        expected = opened.search(id="pets/cat/00.png", **options).to_arrow().to_pylist()
        assert as_json(store, "--id", "pets/cat/00.png", *words) == expected
        assert 0 < len(expected) < 12


def test_explain_says_what_was_done(store: Path) -> None:
    """It is on stderr, whatever is printed on stdout; without it nothing is."""
    words = ("--text", "cat number 0", "--where", "kind = 'cat'", "-k", 2)
    assert search(store, *words).stderr == ""
    done = search(store, *words, "--explain", "--exact", "-f", "json")
    assert len(json.loads(done.stdout)) == 2
    facts = dict(line.split("  ", 1) for line in done.stderr.splitlines())
    assert {name: value.strip() for name, value in facts.items()} == {
        "queries": "1",
        "images": "4 that may be found",
        "image weight": "0",
        "exact": "4 vectors in 1 segment: every one was scored (asked for)",
        "looked at": "the 2 best images of a query",
        "hits": "exact",
    }


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "json", "csv"])
def test_a_folder_of_queries_is_written_to_a_file(store: Path, pictures: Path, tmp_path: Path, suffix: str) -> None:
    """The file has the hits of all queries, in the format that its name says; stdout and stderr have nothing."""
    target = tmp_path / f"hits.{suffix}"
    done = search(store, "--queries", pictures, "-k", 3, "--output", target)
    assert (done.stdout, done.stderr, done.return_value) == ("", "", 0)
    rows, _ = fpve.open(store).search_many(pictures, k=3).collect()
    if suffix == "parquet":
        assert pq.read_table(target) == rows
    elif suffix == "csv":
        assert len(target.read_text().splitlines()) == 1 + 36
    else:
        text = target.read_text()
        assert (json.loads(text) if suffix == "json" else [*map(json.loads, text.splitlines())]) == rows.to_pylist()


def test_a_few_queries_are_printed(store: Path, tmp_path: Path) -> None:
    """Without a file, hits are printed as those of one query are: as a table, as JSON, into a text file."""
    table = tmp_path / "q.csv"
    table.write_text("id,text\nfirst,cat number 0\nsecond,dog number 4\n", encoding="utf-8")
    lines = search(store, "--queries", table, "-k", 2).stdout.splitlines()
    assert lines[0].split()[:3] == ["query", "rank", "image_id"]
    assert [line.split()[:2] for line in lines[2:]] == [
        ["first", "1"],
        ["first", "2"],
        ["second", "1"],
        ["second", "2"],
    ]
    rows = as_json(store, "--queries", table, "-k", 1, "--offset", 1)
    assert [(row["query"], row["rank"]) for row in rows] == [("first", 2), ("second", 2)]
    search(store, "--queries", table, "-k", 2, "-o", tmp_path / "hits.txt")
    assert (tmp_path / "hits.txt").read_text().splitlines() == lines
    assert "queries       2\n" in search(store, "--queries", table, "--explain").stderr


def test_queries_without_an_answer_are_named(store: Path, tmp_path: Path) -> None:
    """Exit code 3, one line for each of the first five, and how many more there are; the others are written."""
    lines = ["path,text", ",dog number 4", *(f"missing\x1b{number}.png," for number in range(7))]
    (tmp_path / "q.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = command_here(["search", store, "--queries", "q.csv", "-o", "hits.parquet", "-k", "1"], cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.splitlines() == [
        *(f"note: missing {number}.png: no such file" for number in range(5)),
        "note: … and 2 more queries have no answer",
    ]
    assert pq.read_table(tmp_path / "hits.parquet").select(["query", "image_id"]).to_pylist() == [
        {"query": "0", "image_id": "pets/dog/04.png"}
    ]


def test_rows_of_every_command_can_be_json_lines(store: Path, tmp_path: Path) -> None:
    """One object a line, on stdout and in a file."""
    query = "SELECT image_id, price FROM images ORDER BY image_id LIMIT 2"
    expected = ['{"image_id": "pets/bird/02.png", "price": 2.5}', '{"image_id": "pets/bird/05.png", "price": 5.5}']
    done = CliRunner().invoke(cli, ["sql", str(store), query, "-f", "jsonl"])
    assert done.stdout.splitlines() == expected
    CliRunner().invoke(cli, ["sql", str(store), query, "-o", str(tmp_path / "rows.jsonl")])
    assert (tmp_path / "rows.jsonl").read_text().splitlines() == expected


BAD = [
    (["--queries", "q.csv", "--text", "x"], 2, "--queries is instead of --text"),
    (["--queries", "missing.csv"], 1, "missing.csv: no such table"),
    (["--queries", "pictures", "-o", "missing/hits.csv"], 1, "missing/hits.csv: no such folder: missing"),
    (["--queries", "pictures", "--group-by", "knid"], 1, "no column 'knid'; did you mean 'kind'?"),
    (["--text", "x", "--dedup", "95"], 1, "dedup: expected a cosine above 0 and at most 1, such as 0.97, found 95.0"),
    (["--text", "x", "--offset", "-1"], 1, "offset: expected at least 0, found -1"),
]


@pytest.mark.parametrize(("words", "code", "message"), BAD, ids=[" ".join(words) for words, _, _ in BAD])
def test_mistakes_are_one_line(store: Path, words: list[str], code: int, message: str) -> None:
    """What can't be done is said in one line, with the exit code of its kind."""
    done = command_here(["search", "store", *words], cwd=store.parent)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
