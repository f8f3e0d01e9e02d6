"""Searches, classifications and indexes by workers of a Ray cluster: what is found, and what is done for the dead."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cluster_tasks
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from cluster_tasks import Dying, Thing, doubled
from samples import KINDS, draw, make_job

import fpve
from fpve.cli import cli
from fpve.config import Job
from fpve.engines.cluster.cluster import Cluster
from fpve.engines.cluster.connection import connected
from fpve.engines.cluster.mapper import RayMapper
from fpve.errors import ClusterError, QueryError
from fpve.index import reindexed
from fpve.search import Searcher
from fpve.store.snapshot import Snapshot

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
NODE = {"num_cpus": 3, "object_store_memory": 80 * 2**20, "include_dashboard": False, "no_monitor": True}


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A Ray of three CPUs, to which this process is connected."""
    import ray
    from ray import cloudpickle
    from ray.cluster_utils import Cluster as Nodes

    # Workers don't find it.
    cloudpickle.register_pickle_by_value(cluster_tasks)

    nodes = Nodes(initialize_head=True, head_node_args=NODE)
    try:
        with connected(Cluster(nodes.address)):
            yield ray
    finally:
        cloudpickle.unregister_pickle_by_value(cluster_tasks)
        nodes.shutdown()


@pytest.fixture(scope="module")
def mapper(ray: None) -> Iterator[RayMapper]:
    """Two workers; there is room for another."""
    with RayMapper(Cluster(workers=2)) as mapper:
        assert mapper.size == 2
        yield mapper


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A store of three segments."""
    root = tmp_path_factory.mktemp("queries")
    job = make_job(root / "store", root / "pictures")
    lines = ["path,caption,kind"]
    for start, end in ((0, 24), (24, 36), (36, 48)):
        for number in range(start, end):
            draw(root / "pictures" / f"{number:02d}.png", number)
            lines.append(f"{number:02d}.png,{KINDS[number % 3]} of {number % 5},{KINDS[number % 3]}")
        (root / "pictures" / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        fpve.run(job)
    assert len(Snapshot.open(job.store).manifest.segments) == 3
    return job


@pytest.fixture
def queries(tmp_path: Path) -> Path:
    """A table of queries by id."""
    ids = [f"pets/{number:02d}.png" for number in range(48)]
    pq.write_table(pa.table({"image_id": ids}), tmp_path / "queries.parquet")
    return tmp_path / "queries.parquet"


def test_a_map_gives_results_in_order_and_raises_what_is_raised(mapper: RayMapper) -> None:
    """Of many more items than workers; an error is the library's own, in one line."""
    assert list(mapper.map(doubled, range(150))) == list(range(0, 300, 2))
    assert list(mapper.map(doubled, [])) == []
    with pytest.raises(QueryError, match=r"^expected a number that is not negative, found -3$"):
        list(mapper.map(doubled, [1, -3, 2]))


def test_results_that_are_fetched_after_the_end_begin_no_workers(ray: Any) -> None:
    """Of a map, and of things that are held; nor another Ray, as Ray itself would."""
    with RayMapper(Cluster(workers=1)) as mapper:
        mapped = mapper.map(doubled, range(150))
        asked = mapper.hold(Thing, [1, 2]).each(Thing.ask, [1, 1])
        assert next(mapped) == 0
    for results in (mapped, asked):
        with pytest.raises(ClusterError, match="until their results are fetched, found them stopped"):
            list(results)


