"""Durable files: written under a temporary name, fsynced, then given their name; never outside their root."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fpve.errors import StoreConflict, StoreCorrupt
from fpve.replica import FileStatus, Replica, replica_of

# The first bytes of a SHA-256 that name a file: 64 bits, so that a store of a million files has no collision.
NAME_DIGITS = 16
# The directories of a store; what each holds is in docs/store.md.
LAYOUT = ("snapshots", "images", "vectors", "tables", "heads", "saved", "runs", "state", "pending")
_DIGITS = rf"[0-9a-f]{{{NAME_DIGITS}}}"
_TEMPORARY = rf"\.{_DIGITS}(?:\.\w+)?\.tmp"
# A segment's index, with a digest of what went into it besides the segment's rows.
INDEX_NAME = rf"(?:exact|codes|graph\d{{3}})(?:-{_DIGITS})?\.faiss"
# What manifests name, and manifests themselves.
_NAMED = "|".join(
    (
        rf"snapshots/(?:\d{{20}}\.json|{_TEMPORARY})",
        rf"images/[\w.\-]+/(?:{_DIGITS}\.(?:parquet|arrow(?:\.sha256)?)|{_TEMPORARY})",
        rf"vectors/(?:{_TEMPORARY}|{_DIGITS}/(?:rows\.parquet|{INDEX_NAME}(?:\.sha256)?|{_TEMPORARY}))",
        rf"tables/[a-z]+/(?:{_DIGITS}\.parquet|{_TEMPORARY})",
        rf"heads/(?:{_DIGITS}\.safetensors|{_TEMPORARY})",
    )
)
# Files of a store by their path in it: no other is taken for a part of it, nor deleted.
_OURS = re.compile(
    "|".join(
        (
            _NAMED,
            # As SQL names them, in lower case.
            rf"saved/(?:[a-z_][a-z0-9_]{{0,62}}\.parquet|{_TEMPORARY})",
            rf"runs/(?:\d{{8}}T\d{{6}}(?:\.\d{{6}})?Z-[0-9a-f]{{8}}\.json|{_TEMPORARY})",
            rf"state/(?:lock|writer\.json|{_TEMPORARY}|scan/(?:[\w.\-]+\.parquet|{_TEMPORARY}))",
            rf"state/archives/[\w.\-]+/(?:{_DIGITS}\.parquet|{_TEMPORARY})",
            # As `set_aside` calls them: where they were, in one word, and something random.
            rf"state/damaged/(?:{_NAMED.replace('/', '_')})\.[0-9a-f]{{8}}",
            rf"pending/(?:{_DIGITS}|\.{_DIGITS}\.tmp)/(?:(?:rows|thumbnails)\.parquet|shard\.json|{_TEMPORARY})",
            rf"pending/answers/(?:answers|{_DIGITS})\.jsonl",
        )
    )
)


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file that a manifest names.

    Attributes:
        path: relative to the store, with `/`.
        bytes: its size.
        sha256: hex digest of its content.
    """

    path: str
    bytes: int
    sha256: str


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fsync_directory(path: Path) -> None:
    """Make the names in a directory survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_root(root: Path) -> None:
    """Make the directory of a store, and its parents, each durable in its parent."""
    replica = replica_of(root)
    if replica is not None:
        replica.begin()
    missing = [one for one in (root, *root.parents) if not one.exists()]
    root.mkdir(parents=True, exist_ok=True)
    for one in missing:
        fsync_directory(one.parent)


def make_directory(root: Path, *names: str) -> Path:
    """Make a directory of the store at `root`, durable in its parent, and return its path.

    Raises:
        FileNotFoundError: there is no `root`: a store that was deleted under its writer is not begun anew by it.
    """
    folder = root
    for name in names:
        parent, folder = folder, folder / name
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        fsync_directory(parent)
    return folder


def write_durably(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file, fsync it, and rename it to `path`, replacing what was there."""
    _fill_temporary(path.parent, path.suffix, write).replace(path)
    fsync_directory(path.parent)


