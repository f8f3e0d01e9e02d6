"""Where this user's caches are: networks that were converted, copies of stores in buckets. All can be deleted."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
from functools import cache
from pathlib import Path

from fpve.errors import BucketError

_DEFAULT_SIZE = "20GB"
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)b?", re.IGNORECASE)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def cache_folder() -> Path:
    """The folder of all caches of this user: `$FPVE_CACHE`, else `fpve` in `$XDG_CACHE_HOME` or `~/.cache`.

    A user without a home, as in some containers, has one for the process.
    """
    if own := os.environ.get("FPVE_CACHE"):
        return Path(own)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "fpve"
    try:
        return Path.home() / ".cache" / "fpve"
    except RuntimeError:
        return _folder_of_this_process()


def size_limit() -> int:
    """How many bytes a replica may have: `$FPVE_CACHE_SIZE`, such as `200GB`.

    Raises:
        BucketError: that is no size.
    """
    text = os.environ.get("FPVE_CACHE_SIZE") or _DEFAULT_SIZE
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise BucketError(f"FPVE_CACHE_SIZE: expected a size such as 500MB or 200GB, found {text!r}")
    return int(float(found[1]) * _UNITS[found[2].lower()])


def temporary_folder() -> Path:
    """A folder that is deleted when the process ends."""
    folder = tempfile.mkdtemp(prefix="fpve-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


@cache
def _folder_of_this_process() -> Path:
    return temporary_folder()
