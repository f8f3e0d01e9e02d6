"""Snapshots: the numbered manifests that say which files a store consists of."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError

from fpve._version import __version__
from fpve.config import DEFAULT_TARGET_RECALL, written_rules
from fpve.errors import SnapshotPruned, StoreCorrupt, StoreNotFound, StoreVersion
from fpve.replica import Replica, replica_of
from fpve.store.ann import AnnRef
from fpve.store.encoding import AlignmentRef, EncoderRef, FusionRef
from fpve.store.files import FileRef, at_hand
from fpve.store.heads import HeadRef
from fpve.store.predict import PredictRef
from fpve.store.schema import Column

FORMAT = "fpve-manifest"
FORMAT_VERSION = 1
FOLDER = "snapshots"
_NAME = re.compile(r"(\d{20})\.json")
_STRICT = ConfigDict(extra="forbid", strict=True)
Operation = Literal["run", "import", "label", "prefix", "align", "train", "compact", "rollback", "repair"]


@dataclass(frozen=True, slots=True)
class Page:
    """An immutable file of image rows, sorted by image_id, with the first and last of them."""

    __pydantic_config__ = _STRICT

    file: FileRef
    rows: int
    first: str
    last: str

    @property
    def copy(self) -> tuple[str, str]:
        """Where its copy is, and the copy's checksum, relative to the store: derived, to be mapped into memory."""
        name = self.file.path.removesuffix(".parquet") + ".arrow"
        return name, f"{name}.sha256"


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection's share of a snapshot.

    Attributes:
        source: absolute path of the folder, table or archive that it was read from.
        job: name of the job that owns it.
        prefix: its prefix rules, with the keys that a job file has for them.
        columns: its metadata columns.
        pages: its image rows, in order.
        folder: what the relative paths in its pages begin at, where that is not `source`.
    """

    __pydantic_config__ = _STRICT

    name: str
    source: str
    job: str
    prefix: Annotated[tuple[dict[str, Any], ...], BeforeValidator(written_rules)]
    columns: tuple[Column, ...]
    pages: tuple[Page, ...]
    folder: str | None = None

    @property
    def rows(self) -> int:
        """Number of images."""
        return sum(page.rows for page in self.pages)


@dataclass(frozen=True, slots=True)
class Segment:
    """An immutable set of vector rows.

    Its FAISS files lie beside `file`; they are derived, so they are named without a checksum.

    Attributes:
        name: its directory under `vectors/`.
        ann: what is known of its ANN index, if it has one.
    """

    __pydantic_config__ = _STRICT

    name: str
    file: FileRef
    rows: int
    derived: tuple[str, ...]
    ann: AnnRef | None = None

    @property
    def derived_files(self) -> tuple[str, ...]:
        """Its FAISS files, relative to the store."""
        folder = self.file.path.rpartition("/")[0]
        return tuple(f"{folder}/{name}" for name in self.derived)

    def __post_init__(self) -> None:
        """Refuse an index that can't be of these rows.

        Raises:
            ValueError: saying what.
        """
        if self.ann is not None and 2 * self.ann.held_out > self.rows:
            raise ValueError(f"expected at most half of {self.rows} rows held out, found {self.ann.held_out}")


@dataclass(frozen=True, slots=True)
class Table:
    """A file of one of the tables: `prefixes`, `quarantine`, `labels` or `thumbnails`."""

    __pydantic_config__ = _STRICT

    name: str
    file: FileRef
    rows: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """One snapshot: everything a reader needs to know to open the store as it was.

    Attributes:
        snapshot: its number, from 1.
        created_at: UTC, ISO 8601.
        columns: the one schema of all metadata.
        encoders: `image` and, where the store has prefixes, `text`.
        alignment: by what prefixes of pictures without one are predicted, if they are.
        heads: classifiers that were learnt from its vectors, or from such as are made in the same way.
        predict: which labels are predicted, sorted by label.
        target_recall: what share of the true hits ANN indexes are built to find.
        operation: what published it.
        summary: of a run, numbers of images by what became of them since the parent; of a rollback, `to` which one;
            `predicted`, how many predictions were made.
    """

    __pydantic_config__ = _STRICT

    snapshot: int
    parent: int | None
    created_at: str
    written_by: str
    encoders: dict[str, EncoderRef]
    fusion: FusionRef
    columns: tuple[Column, ...]
    collections: tuple[Collection, ...]
    segments: tuple[Segment, ...]
    tables: tuple[Table, ...]
    alignment: AlignmentRef | None = None
    heads: tuple[HeadRef, ...] = ()
    predict: tuple[PredictRef, ...] = ()
    target_recall: float = DEFAULT_TARGET_RECALL
    operation: Operation = "run"
    summary: dict[str, int] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Number of images."""
        return sum(collection.rows for collection in self.collections)

    def collection(self, name: str) -> Collection | None:
        """The collection of that name, if the snapshot has it."""
        return next((one for one in self.collections if one.name == name), None)

    def tables_named(self, name: str) -> tuple[Table, ...]:
        """The files of one table."""
        return tuple(one for one in self.tables if one.name == name)

    def says_the_same(self, other: Manifest) -> bool:
        """Whether two snapshots hold the same: they differ in number, time, writer and reason at most."""
        return self == replace(
            other,
            snapshot=self.snapshot,
            parent=self.parent,
            created_at=self.created_at,
            written_by=self.written_by,
            operation=self.operation,
            summary=self.summary,
        )

    @property
    def files(self) -> tuple[FileRef, ...]:
        """Every file that is not derived."""
        files = [page.file for collection in self.collections for page in collection.pages]
        files += [segment.file for segment in self.segments]
        return (*files, *(table.file for table in self.tables), *(head.file for head in self.heads))

    @property
    def names(self) -> Iterator[str]:
        """Every file, derived ones among them, relative to the store."""
        yield from (file.path for file in self.files)
        for collection in self.collections:
            for page in collection.pages:
                yield from page.copy
        for segment in self.segments:
            yield from segment.derived_files

    @property
    def bytes(self) -> int:
        """Size of all files that are not derived."""
        return sum(file.bytes for file in self.files)


