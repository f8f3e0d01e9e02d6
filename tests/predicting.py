"""A store whose labels are predicted, for tests: a source that changes, and what predictions must be."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from samples import KINDS, draw, make_job

import fpve
from fpve.classify import Abstention, KnnClassifier, Voting, told
from fpve.config import Job, PredictRule
from fpve.pipeline.calibrations import read_calibrations
from fpve.search import Searcher
from fpve.store import tables
from fpve.store.snapshot import Snapshot


@dataclass
class Source:
    """A folder of pictures, with a caption and a kind for some of them."""

    folder: Path
    pictures: dict[str, int] = field(default_factory=dict)
    captions: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path, count: int) -> Source:
        """Pictures of three kinds: every second one is labelled, every third one has a caption."""
        source = cls(folder)
        for number in range(count):
            source.put(f"{number:03d}", number)
            if number % 2:
                source.kinds[f"{number:03d}"] = KINDS[number % 3]
            if number % 3 == 0:
                source.captions[f"{number:03d}"] = f"caption {number % 12}"
        source.write()
        return source

    def put(self, name: str, seed: int) -> None:
        """Add a picture, or replace it."""
        self.pictures[name] = seed
        draw(self.folder / f"{name}.png", seed)

    def drop(self, name: str) -> None:
        """Delete a picture."""
        for one in (self.pictures, self.captions, self.kinds):
            one.pop(name, None)
        (self.folder / f"{name}.png").unlink()

    def write(self) -> None:
        """Write the metadata."""
        lines = [f"{name}.png,{self.captions.get(name, '')},{self.kinds.get(name, '')}" for name in self.pictures]
        (self.folder / "metadata.csv").write_text("\n".join(["path,caption,kind", *lines]) + "\n", encoding="utf-8")


def job_of(store: Path, source: Source, *rules: PredictRule) -> Job:
    """A job over a source with rules, by default one that predicts kinds."""
    return replace(make_job(store, source.folder), predict=rules or (PredictRule("kind", k=5),))


def predictions(store: Path, label: str = "kind") -> dict[str, dict[str, Any]]:
    """The predictions of a label, as a store has them, by image_id."""
    rows = fpve.open(store).sql(f"FROM predictions WHERE label = '{label}'").to_pylist()
    return {row["image_id"]: row for row in rows}


def expected(store: Path, label: str = "kind") -> dict[str, dict[str, Any]]:
    """What all predictions by votes would be if they were made again now, with the calibration that stands."""
    snapshot = Snapshot.open(store)
    rule = next(one.rule for one in snapshot.manifest.predict if one.rule.label == label)
    searcher = Searcher(snapshot).variant(predicted=False)
    known = snapshot.table(tables.CALIBRATIONS)
    classifier = KnnClassifier(
        searcher, label=label, voting=Voting.given(rule.k, rule.weights, rule.temperature), calibrate=rule.is_calibrated
    )
    calibrations = read_calibrations(known.filter(pc.equal(known["label"], label)), classifier.labels)
    classifier = KnnClassifier(
        searcher,
        label=label,
        voting=Voting.given(rule.k, rule.weights, rule.temperature),
        calibrate=rule.is_calibrated,
        image_weight=rule.image_weight,
        calibrations=calibrations,
    )
    chosen = ~classifier.labels.labelled
    if rule.where is not None:
        chosen &= searcher.matching(rule.where)
    rows = np.flatnonzero(chosen)
    abstention = Abstention(rule.abstain_below, rule.abstain_novel)
    found = told(classifier.classify(searcher.blocks_of(rows)), classifier.labels, snapshot.rows, abstention)
    ids = snapshot.rows.column("image_id").take(pa.array(rows)).to_pylist()
    return dict(zip(ids, found.to_pylist(), strict=True))


def check(store: Path, label: str = "kind") -> None:
    """A store's predictions are those that would be made again, to the rounding of float32."""
    found, wanted = predictions(store, label), expected(store, label)
    assert found.keys() == wanted.keys()
    for name, row in found.items():
        other = wanted[name]
        assert [one["image_id"] for one in row["neighbours"]] == [one["image_id"] for one in other["neighbours"]]
        assert [one["label"] for one in row["neighbours"]] == [one["label"] for one in other["neighbours"]]
        np.testing.assert_allclose(
            [one["score"] for one in row["neighbours"]], [one["score"] for one in other["neighbours"]], atol=1e-6
        )
        assert row["prediction"] == other["prediction"]
        np.testing.assert_allclose(row["confidence"], other["confidence"], atol=1e-4)
        np.testing.assert_allclose(
            *(np.nan if one["novelty"] is None else one["novelty"] for one in (row, other)), atol=0.03
        )
