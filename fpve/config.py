"""Job files: the TOML that says what collections a store should contain, as frozen values."""

from __future__ import annotations

import json
import re
import tomllib
import types
import typing
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from fpve.errors import JobError, nearest
from fpve.fusion import DEFAULT_IMAGE_WEIGHT, DEFAULT_MODE, Mode

Resize = Literal["squash", "pad", "crop"]
Pooling = Literal["gem", "mean"]
Precision = Literal["fp32", "bf16", "int8"]
ColumnTypeName = Literal["string", "int64", "float64", "bool", "timestamp", "date"]

NO_ENCODER = "none"
# The options of an encoder that decide its vectors; the others are the machine's business.
DECIDING = ("name", "weights", "resize", "pooling", "precision")
# Families that take a model's directory for its name.
_DIRECTORIES = ("st", "open_clip")
_STRICT = ConfigDict(extra="forbid", strict=True)


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise JobError(f"{name}: expected a number from 0 to 1, found {value}")


def _named_encoder(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """Which encoder, and how it is to be used. In a job file a bare string stands for `{ name = … }`.

    Attributes:
        name: `efficientnet-lite0`, `minilm`, `torchvision:resnet18`, `st:NAME-OR-PATH`, `fake`, or `none`.
        weights: a local file of weights, instead of those that the name stands for.
        resize: how a picture becomes the square that a vision model takes; None is the encoder's default.
        pooling: how a feature map becomes one vector; None is the encoder's default.
        precision: of the vision model's arithmetic: `fp32`, the default, gives the same vectors on every machine.
        batch_size: pictures or texts in one call of the model; None is the encoder's default.
        device: a torch device, such as `cpu` or `cuda:1`; None takes a GPU where there is one.
        path: of `python:MODULE:CLASS`, a folder in which the module is looked for besides Python's path; in a job file
            it is the file's own folder unless the job says otherwise.
    """

    __pydantic_config__ = _STRICT

    name: str
    weights: Path | None = None
    resize: Resize | None = None
    pooling: Pooling | None = None
    precision: Precision | None = None
    batch_size: Annotated[int, Field(ge=1, le=65536)] | None = None
    device: str | None = None
    path: Path | None = None

    @property
    def is_none(self) -> bool:
        """Whether the store does without this block."""
        return self.name == NO_ENCODER


Encoder = Annotated[EncoderConfig, BeforeValidator(_named_encoder)]


@dataclass(frozen=True, slots=True)
class Encoders:
    """The frozen models of a store."""

    __pydantic_config__ = _STRICT

    image: Encoder = EncoderConfig("efficientnet-lite0")
    text: Encoder = EncoderConfig("minilm")


@dataclass(frozen=True, slots=True)
class FusionConfig:
    """How blocks are joined, and the weight A of the image block in queries that don't name one."""

    __pydantic_config__ = _STRICT

    mode: Mode = DEFAULT_MODE
    image_weight: float = DEFAULT_IMAGE_WEIGHT

    def __post_init__(self) -> None:
        """Check the weight."""
        _check_share("image_weight", self.image_weight)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may lose before it publishes nothing.

    Attributes:
        max_removed: share of a collection's images that may vanish from its source between two runs.
        max_quarantine: how many of a collection's inputs may be unreadable, as a count (`5`) or a share (`0.01`); 0
            tolerates none, and a share above 0 always tolerates one input.
    """

    __pydantic_config__ = _STRICT

    max_removed: float = 0.2
    max_quarantine: int | float = 0.01

    def __post_init__(self) -> None:
        """Check the shares."""
        _check_share("max_removed", self.max_removed)
        if isinstance(self.max_quarantine, float):
            _check_share("max_quarantine", self.max_quarantine)
        elif self.max_quarantine < 0:
            raise JobError(f"max_quarantine: expected a count, or a share from 0.0 to 1.0, found {self.max_quarantine}")

    def tolerated(self, inputs: int) -> int:
        """How many of so many inputs may be unreadable."""
        if isinstance(self.max_quarantine, int):
            return self.max_quarantine
        # One broken file must not cost a small collection its night.
        return max(1, int(self.max_quarantine * inputs)) if self.max_quarantine else 0


@dataclass(frozen=True, slots=True)
class CollectionConfig:
    """A named source of images, with its metadata and its prefix rule.

    Attributes:
        name: first part of every image_id; a directory in the store.
        source: a folder of pictures; a CSV, TSV, Parquet, JSON or JSONL table with their paths, or in Parquet with the
            pictures themselves; a `.tar` archive, a folder of such archives, or a glob of them (`shards/*.tar`).
        source_key: the source table's column of paths or of pictures; None takes the first of path, file_name,
            filename, file, image, or the one that holds pictures.
        id: what images are called instead of by their paths: a column, or a template of columns such as `{sku}-{view}`.
        metadata: a CSV, TSV, Parquet, JSON or JSONL table with one row an image; a source that is a table is its own.
        metadata_key: its column of paths; None takes the first of path, file_name, filename, file, image.
        columns: the metadata columns that are wanted; empty takes all.
        prefix: text with `{column}` fields to be filled in from each image's metadata.
        label_from: `folder` makes a column `label` from each picture's folder; another name copies that column.
        include: glob patterns of relative paths, for archives `archive.tar/member`; empty takes every picture.
        exclude: glob patterns of relative paths to leave out.
        types: types of metadata columns, where they should not be those of the file.
    """

    __pydantic_config__ = _STRICT

    name: str
    source: Path
    source_key: str | None = None
    id: str | None = None
    metadata: Path | None = None
    metadata_key: str | None = None
    columns: tuple[str, ...] = ()
    prefix: str | None = None
    label_from: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    types: dict[str, ColumnTypeName] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the name, which is a directory in the store and the first part of every image_id, and what is needless.

        Raises:
            JobError: naming the key and what to do.
        """
        if not re.fullmatch(r"\w[\w.\-]{0,99}", self.name):
            raise JobError(
                "collection name: expected up to 100 letters, digits, '.', '_' or '-', starting with a letter "
                f"or digit, found {self.name!r}"
            )
        if self.metadata_key is not None and self.metadata is None:
            raise JobError(
                f"collection {self.name!r}: metadata_key names a column of a metadata file, and there is none; "
                "add metadata, or name the column of a source table with source_key"
            )


@dataclass(frozen=True, slots=True)
class Job:
    """What a store should contain; running it twice changes nothing.

    Attributes:
        store: directory of the store.
        collections: at least one, with different names.
        name: owner of the collections; the job file's stem where it names none.
    """

    __pydantic_config__ = _STRICT

    store: Path
    collections: Annotated[tuple[CollectionConfig, ...], Field(min_length=1)]
    name: str = ""
    encoders: Encoders = field(default_factory=Encoders)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        """Check the store's place, and what concerns several collections at once."""
        if re.match(r"[a-z][a-z0-9+.-]+:/", str(self.store)):
            raise JobError(f"store: expected a local directory, found {str(self.store)!r}")
        seen: dict[str, str] = {}
        for collection in self.collections:
            # On a file system that ignores case, two such names would be one directory.
            other = seen.setdefault(collection.name.casefold(), collection.name)
            if sum(c.name.casefold() == other.casefold() for c in self.collections) > 1:
                raise JobError(f"collection names must differ (in more than case), found {collection.name!r} twice")
            if collection.prefix and self.encoders.text.is_none:
                raise JobError(f"collection {collection.name!r} has a prefix, but encoders.text is 'none'")


def load_job(path: str | Path) -> Job:
    """Read and check a job file; its relative paths are taken from its own folder.

    Raises:
        JobError: the file is missing, is not TOML, or a key in it is unknown or has a wrong value.
    """
    path = Path(path)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise JobError(f"{path}: no such job file; `fpve init SOURCE` writes one") from None
    except OSError as error:
        raise JobError(f"{path}: can't be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise JobError(f"{path}: not a TOML file: {error}") from error
    job = parse_job(data, where=str(path))
    return resolve_paths(replace(job, name=job.name or path.stem), path.resolve().parent)


def parse_job(data: dict[str, Any], *, where: str = "job") -> Job:
    """Check the content of a job file, and make a Job of it; `where` begins the text of an error.

    Raises:
        JobError: a key is unknown, missing or has a wrong value.
    """
    try:
        # As JSON, because pydantic's strict mode then takes arrays as tuples and strings as paths.
        return TypeAdapter(Job).validate_json(json.dumps(data, default=str))
    except ValidationError as error:
        raise JobError(f"{where}: {_first_error(error)}") from None


def resolve_paths(job: Job, base: Path) -> Job:
    """Take a job's relative paths from `base`."""

    def resolve(encoder: EncoderConfig) -> EncoderConfig:
        family, _, argument = encoder.name.partition(":")
        # A model's directory, unless it is the name of one on a hub.
        is_directory = family in _DIRECTORIES and argument and (base / argument).is_dir()
        return replace(
            encoder,
            name=f"{family}:{base / argument}" if is_directory else encoder.name,
            weights=encoder.weights and base / encoder.weights.expanduser(),
            path=base / (encoder.path or Path()).expanduser() if family == "python" else encoder.path,
        )

    return replace(
        job,
        store=base / job.store.expanduser(),
        encoders=Encoders(image=resolve(job.encoders.image), text=resolve(job.encoders.text)),
        collections=tuple(
            replace(
                collection,
                source=base / collection.source.expanduser(),
                metadata=collection.metadata and base / collection.metadata.expanduser(),
            )
            for collection in job.collections
        ),
    )


def _first_error(error: ValidationError) -> str:
    # One mistake at a time: the unknown key before what it leaves missing.
    found = sorted(error.errors(), key=lambda one: one["type"] not in _UNKNOWN_KEY)[0]
    *parents, key = found["loc"] or ("",)
    name = ".".join(str(part) for part in found["loc"] if part != "function-before")
    if found["type"] in _UNKNOWN_KEY:
        known = _keys(Job, parents)
        return f"unknown key {name!r}{nearest(str(key), known) or '; known here: ' + ', '.join(known)}"
    if found["type"] in ("missing", "missing_argument"):
        return f"missing key {name!r}"
    if found["type"] == "too_short":
        return "expected at least one [[collections]]"
    message = found["msg"].removeprefix("Value error, ")
    given = found["input"]
    shown = "" if isinstance(given, dict | list) or not name else f", found {given!r}"
    return f"{name}: {message}{shown}" if name else message


_UNKNOWN_KEY = ("unexpected_keyword_argument", "extra_forbidden")


def _keys(kind: Any, path: list[Any]) -> list[str]:
    """Names of the keys that are known at a place in the job file."""
    for part in path:
        if isinstance(part, str) and is_dataclass(kind):
            kind = typing.get_type_hints(kind).get(part, kind)
        kind = next((one for one in _alternatives(kind) if is_dataclass(one)), kind)
    return [one.name for one in fields(kind)] if is_dataclass(kind) else []


def _alternatives(kind: Any) -> list[Any]:
    """The types that a field's annotation is made of."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType, Annotated, tuple):
        return [inner for one in typing.get_args(kind) for inner in _alternatives(one)]
    return [kind]
