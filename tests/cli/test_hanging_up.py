"""Who reads the rows may hang up, as `| head` does: what else a command was asked for is kept by then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import fpve
from fpve.cli import cli, output
from fpve.config import Job


@pytest.mark.parametrize(
    ("command", "saves"),
    [
        (("duplicates",), True),
        (("outliers", "--all"), True),
        (("mislabeled", "--label", "kind"), True),
        (("map", "--format", "csv"), True),
        (("search", "--text", "a cat"), True),
        (("search", "--queries", "PICTURES"), True),
        (("classify", "PICTURE", "--label", "kind"), False),
        (("evaluate", "--label", "kind"), False),
        (("evaluate", "--label", "kind", "--ablation"), False),
    ],
)
def test_the_page_and_saved_rows_are_there_by_then(
    job: Job,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    saves: bool,
) -> None:
    """Nobody reads a single row: the page of `--html` is written, and `--save` has saved."""
    fpve.run(job)

    def closed(*_: Any, **__: Any) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(output, "print_rows", closed)
    monkeypatch.setattr(output, "emit", closed)
    page = tmp_path / "page.html"
    places = {"PICTURES": str(pictures), "PICTURE": str(next(pictures.rglob("*.png")))}
    name, *options = (places.get(word, word) for word in command)
    save = ["--save", "kept"] if saves else []
    ran = CliRunner().invoke(cli, [name, str(job.store), *options, *save, "--html", str(page)])
    assert isinstance(ran.exception, BrokenPipeError)
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert fpve.open(job.store).saved()["name"].to_pylist() == (["kept"] if saves else [])
