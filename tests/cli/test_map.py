"""`fpve map`: rows as any other command prints them, a page, and what is saved."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from commands import command_here

import fpve
from fpve.cli import cli
from fpve.config import Job


@pytest.fixture
def store(job: Job) -> Path:
    """A store of 12 pictures."""
    fpve.run(job)
    return job.store


def run(store: Path, *words: str | Path) -> Result:
    """The command in this process, as it ended."""
    done = CliRunner().invoke(cli, ["map", str(store), *map(str, words)])
    assert done.exit_code == 0, done.output
    return done


def test_rows_are_the_librarys(store: Path, tmp_path: Path) -> None:
    """Every option reaches the library, and rows are printed or written in any format."""
    expected = fpve.open(store).map(image_weight=0.2, where="kind <> 'cat'", color="price")
    rows = json.loads(run(store, "-A", "0.2", "--where", "kind <> 'cat'", "--color", "price", "-f", "json").stdout)
    assert [list(row) for row in rows] == [["image_id", "x", "y", "price"]] * 8
    assert [row["image_id"] for row in rows] == expected.to_arrow()["image_id"].to_pylist()
    np.testing.assert_allclose([row["x"] for row in rows], expected.to_arrow()["x"].to_numpy(), rtol=1e-6)
    assert run(store).stdout.split()[:3] == ["image_id", "x", "y"]
    run(store, "--method", "umap", "--seed", "3", "-o", tmp_path / "places.parquet")
    assert pq.read_table(tmp_path / "places.parquet").equals(fpve.open(store).map(method="umap", seed=3).to_arrow())


def test_a_page_is_written_instead_of_rows(store: Path, tmp_path: Path) -> None:
    """Rows are printed beside a page only where a format or a file is asked for."""
    page = tmp_path / "map.html"
    done = run(store, "--html", page)
    assert (done.stdout, done.stderr.splitlines()) == ("", [f"wrote {page}"])
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert len(run(store, "--html", page, "-f", "jsonl").stdout.splitlines()) == 12


def test_rows_are_saved_for_sql(store: Path) -> None:
    """Under a name, with the columns that they have."""
    done = run(store, "--save", "places", "--color", "kind")
    assert (done.stdout, done.stderr.startswith("saved 12 rows")) == ("", True)
    found = fpve.open(store).sql("SELECT kind, count(*) AS n FROM saved.places GROUP BY kind ORDER BY kind")
    assert found.to_pylist() == [{"kind": one, "n": 4} for one in ("bird", "cat", "dog")]


BAD = [
    (["--color", "knid"], 1, "color: no column 'knid'; did you mean 'kind'?"),
    (["--method", "tsne"], 2, "'tsne' is not one of 'pca', 'umap'"),
    (["-A", "2"], 1, "image weight: expected a number from 0 (text only) to 1 (picture only), found 2.0"),
    (["--where", "knid = 1"], 1, "where:"),
    (["--html", "missing/map.html"], 1, "missing/map.html: no such folder: missing"),
]


@pytest.mark.parametrize(("words", "code", "message"), BAD, ids=[" ".join(words) for words, _, _ in BAD])
def test_mistakes_are_one_line(store: Path, words: list[str], code: int, message: str) -> None:
    """What can't be done is said in one line, with the exit code of its kind."""
    done = command_here(["map", "store", *words], cwd=store.parent)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
