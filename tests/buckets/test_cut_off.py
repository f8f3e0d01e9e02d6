"""Puts that end, or stand still, half-way: the object is what it was, or whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import s3fs.core
from s3 import S3, Asked, HalfWay

from fpve import buckets
from fpve.buckets import Bucket
from fpve.errors import BucketError

# More than a connection takes before anybody reads.
_BYTES = 24 << 20
_PART = 5 << 20


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of 24 MiB."""
    path = tmp_path / "rows.parquet"
    path.write_bytes(bytes(range(256)) * (_BYTES // 256))
    return path


def cut(error: Callable[[], ConnectionError], *, times: int = 100, part: str = "") -> Callable[[Asked], None]:
    """Cuts so many puts of a whole object, or of one of its parts."""
    rest = iter(range(times))

    def interfere(asked: Asked) -> None:
        if asked.method == "PUT" and asked.query.get("partNumber", "") == part and next(rest, None) is not None:
            raise error()

    return interfere


@pytest.mark.parametrize("before", [b"", b"what was there"])
def test_one_that_is_cut_off_leaves_what_was_there(s3: S3, file: Path, before: bytes) -> None:
    """Each try ends after half of the bytes: one line, and no half of an object."""
    if before:
        s3.put("store/rows.parquet", before)
    s3.before = cut(HalfWay)
    with pytest.raises(BucketError, match=rf"s3://{s3.bucket}/store/rows.parquet: the object store can't be asked"):
        Bucket(s3.url("store")).put("rows.parquet", file)
    s3.before = None
    assert s3.keys() == (["store/rows.parquet"] if before else [])
    if before:
        assert s3.get("store/rows.parquet") == before


def test_one_that_is_cut_off_once_is_done(s3: S3, file: Path) -> None:
    """The file system tries again, from the first byte on."""
    s3.before = cut(HalfWay, times=1)
    Bucket(s3.url("store")).put("rows.parquet", file)
    assert s3.get("store/rows.parquet") == file.read_bytes()


def test_one_that_stands_still_is_given_up(s3: S3, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read for longer than a request may take: one line, and nothing is there."""
    monkeypatch.setattr(buckets, "_TRANSFER", 0.3)
    s3.before = cut(lambda: HalfWay(1.0))
    with pytest.raises(BucketError, match=r"store/rows.parquet: the object store can't be asked"):
        Bucket(s3.url("store")).put("rows.parquet", file)
    s3.before = None
    assert s3.keys() == []


def test_one_in_parts_is_given_up_whole(s3: S3, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large file goes in parts; where one can't be put, the others are not kept, which would have to be paid for."""
    monkeypatch.setattr(s3fs.core, "calculate_chunksize", lambda *_, **__: _PART)
    bucket = Bucket(s3.url("store"))
    s3.before = cut(HalfWay, part="3")
    with pytest.raises(BucketError, match=r"store/rows.parquet: the object store can't be asked"):
        bucket.put("rows.parquet", file)
    s3.before = None
    assert s3.keys() == []
    assert "Uploads" not in s3.client.list_multipart_uploads(Bucket=s3.bucket)
    bucket.put("rows.parquet", file)
    assert s3.get("store/rows.parquet") == file.read_bytes()
