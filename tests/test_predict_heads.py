"""Labels that a saved head predicts: until there is one, with each one that takes its place, and when it is lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from predicting import Source, job_of, predictions

import fpve
from fpve.config import Job, PredictRule
from fpve.heads.stored import load_head
from fpve.search import Searcher
from fpve.store.snapshot import Snapshot

RULE = PredictRule("kind", head="logistic", abstain_below=0.4)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """60 pictures, 30 of them labelled."""
    return Source.of(tmp_path / "pictures", 60)


@pytest.fixture
def headless(tmp_path: Path, source: Source) -> Job:
    """A store whose rule names a head that it does not have yet."""
    job = job_of(tmp_path / "store", source, RULE)
    report = fpve.run(job)
    warning = report.warnings[0]
    assert warning.startswith("[[predict]] for 'kind' predicts nothing: no logistic head for 'kind'; ")
    assert f"`fpve train {job.store} --label kind --head logistic`" in warning
    return job


def by_head(job: Job) -> None:
    """What the store has predicted is what its head says of each unlabelled image."""
    snapshot = Snapshot.open(job.store)
    searcher = Searcher(snapshot).variant(predicted=False)
    head = load_head(snapshot, "kind", "logistic")
    kinds = snapshot.rows.column("kind").to_pylist()
    rows = np.array([row for row, kind in enumerate(kinds) if kind is None])
    said = head.probabilities(searcher.fusion.query(*searcher.blocks_of(rows), head.image_weight))
    found = predictions(job.store)
    assert sorted(found) == snapshot.rows.take(rows, ["image_id"])["image_id"].to_pylist()
    for row, shares in zip([found[name] for name in sorted(found)], said, strict=True):
        assert row["confidence"] == pytest.approx(shares.max(), abs=1e-6)
        assert row["prediction"] == (head.names[shares.argmax()] if shares.max() >= 0.4 else None)
        assert (row["head"], row["neighbours"], row["novelty"]) == ("logistic", None, None)


def test_a_head_predicts_as_soon_as_it_is_trained(headless: Job) -> None:
    """Training publishes its predictions along with it; a run after that has nothing to do."""
    assert predictions(headless.store) == {}
    fpve.train(headless.store, label="kind")
    assert len(predictions(headless.store)) == 30
    by_head(headless)
    assert not fpve.run(headless).published
    assert fpve.verify(headless.store).ok


def test_only_other_vectors_are_predicted_again(headless: Job, source: Source, tmp_path: Path) -> None:
    """Labels change nothing but that their images have no prediction: nobody votes."""
    fpve.train(headless.store, label="kind")
    source.put("000", 900)
    source.kinds["001"] = "bird"
    source.write()
    assert fpve.run(headless).predicted == 1
    by_head(headless)
    file = tmp_path / "given.csv"
    file.write_text("image_id,kind\npets/002.png,cat\n", encoding="utf-8")
    fpve.label(headless.store, file)
    assert {row["snapshot"] for row in predictions(headless.store).values()} == {2, 3}
    by_head(headless)


def test_another_head_predicts_all_again(headless: Job) -> None:
    """It takes the place of the one before, whatever that has said."""
    fpve.train(headless.store, label="kind")
    fpve.train(headless.store, label="kind", image_weight=1.0)
    assert {row["snapshot"] for row in predictions(headless.store).values()} == {3}
    by_head(headless)


def test_a_head_that_is_lost_predicts_no_more(headless: Job) -> None:
    """After a repair that had to leave it out the next run says what trains it again, and the night is published."""
    fpve.train(headless.store, label="kind")
    head = Snapshot.open(headless.store).manifest.heads[0].file.path
    (headless.store / head).write_bytes(b"no head")
    fpve.repair(headless.store)
    report = fpve.run(headless)
    assert report.published
    assert report.warnings[0].startswith("[[predict]] for 'kind' predicts nothing: no logistic head for 'kind'")
    assert predictions(headless.store) == {}
