"""Servers that hang: each request is made as often as botocore is told to, and then it is said."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest
from s3 import S3

from fpve.buckets import Bucket
from fpve.errors import BucketError


@pytest.mark.parametrize("attempts", [1, 2])
def test_a_server_that_hangs_is_asked_no_more_often_than_told(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attempts: int
) -> None:
    """By AWS_MAX_ATTEMPTS; and it is waited for as fsspec is configured, also for leave to put a file."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", str(attempts))
    # Other options than those of other tests, so that nothing of theirs is used.
    own = {"read_timeout": 0.2, "user_agent_extra": f"test-{attempts}"}
    monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": own})
    (tmp_path / "file").write_bytes(b"1234")
    bucket = Bucket(s3.url("store"))
    s3.seconds = 1
    for ask in (
        lambda: bucket.put("file", tmp_path / "file"),
        lambda: bucket.look("file"),
        lambda: bucket.read("file"),
        lambda: list(bucket.objects("folder")),
    ):
        s3.counts()
        with pytest.raises(BucketError, match="the object store can't be asked, or refuses: Read timeout"):
            ask()
        assert s3.counts().total() == attempts
