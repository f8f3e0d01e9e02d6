"""What a search is worth: its recall, by score, and its time beside others', in turns."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from data import Floats, Rows

from fpve.encoders.runtimes.machine import cores, cpu_name

K = 10
# Of a score: float32 sums differ by less from one library to the next, and copies of a vector score the same.
TOLERANCE = 1e-4
# More than this many floats are not scored at once: 256 MB.
_FLOATS = 64_000_000
NOT_INSTALLED = "not installed"


@dataclass(frozen=True)
class Truth:
    """The true hits of queries (m, dim), as scores.

    Attributes:
        vectors: (n, dim), what is searched.
        queries: (m, dim), weighted.
        kth: (m,) score of the k-th best; of the last one, where fewer are allowed.
        k: how many there are of each query.
        allowed: (r,) the rows that may be found; None for all.
    """

    vectors: Floats
    queries: Floats
    kth: Floats
    k: int
    allowed: Rows | None = None

    @classmethod
    def of(cls, vectors: Floats, queries: Floats, allowed: Rows | None = None) -> Truth:
        """Score everything, or the rows that are allowed, and keep the K best scores."""
        among = vectors if allowed is None else vectors[allowed]
        k = min(K, len(among))
        step = max(1, _FLOATS // len(among))
        parts = [queries[start : start + step] @ among.T for start in range(0, len(queries), step)]
        kth = np.concatenate([np.partition(part, len(among) - k, axis=1)[:, -k] for part in parts])
        return cls(vectors, queries, kth, k, allowed)

    def first(self, count: int) -> Truth:
        """That of the first queries."""
        return replace(self, queries=self.queries[:count], kth=self.kth[:count])

    def recall(self, rows: Rows) -> float:
        """The share of true hits among the rows (m, K) that were found, -1 where there is none."""
        return float(self.recalls(rows).mean())

    def recalls(self, rows: Rows) -> Floats:
        """That of each query (m,).

        A row counts if it scores at least as much as the true k-th hit, less the tolerance, and only once.
        """
        rows = np.sort(np.asarray(rows, np.int64), axis=1)
        scores = np.einsum("mkd,md->mk", self.vectors[np.maximum(rows, 0)], self.queries)
        new = np.diff(rows, axis=1, prepend=-1) > 0
        good = new & (scores >= self.kth[:, None] - TOLERANCE)
        if self.allowed is not None:
            good &= np.isin(rows, self.allowed)
        return good.sum(axis=1) / self.k


@dataclass
class Times:
    """Seconds of one way to search, round by round; the rounds of all ways take turns."""

    rounds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Of the rounds."""
        return statistics.median(self.rounds)

    def ratios_to(self, other: Times) -> list[float]:
        """This way's time over another's, in the same round: what slows the machine down slows both."""
        return [mine / theirs for mine, theirs in zip(self.rounds, other.rounds, strict=True)]

    def ratio_to(self, other: Times) -> float:
        """The median of these ratios."""
        return statistics.median(self.ratios_to(other))

    def more_than(self, other: Times) -> float:
        """The median of the differences in the same round."""
        return statistics.median(mine - theirs for mine, theirs in zip(self.rounds, other.rounds, strict=True))


def race(ways: Mapping[str, Callable[[int], float]], rounds: int) -> dict[str, Times]:
    """Time ways in turns: each is called with the number of the round and says its seconds. One round is for warmth."""
    times = {name: Times() for name in ways}
    for number in range(-1, rounds):
        for name, way in ways.items():
            seconds = way(number)
            if number >= 0:
                times[name].rounds.append(seconds)
    return times


def each(search: Callable[[Floats], object], queries: Floats, at_once: int) -> Callable[[int], float]:
    """A way for `race`: the median seconds of single queries, `at_once` of them in a round, others in each round."""

    def seconds(number: int) -> float:
        places = (number * at_once + np.arange(at_once)) % len(queries)
        return statistics.median(timed(search, queries[place : place + 1]) for place in places)

    return seconds


def together(search: Callable[[Floats], object], queries: Floats) -> Callable[[int], float]:
    """A way for `race`: the seconds of each query, where all are asked at once."""
    return lambda _: timed(search, queries) / len(queries)


def steady(way: Callable[[], object], calls: int = 3) -> float:
    """The median seconds of some calls after one that clears the caches of what ran before."""
    way()
    return statistics.median(timed(way) for _ in range(calls))


def timed(way: Callable[..., object], *arguments: object) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    way(*arguments)
    return time.perf_counter() - start


def header(packages: Sequence[str]) -> str:
    """The machine, and the versions of what is compared."""
    versions = [f"Python {platform.python_version()}"]
    for name in ("fpve", "numpy", "faiss-cpu", *packages):
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            versions.append(f"{name} {NOT_INSTALLED}")
    return f"{cpu_name()}, everything on {cores()} threads\n{', '.join(versions)}"


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows, the first column to the left and the others to the right."""
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]
    for row in [head, *rows]:
        first, *others = row
        cells = [first.ljust(widths[0]), *(one.rjust(width) for one, width in zip(others, widths[1:], strict=True))]
        print("   ".join(cells).rstrip(), flush=True)
