"""Drift: counts, shares, mean pictures and new kinds of pictures between two snapshots."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from curation.conftest import pixels, save
from samples import make_job

import fpve
from fpve.cli import cli
from fpve.config import EncoderConfig, Job
from fpve.curation.drift import SCHEMA, drift
from fpve.errors import QueryError, StoreNotFound
from fpve.fusion import unit
from fpve.search import Searcher
from fpve.store.snapshot import Snapshot


def write(folder: Path, counts: dict[str, tuple[int, int, int]]) -> None:
    """Pictures of kinds: by their name the base, the first number and the last of those that are nearly it."""
    lines = ["path,kind"]
    for kind, (base, first, last) in counts.items():
        for number in range(first, last):
            rng = np.random.default_rng([base, number])
            # Birds are as much alike as others are, or more: none of them is by itself.
            noise = rng.integers(-25, 26, (8, 8, 3)) // (2 if kind == "bird" else 1)
            save(folder / f"{kind}-{number:03d}.png", pixels(base) + noise)
            lines.append(f"{kind}-{number:03d}.png,{kind}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """Two snapshots: 40 cats and 20 dogs; then 10 cats fewer, 10 dogs more, and 12 birds, which were never there."""
    root = tmp_path_factory.mktemp("drift")
    folder = root / "pictures"
    job = make_job(root / "store", folder, prefix=None)
    write(folder, {"cat": (1, 0, 40), "dog": (2, 0, 20)})
    fpve.run(job)
    shutil.rmtree(folder)
    write(folder, {"cat": (1, 10, 40), "dog": (2, 0, 30), "bird": (9, 0, 12)})
    fpve.run(job, allow_removals=True)
    return job


def rows(table: pa.Table, measure: str) -> dict[str, tuple[float | None, float | None, float | None]]:
    """What a measure says, by name."""
    return {
        row["name"]: (row["before"], row["after"], row["change"])
        for row in table.to_pylist()
        if row["measure"] == measure
    }


def test_counts_and_shares_are_those_of_the_labels(job: Job) -> None:
    """60 images became 72; a class that is new had none, and the largest change comes first."""
    table = fpve.open(job.store).drift(since=1, label="kind").to_arrow()
    assert table.schema == SCHEMA
    assert rows(table, "images") == {"all": (60, 72, 12), "pets": (60, 72, 12)}
    shares = rows(table, "share")
    assert list(shares) == ["cat", "bird", "dog"]
    assert shares["cat"] == pytest.approx((40 / 60, 30 / 72, 30 / 72 - 40 / 60))
    assert shares["bird"] == pytest.approx((0, 12 / 72, 12 / 72))
    p, q = np.array([0.5, 40, 20]) / 60.5, np.array([12, 30, 30]) / 72
    stability = rows(table, "psi")
    assert stability["kind"][2] == pytest.approx(float(np.sum((q - p) * np.log(q / p))))
    assert stability["collection"][2] == pytest.approx(0)


def test_centroids_are_means_of_unit_features(job: Job) -> None:
    """Their distance is 1 - cosine, and what chance gives follows from the spread within a snapshot."""
    table = fpve.open(job.store).drift(since=1, label="kind").to_arrow()
    found = {row["name"]: row for row in table.to_pylist() if row["measure"] == "centroid"}
    assert set(found) == {"all", "collection: pets", "kind: cat", "kind: dog"}
    means, counts = [], []
    for number in (1, 2):
        searcher = Searcher(Snapshot.open(job.store, number))
        image = unit(searcher.blocks_of(np.arange(searcher.rows)).image).astype(np.float64)
        means.append(image.mean(axis=0))
        counts.append(len(image))
    one, other = means
    cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    assert found["all"]["change"] == pytest.approx(1 - cosine, abs=1e-6)
    square = one @ one
    expected = (1 - square) * (1 / counts[0] + 1 / counts[1]) / (2 * square)
    assert found["all"]["chance"] == pytest.approx(expected, rel=1e-4)
    # Birds moved the whole; cats are what they were.
    assert found["all"]["change"] > 5 * found["all"]["chance"]
    assert found["kind: cat"]["change"] < found["kind: cat"]["chance"]


def test_a_new_kind_of_picture_is_a_cluster(job: Job) -> None:
    """The birds, by one of them; new dogs are no new kind."""
    clusters = rows(fpve.open(job.store).drift(since=1).to_arrow(), "cluster")
    assert len(clusters) == 1
    (name, (before, after, _)) = next(iter(clusters.items()))
    assert name.startswith("pets/bird-")
    assert (before, after) == (None, 12)


def test_nothing_became_of_the_same_snapshot(job: Job) -> None:
    """No change of a count, no distance, no cluster."""
    table = drift(*(Searcher(Snapshot.open(job.store, 2)) for _ in range(2)), label="kind")
    for row in table.to_pylist():
        assert row["change"] == 0
        assert row["measure"] != "cluster"


def test_what_cannot_be_compared_is_refused(job: Job, tmp_path: Path) -> None:
    """Another encoder, a column that is not there, a snapshot that is not there."""
    store = fpve.open(job.store)
    with pytest.raises(QueryError, match="no label column 'kin'"):
        store.drift(since=1, label="kin")
    with pytest.raises(StoreNotFound):
        store.drift(since=99)
    root = tmp_path / "store"
    shutil.copytree(job.store, root)
    other = replace(job, store=root, encoders=replace(job.encoders, image=EncoderConfig("fake:32")))
    fpve.run(other)
    with pytest.raises(QueryError, match=r"expected one image encoder, found fake:24@.* in snapshot 1 and fake:32@"):
        fpve.open(root).drift(since=1)


def test_the_command(job: Job) -> None:
    """Rows as JSON."""
    ran = CliRunner().invoke(cli, ["drift", str(job.store), "--since", "1", "--label", "kind", "-f", "json"])
    assert ran.exit_code == 0
    assert {row["measure"] for row in json.loads(ran.stdout)} == {"images", "share", "psi", "centroid", "cluster"}


def test_the_table_has_counts_as_integers(job: Job) -> None:
    """72 images, not 72.0000: counts stand in a column with shares and distances."""
    ran = CliRunner().invoke(cli, ["drift", str(job.store), "--since", "1", "--label", "kind"])
    lines = [line.split() for line in ran.stdout.splitlines()]
    assert ["images", "all", "60", "72", "12"] in lines
    assert ["share", "cat", "0.6667", "0.4167", "-0.2500"] in lines
    (cluster,) = (line for line in lines if line[0] == "cluster")
    assert cluster[2] == "12"
