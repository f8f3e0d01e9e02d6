"""Where this user's caches are: networks that were converted, copies of stores in buckets. All can be deleted."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path


def cache_folder() -> Path:
    """The folder of all caches of this user: `$FPVE_CACHE`, else `fpve` in `$XDG_CACHE_HOME` or `~/.cache`.

    A user without a home, as in some containers, has one for the process.
    """
    if own := os.environ.get("FPVE_CACHE"):
        return Path(own).absolute()
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base).absolute() / "fpve"
    try:
        return Path.home() / ".cache" / "fpve"
    except RuntimeError:
        return _folder_of_this_process()


def temporary_folder() -> Path:
    """A folder that is deleted when the process ends."""
    folder = tempfile.mkdtemp(prefix="fpve-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


@cache
def _folder_of_this_process() -> Path:
    return temporary_folder()
