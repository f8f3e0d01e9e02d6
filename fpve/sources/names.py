"""How the names of files become text: in UTF-8, in one spelling, one by one or by the column."""

from __future__ import annotations

import re
import unicodedata

import pyarrow as pa
import pyarrow.compute as pc

# Names that need Python are turned into its strings so many at a time, that memory does not grow with their number.
_AT_ONCE = 65_536
_ESCAPE = re.compile(rb"%([0-9A-F]{2})")


def text_path(relative: bytes) -> str:
    """A relative path as text, with bytes that are not UTF-8 as %XX.

    In a name with such bytes a percent sign is escaped too, so that different names stay different.
    """
    try:
        return relative.decode("utf-8")
    except UnicodeDecodeError:
        parts = relative.replace(b"%", b"%25").decode("utf-8", "surrogateescape")
        return "".join(f"%{ord(one) - 0xDC00:02X}" if 0xDC80 <= ord(one) <= 0xDCFF else one for one in parts)


def raw_paths(path: str) -> tuple[bytes, ...]:
    """The relative paths that `text_path` gives this text for: the text itself, and with %XX what it may stand for."""
    plain = path.encode()
    raw = _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), plain)
    return (plain,) if raw == plain else (plain, raw)


def text_paths(relative: pa.BinaryArray) -> pa.StringArray:
    """The same for a column (n,); without a copy where all of it is UTF-8."""
    try:
        return relative.cast(pa.string())
    except pa.ArrowInvalid:
        # Arrow does not say which one: the part that holds it goes through Python.
        if len(relative) <= _AT_ONCE:
            return pa.array([text_path(one) for one in relative.to_pylist()], pa.string())
        parts = [relative.slice(start, _AT_ONCE) for start in range(0, len(relative), _AT_ONCE)]
        return pa.concat_arrays([text_paths(part) for part in parts])


def normalise(path: str) -> str:
    """The NFC spelling of a path, by which images are named and metadata is matched."""
    return path if path.isascii() else unicodedata.normalize("NFC", path)


def normalised(paths: pa.StringArray) -> pa.StringArray:
    """The same for a column (n,); null stays null. The column itself where all of it is ASCII."""
    # Python's tables for all of them: Arrow's may be of another version of Unicode.
    other = pc.invert(pc.fill_null(pc.string_is_ascii(paths), True))
    if not pc.any(other).as_py():
        return paths
    chosen = paths.filter(other)
    parts = [chosen.slice(start, _AT_ONCE) for start in range(0, len(chosen), _AT_ONCE)]
    spelt = [pa.array([normalise(one) for one in part.to_pylist()], pa.string()) for part in parts]
    return pc.replace_with_mask(paths, other, pa.concat_arrays(spelt))
