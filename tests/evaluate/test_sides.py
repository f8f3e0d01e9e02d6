"""Protocols: who is predicted by whom."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from samples import KINDS, draw, make_job

import fpve
from fpve.classify import Voting
from fpve.errors import QueryError
from fpve.evaluate.pairs import Comparison
from fpve.evaluate.sides import folds_of
from fpve.evaluate.trial import Trial
from fpve.neighbours import Rows
from fpve.search import Searcher
from fpve.store.snapshot import Snapshot


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 images, some of which share pictures and captions, with a column `part`: train, test or neither."""
    folder = tmp_path_factory.mktemp("sides")
    source = folder / "pictures"
    lines = ["path,caption,kind,part"]
    for number in range(60):
        draw(source / f"{number:02d}.png", number % 47)
        part = ("train", "train", "Test", "")[number % 4]
        lines.append(f"{number:02d}.png,{KINDS[number % 3]} {number % 25},{KINDS[number % 3]},{part}")
    (source / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    fpve.run(make_job(folder / "store", source))
    return folder / "store"


@pytest.fixture(scope="module")
def searcher(root: Path) -> Searcher:
    """The store, as the library searches it."""
    return Searcher(Snapshot.open(root))


def clusters(count: int, seed: int) -> tuple[Rows, Rows]:
    """Classes and clusters of so many images."""
    random = np.random.default_rng(seed)
    return random.integers(4, size=count), random.integers(count // 2, size=count)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_folds_keep_clusters_and_classes(seed: int) -> None:
    """No cluster is in two folds, folds are of about one size, and each has about its share of each class."""
    codes, tied = clusters(600, seed)
    sides = folds_of(codes, tied, 5)
    for name in np.unique(tied):
        assert len(np.unique(sides.grouped[tied == name])) == 1
    for side in sides:
        assert np.abs(np.bincount(side, minlength=5) - 120).max() <= 12
        for code in range(4):
            share = np.bincount(side[codes == code], minlength=5)
            assert share.max() - share.min() <= 12
    naive = np.array([np.bincount(sides.naive[codes == code], minlength=5) for code in range(4)])
    assert (naive.max(axis=1) - naive.min(axis=1)).max() <= 1
    again = folds_of(codes, tied, 5)
    np.testing.assert_array_equal(again.grouped, sides.grouped)


@pytest.mark.parametrize("count", [1, 7])
def test_folds_of_too_few_are_refused(count: int) -> None:
    """There are at least two, and no more than clusters."""
    with pytest.raises(QueryError, match=f"folds: expected 2 to 3, .* found {count}"):
        folds_of(np.zeros(6, np.int64), np.array([0, 0, 1, 1, 2, 2]), count)


@pytest.mark.parametrize("options", [{"folds": 4}, {"split": "part"}])
def test_nobody_votes_across_the_line(searcher: Searcher, options: dict) -> None:
    """Voters are on other sides than the image that they vote for, and of other groups."""
    trial = Trial(searcher, label="kind", **options)
    [judged] = trial.judge([Comparison("balanced", 0.5, centred=False)], Voting(40))
    assert trial.sides is not None
    for query, voters in zip(trial.queries, judged.voters.row, strict=True):
        mine = voters[voters >= 0]
        assert not np.any(trial.sides.grouped[mine] == trial.sides.grouped[query])
        tied = trial.images.groups.tied(np.array([query]), mine)[0]
        assert not tied.any()


def test_a_split_predicts_what_it_says(searcher: Searcher) -> None:
    """Images with `test`, however it is written, are predicted, by those with `train`."""
    trial = Trial(searcher, label="kind", split="part")
    names = trial.image_ids(trial.queries)
    assert names == [f"pets/{number:02d}.png" for number in range(2, 60, 4)]
    assert (trial.voters, len(trial.queries), trial.protocol) == (30, 15, "split")


def test_leaving_one_out_lets_more_vote_than_folds(searcher: Searcher) -> None:
    """With a fold for each cluster everybody votes who votes when one is left out, but for those that a chain ties."""
    one = Trial(searcher, label="kind")
    other = Trial(searcher, label="kind", folds=len(np.unique(one.ties[0])))
    comparison = [Comparison("balanced", 0.5, centred=False)]
    [left_out], [folded] = (trial.judge(comparison, Voting(60)) for trial in (one, other))
    for query, (few, many) in enumerate(zip(folded.voters.row, left_out.voters.row, strict=True)):
        rest = set(many.tolist()) - set(few.tolist())
        assert set(few.tolist()) <= set(many.tolist()) | {-1}
        assert all(one.ties[0][row] == one.ties[0][query] for row in rest - {-1})
