"""Jobs over sources of every kind: written by init, checked, run together, or encoded without a job file."""

from __future__ import annotations

import io
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from samples import FAKE, draw

import fpve
from fpve.config import CollectionConfig, FusionConfig, Job, load_job
from fpve.errors import MetadataError, SourceError
from fpve.maintenance.repair import repair
from fpve.maintenance.verify import verify

_LONG_AGO = 1_600_000_000


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Path]:
    """The same four pictures in a folder, by a table of paths, in a table, in an archive, and in archives."""
    folder = tmp_path / "folder"
    for number in range(4):
        draw(folder / f"{number}.png", number)
    files = sorted(folder.iterdir())
    paths = tmp_path / "paths.csv"
    paths.write_text("file_name,caption,width\n" + "".join(f"folder/{one.name},cap {one.stem},1\n" for one in files))
    images = [{"bytes": one.read_bytes(), "path": None} for one in files]
    pq.write_table(pa.table({"image": images, "label": [0, 1, 0, 1], "mask": images}), tmp_path / "cells.parquet")
    shards = tmp_path / "shards"
    shards.mkdir()
    with tarfile.open(shards / "a.tar", "w") as tar:
        for one in files:
            tar.add(one, one.name)
            text = tarfile.TarInfo(f"{one.stem}.txt")
            text.size = 3
            tar.addfile(text, io.BytesIO(b"abc"))
    found = {"folder": folder, "paths": paths, "cells": tmp_path / "cells.parquet", "archive": shards / "a.tar"}
    for path in (*folder.iterdir(), *found.values()):
        os.utime(path, (_LONG_AGO, _LONG_AGO))
    return {**found, "shards": shards, "glob": shards / "*.tar"}


def with_fakes(job: Job) -> Job:
    """The job with encoders that need no model."""
    return replace(job, encoders=FAKE)


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        ("folder", ['name = "folder"', 'source = "folder"', '# prefix = "a photo of {stem}"']),
        ("paths", ['name = "paths"', 'source = "paths.csv"', 'columns = ["caption"]', 'prefix = "{caption}"']),
        ("cells", ['name = "cells"', 'id = "{row}"', '# columns = ["label"]']),
        ("archive", ['name = "a"', 'source = "shards/a.tar"', 'prefix = "{txt}"']),
        ("shards", ['name = "shards"', 'source = "shards"', '# columns = ["txt"]']),
        ("glob", ['name = "shards"', 'source = "shards/*.tar"', 'prefix = "{txt}"']),
    ],
)
def test_init_writes_a_job_that_runs(
    tmp_path: Path, sources: dict[str, Path], kind: str, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the source is, the job names it, says which columns there are, and runs as it was written."""
    monkeypatch.chdir(tmp_path)
    path = fpve.init(sources[kind])
    text = path.read_text()
    assert [line for line in lines if line not in text] == []
    job = with_fakes(load_job(path))
    (checked,) = fpve.check(job).collections
    assert (checked.pictures, checked.skipped, checked.bytes > 0) == (4, 0, True)
    report = fpve.run(job)
    assert (report.encoded, report.quarantined) == (4, 0)
    assert fpve.run(job).published is False


def test_init_tells_what_is_no_source(tmp_path: Path) -> None:
    """A table without pictures, or a folder without any, is an error, and no job is written."""
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(MetadataError, match="expected a column of paths"):
        fpve.init(tmp_path / "t.csv", output=tmp_path / "job.toml")
    with pytest.raises(SourceError, match="no pictures in it"):
        fpve.init(tmp_path, output=tmp_path / "job.toml")
    assert not (tmp_path / "job.toml").exists()


def test_one_job_takes_sources_of_every_kind(tmp_path: Path, sources: dict[str, Path]) -> None:
    """Their pictures are read together, each from where it is, and the same picture is encoded once."""
    options = {"paths": {"columns": ("caption",)}, "cells": {"id": "{row}"}}
    collections = tuple(CollectionConfig(name, path, **options.get(name, {})) for name, path in sources.items())
    job = Job(tmp_path / "store", collections, "all", FAKE, FusionConfig())
    report = fpve.run(job)
    assert (report.new, report.encoded, report.quarantined) == (24, 4, 0)
    hashes: dict[str, list[str]] = {}
    for row in fpve.open(job.store).images.to_pylist():
        hashes.setdefault(row["collection"], []).append(row["content_hash"])
    assert len({tuple(one) for one in hashes.values()}) == 1
    again = fpve.run(job)
    assert (again.unchanged, again.bytes_to_read, again.published) == (24, 0, False)
    assert verify(job.store).problems == ()


def test_sources_are_encoded_without_a_job_file(tmp_path: Path, sources: dict[str, Path]) -> None:
    """`encode` takes what a job takes; another source of the same pictures changes paths, and encodes nothing."""
    folder = Job(tmp_path / "store", (CollectionConfig("other", sources["folder"]),), "job", FAKE, FusionConfig())
    fpve.run(folder)
    for name in ("cells", "archive", "glob"):
        report = fpve.encode(folder.store, sources[name], collection=name, id="{stem}")
        assert (report.new, report.encoded) == (4, 0)
    assert fpve.open(folder.store).search(id="cells/1", k=20).to_arrow()["image_id"].to_pylist()[:3] == [
        "archive/1",
        "glob/1",
        "other/1.png",
    ]


@pytest.mark.parametrize(
    ("kind", "image_id"), [("paths", "c/folder/1.png"), ("archive", "c/a.tar/1.png"), ("glob", "c/a.tar/1.png")]
)
def test_thumbnails_are_made_again_from_their_sources(
    tmp_path: Path, sources: dict[str, Path], kind: str, image_id: str
) -> None:
    """Repair finds the files that a table names, and members of archives; not those of cells, which have no place."""
    columns = ("caption",) if kind == "paths" else ()
    job = Job(tmp_path / "store", (CollectionConfig("c", sources[kind], columns=columns),), "j", FAKE)
    fpve.run(job)
    for path in (job.store / "tables/thumbnails").iterdir():
        path.write_bytes(b"damaged")
    repair(job.store)
    assert fpve.open(job.store).thumbnail(image_id) is not None
