"""Making shards: features and prefix texts go in, fused vector rows come out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from fpve.encoders import TextEncoder
from fpve.encoders.protocol import Limited
from fpve.engines.work import Target
from fpve.fusion import Floats
from fpve.memory import give_back
from fpve.prefixes import prefix_id
from fpve.store import tables
from fpve.store.pending import Shard, write_shard
from fpve.store.segments import rows_table

# A shard is what a killed run may lose and what a segment becomes: a minute of work on two cores, 30 MB of vectors.
SHARD_ROWS = 4_096
# Embeddings kept from one shard to the next: prefixes that repeat do so across shards too. 15 MB at 384 dimensions.
_CACHED_TEXTS = 10_000
# Whoever interrupts a run waits for no more texts than these: half a second.
_TEXTS_AT_ONCE = 512


class Thumbnail(NamedTuple):
    """What is kept of a decoded picture beside its features."""

    width: int
    height: int
    jpeg: bytes


@dataclass
class ShardBuilder:
    """Collects rows, and writes a shard whenever SHARD_ROWS are there; `finish` writes the rest.

    Attributes:
        target: where to, and how vectors are made.
        text: embeds prefixes.
        rows: how many were written.
        cut: how many of the texts that were embedded are so long that the model does not see their end.
        finished: names of the shards that were written.
    """

    target: Target
    text: TextEncoder | None
    rows: int = 0
    cut: int = 0
    finished: list[str] = field(default_factory=list)
    _hashes: list[str] = field(default_factory=list)
    _features: list[Floats] = field(default_factory=list)
    _prefixes: list[str | None] = field(default_factory=list)
    _thumbnails: list[dict[str, object]] = field(default_factory=list)
    _embeddings: dict[str, Floats] = field(default_factory=dict)
    # Texts among the prefixes that have yet to be embedded, each once.
    _new: dict[str, None] = field(default_factory=dict)

    def add(self, content_hash: str, feature: Floats, prefix: str | None, thumbnail: Thumbnail | None = None) -> None:
        """Add the feature (image_dim,) of a picture, with a prefix text or None."""
        self._hashes.append(content_hash)
        self._features.append(feature)
        self._prefixes.append(prefix)
        if prefix is not None and prefix not in self._embeddings:
            self._new[prefix] = None
            if len(self._new) >= _TEXTS_AT_ONCE:
                self._embed()
        if thumbnail is not None:
            self._thumbnails.append({"content_hash": content_hash, **thumbnail._asdict()})
        if len(self._hashes) >= SHARD_ROWS:
            self.finish()

    def know(self, embeddings: Mapping[str, Floats]) -> None:
        """Take embeddings (prefix_dim,) of texts as they are, so that the model is not asked for these."""
        self._embeddings.update(embeddings)

    def finish(self) -> Shard | None:
        """Write what has been added since the last shard."""
        if not self._hashes:
            return None
        self._embed()
        fused = self.target.fusion.fuse(np.stack(self._features), self._embedded())
        ids = [None if text is None else prefix_id(text) for text in self._prefixes]
        rows = rows_table(list(self._hashes), ids, fused)
        thumbnails = pa.Table.from_pylist(self._thumbnails, schema=tables.SCHEMAS[tables.THUMBNAILS])
        shard = write_shard(self.target.root, self.target.recipe, rows, thumbnails)
        self.finished.append(shard.name)
        self.rows += len(self._hashes)
        for collected in (self._hashes, self._features, self._prefixes, self._thumbnails):
            collected.clear()
        if len(self._embeddings) > _CACHED_TEXTS:
            self._embeddings.clear()
        give_back()
        return shard

    def _embed(self) -> None:
        """Embed the texts that are new."""
        if not self._new:
            return
        if self.text is None:
            raise ValueError("expected no prefixes in a store without a text encoder")
        texts = list(self._new)
        self._embeddings.update(zip(texts, self.text.encode(texts), strict=True))
        if isinstance(self.text, Limited):
            self.cut += sum(unseen > 0 for unseen in self.text.cut(texts))
        self._new.clear()

    def _embedded(self) -> Floats | None:
        """Prefix embeddings (n, prefix_dim) of the collected rows; zero where there is no prefix."""
        if all(text is None for text in self._prefixes):
            return None
        missing = np.zeros(self.target.fusion.prefix_dim, np.float32)
        return np.stack([missing if text is None else self._embeddings[text] for text in self._prefixes])
