"""Samples: each image the farthest from those before it, as the plain algorithm chooses them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import fpve
from fpve.cli import cli
from fpve.curation import sample as module
from fpve.curation.contents import Contents
from fpve.curation.sample import SCHEMA, _farthest, _farthest_first, sample
from fpve.curation.space import points_of
from fpve.errors import QueryError
from fpve.search import Searcher


def plainly(points: np.ndarray, count: int) -> list[int]:
    """Gonzalez's algorithm, one product after the other, from the point nearest to the mean."""
    chosen = [int(np.argmax(points @ points.mean(axis=0)))]
    nearest = 1 - points @ points[chosen[0]]
    while len(chosen) < count:
        nearest[chosen[-1]] = -np.inf
        chosen.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, 1 - points @ points[chosen[-1]])
    return chosen


@pytest.mark.parametrize("at_once", [1, 3, 64])
def test_each_is_the_farthest_from_those_before(
    searcher: Searcher, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many distances are computed at once, the list is that of the plain algorithm; copies are one picture."""
    monkeypatch.setattr(module, "_AT_ONCE", at_once)
    rows = Contents.of(searcher).first
    expected = rows[plainly(points_of(searcher, rows, 1.0), 40)]
    table = sample(searcher, n=40)
    assert table.schema == SCHEMA
    ids = searcher.snapshot.images["image_id"].to_pylist()
    assert table["image_id"].to_pylist() == [ids[row] for row in expected]
    distances = table["distance"].to_pylist()
    assert distances[0] is None
    assert np.all(np.diff(distances[1:]) <= 1e-6)


def test_the_farthest_of_many_equally_far_ones_is_among_the_farthest() -> None:
    """However many are equally far, it is the first of them that are: what is next is always among them."""
    rng = np.random.default_rng(0)
    for count in (1, 3, 64, 400):
        nearest = rng.choice([-np.inf, 0.0, 0.5, 1.0], 400)
        assert sorted(_farthest(nearest, count)) == sorted(np.argsort(-nearest, kind="stable")[:count])


def test_the_same_features_many_times_are_all_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty pages in many sizes: 400 points of 40 kinds, the kinds first."""
    monkeypatch.setattr(module, "_AT_ONCE", 8)
    points = np.eye(40, dtype=np.float32)[np.random.default_rng(0).integers(0, 40, 400)]
    found = list(_farthest_first(points, np.full(400, np.inf)))
    assert sorted(place for place, _ in found) == list(range(400))
    assert [distance for _, distance in found[1:]] == [1.0] * 39 + [0.0] * 360


def test_all_others_are_nearer_than_the_last_distance(searcher: Searcher) -> None:
    """What greedy k-centre promises of the rest."""
    table = sample(searcher, n=30)
    rows = Contents.of(searcher).first
    ids = searcher.snapshot.images["image_id"].to_pylist()
    chosen = [ids.index(one) for one in table["image_id"].to_pylist()]
    far = 1 - points_of(searcher, rows, 1.0) @ points_of(searcher, np.array(chosen), 1.0).T
    assert far.min(axis=1).max() <= table["distance"][-1].as_py() + 1e-6


def test_more_than_there_are_gives_all(searcher: Searcher) -> None:
    """Each content once."""
    assert len(sample(searcher, n=1_000)) == len(Contents.of(searcher).first) == 81


def test_beside_what_is_there(repeated: Path) -> None:
    """What is chosen is far from what is there already, and none of it; the first one has a distance."""
    store = fpve.open(repeated)
    found = store.sample(5, beside="image_id LIKE '%/single/%'")
    assert {one.image_id.split("/")[1] for one in found} <= {"pair", "clump"}
    assert found[0].distance > 0
    assert found[0].image_id == store.sample(1, beside="image_id LIKE '%/single/%'")[0].image_id
    # What is like nothing that is there comes first; the clump is one thing.
    assert sum("/clump/" in one.image_id for one in found) <= 1


def test_conditions_and_prefixes(repeated: Path) -> None:
    """Only what meets a condition is chosen; nothing meets a false one; no prefix, no other weight's effect."""
    store = fpve.open(repeated)
    assert {one.image_id.split("/")[1] for one in store.sample(50, where="image_id LIKE '%/pair/%'")} == {"pair"}
    assert store.sample(3, where="false").to_arrow().equals(SCHEMA.empty_table())
    assert len(store.sample(3, beside="false")) == 3


def test_wrong_options_are_refused(repeated: Path) -> None:
    """In a line that says what was expected."""
    store = fpve.open(repeated)
    with pytest.raises(QueryError, match="n: expected at least 1"):
        store.sample(0)
    with pytest.raises(QueryError, match=r"^beside: .*nonsense"):
        store.sample(1, beside="nonsense")
    with pytest.raises(QueryError, match="image weight: expected more than 0"):
        store.sample(1, image_weight=0)


def test_the_command(repeated: Path) -> None:
    """Rows as JSON, which can be saved and asked."""
    ran = CliRunner().invoke(cli, ["sample", str(repeated), "3", "-f", "json"])
    assert ran.exit_code == 0
    assert [row["rank"] for row in json.loads(ran.stdout)] == [1, 2, 3]
    assert ran.stderr == ""
    few = CliRunner().invoke(cli, ["sample", str(repeated), "9", "--where", "image_id LIKE '%/copy/%'"])
    assert "no more different pictures to choose from than 3" in few.stderr
