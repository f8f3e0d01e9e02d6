"""The commands `export` and `import`: what they print, and to where."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from click.testing import CliRunner

import fpve
from fpve.cli import cli


def test_out_and_in_again(store: fpve.Store, tmp_path: Path) -> None:
    """What is exported is said as facts, or as one object; imported it is the same collection."""
    file = tmp_path / "out.parquet"
    done = CliRunner().invoke(cli, ["export", str(store.path), "-o", str(file), "--vectors", "image"])
    assert (done.exit_code, done.stdout) == (
        0,
        f"file      {file}\nimages    12\nvectors   image, 24 numbers\nsnapshot  1\n",
    )
    words = ["import", str(tmp_path / "other"), "--vectors", str(file)]
    done = CliRunner().invoke(cli, words)
    encoders = store.status().encoders
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == (
        "collection     pets\nimages         12 (12 new)\nvectors        12 made, of 24 numbers\n"
        f"image encoder  {encoders['image']}\ntext encoder   {encoders['text']}\nsnapshot       1 (published)\n"
    )
    again = json.loads(CliRunner().invoke(cli, [*words, "--format", "json"]).stdout)
    assert (again["unchanged"], again["published"], again["encoders"]) == (12, False, encoders)


def test_what_opens_a_file_is_no_part_of_the_data(store: fpve.Store, tmp_path: Path) -> None:
    """The command of the viewer is said on stderr; chosen columns are given with commas."""
    file = tmp_path / "atlas.parquet"
    words = ["export", str(store.path), "--to", "embedding-atlas", "-o", str(file), "--columns", "kind, price"]
    done = CliRunner().invoke(cli, words)
    assert done.stderr == (
        f"open it: embedding-atlas {file} --x x --y y --neighbors neighbors --image image --text prefix\n"
    )
    assert "caption" not in done.stdout


def test_texts_that_are_left_out_are_noted(tmp_path: Path) -> None:
    """A note goes to stderr, beside the facts."""
    np.save(tmp_path / "m.npy", np.eye(2))
    (tmp_path / "m.csv").write_text("image_id,prefix\na,one\nb,two\n", encoding="utf-8")
    done = CliRunner().invoke(cli, ["import", str(tmp_path / "store"), "--vectors", str(tmp_path / "m.npy")])
    assert done.exit_code == 0
    assert done.stderr == (
        "note: its column prefix is left out: no text encoder embeds it; name one with --text-encoder\n"
    )
