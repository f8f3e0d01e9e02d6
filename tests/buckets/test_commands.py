"""Stores in buckets: every command does what it does with a directory, and leaves the same files."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from buckets.machines import machine
from s3 import S3
from samples import draw, make_job

import fpve
from fpve.config import Job
from fpve.engines import shards
from fpve.store import pages

_NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class _Clock(datetime):
    """A clock that stands still: what is written at another time has another content, and so another name."""

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return _NOW


@pytest.fixture
def calm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files, and one time for all that has a time in it."""
    monkeypatch.setattr(shards, "SHARD_ROWS", 7)
    monkeypatch.setattr(pages, "PAGE_ROWS", 7)
    for module in ("pipeline.commit", "store.publishing", "store.saved", "edits.prefix", "edits.label"):
        monkeypatch.setattr(f"fpve.{module}.datetime", _Clock)


def _everything(job: Job, work: Path) -> dict[str, Any]:
    """What every command says of a store that is made, changed and cleaned, but for times and the store's name."""
    store, pictures = job.store, job.collections[0].source
    work.mkdir()
    found: dict[str, Any] = {}
    report = fpve.run(job)
    found["first run"] = (report.encoded, report.fused, report.snapshot, report.bytes_written["vectors"])
    found["nothing to do"] = fpve.run(job).published
    draw(pictures / "cat/new.png", 100)
    _let_be_old(pictures)
    (pictures / "dog/01.png").unlink()
    report = fpve.run(job)
    found["second run"] = (report.encoded, report.new, report.removed, report.snapshot)
    (work / "labels.csv").write_text("image_id,quality\npets/cat/00.png,good\npets/dog/04.png,bad\n")
    found["label"] = fpve.label(store, work / "labels.csv")
    found["prefix"] = fpve.set_prefix(store, where="path like '%/cat/00.png'", text="written by hand").to_dict()
    head = fpve.train(store, label="kind", head="logistic", seed=0)
    found["train"] = (head.classes, head.rows, head.snapshot)
    opened = fpve.open(store)
    found["search"] = _rows(opened.search(text="cat number 6", k=5))
    found["exact"] = _rows(opened.search(image=pictures / "bird/02.png", k=4, where="kind = 'bird'", exact=True))
    found["by id"] = _rows(opened.search(id="pets/dog/07.png", k=3, image_weight=0.2))
    found["classify"] = _rows(opened.classify([pictures / "bird/02.png"], label="kind", head="logistic"))
    opened.save("mine", opened.search(text="bird", k=3))
    for query in (
        "select kind, count(*) as n, sum(price) as s from images group by kind order by 1",
        "select image_id, vector[1] as v from vectors order by 1",
        "select prefix_id, text from prefixes order by 1",
        "select image_id, score from saved.mine order by 1",
        "select snapshot, published, encoded from runs order by started_at, snapshot",
    ):
        found[query] = opened.sql(query).to_pylist()
    found["export"] = opened.export(work / "out.parquet").rows
    found["thumbnail"] = opened.thumbnail("pets/cat/00.png")
    found["duplicates"] = _rows(opened.duplicates())
    found["status"] = {key: value for key, value in opened.status().to_dict().items() if key != "store"}
    opened.close()
    found["compact"] = fpve.compact(store)
    found["rollback"] = fpve.rollback(store, 2)
    found["history"] = fpve.history(store).to_pylist()
    found["prune"] = fpve.prune(store, keep=2, grace=timedelta(0))
    found["verify"] = {key: value for key, value in fpve.verify(store).to_dict().items() if key != "store"}
    found["repair"] = fpve.repair(store)
    found["after"] = _rows(fpve.open(store).search(text="cat number 6", k=5))
    return found


def _let_be_old(folder: Path) -> None:
    """Let no file be so new that it may yet change within the same time: such are not remembered."""
    for path in folder.rglob("*.*"):
        os.utime(path, (0, 1_000_000_000))


def _rows(found: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = found.to_arrow().to_pylist()
    return rows


@pytest.mark.usefixtures("calm")
def test_every_command_says_and_writes_the_same_in_a_bucket(tmp_path: Path, pictures: Path, s3: S3) -> None:
    """Answers are equal, and so are the names and bytes of all files; a copy of either is a store."""
    _let_be_old(pictures)
    shutil.copytree(pictures, tmp_path / "before")
    with machine(tmp_path / "machine"):
        there = _everything(make_job(Path(s3.url("a/store")), pictures), tmp_path / "one")
    shutil.rmtree(pictures)
    (tmp_path / "before").rename(pictures)
    store = tmp_path / "store"
    here = _everything(make_job(store, pictures), tmp_path / "two")
    assert there == here
    objects = {name.removeprefix("a/store/"): s3.get(name) for name in set(s3.keys())}
    # Reports of runs have the time and something random in their names; a bucket has no lock.
    files = {path.relative_to(store).as_posix(): path.read_bytes() for path in store.rglob("*") if path.is_file()}
    assert len([name for name in objects if name.startswith("runs/")]) == 3
    assert _but_runs(objects) == _but_runs(files)
    for name, content in objects.items():
        (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "copy" / name).write_bytes(content)
    s3.put_folder(store, "copy")
    with machine(tmp_path / "other"):
        for copied in (tmp_path / "copy", s3.url("copy")):
            assert fpve.verify(copied, quick=True).ok
            assert fpve.open(copied).search(text="cat number 6", k=5).to_arrow().to_pylist() == here["after"]
            # Nothing is encoded again. It rolls forward: the last command went back to an older snapshot.
            report = fpve.run(make_job(Path(copied), pictures))
            assert (report.encoded, report.fused, report.published) == (0, 0, True)


def _but_runs(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if not name.startswith("runs/") and name != "state/lock"}
