"""The images that vote for a label, and what changed of them: from pages that changed, and no others."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fpve.classify import as_text
from fpve.neighbours import Rows
from fpve.store.manifest import Manifest, Page
from fpve.store.pages import read_pages
from fpve.store.snapshot import Snapshot


class Change(NamedTuple):
    """What changed of the voters for a label between two snapshots.

    Attributes:
        gone: ids of those that vote otherwise now, or not at all: another label, another vector, no label, no image.
        added: (n,) numbers of the image rows, in the newer snapshot, that have come to vote, or have another vector.
    """

    gone: pa.Array
    added: Rows

    @property
    def images(self) -> int:
        """How many images that is at most."""
        return len(self.gone) + len(self.added)


def changed_voters(last: Manifest, snapshot: Snapshot, label: str) -> Change:
    """What changed of the voters for a label since a manifest, of the same store and vectors.

    Raises:
        StoreCorrupt: a page is missing or damaged.
    """
    old, new = _pages(last), _pages(snapshot.manifest)
    before = _voters(Snapshot(snapshot.root, last), [page for path, page in old.items() if path not in new], label)
    now = _voters(snapshot, [page for path, page in new.items() if path not in old], label)
    at = pc.index_in(now["image_id"], value_set=before["image_id"])
    same_vector = pc.fill_null(pc.equal(vectors_named(before).take(at), vectors_named(now)), False)
    same_label = pc.fill_null(pc.equal(before["label"].take(at), now["label"]), False)
    as_it_was = now["image_id"].filter(pc.and_(same_vector, same_label))
    gone = before["image_id"].filter(pc.invert(pc.is_in(before["image_id"], value_set=as_it_was)))
    return Change(gone, _rows(snapshot, now["image_id"].filter(pc.invert(same_vector))))


def vectors_named(rows: pa.RecordBatch) -> pa.Array:
    """(n,) what names the vectors of rows with `content_hash` and `prefix_id`."""
    # No digest has a bar in it.
    parts = [pc.fill_null(rows[name], "") for name in ("content_hash", "prefix_id")]
    return pc.binary_join_element_wise(*parts, "|")


def _pages(manifest: Manifest) -> dict[str, Page]:
    return {page.file.path: page for one in manifest.collections for page in one.pages}


def _voters(snapshot: Snapshot, pages: list[Page], label: str) -> pa.RecordBatch:
    """The images of some pages that have a label: `image_id`, `content_hash`, `prefix_id` and `label`, as a text."""
    names = ["image_id", "content_hash", "prefix_id"]
    rows = read_pages(snapshot.root, pages, snapshot.manifest.columns)
    texts = as_text(rows[label]) if label in rows.column_names else pa.nulls(len(rows), pa.string())
    rows = rows.select(names).append_column("label", texts).filter(pc.is_valid(texts)).combine_chunks()
    return pa.record_batch([column.combine_chunks() for column in rows.columns], names=rows.column_names)


def _rows(snapshot: Snapshot, ids: pa.Array) -> Rows:
    """Numbers (n,), ascending, of the rows of images."""
    found: Rows = np.flatnonzero(pc.is_in(snapshot.rows.column("image_id"), value_set=ids).to_numpy())
    return found
