"""Fingerprints: one short digest of everything that decides what an encoder puts out."""

from __future__ import annotations

import fnmatch
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fpve.errors import EncoderNotFound

# 64 bits: a store compares a handful of fingerprints, so a collision would have to be made on purpose.
HEX_DIGITS = 16


def fingerprint(settings: Mapping[str, Any], weights: Path | None = None, *, ignore: tuple[str, ...] = ()) -> str:
    """Digest an encoder's settings and weights into HEX_DIGITS hex digits of a SHA-256.

    What is hashed is canonical JSON (sorted keys, no spaces) of the settings and of the SHA-256 of each weight file,
    so neither the place of the files nor the order of the settings matters. Reads every byte of the weights.

    Args:
        settings: JSON values: architecture, preprocessing, pooling, precision.
        weights: a file, or a directory whose files all count, by relative path; None for an encoder without weights.
        ignore: patterns of relative posix paths in that directory that don't decide the output; `*` also matches `/`.

    Raises:
        EncoderNotFound: a weight file can't be read.
    """
    content = {"settings": dict(settings), "weights": _digests(weights, ignore)}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:HEX_DIGITS]


def _digests(weights: Path | None, ignore: tuple[str, ...]) -> dict[str, str]:
    if weights is None:
        return {}
    if not weights.is_dir():
        # Without its name: a copy under another name is the same model.
        return {"": _sha256(weights)}
    paths = {path.relative_to(weights).as_posix(): path for path in weights.rglob("*") if path.is_file()}
    return {
        name: _sha256(path)
        for name, path in paths.items()
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in ignore)
    }


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise EncoderNotFound(f"{path}: can't be read as weights: {error.strerror}") from error
