"""What a collection needs: files to be read, and vectors that have yet to be made or found."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fpve.pipeline.vectors import Vectors
from fpve.planning.plan import CollectionPlan
from fpve.prefixes import prefix_ids


def files_to_read(plan: CollectionPlan, vectors: Vectors) -> NDArray[np.int64]:
    """Row numbers of the files that have to be read: those that changed, and those whose content is not encoded.

    In the order of the source, which is the one in which an archive or a table is read fast.
    """
    content_hash = plan.files["content_hash"].combine_chunks()
    asked = pc.invert(plan.known_bad)
    if vectors.keeps_features:
        # Images of the last snapshot are encoded: most nights that is all of them, and nothing is looked up.
        asked = pc.and_not(asked, plan.same_content(content_hash))
    rows = np.flatnonzero(asked.to_numpy(zero_copy_only=False))
    unencoded = vectors.unencoded(content_hash.take(pa.array(rows)))
    chosen: NDArray[np.int64] = rows[unencoded.to_numpy(zero_copy_only=False)]
    numbers = plan.files["number"].take(pa.array(chosen)).to_numpy()
    return chosen[np.argsort(numbers, kind="stable")]


def settled_images(plan: CollectionPlan, same: pa.Array, vectors: Vectors) -> pa.Array:
    """(n,) which of the images that have the content (n,) that they had have their vector where it was."""
    return pc.and_(same, plan.before.same_prefix) if vectors.keeps_vectors else pa.repeat(False, len(same))


def named_vectors(plan: CollectionPlan, content_hash: pa.Array, chosen: pa.Array) -> pa.Table:
    """Names (content_hash, prefix_id) and prefix texts of the vectors of chosen (n,) files, whose contents (n,) are."""
    prefix = plan.own.prefix.filter(chosen)
    return pa.table({"content_hash": content_hash.filter(chosen), "prefix_id": prefix_ids(prefix), "prefix": prefix})


def without_vector(named: pa.Table, place: pa.Table) -> pa.Table:
    """The names whose place is not known, each once."""
    missing = named.filter(pc.is_null(place["row"]))
    return missing.group_by(missing.column_names).aggregate([])
