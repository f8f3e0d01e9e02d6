"""Work that falls into parts, done by processes of a Ray cluster: indexes built, segments searched."""

from __future__ import annotations

import secrets
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from threading import Lock
from types import TracebackType
from typing import Any, Generic, NamedTuple, TypeVar

from fpve.engines.cluster.cluster import Cluster, check_engine, connected
from fpve.engines.work import Engine
from fpve.errors import ClusterError
from fpve.mapper import Mapper

Item = TypeVar("Item")
Result = TypeVar("Result")
Thing = TypeVar("Thing")
Kept = TypeVar("Kept", covariant=True)

# Calls that each worker has, one at work and one that waits for it, so that none is idle.
_CALLS = 2
# Results that may wait for an earlier one, for each worker.
_AHEAD = 32


def open_mapper(engine: str | Mapper, cluster: Cluster | None) -> Mapper | None:
    """Where work that falls into parts is done by an engine of this name; None if by this process.

    Raises:
        ClusterError: there is no such engine, or a cluster is given to one without.
    """
    check_engine(engine, cluster)
    if engine == "ray":
        return RayMapper(cluster)
    return None if isinstance(engine, str) else engine


def mapper_of(engine: Engine) -> AbstractContextManager[Mapper | None]:
    """Where work that falls into parts is done beside an engine: on its cluster, if it has one."""
    from fpve.engines.cluster.engine import RayEngine

    return RayMapper(engine.cluster) if isinstance(engine, RayEngine) else nullcontext()


def kept(engine: Engine) -> AbstractContextManager[object]:
    """Have an engine stay connected with its cluster, if it has one, until the context is left."""
    from fpve.engines.cluster.engine import RayEngine

    return engine if isinstance(engine, RayEngine) else nullcontext()


