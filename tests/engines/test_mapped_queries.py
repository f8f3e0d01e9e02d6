"""Segments that are indexed, merged and searched by other processes: all is as if this process had done it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mapping import PicklingMapper
from samples import KINDS, draw, make_job

import fpve
from fpve.config import Job, PredictRule
from fpve.engines.cluster.cluster import Cluster
from fpve.errors import ClusterError
from fpve.fusion import Blocks
from fpve.index import ann as anns
from fpve.index import reindexed
from fpve.index import segment as segments
from fpve.maintenance import compact as compacting
from fpve.neighbours import Neighbours
from fpve.pipeline.predict import with_predictions
from fpve.records import Step
from fpve.search import Searcher
from fpve.search.elsewhere import _runs
from fpve.store.predict import PredictRef
from fpve.store.snapshot import Snapshot

DIM = 40
# Images that came together: of the first the segment has an ANN index.
BATCHES = (180, 90, 60, 30)
COUNT = sum(BATCHES)


@pytest.fixture(scope="module")
def patched() -> Iterator[pytest.MonkeyPatch]:
    """From 150 rows on a segment has an ANN index, and its graphs are walked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anns, "MIN_BYTES", 150 * DIM * 4)
        patch.setattr(segments, "_CODES_PER_STEP", 0)
        patch.setattr(segments, "_FEW", 20)
        yield patch


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, patched: pytest.MonkeyPatch) -> Job:
    """A store of some segments; every tenth picture is there twice, captions are shared, some have none or no label."""
    root = tmp_path_factory.mktemp("mapped")
    job = make_job(root / "store", root / "pictures")
    lines, end = ["path,caption,kind,number"], 0
    for count in BATCHES:
        start, end = end, end + count
        for number in range(start, end):
            draw(root / "pictures" / f"{number:04d}.png", number - number % 10 if number % 10 == 1 else number)
            caption = "" if number % 9 == 0 else f"{KINDS[number % 3]} of {number % 12}"
            lines.append(f"{number:04d}.png,{caption},{'' if number % 7 == 0 else KINDS[number % 3]},{number}")
        (root / "pictures" / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        fpve.run(job)
    found = Snapshot.open(job.store).manifest.segments
    assert len(found) >= len(BATCHES)
    assert 0 < sum(one.ann is not None for one in found) < len(found)
    return job


@pytest.fixture
def job(made: Job, tmp_path: Path) -> Job:
    """A copy of it that may be changed."""
    shutil.copytree(made.store, tmp_path / "store")
    return replace(made, store=tmp_path / "store")


def same(mine: Neighbours, true: Neighbours) -> None:
    """Whether neighbours are the same to the last bit."""
    for one, other in zip(mine, true, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("size", "exact"), [(1, False), (3, False), (9, True)])
def test_neighbours_are_those_of_a_local_search(made: Job, size: int, exact: bool) -> None:
    """At all weights, one query and many, with conditions and without, and for numbers of workers: rows and scores."""
    local = Searcher(Snapshot.open(made.store))
    mapper = PicklingMapper(size)
    there = Searcher(Snapshot.open(made.store), over=mapper)
    rows = np.arange(0, COUNT, 6)
    weights = np.linspace(0, 1, len(rows)).astype(np.float32)
    for where in (None, "number % 2 = 0", "number < 4", "number < 0"):
        for mine in (rows, rows[5:6]):
            for k in (10, 60):
                steps: tuple[list[Step], list[Step]] = ([], [])
                found = []
                for searcher, done in zip((there, local), steps, strict=True):
                    allowed = None if where is None else searcher.matching(where)
                    options = {"k": k, "allowed": allowed, "exclude": mine, "exact": exact, "steps": done}
                    blocks = searcher.blocks_of(mine)
                    found.append(searcher.nearest(blocks, image_weight=weights[: len(mine)], **options))
                same(*found)
                assert steps[0] == steps[1]
    assert mapper.opened == len(_runs([one.rows for one in local.snapshot.manifest.segments], size)) <= size


def test_ties_and_missing_blocks_are_those_of_a_local_search(made: Job) -> None:
    """Copies of one picture, captions that many share, queries without a picture, in other modes and without means."""
    mapper = PicklingMapper(3)
    for variant in ({}, {"mode": "concat"}, {"centred": True}):
        local = Searcher(Snapshot.open(made.store)).variant(**variant)
        there = Searcher(Snapshot.open(made.store), over=mapper).variant(**variant)
        blocks = local.blocks_of(np.arange(0, COUNT, 10))
        np.testing.assert_array_equal(there.blocks_of(np.arange(0, COUNT, 10)).image, blocks.image)
        for asked in (blocks, Blocks(blocks.image, np.zeros_like(blocks.prefix))):
            for weight in (0.0, 0.4, 1.0):
                for exact in (False, True):
                    same(*(one.nearest(asked, image_weight=weight, k=7, exact=exact) for one in (there, local)))


def test_a_condition_is_sent_once_for_all_parts_of_a_batch(made: Job) -> None:
    """And nothing that is sent or comes back grows with the vectors."""
    mapper = PicklingMapper(2)
    there = Searcher(Snapshot.open(made.store), over=mapper)
    allowed = there.matching("number % 2 = 0")
    blocks = Searcher(Snapshot.open(made.store)).blocks_of(np.arange(1))
    there.nearest(blocks, image_weight=0.5, k=3, allowed=allowed)
    first = mapper.sent
    there.nearest(blocks, image_weight=0.5, k=3, allowed=allowed)
    assert mapper.sent - first < 8_000 < 4 * COUNT * DIM
    assert mapper.results < 4_000


@pytest.mark.parametrize(
    ("rows", "most", "runs"),
    [
        ([], 3, []),
        ([5], 3, [(0, 1)]),
        ([1, 1, 1, 1], 2, [(0, 2), (2, 4)]),
        ([10, 1, 1, 1], 2, [(0, 1), (1, 4)]),
        ([1, 1, 1, 10], 3, [(0, 4)]),
        ([2, 2, 2], 9, [(0, 1), (1, 2), (2, 3)]),
    ],
)
def test_segments_are_cut_into_runs(rows: list[int], most: int, runs: list[tuple[int, int]]) -> None:
    """Of about as many rows each, none of them empty, no more than there are workers."""
    assert _runs(rows, most) == runs


@pytest.fixture
def queries(made: Job, tmp_path: Path) -> Path:
    """A table of queries by id, one of which is no image."""
    ids = [f"pets/{number:04d}.png" for number in range(0, COUNT, 2)]
    pq.write_table(pa.table({"image_id": [*ids, "pets/none.png"]}), tmp_path / "queries.parquet")
    return tmp_path / "queries.parquet"


def test_a_batch_has_the_same_hits(made: Job, queries: Path) -> None:
    """Whatever is wanted of it; the store's mapper stays open, and the report is the same."""
    store, mapper = fpve.open(made.store), PicklingMapper(2)
    for options in ({}, {"k": 3, "where": "kind = 'dog'", "image_weight": 0.2}, {"dedup": 0.9, "group_by": "kind"}):
        local, mine = store.search_many(queries, **options), store.search_many(queries, engine=mapper, **options)
        assert mine.collect() == local.collect()
        assert mine.collect() == local.collect()
    assert mapper.closed == 0


def test_a_batch_of_classifications_is_the_same(made: Job, queries: Path) -> None:
    """Calibrated over the same neighbours: to the last bit of each probability."""
    store, mapper = fpve.open(made.store), PicklingMapper(3)
    for options in ({}, {"k": 5, "where": "number > 20", "image_weight": 0.8}):
        local = store.classify_many(queries, label="kind", **options).collect()
        assert store.classify_many(queries, label="kind", engine=mapper, **options).collect() == local


def test_predictions_are_made_elsewhere(made: Job, job: Job) -> None:
    """The table `predictions` of a rule is the same, row by row, and nothing is searched here."""
    manifest = Snapshot.open(made.store).manifest
    ruled = replace(manifest, predict=(PredictRef("pets", PredictRule(label="kind")),))
    mapper = PicklingMapper(2)
    tables = []
    for store, over in ((made.store, None), (job.store, mapper)):
        done = with_predictions(store, ruled, None, over=over)
        assert done.predict[0].rows > 0
        tables.append(Snapshot(store, done).table("predictions"))
    assert tables[0].equals(tables[1])
    assert mapper.opened > 0


def test_indexes_are_built_elsewhere(job: Job) -> None:
    """For another target recall those of a large segment: with the same entries of the manifest."""
    snapshot = Snapshot.open(job.store)
    wanted = replace(snapshot.manifest, target_recall=0.9)
    mapper = PicklingMapper(2)
    mine = reindexed(Snapshot(job.store, wanted), over=mapper)
    assert mapper.sent > 0
    assert mine == reindexed(Snapshot(job.store, wanted))
    assert [one.ann.target for one in mine if one.ann is not None] == [0.9]
    assert reindexed(Snapshot(job.store, replace(wanted, segments=mine)), over=mapper) == mine


def test_segments_are_merged_elsewhere(made: Job, job: Job) -> None:
    """With the same names and indexes as here, and the same places of their rows."""
    other = job.store.with_name("other")
    shutil.copytree(made.store, other)
    mapper, found = PicklingMapper(2), []
    for store, over in ((job.store, mapper), (other, None)):
        snapshot = Snapshot.open(store)
        every = list(snapshot.manifest.segments)
        found.append(list(compacting._merged(snapshot, [every[:2], every[2:]], compacting._alive(snapshot), over)))
        assert all((store / name).exists() for one, _ in found[-1] for name in one.derived_files)
    assert mapper.sent > 0
    for (mine, places), (true, others) in zip(*found, strict=True):
        assert mine == true
        assert places.keys() == others.keys()
        for name, (to, rows) in places.items():
            assert to == true.name
            np.testing.assert_array_equal(rows, others[name][1])


def test_what_can_not_be_an_engine_is_refused(made: Job, queries: Path) -> None:
    """Another name, and a cluster for an engine that has none."""
    store = fpve.open(made.store)
    with pytest.raises(ClusterError, match="expected the engine 'local' or 'ray', found 'spark'"):
        store.search_many(queries, engine="spark")
    with pytest.raises(ClusterError, match="a cluster is for the engine 'ray'"):
        store.classify_many(queries, label="kind", cluster=Cluster())
