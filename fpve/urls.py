"""URLs of what is in object stores, as paths: `s3://bucket/folder`."""

from __future__ import annotations

import os
import re
from pathlib import Path, PosixPath

from fpve.errors import BucketError

# Those whose file systems put an object only where there is none, in one step (`mode="create"`), with what brings them.
PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    # Objects of this process only: for trying things out.
    "memory": "fsspec",
}
# As `Path` has it, two slashes are one, and none are left where nothing follows.
_URL = re.compile(rf"({'|'.join(PACKAGES)}):(?:/+|\Z)(.*)", re.DOTALL)
# As it is typed: schemes are the same in any case, and `S3:` is nobody's directory.
_TYPED = re.compile(_URL.pattern, re.DOTALL | re.IGNORECASE)
# How the URL of an object begins, for Python and for RE2.
URL_PATTERN = f"^({'|'.join(PACKAGES)})://"
# Those that have an account in their URLs: abfs://container@account.dfs.core.windows.net
_ACCOUNTS = ("az", "abfs", "abfss")


class BucketPath(PosixPath):
    """A path in an object store, which is written as its URL: `s3://bucket/prefix`.

    Nothing is there for the operating system: whoever opens what it names asks a `Bucket`.
    """

    def __str__(self) -> str:
        found = _URL.fullmatch(super().__str__())
        return f"{found[1]}://{found[2]}" if found else super().__str__()

    def absolute(self) -> BucketPath:
        """Itself: a URL begins at no folder of this machine."""
        return self

    def resolve(self, strict: bool = False) -> BucketPath:  # noqa: ARG002 (as `Path` has it)
        """Itself: object stores have no links."""
        return self

    def expanduser(self) -> BucketPath:
        """Itself."""
        return self


def bucket_path(path: str | os.PathLike[str]) -> BucketPath | None:
    """A path as one in an object store, if it is a URL of such; None if it is a path of this machine.

    Raises:
        BucketError: it is a URL that names no bucket, or has credentials in it.
    """
    found = _TYPED.fullmatch(str(path))
    if found is None:
        return None
    scheme = found[1].lower()
    if not found[2].strip("/"):
        raise BucketError(f"{scheme}://: expected a bucket in it, such as {scheme}://bucket/folder")
    first = found[2].lstrip("/").partition("/")[0]
    # A secret may have a slash in it. Azure has its account behind an @, and access points of S3 have colons.
    if (":" in first and not first.startswith("arn:")) or ("@" in first and scheme not in _ACCOUNTS):
        # Not repeated: it is a secret.
        raise BucketError(
            f"{scheme}://…: expected a bucket, found credentials before it; leave them to the environment "
            "(for S3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws)"
        )
    return BucketPath(f"{scheme}:/{found[2]}")


def check_local(path: str | os.PathLike[str]) -> None:
    """Refuse a URL where only a file of this machine will do.

    Raises:
        BucketError: it is one.
    """
    url = bucket_path(path)
    if url is not None:
        raise BucketError(f"{url}: expected a file of this machine, found a URL; copy the file there or here by itself")


def split_url(url: str) -> tuple[str, str]:
    """The URL of an object or a folder as that of its bucket, and the name below it."""
    scheme, _, rest = url.partition("://")
    bucket, _, name = rest.partition("/")
    return f"{scheme}://{bucket}", name


def is_url(path: str) -> bool:
    """Whether a text is the URL of something in an object store; `s3:/bucket` is none."""
    return re.match(URL_PATTERN, path) is not None


def any_path(path: str | os.PathLike[str], base: Path | None = None) -> Path:
    """A path of this machine, from `base` if it is relative, or one in an object store."""
    found = bucket_path(path)
    if found is not None:
        return found
    return Path(path) if base is None else base / Path(path).expanduser()
