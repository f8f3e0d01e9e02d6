"""What a job says, as frozen values: collections, limits, fusion."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from fpve.config.encoders import Encoders
from fpve.config.predict import PredictRule
from fpve.config.prefixes import PrefixRule, as_rules, written_rules
from fpve.errors import JobError
from fpve.fusion import DEFAULT_CENTRE, DEFAULT_IMAGE_WEIGHT, DEFAULT_MODE, Mode
from fpve.replica import located

ColumnTypeName = Literal["string", "int64", "float64", "bool", "timestamp", "date"]

# What nearest-neighbour benchmarks take for as good as exact.
DEFAULT_TARGET_RECALL = 0.98
# A weight that is not given, but chosen.
AUTO: Literal["auto"] = "auto"
_STRICT = ConfigDict(extra="forbid", strict=True)


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise JobError(f"{name}: expected a number from 0 to 1, found {value}")


@dataclass(frozen=True, slots=True)
class FusionConfig:
    """How blocks are joined and compared, and the weight A of the image block in queries that don't name one.

    Attributes:
        mode: how they are joined.
        image_weight: the default weight A, or `auto`: the one of the best grouped leave-one-out k-NN on `label`.
        label: the metadata column by which `auto` chooses.
        centre: whether blocks are compared less the mean of their kind, as soon as there are enough to have one.
    """

    __pydantic_config__ = _STRICT

    mode: Mode = DEFAULT_MODE
    image_weight: float | Literal["auto"] = DEFAULT_IMAGE_WEIGHT
    label: str | None = None
    centre: bool = DEFAULT_CENTRE

    def __post_init__(self) -> None:
        """Check the weight, and the column that it needs.

        Raises:
            JobError: naming the key and what to do.
        """
        if self.image_weight == AUTO:
            if self.label is None:
                raise JobError(
                    'image_weight = "auto" is chosen by a metadata column of classes: name it with label, or give a '
                    "number from 0 to 1"
                )
            return
        _check_share("image_weight", self.image_weight)
        if self.label is not None:
            raise JobError(
                f'label: {self.label!r} is the column by which image_weight = "auto" chooses, found image_weight = '
                f"{self.image_weight:g}; leave one of them out"
            )


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
class IndexConfig:
    """How large segments are searched.

    Attributes:
        target_recall: what share of the true hits their ANN indexes are built to find, from 0.5 on; at 1 there are
            none, and every search is exact.
    """

    __pydantic_config__ = _STRICT

    target_recall: float = DEFAULT_TARGET_RECALL

    def __post_init__(self) -> None:
        """Check the target.

        Raises:
            JobError: it is no such share.
        """
        if not 0.5 <= self.target_recall <= 1:
            raise JobError(
                f"target_recall: expected a share from 0.5 to 1 of the true hits, found {self.target_recall:g}"
            )


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
        prefix: how images get their prefixes: a template with `{column}` fields, a PrefixRule, or several of these, of
            which the first that gives an image a text decides.
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
    prefix: Annotated[tuple[PrefixRule, ...], BeforeValidator(written_rules)] = ()
    label_from: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    types: dict[str, ColumnTypeName] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the name, which is a directory in the store and the first part of every image_id, and what is needless.

        Raises:
            JobError: naming the key and what to do.
        """
        object.__setattr__(self, "prefix", as_rules(self.prefix))
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
        store: directory of the store; given the URL of one in a bucket, its replica on this machine.
        collections: at least one, with different names.
        name: owner of the collections; the job file's stem where it names none.
        predict: which labels are predicted, each by one rule.
    """

    __pydantic_config__ = _STRICT

    store: Path
    collections: Annotated[tuple[CollectionConfig, ...], Field(min_length=1)]
    name: str = ""
    encoders: Encoders = field(default_factory=Encoders)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    limits: Limits = field(default_factory=Limits)
    index: IndexConfig = field(default_factory=IndexConfig)
    predict: tuple[PredictRule, ...] = ()

    def __post_init__(self) -> None:
        """Check the store's place, and what concerns several collections at once."""
        # Begun: a job may be sent to another process, which has the path and not the URL.
        object.__setattr__(self, "store", located(self.store, begin=True))
        # As paths two slashes are one. A blank before a URL would make it the name of a directory.
        if re.match(r"\s*[A-Za-z][A-Za-z0-9+.-]+:/", str(self.store)):
            found = str(self.store).replace(":/", "://", 1)
            raise JobError(f"store: expected a directory, or the URL of an object store, found {found!r}")
        seen: dict[str, str] = {}
        for collection in self.collections:
            # On a file system that ignores case, two such names would be one directory.
            other = seen.setdefault(collection.name.casefold(), collection.name)
            if sum(c.name.casefold() == other.casefold() for c in self.collections) > 1:
                raise JobError(f"collection names must differ (in more than case), found {collection.name!r} twice")
            if collection.prefix and self.encoders.text.is_none:
                raise JobError(f"collection {collection.name!r} has a prefix, but encoders.text is 'none'")
        labels = [rule.label for rule in self.predict]
        twice = next((one for one in labels if labels.count(one) > 1), None)
        if twice is not None:
            raise JobError(f"predict: expected one rule for each label, found two for {twice!r}; join their conditions")
