"""What a tar archive holds: its pictures by their place in it, and what their sidecars say. Nothing is unpacked."""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import pyarrow as pa

from fpve.errors import SourceError
from fpve.sources.names import text_path
from fpve.sources.places import open_place
from fpve.sources.walk import PICTURES

# Metadata columns of an index are called so, that none is taken for one of its own.
FIELD = "field."
NAME, OFFSET, SIZE = "name", "offset", "size"
# A member that there was, and that the archive as it is now does not hold whole.
LOST = -1
# Members that can't be images, with the reason, in the table's own metadata; and whether the archive is damaged.
_SKIPPED, _DAMAGE = b"fpve.skipped", b"fpve.damage"
# What WebDataset and img2dataset write beside a picture.
_SIDECARS = (b".json", b".txt", b".cls")
# A text about a picture; beyond that it is something else.
_MAX_SIDECAR = 1 << 20
_BLOCK = 512
# gzip, bzip2, xz, zstd; of bzip2 more than its first letters, which may be those of a member's name.
_COMPRESSED = re.compile(rb"\x1f\x8b|BZh[1-9]1AY&SY|\xfd7zXZ|\x28\xb5\x2f\xfd")
# What a header has, whatever its member is called.
_USTAR, _USTAR_AT = b"ustar", 257
# What tarfile raises of headers that hold nonsense: numbers that are none, sizes beyond memory, chains without end.
_NONSENSE = (ValueError, IndexError, OverflowError, MemoryError, RecursionError)
COMPRESSED_SUFFIXES = (".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tbz2", ".tar.xz", ".txz", ".tar.zst")


def compressed(archive: str) -> SourceError:
    """The error for an archive that is compressed, so that no member can be read without all before it."""
    return SourceError(
        f"{archive}: expected an uncompressed .tar, found a compressed one, in which no picture can be read by itself; "
        "unpack it, or only uncompress it: gunzip, bunzip2, unxz or unzstd"
    )


@dataclass
class _Members:
    """What was found so far.

    Attributes:
        pictures: by name, where each lies.
        sidecars: by name without its last extension, what is said of the pictures of that name.
        skipped: members that can't be images, with the reason.
    """

    pictures: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    sidecars: dict[bytes, dict[str, Any]] = field(default_factory=dict)
    skipped: list[tuple[bytes, str]] = field(default_factory=list)


def index_archive(archive: bytes) -> pa.Table:
    """List the pictures in an archive, with the columns NAME, OFFSET and SIZE, and FIELD… for what sidecars say.

    An archive that is damaged or cut off is listed as far as it is whole; `damage` says what is wrong with it.

    Raises:
        SourceError: it is compressed.
        OSError: it can't be read.
    """
    found = _Members()
    with open_place(archive) as file:
        start = file.read(_BLOCK)
        if _COMPRESSED.match(start) and not start.startswith(_USTAR, _USTAR_AT):
            raise compressed(os.fsdecode(archive))
        file.seek(0)
        damage = _walk(file, found)
    names = list(found.pictures)
    columns: dict[str, pa.Array] = {
        NAME: pa.array(names, pa.binary()),
        OFFSET: pa.array([offset for offset, _ in found.pictures.values()], pa.int64()),
        SIZE: pa.array([size for _, size in found.pictures.values()], pa.int64()),
    }
    if found.sidecars:
        said = [_said(name, found.sidecars) for name in names]
        fields = dict.fromkeys(key for one in said for key in one)
        columns |= {FIELD + key: _column([one.get(key) for one in said]) for key in fields}
    notes = {_SKIPPED: json.dumps([[text_path(name), reason] for name, reason in found.skipped]).encode()}
    return pa.table(columns).replace_schema_metadata(notes | ({_DAMAGE: damage.encode()} if damage else {}))


def skipped_in(index: pa.Table) -> list[tuple[str, str]]:
    """Members of an index that can't be images, with the reason."""
    return [(name, reason) for name, reason in json.loads((index.schema.metadata or {}).get(_SKIPPED, b"[]"))]


