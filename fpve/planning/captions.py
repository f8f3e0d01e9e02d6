"""What the prefixes of new pictures would be: a collection's rules, filled in from a table beside the pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from fpve.config import CollectionConfig, PrefixRule, as_rules
from fpve.errors import PrefixError, nearest
from fpve.planning.prefixes import Rendering
from fpve.prefixes import parse_rules
from fpve.sources.inputs import Files, PathsBelow
from fpve.sources.metadata import match, read_metadata
from fpve.sources.names import normalised
from fpve.sources.scan import Scan
from fpve.store.manifest import Collection, Manifest


def captions(manifest: Manifest, files: Sequence[Path], metadata: Path, *, collection: str | None) -> list[str | None]:
    """Texts (n,) of n picture files as the rules of a collection give them to its own images; None where none does.

    Args:
        manifest: of the store.
        files: the pictures; a rule of sidecars looks beside them.
        metadata: a table with a column of their paths, absolute or relative to its own folder, and those that the
            rules name.
        collection: whose rules; by default of the only one that has any.

    Raises:
        PrefixError: it is not clear whose rules, these ask a language model, or a field is not in the table.
        MetadataError: the table can't be read, or has none of the pictures.
    """
    chosen = _chosen(manifest, collection)
    rules = parse_rules(_given(chosen))
    root = Path(os.sep)
    paths = normalised(pa.array([str(file.absolute()).removeprefix(os.sep) for file in files], pa.string()))
    table = read_metadata(metadata)
    at = pa.array(match(table, paths, root))
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
    texts: list[str | None] = rendering.prefixes(rules).text.to_pylist()
    return texts


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
