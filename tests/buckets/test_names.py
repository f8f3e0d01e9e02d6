"""Where a store can lie in a bucket: any prefix, or all of it; and what each thing that is done to it asks for."""

from __future__ import annotations

from operator import le
from pathlib import Path

import pytest
from buckets.machines import few_pictures, job_on, machine
from s3 import S3
from samples import draw

import fpve
from fpve.errors import BucketError, JobError, StoreConflict, StoreNotFound
from fpve.urls import bucket_path

# Of a store of one collection and one segment: what costs as much as a put, as a get, and nothing. A few of the first
# are puts; the others ask whether somebody else has published, and what was left unfinished.
_MOST = {
    "a first run": (28, 30, 5),
    "a run with nothing to do": (12, 12, 1),
    "a night with one change": (27, 32, 5),
    "opening and a search, cold": (1, 14, 0),
    "opening and a search, warm": (1, 3, 0),
    "another search": (0, 0, 0),
    "a look for a newer snapshot": (0, 2, 0),
    "SQL of images": (1, 1, 0),
}


@pytest.mark.parametrize(
    ("prefix", "given"),
    [
        ("a b/ü+x%20&=", "a b/ü+x%20&=/"),
        ("x[1]*?#", "x[1]*?#"),
        ("", "/"),
    ],
)
def test_a_store_lies_at_any_prefix(tmp_path: Path, s3: S3, prefix: str, given: str) -> None:
    """Its objects are below that prefix as it is written, and nowhere else."""
    url = f"s3://{s3.bucket}/{given}"
    source = few_pictures(tmp_path / "pets", count=2)
    fpve.run(job_on(tmp_path / "here", url, source))
    names = set(s3.keys())
    top = f"{prefix}/" if prefix else ""
    assert f"{top}snapshots/00000000000000000001.json" in names
    assert all(name.startswith(top) for name in names)
    with machine(tmp_path / "there"):
        store = fpve.open(url)
        assert store.search(text="number 1", k=1)[0].image_id == "pets/01.png"
        assert store.location == url.rstrip("/")
        assert repr(store) == f"Store({store.location!r}, at=1)"
        assert store.sql("select count(*) as n from vectors").to_pylist() == [{"n": 2}]
        assert fpve.verify(url).ok
        assert fpve.label(url, _labels(tmp_path)).published
        assert fpve.rollback(url, 1).snapshot == 3
    assert fpve.open(url).snapshot == 3


def _labels(folder: Path) -> Path:
    (folder / "labels.csv").write_text("image_id,quality\npets/00.png,good\n", encoding="utf-8")
    return folder / "labels.csv"


def test_a_store_knows_nothing_of_one_whose_prefix_begins_like_its_own(tmp_path: Path, s3: S3) -> None:
    """Each has its own images, and cleaning one leaves the other whole."""
    first, second = few_pictures(tmp_path / "first", count=2), few_pictures(tmp_path / "second", first=10, count=2)
    jobs = [job_on(tmp_path / "here", s3.url(name), source) for name, source in (("xy", first), ("x", second))]
    for job in jobs:
        fpve.run(job)
    assert jobs[0].store != jobs[1].store
    others = {name: s3.get(name) for name in set(s3.keys()) if name.startswith("xy/")}
    draw(second / "20.png", 20)
    fpve.run(jobs[1])
    fpve.compact(jobs[1].store)
    assert fpve.open(jobs[1].store).images["image_id"].to_pylist() == ["pets/10.png", "pets/11.png", "pets/20.png"]
    assert {name: s3.get(name) for name in set(s3.keys()) if name.startswith("xy/")} == others
    with pytest.raises(StoreNotFound, match="no store here"):
        fpve.open(s3.url("xyz"))


