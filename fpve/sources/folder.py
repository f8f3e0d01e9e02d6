"""A folder of pictures as a source: finding its files without opening them."""

from __future__ import annotations

import fnmatch
import os
import re
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from fpve.errors import SourceError, SourceNotFound
from fpve.images import is_picture_name

SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        # Relative to the source, as the operating system has it; what is not UTF-8 is percent-escaped.
        pa.field("path", pa.string(), nullable=False),
        # The same byte for byte.
        pa.field("raw_path", pa.binary(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("mtime_ns", pa.int64(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class Skipped:
    """An input that was found but can't be an image of the collection."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Scan:
    """What a folder holds.

    Attributes:
        files: pictures, sorted by image_id, with the columns of SCHEMA.
        skipped: files whose names clash, and pictures that are no regular files.
    """

    files: pa.Table
    skipped: tuple[Skipped, ...]


def scan_folder(folder: Path, *, collection: str, include: Iterable[str] = (), exclude: Iterable[str] = ()) -> Scan:
    """Find the pictures below a folder, by extension.

    Hidden files and folders are left out, links to folders are not followed.

    Raises:
        SourceNotFound: there is no such folder.
        SourceError: it is a file, it or a folder in it can't be read, or it holds no picture.
    """
    _check_folder(folder)
    try:
        # The manifest names it.
        str(folder).encode()
    except UnicodeEncodeError:
        raise SourceError(
            f"{str(folder)!a}: expected a path in UTF-8; rename the folder, or make a link to it"
        ) from None
    wanted, unwanted = _patterns(include), _patterns(exclude)
    skipped: list[Skipped] = []
    found: dict[str, tuple[str, bytes, int, int]] = {}
    seen_any = False
    for relative, entry in _walk(os.fsencode(folder), unwanted):
        seen_any = True
        path = text_path(relative)
        if not is_picture_name(path) or not _selected(path, wanted, unwanted):
            continue
        name = normalise(path)
        try:
            status = entry.stat()
        except OSError as error:
            skipped.append(Skipped(path, f"can't be read: {error.strerror}"))
            continue
        if not stat.S_ISREG(status.st_mode):
            skipped.append(Skipped(path, "not a regular file"))
        elif name in found:
            skipped.append(Skipped(path, f"its name is another spelling of {found[name][0]!r}"))
        else:
            found[name] = (path, relative, status.st_size, status.st_mtime_ns)
    if not found:
        raise SourceError(_nothing(folder, seen_any=seen_any, filtered=bool(wanted or unwanted), skipped=skipped))
    rows = sorted((f"{collection}/{name}", *rest) for name, rest in found.items())
    files = pa.table([pa.array(column) for column in zip(*rows, strict=True)], schema=SCHEMA)
    return Scan(files, tuple(skipped))


def text_path(relative: bytes) -> str:
    """A relative path as text, with bytes that are not UTF-8 as %XX.

    In a name with such bytes a percent sign is escaped too, so that different names stay different.
    """
    try:
        return relative.decode("utf-8")
    except UnicodeDecodeError:
        parts = relative.replace(b"%", b"%25").decode("utf-8", "surrogateescape")
        return "".join(f"%{ord(one) - 0xDC00:02X}" if 0xDC80 <= ord(one) <= 0xDCFF else one for one in parts)


def normalise(path: str) -> str:
    """The NFC spelling of a path, by which images are named and metadata is matched."""
    return path if path.isascii() else unicodedata.normalize("NFC", path)


def _check_folder(folder: Path) -> None:
    if not folder.exists():
        raise SourceNotFound(f"{folder}: no such folder; is its disk mounted?")
    if not folder.is_dir():
        raise SourceError(f"{folder}: expected a folder of pictures, found a file")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise SourceError(f"{folder}: can't be read: permission denied")


def _walk(folder: bytes, unwanted: re.Pattern[str] | None) -> Iterator[tuple[bytes, os.DirEntry[bytes]]]:
    """Files below a folder with their relative paths; depth first, without recursion, for trees may be deep."""
    stack = [(folder, b"")]
    while stack:
        current, base = stack.pop()
        try:
            with os.scandir(current) as entries:
                for entry in entries:
                    if entry.name.startswith(b"."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        stack.append((entry.path, base + entry.name + b"/"))
                    elif not (entry.is_symlink() and _is_directory(entry)):
                        yield base + entry.name, entry
        except OSError as error:
            path = text_path(base)
            if unwanted is None or not unwanted.match(path):
                # Passed over, its pictures would count as deleted.
                raise SourceError(
                    f"{os.fsdecode(current)}: can't be read: {error.strerror}; "
                    f'if its pictures are not wanted, exclude = ["{path}*"]'
                ) from error


def _is_directory(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A loop of links: reported when the file itself is looked at.
        return False


def _patterns(globs: Iterable[str]) -> re.Pattern[str] | None:
    """One pattern for several globs over relative paths; `*` crosses folders, `**/` is any folders or none."""
    parts = ["(?:.*/)?".join(fnmatch.translate(part)[:-2] for part in glob.split("**/")) + r"\Z" for glob in globs]
    return re.compile("|".join(parts), re.DOTALL) if parts else None


def _selected(path: str, wanted: re.Pattern[str] | None, unwanted: re.Pattern[str] | None) -> bool:
    return (wanted is None or bool(wanted.match(path))) and not (unwanted is not None and unwanted.match(path))


def _nothing(folder: Path, *, seen_any: bool, filtered: bool, skipped: list[Skipped]) -> str:
    if skipped:
        return f"{folder}: no picture can be read; {skipped[0].path}: {skipped[0].reason}"
    if not seen_any:
        return f"{folder}: the folder is empty; is its disk mounted?"
    if filtered:
        return f"{folder}: no picture is left by include and exclude"
    return f"{folder}: no pictures in it (.jpg, .png, .webp, .tif, …)"
