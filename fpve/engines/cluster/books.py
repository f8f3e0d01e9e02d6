"""The books: what has become of each input, as receipts of shards come in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set
from threading import Lock

from fpve.engines.cluster.lot import Shard
from fpve.engines.cluster.receipt import Failure, Receipt
from fpve.engines.work import Encoded, Outcome, Target, Work
from fpve.errors import ClusterError
from fpve.progress import Stage


class Books:
    """Adds up receipts.

    Args:
        work: all inputs.
        target: where shards are written.
        shards: how the inputs were cut.
        tries: how often each is tried.
        stage: is told how much is done.
    """

    def __init__(self, work: Work, target: Target, shards: list[Shard], tries: int, stage: Stage) -> None:
        self.work = work
        self._target = target
        self._tries = tries
        self._stage = stage
        self._shards = {one.number: one for one in shards}
        self._outcomes: list[Outcome | None] = [None] * len(work.inputs)
        self._failed: dict[int, Receipt] = {}
        self._pictures = self._cut = 0
        self._busy: Counter[str] = Counter()
        self._limits: Counter[str] = Counter()
        self._written: list[str] = []
        self._lock = Lock()
        # How many inputs are done, of shards that are done and of others; and of how many the stage has been told.
        self._done = self._told = 0
        self._reached: Mapping[int, int] = {}

    @property
    def left(self) -> list[Shard]:
        """The shards that are neither done nor given up."""
        return list(self._shards.values())

    def enter(self, receipt: Receipt) -> None:
        """Enter a receipt.

        Raises:
            ClusterError: no worker of that machine can do the work.
        """
        if receipt.failure is Failure.WORKER:
            raise ClusterError(f"a worker on {receipt.host}: {receipt.reason}")
        shard = self._shards.get(receipt.shard)
        if shard is None:
            # It came twice, for Ray made again what it had lost.
            return
        if receipt.failure is not None:
            self._failed[shard.number] = receipt
            if receipt.failure is Failure.LOST:
                self.give_up(shard)
            return
        found = receipt.encoded
        if all(one.content_hash is None for one in found.outcomes):
            self._check_readable(shard, receipt)
        self._close(shard, found.outcomes)
        self._pictures += found.pictures
        self._cut += found.cut
        self._busy.update(found.busy)
        self._written += found.shards
        if found.limited_by is not None:
            self._limits[found.limited_by] += found.pictures
            with self._lock:
                self._stage.limited_by(self._limits.most_common(1)[0][0])

    def reach(self, reached: Mapping[int, int]) -> None:
        """Tell the stage how many inputs are done of shards that have no receipt yet, by their numbers.

        Another thread may do so. A shard that is begun again is told of again where it has got further than before.
        """
        with self._lock:
            self._reached = reached
            self._tell()

    def give_up(self, shard: Shard) -> None:
        """Have a shard's inputs fail, none of which is known to be the reason.

        Raises:
            ClusterError: what failed is about none of them.
        """
        last = self._failed.get(shard.number)
        if last is not None and last.failure is Failure.STORE:
            raise ClusterError(
                f"a worker on {last.host} can't write to {self._target.root} ({last.reason}); what was encoded is kept "
                "for the next run"
            )
        why = "Ray lost it" if last is None else f"{last.reason} (on {last.host})"
        times = "once" if self._tries == 1 else f"{self._tries} times"
        # Without a content they are no wiser than files that can't be read: the next run tries them again.
        failed = Outcome(None, -1, -1, f"its shard of {len(shard)} inputs failed {times}: {why}")
        self._close(shard, [failed] * len(shard))

    def known(self) -> Set[str]:
        """Contents that need not be encoded: what was known, and what has been encoded since."""
        done = {one.content_hash for one in self._outcomes if one and one.content_hash and one.reason is None}
        return self.work.known | done

    def encoded(self) -> Encoded:
        """What became of all inputs.

        Raises:
            ValueError: there are shards left.
        """
        outcomes = [one for one in self._outcomes if one is not None]
        if len(outcomes) != len(self._outcomes):
            raise ValueError(f"expected outcomes of {len(self._outcomes)} inputs, found {len(outcomes)}")
        limit = self._limits.most_common(1)[0][0] if self._limits else None
        return Encoded(outcomes, self._pictures, dict(self._busy), limit, self._cut, tuple(self._written))

    def _close(self, shard: Shard, outcomes: list[Outcome]) -> None:
        self._outcomes[shard.first : shard.end] = outcomes
        with self._lock:
            del self._shards[shard.number]
            self._done += len(shard)
            self._tell()

    def _tell(self) -> None:
        """Tell the stage what it has not been told: nothing is told twice, and all in the end."""
        open_ = (self._shards.get(number) for number in self._reached)
        under_way = sum(min(self._reached[one.number], len(one)) for one in open_ if one is not None)
        more = self._done + under_way - self._told
        if more > 0:
            self._told += more
            self._stage.advance(more)

    def _check_readable(self, shard: Shard, receipt: Receipt) -> None:
        """Refuse to take it for an input's fault that one machine does not see any.

        Raises:
            ClusterError: this one does.
        """
        try:
            self.work.inputs.read(shard.first)
        except OSError:
            return
        raise ClusterError(
            f"a worker on {receipt.host} can read none of {len(shard)} inputs ({receipt.encoded.outcomes[0].reason}), "
            "which are there for this machine: have sources at the same paths on every machine"
        )