def test_a_full_cluster_is_told_of(ray: Any, mapper: RayMapper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is room for one worker of two it does all, in silence; where there is room for none, that is said."""
    monkeypatch.setattr("fpve.engines.cluster.room._PATIENCE", 0.1)
    said = []

    def free(text: str) -> None:
        said.append(text)
        first.close()

    assert list(mapper.map(doubled, [1, 2])) == [2, 4]
    with RayMapper(Cluster(workers=2), said=said.append) as first:
        assert list(first.map(doubled, range(9))) == list(range(0, 18, 2))
        assert said == []
        with RayMapper(Cluster(workers=3), said=free) as second:
            assert list(second.map(doubled, [4])) == [8]
            # No more begin than there are parts.
            assert (second.pool().begin(1), second.size) == (1, 3)
    address = ray.get_runtime_context().gcs_address
    assert said == [f"waiting for 1 CPU of the Ray cluster at {address}; it has 3, of which 3 are used"]


def test_things_are_held_by_their_workers(mapper: RayMapper) -> None:
    """Asked again they are in the same process as before, and one that is not asked says nothing."""
    held = mapper.hold(Thing, [1, 2])
    first, second = list(held.each(Thing.ask, [10, 20])), list(held.each(Thing.ask, [None, 5]))
    assert [one for one, _ in first] == [10, 40]
    assert len({process for _, process in first} - {os.getpid()}) == 2
    assert second == [(10, first[1][1])]


def test_what_a_dead_worker_had_to_do_is_done_by_others(mapper: RayMapper, tmp_path: Path) -> None:
    """A worker that dies twice of a task is tolerated, of things that it held nothing is lost; a third death is not."""
    (tmp_path / "map").mkdir()
    assert list(mapper.map(Dying(tmp_path / "map", 2), range(20))) == list(range(20))
    held = mapper.hold(Thing, [1, 2])
    assert list(held.each(Thing.die, [tmp_path, None])) == [1]
    assert [one for one, _ in held.each(Thing.ask, [10, 20])] == [10, 40]
    (tmp_path / "often").mkdir()
    with pytest.raises(ClusterError, match=r"^3 workers died of the same task, or were lost"):
        list(mapper.map(Dying(tmp_path / "often", 9), [1]))
    assert list(mapper.map(doubled, range(4))) == [0, 2, 4, 6]


def test_neighbours_are_those_of_a_local_search(mapper: RayMapper, job: Job) -> None:
    """With a condition and without, exactly and not: rows and scores to the last bit."""
    local, there = Searcher(Snapshot.open(job.store)), Searcher(Snapshot.open(job.store), over=mapper)
    blocks = local.blocks_of(np.arange(48))
    np.testing.assert_array_equal(there.blocks_of(np.arange(48)).prefix, blocks.prefix)
    for where in (None, "kind = 'cat'"):
        for exact in (False, True):
            found = [
                one.nearest(
                    blocks, image_weight=0.4, k=7, exact=exact, allowed=None if where is None else one.matching(where)
                )
                for one in (there, local)
            ]
            for mine, true in zip(*found, strict=True):
                np.testing.assert_array_equal(mine, true)


def test_indexes_are_built_by_workers(mapper: RayMapper, job: Job) -> None:
    """Files that are gone are there again, and the manifest would say the same."""
    manifest = Snapshot.open(job.store).manifest
    bare = replace(manifest, segments=tuple(replace(one, derived=(), ann=None) for one in manifest.segments))
    paths = [job.store / name for one in manifest.segments for name in one.derived_files]
    before = [path.read_bytes() for path in paths]
    for path in paths:
        path.unlink()
    assert reindexed(Snapshot(job.store, bare), over=mapper) == manifest.segments
    assert [path.read_bytes() for path in paths] == before


def test_commands_answer_batches_on_a_cluster(ray: None, job: Job, queries: Path, tmp_path: Path) -> None:
    """`search` and `classify --queries --engine ray` write what they write without; for one query it is refused."""
    for command, more in (("search", ["-k", "3"]), ("classify", ["--label", "kind"])):
        written = []
        for engine in (["--engine", "ray", "--workers", "1"], []):
            path = tmp_path / f"{len(written)}.parquet"
            words = [command, str(job.store), "--queries", str(queries), *more, *engine, "--output", str(path)]
            done = CliRunner().invoke(cli, words)
            assert done.exit_code == 0, done.output
            written.append(pq.read_table(path))
        assert written[0].equals(written[1])
        assert len(written[0]) == (144 if command == "search" else 48)
    refused = CliRunner().invoke(cli, ["search", str(job.store), "--text", "cat", "--engine", "ray"])
    assert refused.exit_code == 2
    assert "--engine is for --queries" in refused.output
