"""Outliers: mean distances to neighbours as arithmetic gives them, copies counted once, and a cut that holds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from curation.conftest import pixels, save
from samples import make_job

import fpve
from fpve.cli import cli
from fpve.curation.outliers import SCHEMA, outliers, robust_z
from fpve.errors import QueryError
from fpve.fusion import unit
from fpve.search import Searcher
from fpve.store.snapshot import Snapshot


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 30 pictures that are much alike, one of them with four copies, and two that are like nothing."""
    folder = tmp_path_factory.mktemp("odd") / "pictures"
    rng = np.random.default_rng(1)
    for number in range(30):
        save(folder / f"usual/{number:02d}.png", pixels(0) + rng.integers(-20, 21, (8, 8, 3)))
    for number in range(4):
        (folder / f"usual/copy-{number}.png").write_bytes((folder / "usual/00.png").read_bytes())
    lines = ["path,caption"]
    for number in range(2):
        save(folder / f"odd/{number}.png", pixels(50 + number))
        (folder / f"odd/copy-{number}.png").write_bytes((folder / f"odd/{number}.png").read_bytes())
    lines += [f"usual/{number:02d}.png,usual {number}" for number in range(30)]
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    fpve.run(make_job(folder.parent / "store", folder))
    return folder.parent / "store"


def by_hand(searcher: Searcher, k: int, image_weight: float) -> np.ndarray:
    """The mean distance of each image to its k nearest others of another content."""
    rows = np.arange(searcher.rows)
    blocks = searcher.blocks_of(rows)
    score = image_weight * unit(blocks.image) @ unit(blocks.image).T
    score += (1 - image_weight) * unit(blocks.prefix) @ unit(blocks.prefix).T
    hashes = np.array(searcher.snapshot.images["content_hash"].to_pylist())
    first = np.unique(hashes, return_index=True)[1]
    found = []
    for row in rows:
        me = first[hashes[first] == hashes[row]][0]
        others = np.sort(score[me, [at for at in first if at != me]])[::-1][:k]
        found.append(np.mean(1 - others))
    return np.array(found)


@pytest.mark.parametrize(("k", "image_weight"), [(1, 1.0), (5, 1.0), (10, 0.5), (1_000, 1.0)])
def test_distances_are_means_over_neighbours(odd: Path, k: int, image_weight: float) -> None:
    """Of other contents, whatever copies there are."""
    searcher = Searcher(Snapshot.open(odd))
    table = outliers(searcher, k=k, image_weight=image_weight, everything=True)
    assert table.schema == SCHEMA
    ids = searcher.snapshot.images["image_id"].to_pylist()
    found = dict(zip(table["image_id"].to_pylist(), table["distance"].to_pylist(), strict=True))
    np.testing.assert_allclose([found[one] for one in ids], by_hand(searcher, k, image_weight), atol=2e-6)
    assert table["rank"].to_pylist() == list(range(1, len(ids) + 1))
    assert table["distance"].to_pylist() == sorted(table["distance"].to_pylist(), reverse=True)


def test_the_odd_ones_are_found(odd: Path) -> None:
    """Both, with their copies, and the nearest of each; the others are not beyond the cut."""
    found = fpve.open(odd).outliers(k=5)
    names = ["pets/odd/0.png", "pets/odd/1.png", "pets/odd/copy-0.png", "pets/odd/copy-1.png"]
    assert sorted(one.image_id for one in found) == names
    assert all(one.z > 3.5 and one.nearest.startswith("pets/") for one in found)


def test_z_scores_are_those_of_iglewicz_and_hoaglin() -> None:
    """By the deviations above the median: 1, 2, …, 9 has median 5, and 2 as the median of 0 to 4."""
    np.testing.assert_allclose(robust_z(np.arange(1.0, 10)), (np.arange(1.0, 10) - 5) / (2 / 0.6745))


def test_z_scores_where_most_are_the_same() -> None:
    """The mean deviation is taken where the median one is 0, and 0 for all where none differs; NaN stays."""
    np.testing.assert_allclose(robust_z(np.array([1.0, 1, 1, 1, 5])), [0, 0, 0, 0, 4 / (4 / 5 / 0.7979)])
    assert robust_z(np.array([2.0, 2, np.nan])).tolist()[:2] == [0, 0]
    assert np.isnan(robust_z(np.array([2.0, np.nan]))[1])
    assert np.isnan(robust_z(np.array([np.nan]))).all()
    assert len(robust_z(np.zeros(0))) == 0


def test_one_picture_is_no_outlier(odd: Path) -> None:
    """Where there is nothing to compare with nothing is said; and where nothing is looked at, either."""
    store = fpve.open(odd)
    assert len(store.outliers(where="image_id = 'pets/odd/0.png'", everything=True)) == 0
    assert store.outliers(where="false").to_arrow().equals(SCHEMA.empty_table())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"k": 0}, "k: expected at least 1"),
        ({"cut": float("inf")}, "cut: expected a z-score"),
        ({"image_weight": 0}, "image weight: expected more than 0"),
        ({"image_weight": 2}, "image weight: expected a number"),
    ],
)
def test_wrong_options_are_refused(odd: Path, options: dict[str, float], said: str) -> None:
    """In a line that says what was expected."""
    with pytest.raises(QueryError, match=said):
        fpve.open(odd).outliers(**options)


def test_the_command_says_where_there_is_none(odd: Path) -> None:
    """Rows as JSON, none beyond a high cut, which is said; with --all there are all."""
    runner = CliRunner()
    none = runner.invoke(cli, ["outliers", str(odd), "--cut", "1000", "-f", "json"])
    assert (none.exit_code, json.loads(none.stdout)) == (0, [])
    assert "no picture has a z-score of 1000 or more" in none.stderr
    every = runner.invoke(cli, ["outliers", str(odd), "--all", "-f", "json"])
    assert len(json.loads(every.stdout)) == 38
    alone = runner.invoke(cli, ["outliers", str(odd), "--all", "--where", "false", "-f", "json"])
    assert (json.loads(alone.stdout), alone.stderr) == ([], "")
