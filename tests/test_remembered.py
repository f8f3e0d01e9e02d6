"""What was made lately is not made again."""

from __future__ import annotations

import threading

import pytest

from fpve.remembered import Remembered


def test_each_is_made_once() -> None:
    """What is asked for again is the same; of those that are too many the one that was asked for longest ago goes."""
    made: list[str] = []
    remembered: Remembered[str, int] = Remembered(2)

    def make(key: str) -> int:
        return remembered.get(key, lambda: made.append(key) or len(made))

    assert [make(key) for key in ("a", "b", "a", "c", "a", "b")] == [1, 2, 1, 3, 1, 4]
    remembered.forget("b")
    assert make("b") == 5


def test_what_fails_is_tried_again() -> None:
    """An error is raised, and not remembered."""
    remembered: Remembered[str, int] = Remembered(2)

    with pytest.raises(ZeroDivisionError):
        remembered.get("a", lambda: 1 // 0)

    assert remembered.get("a", lambda: 1) == 1


def test_who_asks_for_another_does_not_wait() -> None:
    """While one is made, others are told; who asks for the same waits for it."""
    remembered: Remembered[str, str] = Remembered(2)
    begun, let = threading.Event(), threading.Event()

    def make_long() -> str:
        begun.set()
        assert let.wait(30)
        return "long"

    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(remembered.get("a", make_long))) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert begun.wait(30)

    assert remembered.get("b", lambda: "at once") == "at once"
    assert found == []

    let.set()
    for thread in threads:
        thread.join(30)
    assert found == ["long", "long"]