def test_a_prefix_with_other_things_is_refused(tmp_path: Path, s3: S3) -> None:
    """Nothing is written beside what is somebody else's, at any depth."""
    s3.put("data/photos/one.png", b"1")
    source = few_pictures(tmp_path / "pets", count=2)
    for prefix, found in (("data", "photos/one.png"), ("data/photos", "one.png"), ("", "data/photos/one.png")):
        with pytest.raises(StoreConflict, match=f"not empty \\(it holds '{found}'\\); name a new prefix"):
            fpve.run(job_on(tmp_path / "here", s3.url(prefix), source))
    assert s3.keys() == ["data/photos/one.png"]
    # Beside it there is room.
    assert fpve.run(job_on(tmp_path / "here", s3.url("data/store"), source)).published


def test_a_scheme_is_typed_in_any_case(tmp_path: Path) -> None:
    """`S3://` is no directory of this machine; what is near a URL, and none, is refused."""
    for typed in ("S3://museum/store", "s3:/museum/store", "s3://museum/store"):
        assert str(bucket_path(typed)) == "s3://museum/store"
    for typed in (" s3://museum/store", "S3n://museum/store"):
        with pytest.raises(JobError, match=f"or the URL of an object store, found '{typed}'"):
            job_on(tmp_path / "here", typed, tmp_path)


def test_where_only_files_of_this_machine_will_do_a_url_is_refused(tmp_path: Path) -> None:
    """Labels and vectors that are given, and files that are written."""
    fpve.run(job_on(tmp_path / "here", str(tmp_path / "store"), few_pictures(tmp_path / "pets", count=2)))
    with pytest.raises(BucketError, match=r"^s3://museum/a.csv: expected a file of this machine, found a URL"):
        fpve.label(tmp_path / "store", "s3://museum/a.csv")
    with pytest.raises(BucketError, match=r"^s3://museum/a.npy: expected a file of this machine"):
        fpve.import_vectors(tmp_path / "others", vectors="s3://museum/a.npy")
    with pytest.raises(BucketError, match=r"^s3://museum/a.parquet: expected a file of this machine"):
        fpve.open(tmp_path / "store").export("s3://museum/a.parquet")
    assert not (tmp_path / "others").exists()


@pytest.mark.parametrize("url", ["s3:///", "s3://AKIA:secret@bucket/store"])
def test_what_names_no_bucket_is_refused(tmp_path: Path, url: str) -> None:
    """A URL without a bucket, or with a secret in it, which is not repeated."""
    with pytest.raises(BucketError, match="expected a bucket") as error:
        job_on(tmp_path / "here", url, tmp_path)
    assert "secret@" not in str(error.value)


def test_what_is_asked_of_a_bucket(tmp_path: Path, s3: S3) -> None:
    """Requests are counted, for they cost money and, far away, time; docs/scale.md has these numbers."""
    source = few_pictures(tmp_path / "pets")
    job = job_on(tmp_path / "here", s3.url("store"), source)

    def asked() -> tuple[int, int, int]:
        """What costs as much as a put, what as a get, and deletions, which are free."""
        found = s3.counts()
        return found["PUT"] + found["POST"] + found["LIST"], found["GET"] + found["HEAD"], found["DELETE"]

    s3.counts()
    fpve.run(job)
    counts = {"a first run": asked()}
    assert not fpve.run(job).published
    counts["a run with nothing to do"] = asked()
    draw(source / "03.png", 3)
    fpve.run(job)
    counts["a night with one change"] = asked()
    with machine(tmp_path / "reader"):
        for how in ("cold", "warm"):
            store = fpve.open(s3.url("store"))
            store.search(text="number 1", k=3)
            counts[f"opening and a search, {how}"] = asked()
        store.search(text="number 2", k=3)
        counts["another search"] = asked()
        assert not store.refresh()
        counts["a look for a newer snapshot"] = asked()
        store.sql("select count(*) from images where kind = 'cat'")
        counts["SQL of images"] = asked()
        store.close()
    for name, most in _MOST.items():
        assert all(map(le, counts[name], most)), (name, counts[name])
    assert counts.keys() == _MOST.keys()
