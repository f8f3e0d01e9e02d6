"""What the prefixes of new pictures would be: a collection's rules, filled in from a table beside the pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fpve.config import CollectionConfig, PrefixRule, as_rules
from fpve.errors import MetadataError, PrefixError, nearest
from fpve.planning.prefixes import Rendering
from fpve.prefixes import parse_rules, rule_fields
from fpve.sources.inputs import Files, PathsBelow
from fpve.sources.metadata import Metadata, read_metadata, rows_of
from fpve.sources.names import normalised, text_path
from fpve.sources.scan import Scan
from fpve.store.manifest import Collection, Manifest
from fpve.urls import BucketPath


class Captions(NamedTuple):
    """What the metadata of some pictures gives them.

    Attributes:
        texts: (n,) those of n pictures; None where there is none.
        notes: what somebody should know of them.
    """

    texts: list[str | None]
    notes: tuple[str, ...]


def captions(manifest: Manifest, files: Sequence[Path], metadata: Path, *, collection: str | None) -> Captions:
    """The texts of n picture files, as the rules of a collection give them to its own images.

    Args:
        manifest: of the store.
        files: the pictures; a rule of sidecars looks beside them.
        metadata: a table with a column of their paths, absolute or relative to its own folder, and those that the
            rules name.
        collection: whose rules; by default of the only one that has any.

    Raises:
        PrefixError: it is not clear whose rules, these ask a language model or for a place in the collection, or a
            field is not in the table.
        MetadataError: the table can't be read, or has none of the pictures.
    """
    chosen = _chosen(manifest, collection)
    given = _given(chosen)
    rules = parse_rules(given)
    if "path" in rule_fields(given):
        raise PrefixError(
            f"the prefixes of {chosen.name!r} have {{path}} in them, the place of an image in its collection, which a "
            "new picture has not; give a text instead"
        )
    table = read_metadata(metadata, option=None)
    if not files:
        return Captions([], ())
    root = Path(os.sep)
    paths = normalised(pa.array([_below_root(file) for file in files], pa.string()))
    at = pa.array(rows_of(table, paths, root))
    if at.null_count == len(at):
        raise _unmatched(table, len(files))
    config = CollectionConfig(name=chosen.name, source=root)
    named = pa.table({"image_id": paths, "path": paths, "inside": paths, "number": pa.array(np.arange(len(files)))})
    below = PathsBelow(os.fsencode(root), paths)
    scan = Scan(named, (), lambda _: Files(below), identity=b"", folder=root, roots=())
    rendering = Rendering(
        config,
        scan,
        named,
        table.columns.column_names,
        lambda name, formatted: (table.columns if formatted else table.texts)[name].take(at),
    )
    text = rendering.prefixes(rules).text
    bare = pc.sum(pc.and_(at.is_null(), text.is_null())).as_py()
    note = f"{bare:,} of {len(files):,} pictures have no row in {metadata}: they are classified without a text"
    return Captions(text.to_pylist(), (note,) if bare else ())


def _below_root(file: Path) -> str:
    """The path of a picture as metadata is matched with it: not behind its links, which have names of their own.

    Of an object its URL, which a table may name.
    """
    if isinstance(file, BucketPath):
        return str(file)
    return text_path(os.fsencode(os.path.normpath(file.absolute())).lstrip(b"/"))


def _unmatched(table: Metadata, count: int) -> MetadataError:
    first = repr(table.paths[0].as_py()) if len(table.paths) else "missing"
    return MetadataError(
        f"{table.file}: none of its {len(table.paths):,} paths is one of the {count:,} pictures; they are read as "
        f"absolute, or relative to {table.file.absolute().parent}, and the first is {first}"
    )


def _chosen(manifest: Manifest, collection: str | None) -> Collection:
    with_rules = [one for one in manifest.collections if one.prefix]
    names = [one.name for one in with_rules]
    if collection is not None:
        found = next((one for one in with_rules if one.name == collection), None)
        if found is None:
            raise PrefixError(
                f"no collection {collection!r} with a prefix{nearest(collection, names)}; there is "
                f"{', '.join(names) or 'none'}"
            )
        return found
    if len(with_rules) != 1:
        raise PrefixError(
            f"expected a collection whose prefix is to be filled in, found {', '.join(names) or 'none with a prefix'}"
            + ("; name one of them" if names else "")
        )
    return with_rules[0]


def _given(collection: Collection) -> tuple[PrefixRule, ...]:
    """The rules that give a text here and now."""
    rules = as_rules(collection.prefix)
    given = tuple(one for one in rules if one.generate is None)
    if not given:
        raise PrefixError(f"the prefixes of {collection.name!r} are written by a language model; give a text instead")
    return given
