"""Work that runs ahead in other threads, within bounds, and comes back in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_order(
    submit: Callable[[T], Future[R]],
    items: Iterable[T],
    *,
    ahead: int,
    cost: Callable[[T], int] = lambda _: 0,
    budget: int = 0,
) -> Generator[R]:
    """Submit items, and yield what becomes of them in their order.

    Whoever closes this early cancels what has not begun.

    Args:
        submit: begins the work on an item.
        items: taken only as there is room for them, so that generators can be chained.
        ahead: how many items are under way at most.
        cost: of an item that is under way, such as its bytes.
        budget: what all of them may cost together. One that costs more than that is under way alone.
    """
    running: deque[tuple[Future[R], int]] = deque()
    spent = 0
    try:
        for item in items:
            price = cost(item)
            while running and (len(running) >= ahead or spent + price > budget):
                oldest, paid = running.popleft()
                yield oldest.result()
                spent -= paid
            running.append((submit(item), price))
            spent += price
        while running:
            yield running.popleft()[0].result()
    finally:
        for future, _ in running:
            future.cancel()
