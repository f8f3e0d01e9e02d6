"""Work that falls into parts, done by processes of a Ray cluster: indexes built, segments searched."""

from __future__ import annotations

import secrets
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from threading import Lock
from types import TracebackType
from typing import Any, Generic, NamedTuple, TypeVar

from fpve.engines.cluster.cluster import Cluster
from fpve.engines.cluster.connection import connected
from fpve.engines.cluster.room import Said, Waiting, say
from fpve.errors import ClusterError

Item = TypeVar("Item")
Result = TypeVar("Result")
Thing = TypeVar("Thing")
Kept = TypeVar("Kept", covariant=True)

# Calls that each worker has, one at work and one that waits for it, so that none is idle.
_CALLS = 2
# Results that may wait for an earlier one, for each worker.
_AHEAD = 32
# Seconds after which it is looked again what those wait for that are to come.
_LOOK = 1.0


class RayMapper:
    """Workers on a Ray cluster, for any number of tasks; there is none before the first. Safe to use from many threads.

    A worker that dies is replaced if the cluster has room, and what it had to do is done by others, at most as often as
    the cluster's `retries` say. It is to be closed, or used as a context; used again after that, it begins anew.

    Args:
        cluster: which, and how many workers at most: there are no more than there are parts of what is done.
        said: is told what is waited for, if the cluster has no room for a worker.
    """

    def __init__(self, cluster: Cluster | None = None, *, said: Said = say) -> None:
        self._cluster = cluster or Cluster()
        self._said = said
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
        """How many workers there can be.

        Raises:
            ClusterError: there is no cluster, or it has no room for one.
        """
        return self.pool().size

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """The results of a function for some items, in their order.

        Raises:
            ClusterError: there is no cluster, workers died of an item as often as that is tried, or this was closed.
            Exception: what the function raises.
        """
        todo = list(items)
        return self.pool().map(function, todo) if todo else iter(())

    def hold(self, make: Callable[[Item], Thing], items: Sequence[Item]) -> _Held[Thing]:
        """Have a thing made of each item by a worker, when it is asked first, or again by another if that one died."""
        return _Held(self.pool, make, items)

    def pool(self) -> _Pool:
        """The workers, of which there may be none yet."""
        with self._lock:
            if self._pool is None:
                workers = self._stack.enter_context(connected(self._cluster))
                self._pool = _Pool(self._cluster, workers, self._said)
            return self._pool


class _Call(NamedTuple):
    """A call of a worker: whose place it has, what is asked of it, and how often that was tried before."""

    place: int
    worker: Any
    method: str
    arguments: tuple[Any, ...]
    tries: int


class _Pool:
    """Workers, each at its place, and calls of them.

    Attributes:
        size: how many there are at most.
    """

    def __init__(self, cluster: Cluster, size: int, said: Said) -> None:
        import ray

        self._cluster = cluster
        self._said = said
        self.ray = ray
        self.size = size
        self._kind = ray.remote(_Worker).options(num_cpus=cluster.cpus, scheduling_strategy="SPREAD")
        self._lock = Lock()
        self._stopped = False
        self._workers: list[Any] = []
        # Those that are to have a place of their own, by what tells that the cluster has room for them.
        self._coming: dict[Any, tuple[int, Any]] = {}

    def begin(self, parts: int) -> int:
        """Have a worker for each of so many parts, up to `size`; how many places there are.

        Waits until they are there. Where the cluster has room for some of them only, these have the places of the
        others until they come; where it has room for none, somebody is told what is waited for.
        """
        with self._lock:
            wanted = range(len(self._workers), min(parts, self.size))
            for place in wanted:
                new = self._kind.remote()
                self._workers.append(new)
                self._coming[new.ready.remote()] = place, new
            waiting = Waiting({"CPU": self._cluster.cpus}, len(self._workers), self._said)
            while self._coming and (wanted or not self._there()):
                if self.ray.wait(list(self._coming), timeout=_LOOK)[0]:
                    self._settle()
                elif waiting.look() and self._there():
                    break
            for number, place in enumerate(wanted if self._coming else ()):
                there = self._there()
                if self._workers[place] not in there:
                    self._workers[place] = there[number % len(there)]
            return len(self._workers)

    def _there(self) -> list[Any]:
        """The workers that have begun."""
        to_come = {worker for _, worker in self._coming.values()}
        return [one for one in self._workers if one not in to_come]

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
        """Call the worker at a place.

        Raises:
            ClusterError: the workers were stopped.
        """
        with self._lock:
            self._check()
            if self._coming:
                self._settle()
            worker = self._workers[place]
        return getattr(worker, method).remote(*arguments), _Call(place, worker, method, arguments, tries)

    def result(self, answer: Any, call: _Call) -> Any:
        """What was answered to a call, which is made again if its worker died.

        Raises:
            ClusterError: workers died of it as often as it is tried, or were stopped.
            Exception: what was raised there.
        """
        errors = self.ray.exceptions
        while True:
            self._check()
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
        busy = [0] * self.begin(len(items))
        begun = ended = 0
        while ended < len(items):
            self._check()
            while begun < min(len(items), ended + _AHEAD * len(busy)) and min(busy) < _CALLS:
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

    def _check(self) -> None:
        """See that the workers were not stopped: Ray, asked for anything after its end, begins anew by itself.

        Raises:
            ClusterError: they were.
        """
        if self._stopped:
            raise ClusterError("expected workers to be kept until their results are fetched, found them stopped")

    def _replace(self, dead: Any) -> None:
        """Have other workers at the places of a dead one, until a new one comes."""
        with self._lock:
            self._check()
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
                self._workers = [new] * len(self._workers)

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
            places = pool.begin(len(items))
            shared, each = pool.ray.put(function), [sent.item(number, one) for number, one in enumerate(items)]
        calls = [
            pool.call(number % places, "ask", f"{sent.key}-{number}", sent.make, sent.of[number], shared, one)
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
