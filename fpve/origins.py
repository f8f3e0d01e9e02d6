"""Which store in a bucket a directory of this machine is a replica of: for people, both are called by the URL."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from pathlib import Path

from fpve.caches import cache_folder

# In a replica: what it is one of.
ORIGIN = "origin.json"
_FOLDER = "stores"
# What this process has learnt, also of directories to which nothing has come yet.
_known: dict[Path, str] = {}


def place_of(url: str) -> Path:
    """The directory of this machine's replica of a store."""
    # To be read by people, and different for different stores.
    name = re.sub(r"[^A-Za-z0-9.\-]+", "+", url)[-100:]
    root = cache_folder() / _FOLDER / f"{name}-{sha256(url.encode()).hexdigest()[:8]}"
    remember(root, url)
    return root


def remember(root: Path, url: str) -> None:
    """Know what a directory is a replica of, though it may not be there yet."""
    _known[root] = url


def origin_of(root: Path) -> str | None:
    """The URL of the store that a directory is a replica of; None if it is none, or nothing yet."""
    known = _known.get(root)
    if known is not None:
        return known
    try:
        url = str(json.loads((root / ORIGIN).read_bytes())["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    remember(root, url)
    return url


def in_words(text: str) -> str:
    """A text for people, with the URLs of stores in the place of the replicas that this process knows."""
    if f"/{_FOLDER}/" in text:
        # No name begins another one: they end with digests of the same length.
        for root, url in list(_known.items()):
            text = text.replace(str(root), url)
    return text