def load_all(root: Path) -> tuple[dict[int, Manifest], dict[int, str]]:
    """Every snapshot of the store by its number, and of damaged manifests what is wrong with them.

    Raises:
        StoreVersion: another version of fpve wrote one: it is not damaged, and nobody here can say what it needs.
        OSError: one can't be read at the moment, which is no damage either.
    """
    found: dict[int, Manifest] = {}
    damaged: dict[int, str] = {}
    for number in numbers(root):
        try:
            found[number] = loads(at_hand(root, name_of(number), changes=True).read_bytes(), number)
        except FileNotFoundError:
            # Pruned since its name was read.
            continue
        except (ValueError, TypeError) as error:
            damaged[number] = _reason(error)
    return found, damaged


def no_store(root: Path) -> StoreNotFound:
    """The error for a path at which there is none."""
    return StoreNotFound(f"{root}: no store here; `fpve run` or `fpve encode` makes one")


def pruned(root: Path, number: int) -> SnapshotPruned:
    """The error for a snapshot that is gone since it was there."""
    return SnapshotPruned(f"{root}: no snapshot {number}; it has been pruned: open the store again, or `refresh()` it")


def sorted_tables(tables: Iterable[Table]) -> tuple[Table, ...]:
    """Files of tables in the order in which a manifest names them, each once."""
    return tuple(sorted(set(tables), key=lambda one: (one.name, one.file.path)))


def numbers(root: Path) -> list[int]:
    """Numbers of the snapshots of the store at `root`, ascending; empty where there is no store."""
    replica = replica_of(root)
    if replica is not None:
        return _numbers_in_bucket(replica)
    return _numbers_here(root)