def damage_of(index: pa.Table) -> str | None:
    """Why an archive could not be listed to its end; None if it could."""
    found = (index.schema.metadata or {}).get(_DAMAGE)
    return found.decode() if found is not None else None


def with_lost(index: pa.Table, before: pa.Table) -> pa.Table:
    """The index of a damaged archive, with what it had when it was whole: members that are lost have the offset LOST.

    Of those that lie where they lay sidecars say what they said: these may be lost too.
    """
    now, then = ({name: place for name, *place in _places(one)} for one in (index, before))
    same = [now.get(name) == place for name, place in then.items()]
    gone = before.filter(pa.array([name not in now for name in then], pa.bool_()))
    at = gone.schema.get_field_index(OFFSET)
    gone = gone.set_column(at, gone.schema.field(at), pa.repeat(LOST, len(gone)).cast(pa.int64()))
    other = index.filter(pa.array([then.get(name) != place for name, place in now.items()], pa.bool_()))
    joined = join_indexes([other, before.filter(pa.array(same, pa.bool_())), gone])
    return joined.replace_schema_metadata(index.schema.metadata)


def _places(index: pa.Table) -> Iterator[tuple[bytes, int, int]]:
    return zip(*(index[name].to_pylist() for name in (NAME, OFFSET, SIZE)), strict=True)


def join_indexes(indexes: list[pa.Table]) -> pa.Table:
    """One table of several indexes; a field whose kinds differ becomes text."""
    names = dict.fromkeys(name for one in indexes for name in one.column_names)
    kinds = {name: _common({one[name].type for one in indexes if name in one.column_names}) for name in names}
    try:
        return _joined(indexes, kinds)
    except pa.ArrowException:
        # Whole numbers that are no floats, for their size.
        kinds = {name: pa.string() if pa.types.is_floating(kind) else kind for name, kind in kinds.items()}
        return _joined(indexes, kinds)


def _joined(indexes: list[pa.Table], kinds: dict[str, pa.DataType]) -> pa.Table:
    schema = pa.schema(list(kinds.items()))
    parts = [
        pa.table(
            [
                one[name].cast(kind) if name in one.column_names else pa.nulls(len(one), kind)
                for name, kind in kinds.items()
            ],
            schema=schema,
        )
        for one in indexes
    ]
    return pa.concat_tables(parts).combine_chunks()


def _common(kinds: set[pa.DataType]) -> pa.DataType:
    kinds = {kind for kind in kinds if not pa.types.is_null(kind)}
    if len(kinds) == 1:
        return kinds.pop()
    return pa.float64() if kinds == {pa.int64(), pa.float64()} else pa.string()


def _walk(file: BinaryIO, found: _Members) -> str | None:
    """Read the headers of an archive; what is wrong with it, if anything."""
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    tar = None
    try:
        tar = tarfile.TarFile(fileobj=file, mode="r", encoding="utf-8", errors="surrogateescape")
        for member in _headers(tar):
            _take(member, file, end, found)
            if member.isreg() and member.offset_data + member.size > end:
                return f"it is cut off at byte {end:,}"
    except tarfile.TarError as error:
        return f"it is damaged at byte {tar.offset if tar else 0:,}: {error}"
    except _NONSENSE:
        return f"it is damaged at byte {tar.offset if tar else 0:,}: its header holds nonsense"
    return _rest(file, tar.offset)


