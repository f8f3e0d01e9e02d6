"""The engine that runs on a Ray cluster: workers encode shards, and this process keeps the books.

Workers read the inputs and write their shards themselves, so they see the store and the sources at the same paths as
this process; nothing but receipts comes back.

Each worker encodes a content once a shard, not once a run: nobody knows what a file holds before it is read. A picture
that is in two shards is encoded twice, and where it has the same prefix in both there are two vectors of one name. One
of them is what all its images have; the other is dead until `compact`, or is never published where its whole shard is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Any

from fpve.engines.cluster.books import Books
from fpve.engines.cluster.cluster import NO_RAY, Cluster
from fpve.engines.cluster.connection import connected
from fpve.engines.cluster.lot import KnownHashes, Lot, cut
from fpve.engines.cluster.mapper import RayMapper
from fpve.engines.cluster.passes import GaveUp, one_pass
from fpve.engines.cluster.room import Said, Waiting, say
from fpve.engines.cluster.tally import begin_tally
from fpve.engines.cluster.worker import Orders, Shared, marked
from fpve.engines.work import Encoded, Models, Target, Work
from fpve.errors import ClusterError
from fpve.progress import Progress
from fpve.replica import shown

# Seconds between two messages of a worker that say how far it is: often enough to see that work goes on, and a message
# takes less than a millisecond of it.
_TOLD_EVERY = 2.0
# Seconds between two looks at what workers have told.
_LOOK_EVERY = 2.0
# Seconds for an answer to that; it comes at once, or with the next look.
_PATIENCE = 2.0


class RayEngine:
    """Encodes on a Ray cluster.

    Attributes:
        said: is told what is waited for, if the cluster has no room for a worker.

    Args:
        cluster: which, and by how many workers.
        shard_rows: how many inputs a shard has at most; None has their number decide.

    Raises:
        ClusterError: Ray is not installed.
    """

    def __init__(self, cluster: Cluster | None = None, *, shard_rows: int | None = None) -> None:
        if find_spec("ray") is None:
            raise ClusterError(NO_RAY)
        self._cluster = cluster or Cluster()
        self._shard_rows = shard_rows
        self.said: Said = say
        self._kept: ExitStack | None = None
        self._workers: int | None = None
        self._mapper: RayMapper | None = None

    def __enter__(self) -> RayEngine:
        """Stay connected from the first work on, until the context is left: to begin a cluster takes seconds."""
        self._kept = ExitStack()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._let_go()
        kept, self._kept, self._workers = self._kept, None, None
        if kept is not None:
            kept.close()

    @contextmanager
    def _connected(self) -> Iterator[int]:
        """Be connected; how many workers there will be."""
        if self._kept is None:
            with connected(self._cluster) as workers:
                yield workers
            return
        if self._workers is None:
            self._workers = self._kept.enter_context(connected(self._cluster))
        yield self._workers

    @property
    def cluster(self) -> Cluster:
        """Where it works."""
        return self._cluster

    def mapper(self) -> RayMapper:
        """Workers for what else there is to do: one and the same until pictures are encoded, or the context is left."""
        if self._mapper is None:
            self._mapper = RayMapper(self._cluster, said=self.said)
        return self._mapper

    def _let_go(self) -> None:
        """Stop those workers, which have CPUs."""
        mapper, self._mapper = self._mapper, None
        if mapper is not None:
            mapper.close()

    def encode(self, work: Work, models: Models, target: Target, progress: Progress) -> Encoded:
        """Encode inputs, leaving shards in `pending/`.

        A shard that fails each time has its inputs fail, with a reason that says so.

        Raises:
            ClusterError: there is no cluster, no room in it, or its workers can't do the work.
        """
        if models.config is None:
            raise ClusterError("expected encoders that other processes can open too, found some made by hand")
        self._let_go()
        with (
            self._connected() as workers,
            marked(target.root) as mark,
            progress.stage("encode", len(work.inputs)) as stage,
        ):
            orders = Orders(
                shown(target.root.absolute()),
                mark,
                target.recipe,
                target.fusion,
                models.config,
                threads=self._cluster.threads,
                tries=self._cluster.retries + 1,
                folder=str(Path.cwd()),
                told_every=_TOLD_EVERY,
            )
            shards = cut(len(work.inputs), workers, self._shard_rows)
            books = Books(work, target, shards, orders.tries, stage)
            self._run(books, orders, workers)
            return books.encoded()

    def _run(self, books: Books, orders: Orders, workers: int) -> None:
        """Try shards until they are done, or have failed as often as they may."""
        import ray

        lot, tally = ray.put(Lot.of(books.work)), begin_tally()
        passes = 0
        with self._watched(tally, books, min(workers, len(books.left))):
            while (left := books.left) and passes < orders.tries:
                shared = Shared(lot, ray.put(KnownHashes(books.known())), tally)
                try:
                    with closing(one_pass(left, orders, shared, cluster=self._cluster, workers=workers)) as receipts:
                        for receipt in receipts:
                            books.enter(receipt)
                    passes += 1
                except GaveUp:
                    # That was no shard's fault, as long as there is something that it can do.
                    if len(books.left) == len(left):
                        raise
            for shard in books.left:
                books.give_up(shard)

    @contextmanager
    def _watched(self, tally: Any, books: Books, workers: int) -> Iterator[None]:
        """Have the books told, meanwhile, how far shards are, and somebody what is waited for."""
        import ray
        from ray.exceptions import RayError

        waiting = Waiting({"CPU": self._cluster.cpus, "GPU": self._cluster.gpus}, workers, self.said)
        end, failed = Event(), []

        def watch() -> None:
            begun = 0
            while not end.wait(_LOOK_EVERY):
                if not begun:
                    waiting.look()
                try:
                    begun, reached = ray.get(tally.standing.remote(), timeout=_PATIENCE)
                except RayError:
                    # It is not there yet, or is busy. Receipts come all the same.
                    continue
                books.reach(reached)

        def run() -> None:
            try:
                watch()
            except BaseException as error:  # noqa: BLE001 (raised again below)
                failed.append(error)

        thread = Thread(target=run, name="fpve-watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join()
        if failed:
            raise failed[0]
