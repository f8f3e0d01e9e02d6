"""Vectors of pictures that are encoded already, under prefixes that are new to them."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from fpve.encoders import TextEncoder
from fpve.engines.shards import ShardBuilder
from fpve.engines.work import Target
from fpve.errors import StoreCorrupt
from fpve.pipeline.vectors import Vectors
from fpve.prefixes import prefix_id
from fpve.progress import Progress

# So many prefixes at most are looked for in the store: a model needs seconds to be loaded, and for more it is worth it.
_LOOKED_FOR = 10_000


def fuse(
    missing: pa.Table, vectors: Vectors, target: Target, text: TextEncoder | None, progress: Progress
) -> ShardBuilder:
    """Make vectors from stored features, leaving shards in `pending/`.

    Args:
        missing: their `content_hash` and `prefix`, null for none; each once, and at least one.
        vectors: where the features are.
        target: where to, and how vectors are made.
        text: embeds the prefixes that no vector has yet.
        progress: is told of each.

    Returns:
        What made them: it knows how many, and how many prefixes the model cut off.

    Raises:
        StoreCorrupt: a picture has no features, though a page names it.
    """
    prefixes: dict[str, list[str | None]] = {}
    for row in missing.to_pylist():
        prefixes.setdefault(row["content_hash"], []).append(row["prefix"])
    builder = ShardBuilder(target, text)
    texts = {prefix_id(one): one for one in pc.drop_null(missing["prefix"].unique()).to_pylist()}
    if len(texts) <= _LOOKED_FOR:
        found = vectors.embeddings(pa.array(list(texts), pa.string()))
        builder.know({texts[one]: embedding for one, embedding in found.items()})
    with progress.stage("fuse", len(missing)) as stage:
        for content_hash, feature in vectors.features(missing["content_hash"].combine_chunks()):
            for prefix in prefixes.pop(content_hash):
                builder.add(content_hash, feature, prefix)
                stage.advance()
        builder.finish()
    if prefixes:
        raise StoreCorrupt(f"{target.root}: no vector of content {next(iter(prefixes))}, though a page names it")
    vectors.changed()
    return builder