class RayMapper:
    """Workers on a Ray cluster, for any number of tasks; there is none before the first. Safe to use from many threads.

    A worker that dies is replaced if the cluster has room, and what it had to do is done by others, at most as often as
    the cluster's `retries` say. It is to be closed, or used as a context; used again after that, it begins anew.
    """

    def __init__(self, cluster: Cluster | None = None) -> None:
        self._cluster = cluster or Cluster()
        self._lock = Lock()
        self._stack = ExitStack()
        self._pool: _Pool | None = None

    def __enter__(self) -> RayMapper:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the workers, and leave the cluster if it was entered for them."""
        with self._lock:
            pool, self._pool = self._pool, None
            if pool is not None:
                pool.stop()
            self._stack.close()

    @property
    def size(self) -> int:
        """How many workers there are.

        Raises:
            ClusterError: there is no cluster, or it has no room for one.
        """
        return self.pool().size

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """The results of a function for some items, in their order.

        Raises:
            ClusterError: there is no cluster, or workers died of an item as often as that is tried.
            Exception: what the function raises.
        """
        todo = list(items)
        return self.pool().map(function, todo) if todo else iter(())

    def hold(self, make: Callable[[Item], Thing], items: Sequence[Item]) -> _Held[Thing]:
        """Have a thing made of each item by a worker, when it is asked first, or again by another if that one died."""
        return _Held(self.pool, make, items)

    def pool(self) -> _Pool:
        """The workers, which are begun if there are none."""
        with self._lock:
            if self._pool is None:
                workers = self._stack.enter_context(connected(self._cluster))
                self._pool = _Pool(self._cluster, workers)
            return self._pool


class _Call(NamedTuple):
    """A call of a worker: whose place it has, what is asked of it, and how often that was tried before."""

    place: int
    worker: Any
    method: str
    arguments: tuple[Any, ...]
    tries: int


class _Pool:
    """Workers, each at its place, and calls of them."""

    def __init__(self, cluster: Cluster, size: int) -> None:
        import ray

        self._cluster = cluster
        self.ray = ray
        self.size = size
        self._kind = ray.remote(_Worker).options(num_cpus=cluster.cpus, scheduling_strategy="SPREAD")
        self._lock = Lock()
        self._stopped = False
        self._workers: list[Any] = [self._kind.remote() for _ in range(size)]
        # Those that are to take the places of the dead, by what tells that the cluster has room for them.
        self._coming: dict[Any, tuple[int, Any]] = {}

    def stop(self) -> None:
        """End all workers."""
        self._stopped = True
        for one in {*self._workers, *(worker for _, worker in self._coming.values())}:
            self.ray.kill(one)

    def forget(self, key: str) -> None:
        """Have all workers drop the things of a key, if there are any workers still."""
        if not self._stopped:
            for one in set(self._workers):
                one.forget.remote(key)

    def call(self, place: int, method: str, *arguments: Any, tries: int = 0) -> tuple[Any, _Call]:
        """Call the worker at a place."""
        with self._lock:
            if self._coming:
                self._settle()
            worker = self._workers[place]
        return getattr(worker, method).remote(*arguments), _Call(place, worker, method, arguments, tries)

    def result(self, answer: Any, call: _Call) -> Any:
        """What was answered to a call, which is made again if its worker died.

        Raises:
            ClusterError: workers died of it as often as it is tried.
            Exception: what was raised there.
        """
        errors = self.ray.exceptions
        while True:
            try:
                return self.ray.get(answer)
            except errors.RayTaskError as error:
                if isinstance(error.cause, Exception):
                    raise error.cause from None
                raise
            except (errors.RayActorError, errors.ObjectLostError) as error:
                if call.tries >= self._cluster.retries:
                    said = str(error).strip().splitlines()[0]
                    raise ClusterError(
                        f"{call.tries + 1} workers died of the same task, or were lost ({said}): see the logs of the "
                        "Ray cluster; too little memory is the most common reason"
                    ) from None
                self._replace(call.worker)
                answer, call = self.call(call.place, call.method, *call.arguments, tries=call.tries + 1)

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """The results of a function for some items, in their order."""
        shared, key = self.ray.put(function), secrets.token_hex(8)
        waiting: dict[Any, tuple[int, _Call]] = {}
        done: dict[int, Result] = {}
        busy = [0] * self.size
        begun = ended = 0
        while ended < len(items):
            while begun < min(len(items), ended + _AHEAD * self.size) and min(busy) < _CALLS:
                place = busy.index(min(busy))
                busy[place] += 1
                answer, call = self.call(place, "apply", key, shared, items[begun])
                waiting[answer] = begun, call
                begun += 1
            for answer in self.ray.wait(list(waiting))[0]:
                number, call = waiting.pop(answer)
                busy[call.place] -= 1
                done[number] = self.result(answer, call)
            while ended in done:
                yield done.pop(ended)
                ended += 1

    def _replace(self, dead: Any) -> None:
        """Have other workers at the places of a dead one, until a new one comes."""
        with self._lock:
            places = [place for place, one in enumerate(self._workers) if one == dead]
            if not places:
                return
            new = self._kind.remote()
            self._coming[new.ready.remote()] = places[0], new
            others = [one for one in self._workers if one != dead]
            if others:
                for number, place in enumerate(places):
                    self._workers[place] = others[number % len(others)]
            else:
                self._workers = [new] * self.size

    def _settle(self) -> None:
        """Give those workers their places that have come."""
        for one in self.ray.wait(list(self._coming), num_returns=len(self._coming), timeout=0)[0]:
            place, worker = self._coming.pop(one)
            self._workers[place] = worker


class _Held(Generic[Kept]):
    """Things that workers hold, each at the place of its number."""

    def __init__(self, pools: Callable[[], _Pool], make: Callable[[Any], Kept], items: Sequence[Any]) -> None:
        self._pools = pools
        self._made_of = make, items
        self._on: _Sent | None = None
        self._lock = Lock()

    def each(self, function: Callable[[Kept, Item], Result], items: Sequence[Item | None]) -> Iterator[Result]:
        """What a function says of each thing and its item, in their order; a thing whose item is None is not asked.

        Raises:
            ClusterError: workers died of one as often as it is tried.
            Exception: what the function raises, or what makes a thing.
        """
        with self._lock:
            pool = self._pools()
            if self._on is None or self._on.pool is not pool:
                self._on = _Sent(pool, *self._made_of)
                weakref.finalize(self, pool.forget, self._on.key).atexit = False
            sent = self._on
            shared, each = pool.ray.put(function), [sent.item(number, one) for number, one in enumerate(items)]
        calls = [
            pool.call(number % pool.size, "ask", f"{sent.key}-{number}", sent.make, sent.of[number], shared, one)
            for number, one in enumerate(each)
            if one is not None
        ]
        return (pool.result(answer, call) for answer, call in calls)


class _Sent:
    """What was put where workers of a pool get it.

    Attributes:
        pool: the workers.
        key: names the things.
        make: what makes them.
        of: what each is made of.
    """

    def __init__(self, pool: _Pool, make: Callable[[Any], Any], items: Sequence[Any]) -> None:
        self.pool = pool
        self.key = secrets.token_hex(8)
        self.make = pool.ray.put(make)
        self.of = [pool.ray.put(one) for one in items]
        # What each thing was asked with last.
        self._items: list[tuple[Any, Any]] = [(None, None) for _ in items]

    def item(self, number: int, item: Any) -> Any:
        """Where an item is that a thing is to be asked with; None for None."""
        if item is None:
            return None
        if self._items[number][0] is not item:
            self._items[number] = item, self.pool.ray.put(item)
        return self._items[number][1]


class _Worker:
    """What a process of the cluster does."""

    def __init__(self) -> None:
        self._function: tuple[str, Callable[[Any], Any]] = "", lambda item: item
        self._things: dict[str, Any] = {}

    def ready(self) -> None:
        """Say that it is there."""

    def apply(self, key: str, function: Callable[[Any], Any], item: Any) -> Any:
        """The result of a function for an item: of that which came first under this key, with what it remembers."""
        if self._function[0] != key:
            self._function = key, function
        return self._function[1](item)

    def ask(
        self, name: str, make: Callable[[Any], Any], of: Any, function: Callable[[Any, Any], Any], item: Any
    ) -> Any:
        """What a function says of a thing, which is made first where it is not here, and an item."""
        if name not in self._things:
            self._things[name] = make(of)
        return function(self._things[name], item)

    def forget(self, key: str) -> None:
        """Drop the things of a key."""
        for name in [one for one in self._things if one.startswith(key)]:
            del self._things[name]