def _numbers_here(root: Path) -> list[int]:
    try:
        names = [path.name for path in (root / FOLDER).iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(int(match[1]) for match in map(_NAME.fullmatch, names) if match)


def is_newest(root: Path, number: int) -> bool:
    """Whether a snapshot that there was is still the newest; of a store in a bucket that takes no listing if it is."""
    replica = replica_of(root)
    # Where it is gone, the one after it may be as well.
    if replica is not None and replica.bucket.look(name_of(number)) is not None:
        return replica.last_number(number, name_of) == number
    return numbers(root)[-1:] == [number]


def _numbers_in_bucket(replica: Replica) -> list[int]:
    """Numbers of the snapshots of a store in a bucket; those that a listing does not have yet are among them."""
    names = [one.name.rpartition("/")[2] for one in replica.bucket.objects(FOLDER)]
    listed = sorted(int(match[1]) for match in map(_NAME.fullmatch, names) if match)
    last = listed[-1] if listed else 0
    # Of a listing that has none at all, or is far behind, what was opened here before says more.
    known = max(_numbers_here(replica.root), default=0)
    return [*listed, *range(last + 1, replica.last_number(last, name_of, known=known) + 1)]


def load(root: Path, at: int | None = None) -> Manifest:
    """Read snapshot `at`, or the newest.

    Raises:
        StoreNotFound: there is no store at `root`, or no such snapshot in it.
        StoreCorrupt: the manifest is damaged; an invalid newest one is never skipped in silence.
        StoreVersion: another version of fpve wrote it.
    """
    if at is not None and replica_of(root) is not None:
        # No listing is needed for what is there, and sound.
        with suppress(OSError, ValueError, TypeError):
            return loads(at_hand(root, name_of(at), changes=True).read_bytes(), at)
    known = numbers(root)
    if not known:
        raise no_store(root)
    number = known[-1] if at is None else at
    if number not in known:
        kind = SnapshotPruned if 0 < number < known[-1] else StoreNotFound
        raise kind(f"{root}: no snapshot {number}; it has {_ranges(known)}")
    path = path_of(root, number)
    try:
        return loads(at_hand(root, name_of(number), changes=True).read_bytes(), number)
    except FileNotFoundError:
        if at is None and numbers(root)[-1:] != [number]:
            # Pruned in this moment, because there is a newer one.
            return load(root)
        raise pruned(root, number) from None
    except (ValueError, TypeError) as error:
        older = max((one for one in known if one < number), default=None)
        remedy = f"; `fpve rollback {root}` goes back to snapshot {older}" if older else f"; see `fpve repair {root}`"
        raise StoreCorrupt(f"{path}: damaged manifest ({_reason(error)}){remedy}") from error


def dumps(manifest: Manifest) -> bytes:
    """Serialise a manifest, with a checksum over everything else in it."""
    return _sealed(_json({"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(manifest)}))


def loads(data: bytes, number: int) -> Manifest:
    """Parse and check the manifest of a snapshot.

    Raises:
        ValueError: it is not the very bytes that `dumps` wrote, or that of another snapshot.
        StoreVersion: another version of fpve wrote it.
    """
    content: dict[str, Any] = json.loads(data)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"expected the format {FORMAT!r}")
    # Over the bytes as they are: to write the content once more takes longer than all else where segments are many.
    if data != _sealed(data[:-_SEAL] + _END):
        raise ValueError("its checksum does not match")
    del content["format"], content["checksum"]
    version = content.pop("format_version", None)
    # Its checksum is right, so this is no damage.
    remedy = f"; it was written by {content.get('written_by')!r}, this is fpve {__version__}: use that version"
    if content.get("snapshot") != number:
        raise ValueError(f"it is that of snapshot {content.get('snapshot')}")
    try:
        if version != FORMAT_VERSION:
            raise StoreVersion(f"expected a store of format version {FORMAT_VERSION}, found {version!r}{remedy}")
        return _reader().validate_json(json.dumps(content))
    except ValidationError as error:
        raise StoreVersion(f"a manifest has {error.error_count()} fields that are not known here{remedy}") from error


@cache
def _reader() -> TypeAdapter[Manifest]:
    """What checks the types of a manifest; making it takes longer than reading one."""
    return TypeAdapter(Manifest)


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode()


def _sealed(content: bytes) -> bytes:
    """JSON, as `_json` writes it, with a checksum over it as the last entry."""
    checksum = f',\n "checksum": "sha256:{hashlib.sha256(content).hexdigest()}"'
    return content.removesuffix(_END) + checksum.encode() + _END


# How an object of JSON ends, and how many bytes the checksum is with that.
_END = b"\n}\n"
_SEAL = len(_sealed(b""))


def path_of(root: Path, number: int) -> Path:
    """Where the manifest of a snapshot lies."""
    return root / name_of(number)


def name_of(number: int) -> str:
    """What the manifest of a snapshot is called in its store."""
    # Twenty digits hold any 64-bit number, so that names sort as numbers do.
    return f"{FOLDER}/{number:020d}.json"


def _ranges(known: list[int]) -> str:
    return str(known[0]) if len(known) == 1 else f"{known[0]} to {known[-1]}"


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0]
