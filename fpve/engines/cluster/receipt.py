"""Receipts: what a worker says of a shard, in one row of a table. No pixel and no feature is in it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa

from fpve.engines.work import Encoded, Outcome


class Failure(StrEnum):
    """What went wrong."""

    # Code raised while it worked on this shard: it may be about one of its inputs.
    SHARD = "shard"
    # Files could not be written, which is about no input.
    STORE = "store"
    # The process of its worker died each time: it is not tried again.
    LOST = "lost"
    # The worker can do nothing at all: it can't see the store or the source, or has other encoders, or none.
    WORKER = "worker"


_SCHEMA = pa.schema(
    [
        pa.field("shard", pa.int64()),
        pa.field("host", pa.string()),
        pa.field("failure", pa.string()),
        pa.field("reason", pa.string()),
        *(
            pa.field(name, pa.list_(kind))
            for name, kind in (
                ("content_hash", pa.string()),
                ("size", pa.int64()),
                ("mtime_ns", pa.int64()),
                ("why", pa.string()),
            )
        ),
        pa.field("pictures", pa.int64()),
        pa.field("busy", pa.map_(pa.string(), pa.float64())),
        pa.field("limited_by", pa.string()),
        pa.field("cut", pa.int64()),
        pa.field("shards", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a shard.

    Attributes:
        shard: its number.
        host: the machine on which it was worked on.
        encoded: what became of its inputs; empty where it failed.
        failure: what went wrong; None if nothing.
        reason: what was said of that.
    """

    shard: int
    host: str
    encoded: Encoded
    failure: Failure | None = None
    reason: str = ""

    def to_table(self) -> pa.Table:
        """One row."""
        found = self.encoded
        columns = {
            "content_hash": [one.content_hash for one in found.outcomes],
            "size": [one.size for one in found.outcomes],
            "mtime_ns": [one.mtime_ns for one in found.outcomes],
            "why": [one.reason for one in found.outcomes],
        }
        row = {
            "shard": self.shard,
            "host": self.host,
            "failure": self.failure,
            "reason": self.reason,
            **columns,
            "pictures": found.pictures,
            "busy": list(found.busy.items()),
            "limited_by": found.limited_by,
            "cut": found.cut,
            "shards": list(found.shards),
        }
        return pa.Table.from_pylist([row], schema=_SCHEMA)

    @classmethod
    def from_table(cls, table: pa.Table) -> Receipt:
        """The receipt in a row."""
        row = table.to_pylist()[0]
        columns = (row[name] for name in ("content_hash", "size", "mtime_ns", "why"))
        encoded = Encoded(
            [Outcome(*one) for one in zip(*columns, strict=True)],
            row["pictures"],
            dict(row["busy"]),
            row["limited_by"],
            row["cut"],
            tuple(row["shards"]),
        )
        failure = None if row["failure"] is None else Failure(row["failure"])
        return cls(row["shard"], row["host"], encoded, failure, row["reason"])
