"""The engine: work ahead that comes back in order, a writer beside it, and what limits them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import draw

import fpve
from fpve.config import Job
from fpve.engines.local import LocalEngine
from fpve.engines.meter import Meter
from fpve.engines.ordered import in_order
from fpve.engines.writing import ShardWriter
from fpve.pipeline.run import run
from fpve.store.pending import finished_shards


class Pool:
    """Futures that end only when they are told to, so that what is under way can be counted."""

    def __init__(self) -> None:
        self.futures: dict[int, Future[int]] = {}

    def submit(self, item: int) -> Future[int]:
        """Begin an item."""
        self.futures[item] = Future()
        return self.futures[item]

    def finish(self, *items: int) -> None:
        """End items."""
        for item in items:
            self.futures[item].set_result(item)


def test_work_ahead_comes_back_in_order() -> None:
    """Items that end in another order than they began are yielded in theirs."""
    with ThreadPoolExecutor(4) as pool:

        def slow_first(item: int) -> int:
            time.sleep(0.02 if item % 4 == 0 else 0)
            return item

        assert list(in_order(lambda item: pool.submit(slow_first, item), range(40), ahead=8)) == list(range(40))


def test_no_more_is_under_way_than_is_allowed() -> None:
    """With three ahead the fourth item is not even taken before the first is done, and it is when the first is."""
    pool, taken = Pool(), []

    def items() -> Iterator[int]:
        for item in range(6):
            taken.append(item)
            yield item

    work = in_order(pool.submit, items(), ahead=3)
    threading.Timer(0.05, pool.finish, [0]).start()
    assert next(work) == 0
    assert sorted(pool.futures) == [0, 1, 2]
    assert taken == [0, 1, 2, 3]


def test_what_costs_more_than_the_budget_is_under_way_alone() -> None:
    """Of items of 4, 4, 20 and 1 with a budget of 10 two begin at once; the large one waits for both, and the last."""
    pool, costs = Pool(), [4, 4, 20, 1]
    work = in_order(pool.submit, range(4), ahead=9, cost=costs.__getitem__, budget=10)
    seen = []
    for item in range(4):
        # What is asked for now can't be answered before it is finished, and nothing more is begun meanwhile.
        threading.Timer(0.02, pool.finish, [item]).start()
        seen.append((next(work), sorted(pool.futures)))
    assert seen == [(0, [0, 1]), (1, [0, 1]), (2, [0, 1, 2]), (3, [0, 1, 2, 3])]


def test_who_stops_early_cancels_what_has_not_begun() -> None:
    """Closing the work cancels its futures."""
    pool = Pool()
    work = in_order(pool.submit, range(5), ahead=3)
    threading.Timer(0.05, pool.finish, [0]).start()
    next(work)
    work.close()
    assert pool.futures[1].cancelled()
    assert pool.futures[2].cancelled()


class Builder:
    """A builder that keeps what it is given, and fails at a row named `bad`."""

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self.finished = False

    def add(self, name: str) -> None:
        """Keep a row."""
        if name == "bad":
            raise OSError(28, "No space left on device")
        self.rows.append(name)

    def finish(self) -> None:
        """Remember that."""
        self.finished = True


def _writer(builder: Builder) -> ShardWriter:
    return ShardWriter(builder, Meter(readers=1, workers=1), waiting=2)  # type: ignore[arg-type]


def test_the_writer_writes_all_rows_and_the_last_shard() -> None:
    """Everything that was put is there when the context ends."""
    builder = Builder()
    with _writer(builder) as writer:
        for number in range(50):
            writer.put([(f"{number}",)])  # type: ignore[list-item]
    assert builder.rows == [str(number) for number in range(50)]
    assert builder.finished


def test_what_fails_in_the_writer_is_raised_to_whoever_puts() -> None:
    """A full disk ends the run, and does not hang it however much is put afterwards."""
    builder = Builder()

    def put_many() -> None:
        with _writer(builder) as writer:
            for _ in range(1000):
                writer.put([("bad",)])  # type: ignore[list-item]

    with pytest.raises(OSError, match="No space left"):
        put_many()
    assert not builder.finished


def test_few_rows_wait_for_a_slow_writer() -> None:
    """Whoever puts rows waits while as many as are allowed wait to be written: memory does not grow meanwhile."""
    gate, builder = threading.Event(), Builder()
    add = builder.add
    builder.add = lambda name: (gate.wait(), add(name))  # type: ignore[assignment, return-value]
    put: list[int] = []

    def fill() -> None:
        with _writer(builder) as writer:
            for number in range(20):
                writer.put([(f"{number}",)])  # type: ignore[list-item]
                put.append(number)

    thread = threading.Thread(target=fill)
    thread.start()
    thread.join(0.3)
    # One that is being written, and two that wait.
    assert len(put) <= 3
    gate.set()
    thread.join()
    assert builder.rows == [str(number) for number in range(20)]


def test_an_interrupted_run_writes_no_last_shard() -> None:
    """Rows that wait when a run is interrupted are given up: it must end at once."""
    builder = Builder()

    def interrupt() -> None:
        with _writer(builder) as writer:
            writer.put([("a",)])  # type: ignore[list-item]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert not builder.finished


@pytest.mark.parametrize(
    ("busy", "apart", "limit"),
    [
        ({"decode": 0.2, "encode": 1.7}, None, "encode"),
        ({"decode": 1.5, "encode": 0.4, "write": 0.5}, None, "decode"),
        ({"decode": 0.2, "encode": 0.2, "write": 0.9}, None, "write"),
        ({"read": 3.9, "decode": 0.3, "encode": 0.5}, None, "read"),
        ({"decode": 1.9, "encode": 0.4}, 1, "decode"),
        ({"decode": 0.5, "encode": 0.95}, 1, "encode"),
    ],
)
def test_the_limit_is_the_stage_that_waits_least(
    busy: dict[str, float], apart: int | None, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a second of two cores and four readers: the stage whose threads are busy, of two that share cores too."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    meter = Meter(readers=4, workers=2)
    if apart:
        meter.encodes_apart(apart)
    for stage, seconds in busy.items():
        now[0] = 0.0
        with meter.busy(stage):
            now[0] = seconds
    now[0] = 1.0
    assert meter.limit == limit


def test_the_same_pictures_make_the_same_shards(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However threads were scheduled: inputs keep their order, so rows, batches and shards are the same each time."""
    monkeypatch.setattr("fpve.engines.shards.SHARD_ROWS", 4)
    monkeypatch.setattr("fpve.encoders.fake.FakeImageEncoder.batch_size", 3)
    names = set()
    for number, threads in enumerate((1, 2, 7)):
        store = tmp_path / f"store{number}"
        run(replace(job, store=store), engine=LocalEngine(threads))
        names.add(tuple(sorted(path.name for path in (store / "vectors").iterdir())))
    assert len(names) == 1
    assert len(names.pop()) == 3


