"""What a run learnt of each file: the content that it holds, or why it can't be encoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fpve.config import Limits
from fpve.engines.work import Outcome
from fpve.errors import GuardError
from fpve.pipeline.vectors import Vectors
from fpve.planning.moves import count_pairs
from fpve.planning.plan import CollectionPlan
from fpve.sources.names import normalise
from fpve.store import tables
from fpve.store.runs import Changes
from fpve.store.snapshot import Snapshot

# A file that changed this shortly before the scan may change again within the same tick of its file system's clock
# (2 s on FAT, 1 s on some network file systems), so its time proves nothing: the next run reads it once more.
RACY_NS = 2_000_000_000
# Inputs that an error names one by one.
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Contents:
    """A collection after its files were read.

    Attributes:
        plan: what was planned.
        content_hash: (n,) hex SHA-256 of each file; null where it could not be read.
        size, mtime_ns: (n,) of each file when it was read, or scanned; what they are if it could not be read is open.
        reason: (n,) why a file can't be encoded; null where it can.
        kept: (n,) which of these are images all the same, with the content that they had.
        read: how many files were read.
    """

    plan: CollectionPlan
    content_hash: pa.Array
    size: pa.Array
    mtime_ns: pa.Array
    reason: pa.Array
    kept: pa.Array
    read: int

    @classmethod
    def learn(
        cls, plan: CollectionPlan, read: NDArray[np.int64], outcomes: Sequence[Outcome], vectors: Vectors
    ) -> Contents:
        """Add what the engine found in the files of the row numbers `read`, in any order, to what was known.

        An image of the last snapshot whose file can't be read at the moment keeps its content: that is no deletion.
        """
        known = {name: plan.files[name].combine_chunks() for name in ("content_hash", "size", "mtime_ns")}
        if not len(read):
            count = len(plan.files)
            return cls(plan, **known, reason=pa.nulls(count, pa.string()), kept=pa.repeat(False, count), read=0)
        order = np.argsort(read)
        outcomes = [outcomes[at] for at in order.tolist()]
        mask = np.zeros(len(plan.files), bool)
        mask[read] = True

        def learnt(known: pa.Array, found: list[object]) -> pa.Array:
            return pc.replace_with_mask(known, pa.array(mask), pa.array(found, known.type))

        found = {name: learnt(column, [getattr(one, name) for one in outcomes]) for name, column in known.items()}
        reason = learnt(pa.nulls(len(mask), pa.string()), [one.reason for one in outcomes])
        unreadable = pc.and_(pc.is_null(found["content_hash"]), pc.is_valid(reason))
        before = plan.before.content_hash
        kept = pc.and_(unreadable, plan.before.known)
        if not vectors.keeps_features and pc.any(kept).as_py():
            # With another encoder its vector would have to be made anew, and can't be.
            kept = pc.and_(kept, pc.invert(vectors.unencoded(before)))
        content_hash = pc.if_else(kept, before, found["content_hash"])
        return cls(plan, content_hash, found["size"], found["mtime_ns"], reason, kept, len(read))

    @property
    def good(self) -> pa.Array:
        """(n,) which files are images of the new snapshot."""
        return pc.and_(pc.or_(pc.is_null(self.reason), self.kept), pc.invert(self.plan.known_bad))

    @property
    def same(self) -> pa.Array:
        """(n,) which of them are images of the last snapshot with the content that they had."""
        return pc.and_(self.good, self.plan.same_content(self.content_hash))

    @property
    def moved(self) -> int:
        """How many images are new under their name, with the content of one that is gone."""
        new = pc.and_not(self.good, self.plan.before.known)
        return count_pairs(
            pa.table({"content_hash": self.content_hash.filter(new)}), self.plan.before.gone.select(["content_hash"])
        )

    @property
    def labels_without_image(self) -> int:
        """How many labels there are of what is no image of the new snapshot."""
        own = self.plan.own
        spoilt = [pc.sum(pc.and_not(mask, self.good)).as_py() or 0 for mask in own.labelled.values()]
        return own.labels_without_file + sum(spoilt)

    @property
    def without_prefix(self) -> int:
        """How many images have no prefix, though their collection has a rule for it, and wait for none."""
        own = self.plan.own
        bare = pc.and_not(pc.and_(self.good, own.prefix.is_null()), own.prefixes.waiting)
        return int(pc.sum(bare).as_py() or 0) if self.plan.rules else 0

    @property
    def without_answer(self) -> int:
        """How many images wait for the answer of a language model."""
        return int(pc.sum(pc.and_(self.good, self.plan.own.prefixes.waiting)).as_py() or 0)

    def changes(self) -> Changes:
        """The images by what became of them."""
        return self.plan.changes(self.content_hash, self.good, self.moved)

    def quarantine(self, previous: Snapshot | None) -> pa.Table:
        """Rows for the quarantine table: files that failed now, those that failed before, and what was skipped."""
        now = datetime.now(UTC)
        schema = tables.SCHEMAS[tables.QUARANTINE]
        name, files = self.plan.name, self.plan.files
        failed = pc.is_valid(self.reason)
        chosen = files.select(["image_id", "path"]).filter(failed).to_pylist()
        hashes, reasons = self.content_hash.filter(failed).to_pylist(), self.reason.filter(failed).to_pylist()
        keeps = self.kept.filter(failed).to_pylist()
        rows = [
            {**file, "content_hash": content_hash, "reason": f"{reason}; kept as it was" if kept else reason}
            for file, content_hash, reason, kept in zip(chosen, hashes, reasons, keeps, strict=True)
        ]
        rows += [
            {"image_id": f"{name}/{normalise(one.path)}", "path": one.path, "reason": one.reason}
            for one in self.plan.scan.skipped
        ]
        fresh = pa.Table.from_pylist([{**row, "collection": name, "at": now} for row in rows], schema)
        if previous is None:
            return fresh
        old = previous.table(tables.QUARANTINE)
        old = old.filter(pc.equal(old["collection"], name))
        known_bad = files["image_id"].filter(self.plan.known_bad).combine_chunks()
        # What failed before in the same way keeps the time at which it was first seen.
        kept = old.filter(pc.or_(pc.is_in(old["image_id"], value_set=known_bad), _among(old, fresh)))
        return pa.concat_tables([fresh.filter(pc.invert(_among(fresh, kept))), kept])

    def scan_state(self, scanned_at: int) -> pa.Table | None:
        """Rows for the scan state: files whose size and time will prove that they are as they were.

        None if it says the same already.
        """
        if self.plan.remembered and not self.read:
            return None
        timed = pc.or_(pc.less(self.mtime_ns, scanned_at - RACY_NS), self.plan.scan.tagged)
        settled = pc.and_not(timed, self.kept)
        rows = pa.table(
            {
                "image_id": self.plan.files["image_id"],
                "size": self.size,
                "mtime_ns": self.mtime_ns,
                "content_hash": self.content_hash,
                "origin": self.plan.files["origin"],
            }
        )
        return rows.filter(pc.and_(settled, pc.is_valid(self.content_hash)))


def _among(rows: pa.Table, others: pa.Table) -> pa.Array:
    """Which quarantine rows are of an image, content and reason that others have too."""

    def keys(table: pa.Table) -> pa.Array:
        content_hash = pc.fill_null(table["content_hash"], "")
        return pc.binary_join_element_wise(table["image_id"], content_hash, table["reason"], "\0").combine_chunks()

    return pc.is_in(keys(rows), value_set=keys(others))


def guard_quarantine(content: Contents, quarantine: pa.Table, limits: Limits) -> None:
    """Refuse to publish where more of a collection can't be encoded than the job allows, or nothing can.

    Raises:
        GuardError: so it is; the first inputs are named, with the reason.
    """
    inputs = len(content.plan.files) + len(content.plan.scan.skipped)
    broken = [f"{row['path']}: {row['reason']}" for row in quarantine.slice(0, _NAMED).to_pylist()]
    if not pc.any(content.good).as_py():
        first = broken[0] if broken else ""
        raise GuardError(f"collection {content.plan.name!r}: none of its {inputs} pictures can be encoded; {first}")
    if len(quarantine) > limits.tolerated(inputs):
        more = len(quarantine) - len(broken)
        raise GuardError(
            f"collection {content.plan.name!r}: {len(quarantine)} of {inputs} pictures can't be encoded, more than "
            f"max_quarantine = {limits.max_quarantine:g} allows; nothing was published "
            f"({'; '.join(broken)}{f'; and {more:,} more' if more else ''}). Mend or exclude them, or allow them: "
            f"max_quarantine = {len(quarantine)} in the job, or --max-quarantine {len(quarantine)} of `fpve encode`. "
            "What was encoded is kept for the next run"
        )
