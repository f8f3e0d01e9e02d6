"""A lot: all inputs of a run, as every worker has them, and how it is cut into shards.

A worker maps what is here from the memory of its machine, which holds it once: arrays, not objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fpve.engines.shards import SHARD_ROWS
from fpve.engines.work import Work
from fpve.sources.inputs import Inputs, Reading

# So many for each worker: when the first one finds nothing more to do, the last is within a quarter of its time.
_SHARDS_A_WORKER = 4
# Of smaller ones the file system's part, some hundredths of a second for each, begins to be felt.
_LEAST_ROWS = 256
_HEX_DIGITS = 64


class Shard(NamedTuple):
    """Inputs that are encoded together: those from `first` to before `end`."""

    number: int
    first: int
    end: int

    def __len__(self) -> int:
        return self.end - self.first


def cut(inputs: int, workers: int, rows: int | None = None) -> list[Shard]:
    """Cut inputs into shards of about the same size, in their order; the same each time.

    Args:
        inputs: how many there are.
        workers: how many there will be, which all should have something to do until the end.
        rows: how many a shard has at most; None chooses, up to SHARD_ROWS: what is written is one shard of the store.
    """
    wanted = min(max(-(-inputs // (_SHARDS_A_WORKER * workers)), _LEAST_ROWS), SHARD_ROWS)
    count = -(-inputs // min(rows or wanted, SHARD_ROWS))
    bounds = [inputs * number // count for number in range(count + 1)] if count else [0]
    return [Shard(number, *pair) for number, pair in enumerate(pairwise(bounds))]


class KnownHashes(Set[str]):
    """Content hashes (hex SHA-256) as a sorted array of 32 bytes each: millions of them are no millions of objects."""

    def __init__(self, hashes: Iterable[str] = ()) -> None:
        # What was imported without a picture has names that no picture's content has.
        digests = [bytes.fromhex(one) for one in hashes if len(one) == _HEX_DIGITS]
        self._digests = np.sort(np.array(digests, "S32"))

    def __contains__(self, content_hash: object) -> bool:
        # Its elements are told without the zeros at their end.
        digest = bytes.fromhex(str(content_hash)).rstrip(b"\0")
        at = int(np.searchsorted(self._digests, digest))
        return at < len(self._digests) and self._digests[at] == digest

    def __iter__(self) -> Iterator[str]:
        return (bytes(one).ljust(_HEX_DIGITS // 2, b"\0").hex() for one in self._digests)

    def __len__(self) -> int:
        return len(self._digests)


@dataclass(frozen=True, slots=True)
class _Range:
    """Some of the inputs, which follow one another."""

    inputs: Inputs
    shard: Shard

    @property
    def at_once(self) -> int:
        """How many are best read at the same time."""
        return self.inputs.at_once

    def __len__(self) -> int:
        return len(self.shard)

    def read(self, number: int) -> Reading:
        """Read the input of this number within the shard."""
        return self.inputs.read(self.shard.first + number)


@dataclass(frozen=True, slots=True)
class Lot:
    """The inputs of a run: those of `Work`, whose prefixes are an Arrow array of strings."""

    inputs: Inputs
    sizes: NDArray[np.int64]
    prefixes: pa.Array

    @classmethod
    def of(cls, work: Work) -> Lot:
        """That of work."""
        return cls(work.inputs, work.sizes, pa.array(work.prefixes, pa.large_string()))

    def work(self, shard: Shard, known: Set[str]) -> Work:
        """The work on one shard."""
        chosen = slice(shard.first, shard.end)
        return Work(_Range(self.inputs, shard), self.sizes[chosen], self.prefixes[chosen].to_pylist(), known)