def write_named_by_content(
    root: Path, names: tuple[str, ...], suffix: str, write: Callable[[Path], object]
) -> tuple[Path, str]:
    """Let `write` fill a file of the directory `names` and name it by its own SHA-256; returns path and hex digest.

    The same content twice is one file, so writing again what is already there changes nothing.
    """
    folder = make_directory(root, *names)
    temporary, digest = write_temporary(folder, suffix, write)
    path = folder / f"{digest[:NAME_DIGITS]}{suffix}"
    temporary.replace(path)
    fsync_directory(folder)
    return path, digest


def write_temporary(folder: Path, suffix: str, write: Callable[[Path], object]) -> tuple[Path, str]:
    """Let `write` fill a file under a temporary name, durably; returns its path and the hex SHA-256 of its content."""
    temporary = _fill_temporary(folder, suffix, write)
    return temporary, sha256_of(temporary)


def link_as(source: Path, target: Path) -> None:
    """Give a durable file a second name, which says its content; what has that name already is replaced by the same.

    It may be another file all the same: one that a killed writer left there, and that was damaged since.
    """
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        temporary.hardlink_to(source)
        temporary.replace(target)
    except OSError:
        # A file system without hard links.
        write_durably(target, lambda out: out.write_bytes(source.read_bytes()))
    finally:
        # Renaming one name of a file to another name of it does nothing.
        temporary.unlink(missing_ok=True)
    fsync_directory(target.parent)


def check_root(root: Path) -> None:
    """Refuse to make a store of something that is none: a file, or a directory with other things in it.

    Raises:
        StoreConflict: naming what was found there.
    """
    if root.exists() and not root.is_dir():
        raise StoreConflict(f"{root}: expected a directory for the store, found a file")
    replica = replica_of(root)
    if replica is not None:
        _check_bucket(replica)
        return
    found = sorted(path.name for path in root.iterdir()) if root.exists() else []
    # What a run leaves that was killed before its first snapshot, or whose store was emptied under it: its lock, or
    # at least nothing but files of the kinds that it writes.
    begun = (root / "state" / "lock").exists() or all(path.is_dir() or is_ours(root, path) for path in root.rglob("*"))
    ours = begun and set(found) <= set(LAYOUT)
    published = any(is_ours(root, path) for path in (root / "snapshots").glob("*.json"))
    if found and not ours and not published:
        raise StoreConflict(f"{root}: no store, and not empty (it holds {found[0]!r}); name a new directory")


def _check_bucket(replica: Replica) -> None:
    """Refuse to make a store of what lies below a URL, if it is something else."""
    if any(is_ours(replica.root, replica.root / one.name) for one in replica.bucket.objects("snapshots")):
        return
    for one in replica.bucket.objects():
        if not is_ours(replica.root, replica.root / one.name):
            raise StoreConflict(f"{replica.root}: no store, and not empty (it holds {one.name!r}); name a new prefix")


def is_ours(root: Path, path: Path) -> bool:
    """Whether a file lies where the store at `root` would put one, and is called as it would be."""
    return _OURS.fullmatch(path.relative_to(root).as_posix()) is not None


def our_files(root: Path, folder: str) -> Iterator[Path]:
    """The store's own files below one of its directories, sorted; no links, and nothing behind them.

    Those of a store in a bucket need not be here: `at_hand` brings them.
    """
    replica = replica_of(root)
    if replica is not None:
        yield from (path for path in (root / name for name in replica.names(folder)) if is_ours(root, path))
        return
    top = root / folder
    if not top.is_symlink():
        found = (Path(parent, name) for parent, _, names in os.walk(top) for name in names)
        yield from (path for path in sorted(found) if is_ours(root, path) and not path.is_symlink() and path.is_file())


def status_of(root: Path, path: Path) -> FileStatus | None:
    """What is known of a file of a store; None if it is gone, as temporary ones of others may be at any time."""
    replica = replica_of(root)
    if replica is not None:
        return replica.status(path.relative_to(root).as_posix())
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return FileStatus(found.st_size, found.st_mtime, (found.st_dev, found.st_ino), found.st_nlink)


def sizes(root: Path, folder: str, names: Set[str]) -> Iterator[int]:
    """The sizes of those files of a directory of the store that are there, and have these names."""
    replica = replica_of(root)
    if replica is not None:
        yield from (one.size for one in replica.bucket.objects(folder) if one.name in names)
        return
    for name in names:
        with suppress(OSError):
            yield (root / name).stat().st_size


