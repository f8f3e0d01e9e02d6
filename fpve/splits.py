"""Which rows belong together, and how rows are divided so that what belongs together stays on one side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from fpve.fusion import Floats

Numbers = NDArray[np.int64]
Mask = NDArray[np.bool_]

# Cosine of two pictures' features from which they count as copies of one another: re-encodings, resizings.
NEAR_DUPLICATE = 0.97
# Floats of one block of cosines: 64 MB.
_FLOATS = 16_000_000


def components(codes: Iterable[Numbers], pairs: tuple[Numbers, Numbers] | None = None) -> Numbers:
    """Number the components (n,) into which ties join n rows; it is that of their first row.

    Args:
        codes: one (n,) or more; rows with an equal code are tied. A code below 0 ties nothing.
        pairs: (t,) and (t,), rows that are tied as well.
    """
    ties = [_members(one) for one in codes]
    count = len(ties[0][0])
    number = np.arange(count)
    while True:
        before = number.copy()
        for code, tied in ties:
            first = np.full(count, count)
            np.minimum.at(first, code[tied], number[tied])
            number[tied] = first[code[tied]]
        if pairs is not None:
            lower = np.minimum(number[pairs[0]], number[pairs[1]])
            for side in pairs:
                np.minimum.at(number, side, lower)
        # Where a row's first one has come to be in, it is too: chains are followed twice as far each time.
        number = number[number]
        if np.array_equal(number, before):
            return number


def _members(code: Numbers) -> tuple[Numbers, Mask]:
    """Codes from 0, and which rows they tie."""
    return np.unique(code, return_inverse=True)[1].reshape(-1), code >= 0


def near_duplicates(image: Floats) -> tuple[Numbers, Numbers]:
    """Pairs of rows of unit features (n, d) that are copies of one another; compares all, so for some thousands."""
    step = max(1, _FLOATS // max(1, len(image)))
    pairs = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for start in range(0, len(image), step):
        left, right = np.nonzero(image[start : start + step] @ image.T >= NEAR_DUPLICATE)
        once = left + start < right
        pairs.append((left[once] + start, right[once]))
    left, right = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return left, right


def spread(groups: Numbers, limit: int, random: np.random.Generator) -> Numbers:
    """At most `limit` of n rows, ascending: one of each group (n,), chosen at random, before any has a second one."""
    if len(groups) <= limit:
        return np.arange(len(groups))
    shuffled = random.permutation(len(groups))
    by_group = shuffled[np.argsort(groups[shuffled], kind="stable")]
    starts = np.r_[0, np.flatnonzero(np.diff(groups[by_group])) + 1]
    place = np.arange(len(groups)) - np.repeat(starts, np.diff(np.r_[starts, len(groups)]))
    order = np.lexsort((random.permutation(len(groups)), place))
    return np.sort(by_group[order[:limit]])


def half(groups: Numbers, random: np.random.Generator) -> Mask:
    """At most half of n rows (n,), and as nearly as random whole groups (n,) give it.

    A third of the groups is not among these, however large the others are, so that there is something to learn from.
    """
    names, code, counts = np.unique(groups, return_inverse=True, return_counts=True)
    room, most = len(groups) // 2, len(names) * 2 // 3
    held = np.zeros(len(names), bool)
    for one in random.permutation(len(names)):
        if most and counts[one] <= room:
            held[one] = True
            room, most = room - counts[one], most - 1
    return held[code.reshape(-1)]


def folds(groups: Numbers, count: int, random: np.random.Generator) -> Iterator[tuple[Numbers, Numbers]]:
    """The rows inside and outside each of `count` folds of n rows, by whole groups (n,)."""
    names, code = np.unique(groups, return_inverse=True)
    fold = random.permutation(len(names)) % count
    for number in range(count):
        outside = fold[code] == number
        yield np.flatnonzero(~outside), np.flatnonzero(outside)