def _headers(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    reached = 0
    while (member := tar.next()) is not None:
        # It keeps them all, for those who would unpack them.
        tar.members = []  # type: ignore[attr-defined]
        if member.size < 0 or tar.offset <= reached:
            # The next header would be one that was read already, for ever.
            tar.offset = member.offset
            raise tarfile.ReadError(f"a member of {member.size:,} bytes")
        reached = tar.offset
        yield member


def _rest(file: BinaryIO, offset: int) -> str | None:
    """What is wrong at the place where the headers end, and zeros are to be."""
    block = _peek(file, _BLOCK, offset)
    if not block:
        return f"it is cut off at byte {offset:,}, between two members: it has no end mark"
    return f"it is damaged at byte {offset:,}: no header there" if any(block) else None


def _peek(file: BinaryIO, size: int, offset: int) -> bytes:
    """So many bytes at a place; the next header is read from where it is."""
    if isinstance(file, io.BufferedReader):
        # Beside the buffer in which the next header is.
        return os.pread(file.fileno(), size, offset)
    here = file.tell()
    file.seek(offset)
    data = file.read(size)
    file.seek(here)
    return data


def _take(member: tarfile.TarInfo, file: BinaryIO, end: int, found: _Members) -> None:
    raw = member.name.encode("utf-8", "surrogateescape")
    parts = [part for part in raw.split(b"/") if part not in (b"", b".")]
    # Hidden files are none of a folder's either; macOS packs one beside every file.
    if not parts or any(part.startswith(b".") and part != b".." for part in parts):
        return
    name = b"/".join(parts)
    suffix = os.path.splitext(parts[-1])[1].lower()  # noqa: PTH122 (bytes)
    if member.isdir() or suffix not in (*PICTURES, *_SIDECARS):
        return
    if member.offset_data + member.size > end:
        # Of which the archive as a whole is accused.
        return
    reason = _unfit(member, outside=b".." in parts)
    if reason is not None:
        found.skipped.append((name, reason))
    elif suffix in PICTURES:
        if name in found.pictures:
            found.skipped.append((name, "stands in its archive again further on; the last one is taken, as by tar"))
        found.pictures[name] = (member.offset_data, member.size)
    else:
        _read_sidecar(name, member, file, found)


def _unfit(member: tarfile.TarInfo, *, outside: bool) -> str | None:
    """Why a member can't be taken."""
    if outside:
        return "its name leads out of its archive"
    if member.issym() or member.islnk():
        return "a link in an archive; pack the file itself"
    if not member.isreg():
        return "not a regular file"
    return "a sparse file in an archive; pack it without --sparse" if member.issparse() else None


def _read_sidecar(name: bytes, member: tarfile.TarInfo, file: BinaryIO, found: _Members) -> None:
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 (bytes)
    kind = suffix.lower().decode()
    if member.size > _MAX_SIDECAR:
        found.skipped.append((name, f"a {kind} of {member.size:,} bytes is too large to be about one picture"))
        return
    text = _peek(file, member.size, member.offset_data).decode("utf-8", "replace").removeprefix("\ufeff")
    said = found.sidecars.setdefault(stem, {})
    if kind != ".json":
        said[kind[1:]] = text.strip() or None
        return
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        found.skipped.append((name, f"no JSON: {error}"))
        return
    if not isinstance(values, dict):
        found.skipped.append((name, f"expected an object of fields, found {type(values).__name__}"))
        return
    for key, value in values.items():
        if value is None or isinstance(value, str | int | float):
            # A file of its own says it better.
            said.setdefault(key.encode("utf-8", "replace").decode(), value)


def _said(name: bytes, sidecars: dict[bytes, dict[str, Any]]) -> dict[str, Any]:
    """What is said of a picture: `a.x.json` of `a.x.png`, or else as WebDataset groups it `a.json` of `a.x.png`."""
    stem = os.path.splitext(name)[0]  # noqa: PTH122 (bytes)
    folder, slash, base = name.rpartition(b"/")
    return sidecars.get(stem) or sidecars.get(folder + slash + base.partition(b".")[0]) or {}


def _column(values: list[Any]) -> pa.Array:
    """A field of all pictures; as text where its values are of several kinds."""
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, UnicodeError):
        texts = [one if one is None or isinstance(one, str) else json.dumps(one) for one in values]
        return pa.array([one and one.encode("utf-8", "replace").decode() for one in texts], pa.string())
