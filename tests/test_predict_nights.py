"""Predictions that are made again only where something changed are those that would all be made again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from predicting import Source, check, job_of, predictions
from samples import KINDS

import fpve
from fpve.config import Job, PredictRule
from fpve.store.snapshot import Snapshot

RULES = {
    "calibrated": PredictRule("kind", k=5),
    "plain": PredictRule("kind", k=3, weights="distance", image_weight=0.7),
    "where": PredictRule("kind", k=5, where="caption IS NOT NULL", temperature=0.1, abstain_below=0.5),
    "many": PredictRule("kind", k=200, abstain_novel=0.9),
}


def change(source: Source, random: np.random.Generator) -> None:
    """What can happen to a source in a day, to a few pictures each."""
    names = sorted(source.pictures)
    for number in random.integers(200, 400, random.integers(3)):
        source.put(f"{number}", int(number))
    for name in random.choice(names, random.integers(3), replace=False):
        source.drop(name)
    names = sorted(source.pictures)
    for name in random.choice(names, random.integers(3), replace=False):
        # A new picture, or a copy of another one.
        source.put(name, int(random.choice([*source.pictures.values(), 1000 + int(random.integers(1000))])))
    for name in random.choice(names, random.integers(4), replace=False):
        source.kinds[name] = str(random.choice(KINDS))
    for name in random.choice(names, random.integers(2), replace=False):
        source.kinds.pop(name, None)
    for name in random.choice(names, random.integers(3), replace=False):
        source.captions[name] = f"caption {random.integers(20)}"
    source.write()


def label(job: Job, source: Source, random: np.random.Generator, folder: Path) -> None:
    """Somebody labels an image, or takes that back."""
    name = str(random.choice(fpve.open(job.store).images["image_id"].to_pylist()))
    file = folder / "labels.csv"
    file.write_text(f"image_id,kind\n{name},{random.choice(KINDS)}\n", encoding="utf-8")
    fpve.label(job.store, file, undo=bool(random.integers(2)))


def act(job: Job, source: Source, random: np.random.Generator, folder: Path) -> None:
    """One of the ways in which a store can change."""
    match int(random.integers(6)):
        case 0:
            label(job, source, random, folder)
        case 1:
            name = str(random.choice(fpve.open(job.store).images["image_id"].to_pylist()))
            fpve.set_prefix(job.store, where=f"image_id = '{name}'", text=f"caption {random.integers(20)}")
        case 2:
            fpve.compact(job.store)
        case 3 if len(fpve.history(job.store)) > 2:
            fpve.rollback(job.store)
        case _:
            change(source, random)
            fpve.run(job, allow_removals=True)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("rule", sorted(RULES))
def test_any_nights_leave_what_all_would_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str, seed: int
) -> None:
    """After any changes and operations the table is that of predicting from scratch, with the calibration it has."""
    # However many voters change: else most of these nights would predict all again.
    monkeypatch.setattr("fpve.pipeline.predict.MOST_CHANGED", 1.0)
    random = np.random.default_rng(seed)
    source = Source.of(tmp_path / "pictures", 110)
    job = job_of(tmp_path / "store", source, RULES[rule])
    fpve.run(job)
    check(job.store)
    kept = 0
    for _ in range(7):
        act(job, source, random, tmp_path)
        check(job.store)
        newest = Snapshot.open(job.store).manifest
        if newest.operation not in ("compact", "rollback"):
            kept += sum(row["snapshot"] < newest.snapshot for row in predictions(job.store).values())
    assert kept > 0 or rule == "many"
    assert fpve.verify(job.store).ok
