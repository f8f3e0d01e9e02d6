"""The default image weight of a store whose job leaves it to a label column."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow.compute as pc

from fpve.errors import QueryError
from fpve.evaluate import fit_weight
from fpve.mapper import Mapper
from fpve.search import Searcher
from fpve.store.encoding import WeightRef
from fpve.store.manifest import Manifest
from fpve.store.snapshot import Snapshot

# A weight that was chosen by few images is chosen again when there are so many times as many; most nights it stands,
# for queries would be ranked in another way without a reason that anybody sees.
GROWTH = 2.0


def weighted(root: Path, manifest: Manifest, *, over: Mapper | None = None) -> Manifest:
    """A manifest that is to be published, with the weight that its label column speaks for, if one is to be chosen.

    It is chosen once there are enough labelled images with a prefix, and again whenever these have doubled.

    Args:
        root: the store; the files that the manifest names are there, indexes included.
        manifest: what is to be published.
        over: searches segments elsewhere.

    Raises:
        StoreCorrupt: a page or a segment is missing or damaged.
    """
    auto = manifest.fusion.auto
    if auto is None:
        return manifest
    snapshot = Snapshot(root, manifest)
    rows = _labelled(snapshot, auto.label)
    if rows < max(1.0, GROWTH * auto.rows):
        return manifest
    try:
        found = fit_weight(Searcher(snapshot, over=over), label=auto.label)
    except QueryError:
        # No such column yet, or one class only.
        return manifest
    chosen = WeightRef(auto.label, rows, found.low, found.high, found.accuracy, manifest.snapshot)
    return replace(manifest, fusion=replace(manifest.fusion, image_weight=found.image_weight, auto=chosen))


def _labelled(snapshot: Snapshot, label: str) -> int:
    """How many images have a prefix and a value of a column."""
    rows = snapshot.rows
    if label not in rows.schema.names:
        return 0
    both = pc.and_(rows.column(label).is_valid(), rows.column("prefix_id").is_valid())
    return int(pc.sum(both).as_py() or 0)