def test_of_equal_pictures_the_first_is_encoded(job: Job, pictures: Path) -> None:
    """Two files with one content are one picture through the model, and both are images."""
    (pictures / "cat/copy.png").write_bytes((pictures / "dog/01.png").read_bytes())
    report = fpve.run(job)
    assert (report.scanned, report.encoded) == (13, 12)
    assert len(fpve.open(job.store).sql("SELECT * FROM images")) == 13


def test_a_report_says_where_the_time_went(job: Job) -> None:
    """Thread seconds of all four stages, and one of them as the limit; a run without new pictures has none."""
    report = fpve.run(job)
    assert sorted(report.busy) == ["decode", "encode", "read", "write"]
    assert report.busy["decode"] > 0
    assert report.limited_by in report.busy
    assert fpve.run(job).limited_by is None


def test_shards_are_finished_while_pictures_are_still_encoded(
    job: Job, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is interrupted half-way keeps the shards that are full, and the next one encodes only the rest."""
    monkeypatch.setattr("fpve.engines.shards.SHARD_ROWS", 8)
    monkeypatch.setattr("fpve.encoders.fake.FakeImageEncoder.batch_size", 4)
    for number in range(12, 60):
        draw(pictures / "cat" / f"{number:02d}.png", number)
    encode, calls = fpve.encoders.fake.FakeImageEncoder.encode, []

    def interrupted(encoder: Any, batch: np.ndarray) -> np.ndarray:
        calls.append(len(batch))
        # What was encoded before is written meanwhile, in a thread of its own, and in order: where this batch is the
        # first one that is not encoded yet, the writer waits for it.
        for _ in range(100 if len(calls) >= 9 else 0):
            if next(finished_shards(job.store, {}), None) is not None:
                raise KeyboardInterrupt
            time.sleep(0.01)
        return encode(encoder, batch)

    with monkeypatch.context() as patch:
        patch.setattr("fpve.encoders.fake.FakeImageEncoder.encode", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fpve.run(job)
    kept = sum(shard.rows for shard in finished_shards(job.store, {}))
    assert kept >= 8
    assert fpve.run(job).encoded == 60 - kept