def push(root: Path, *paths: Path) -> None:
    """Put files that were written into the bucket, if the store is in one.

    Raises:
        BucketError: that can't be done.
    """
    replica = replica_of(root)
    if replica is not None:
        replica.push(path.relative_to(root).as_posix() for path in paths)


def push_written(root: Path, *folders: str) -> None:
    """Put all files of some directories that were written here into the bucket, if the store is in one.

    Raises:
        BucketError: that can't be done.
    """
    replica = replica_of(root)
    if replica is not None:
        for folder in folders:
            names = (name for name in replica.written(folder) if not name.endswith(".tmp"))
            replica.push(name for name in names if is_ours(root, root / name))


def forget(root: Path, name: str) -> None:
    """Let a file be fetched again, if the store is in a bucket: what is here is not what is there."""
    replica = replica_of(root)
    if replica is not None:
        replica.forget(name)


def forget_all(root: Path) -> None:
    """Let all large files be fetched again, if the store is in a bucket: some may have been damaged here."""
    replica = replica_of(root)
    if replica is not None:
        replica.forget_all()


def remove_files(root: Path, paths: Iterable[Path]) -> None:
    """Delete files of a store; those that are gone are passed over."""
    replica = replica_of(root)
    if replica is not None:
        replica.remove(path.relative_to(root).as_posix() for path in paths)
        return
    for path in paths:
        path.unlink(missing_ok=True)


def opened(root: Path, name: str) -> BinaryIO:
    """Open a file of the store of which only a part is to be read; of one in a bucket nothing else is fetched.

    Raises:
        OSError: it is not there, or can't be read.
    """
    path, replica = inside(root, name), replica_of(root)
    return path.open("rb") if replica is None or path.exists() else replica.bucket.open(name)


def checked(root: Path, file: FileRef) -> Path:
    """The path of a file that a manifest names, if its SHA-256 is the manifest's.

    Raises:
        StoreCorrupt: it is missing or damaged.
    """
    path = at_hand(root, file.path)
    try:
        found = sha256_of(path)
        if found != file.sha256 and replica_of(root) is not None:
            # It may have been damaged on this machine only.
            forget(root, file.path)
            found = sha256_of(at_hand(root, file.path))
        if found != file.sha256:
            raise StoreCorrupt(f"{path}: its content has changed since it was written; see `fpve repair {root}`")
    except OSError as error:
        raise StoreCorrupt(f"{path}: a file of the store can't be read: {error.strerror}") from error
    return path


def ref(root: Path, path: Path, sha256: str | None = None) -> FileRef:
    """Describe a file of the store at `root` as its manifest will."""
    return FileRef(path.relative_to(root).as_posix(), path.stat().st_size, sha256 or sha256_of(path))


def inside(root: Path, relative: str) -> Path:
    """The path of a file that a manifest names; a name that leads outside the store is refused.

    Raises:
        StoreCorrupt: the name is absolute or has a `..` in it.
    """
    # Not parsed as a path: of thousands of files that takes longer than to ask whether they are there.
    parts = relative.split("/")
    if not {"", ".", ".."}.isdisjoint(parts):
        raise StoreCorrupt(f"{root}: its manifest names a file outside the store: {relative!r}")
    return root.joinpath(*parts)


def at_hand(root: Path, relative: str, *, changes: bool = False) -> Path:
    """The path of a file that a manifest names; of a store in a bucket it is fetched, if it is not here.

    Args:
        root: the store.
        relative: the file.
        changes: whether it is one that is replaced under its name.

    Raises:
        StoreCorrupt: the name leads outside the store.
        BucketError: the bucket can't be asked.
    """
    path, replica = inside(root, relative), replica_of(root)
    return path if replica is None else replica.bring(relative, changes=changes)


def is_there(root: Path, file: FileRef) -> bool:
    """Whether a file of the store is there with the size that its manifest says; its content is not read."""
    try:
        status = status_of(root, inside(root, file.path))
    except OSError:
        return False
    return status is not None and status.size == file.bytes


def _fill_temporary(folder: Path, suffix: str, write: Callable[[Path], object]) -> Path:
    temporary = folder / f".{secrets.token_hex(8)}{suffix}.tmp"
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    return temporary
