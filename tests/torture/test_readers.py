"""Readers beside a writer that publishes, prunes and compacts: no error, and no answer of two snapshots."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from samples import make_job
from torture.children import server
from torture.contents import read_state
from torture.kills import wrong
from torture.readers import Source, count_of, read_until

import fpve
from fpve.config import Job
from fpve.search import Searcher
from fpve.store import manifest as manifests

_PUBLICATIONS = 50
_READERS = 2
_AT_ONCE = timedelta(0)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """A source of its first generation."""
    made = Source(tmp_path)
    made.become(1)
    return made


@pytest.fixture
def job(tmp_path: Path, source: Source) -> Job:
    """Its job."""
    return make_job(tmp_path / "store", source.pictures, metadata=source.metadata)


@pytest.mark.usefixtures("small_files")
def test_readers_see_one_snapshot_at_a_time(source: Source, job: Job) -> None:
    """While a writer publishes 50 times, prunes and compacts, every answer is of one generation, and whole."""
    fpve.run(job)
    context = server()
    stop, pipes, readers = context.Event(), [], []
    for number in range(_READERS):
        mine, theirs = context.Pipe(duplex=False)
        ready = context.Event()
        arguments = (stop, ready, job.store, source.thumbnails, number * 100, theirs)
        readers.append(context.Process(target=read_until, args=arguments))
        readers[-1].start()
        theirs.close()
        pipes.append(mine)
        assert ready.wait(60)
    try:
        for generation in range(2, _PUBLICATIONS + 2):
            source.become(generation)
            assert fpve.run(job, allow_removals=True).published
            if generation % 3 == 0:
                fpve.prune(job.store, keep=1, grace=_AT_ONCE)
            if generation % 7 == 0:
                fpve.compact(job.store)
    finally:
        stop.set()
        findings = [pipe.recv() for pipe in pipes]
        for reader in readers:
            reader.join()
    assert [one.problems for one in findings] == [[]] * _READERS
    answers = sum((one.answers for one in findings), Counter())
    assert min(answers.values()) > 0
    assert len(answers) == 7
    # Not each of them, but many more than one.
    assert len(findings[0].generations | findings[1].generations) > _PUBLICATIONS // 4
    assert not wrong(job.store)
    assert len(read_state(job.store).images) == count_of(_PUBLICATIONS + 1)


@pytest.mark.usefixtures("small_files")
def test_what_a_reader_has_open_is_not_pruned(source: Source, job: Job) -> None:
    """A reader that had read nothing of its snapshot yet reads all of it after a prune; then it can go."""
    fpve.run(job)
    before = read_state(job.store)
    opened = fpve.open(job.store)
    for generation in (2, 3):
        source.become(generation)
        fpve.run(job, allow_removals=True)
        fpve.compact(job.store)
    assert fpve.prune(job.store, keep=1, grace=_AT_ONCE).held == (1,)
    assert opened.snapshot == 1
    assert read_state(job.store, 1) == before
    assert opened.sql("SELECT count(*) AS n FROM vectors")["n"].to_pylist() == [count_of(1)]
    assert len(opened.search(id="pets/b/03.png", k=1000)) == count_of(1) - 1
    assert opened.thumbnails(sorted(source.thumbnails)) == source.thumbnails
    assert opened.refresh()
    assert opened.images["generation"].to_pylist() == [3] * count_of(3)
    fpve.prune(job.store, keep=1, grace=_AT_ONCE)
    assert manifests.numbers(job.store) == [opened.snapshot]
    assert not wrong(job.store)


def test_thumbnails_are_of_one_snapshot(source: Source, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another thread refreshes between two lookups of one call, each image still gets its own thumbnail."""
    fpve.run(job)
    opened = fpve.open(job.store)
    source.become(2)
    fpve.run(job, allow_removals=True)
    row_of = Searcher.row_of

    def refresh_then_look(self: Searcher, image_id: str) -> int:
        opened.refresh()
        return row_of(self, image_id)

    monkeypatch.setattr(Searcher, "row_of", refresh_then_look)
    assert opened.thumbnails(sorted(source.thumbnails)) == source.thumbnails
