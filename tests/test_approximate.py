"""Stores with ANN indexes: what is found, what is said of it, and what keeps the indexes as they should be."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from samples import KINDS, draw, make_job

import fpve
from fpve.config import IndexConfig, Job
from fpve.errors import JobError
from fpve.fusion import Blocks, unit
from fpve.index import ann as anns
from fpve.index import segment as segments
from fpve.records import Step
from fpve.search import Searcher
from fpve.store import manifest as manifests
from fpve.store.ann import AnnRef, Plan
from fpve.store.snapshot import Snapshot

COUNT = 600
DIM = 40


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """From 200 rows on a segment has an ANN index, and its graphs are walked."""
    monkeypatch.setattr(anns, "MIN_BYTES", 200 * DIM * 4)
    monkeypatch.setattr(segments, "_CODES_PER_STEP", 0)
    monkeypatch.setattr(segments, "_FEW", 20)


def collection(folder: Path, numbers: range) -> None:
    """Add pictures to a folder, with captions that ten of them share, and metadata."""
    table = folder / "metadata.csv"
    lines = table.read_text(encoding="utf-8").splitlines() if table.exists() else ["path,caption,kind,number"]
    for number in numbers:
        draw(folder / f"{number:04d}.png", number)
        lines.append(f"{number:04d}.png,{KINDS[number % 3]} of {number % 60},{KINDS[number % 3]},{number}")
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """600 pictures in one segment with an ANN index."""
    root = tmp_path_factory.mktemp("approximate")
    collection(root / "pictures", range(COUNT))
    job = make_job(root / "store", root / "pictures")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anns, "MIN_BYTES", 200 * DIM * 4)
        fpve.run(job)
    return job


@pytest.fixture
def job(made: Job, tmp_path: Path) -> Job:
    """A copy of it that may be changed."""
    shutil.copytree(made.store, tmp_path / "store")
    source = made.collections[0].source
    shutil.copytree(source, tmp_path / "pictures")
    return make_job(tmp_path / "store", tmp_path / "pictures")


def steps(store: Path, weight: float, where: str | None = None, *, exact: bool = False) -> list[Step]:
    """What a search of some of the store's own vectors does."""
    searcher = Searcher(Snapshot.open(store))
    done: list[Step] = []
    allowed = None if where is None else searcher.matching(where)
    blocks = searcher.blocks_of(np.arange(0, searcher.rows, 50))
    searcher.nearest(blocks, image_weight=weight, k=5, allowed=allowed, exact=exact, steps=done)
    return done


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("where", [None, "number % 2 = 0", "number % 100 = 0", "number < 3", "number < 0"])
def test_hits_are_those_of_an_exact_search(made: Job, weight: float, where: str | None) -> None:
    """At every weight, with conditions that leave half of the images, a hundredth, fewer than are wanted, and none."""
    store = fpve.open(made.store)
    ids = store.images["image_id"].to_pylist()[::7]
    about = store.search(ids=ids, image_weight=weight, k=5, where=where)
    exact = store.search(ids=ids, image_weight=weight, k=5, where=where, exact=True)
    found = 0
    for mine, true in zip(about, exact, strict=True):
        assert len(mine) == len(true)
        found += sum(hit.score >= true[-1].score - 1e-4 for hit in mine)
        known = {hit.image_id: hit.score for hit in true}
        assert all(hit.score == pytest.approx(known[hit.image_id], abs=1e-6) for hit in mine if hit.image_id in known)
    assert found >= 0.98 * sum(map(len, exact))


@pytest.mark.parametrize("options", [{}, {"group_by": "number"}, {"dedup": 1.0}])
def test_pages_are_of_one_ranking(made: Job, monkeypatch: pytest.MonkeyPatch, options: dict[str, object]) -> None:
    """However little a graph finds, pages repeat no image, and none is left out in the end."""
    # As narrow as a walk can be.
    monkeypatch.setattr(AnnRef, "plan", lambda *_: Plan(0, 1))
    store = fpve.open(made.store)
    one = store.images["image_id"][7].as_py()
    first = store.search(id=one, k=10, image_weight=1.0, **options)
    assert [step.way for step in first.explanation.steps] == ["graph"]

    pages = [store.search(id=one, k=10, offset=10 * at, image_weight=1.0, **options) for at in range(60)]

    found = [hit.image_id for page in pages for hit in page]
    assert found[:10] == [hit.image_id for hit in first]
    assert len(found) == len(set(found))
    if not options:
        assert set(found) == set(store.images["image_id"].to_pylist()) - {one}


def test_a_search_says_what_it_did(made: Job) -> None:
    """By a graph, by the prefixes where the picture says nothing, by all vectors if asked to, or by what is allowed."""
    (graph,) = steps(made.store, 0.5)
    assert (graph.way, graph.segments, graph.vectors) == ("graph", 1, COUNT)
    assert graph.note.startswith("HNSW, efSearch ")
    (prefixes,) = steps(made.store, 0.0)
    assert (prefixes.way, prefixes.note) == ("prefixes", "60 prefixes scored")
    assert [(step.way, step.note) for step in steps(made.store, 0.0, exact=True)] == [("exact", "asked for")]
    (few,) = steps(made.store, 0.5, "number < 3")
    assert (few.way, few.vectors) == ("exact", 3)


def test_a_manifest_says_what_was_measured(made: Job) -> None:
    """Eleven weights, three k, the widths and the recall; `status` says the worst of it."""
    (segment,) = Snapshot.open(made.store).manifest.segments
    assert segment.ann is not None
    assert segment.ann.weights == (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    assert [measured.k for measured in segment.ann.graphs[0].measured] == [10, 30, 100]
    index = fpve.open(made.store).status().index
    assert index["target_recall"] == 0.98
    assert index["approximate_vectors"] == COUNT
    assert index["recall_both"] == segment.ann.recall(10)[5]
    assert index["recall_lowest"] == min(segment.ann.recall(10)) >= 0.98
    folder = made.store / "vectors" / segment.name
    assert index["bytes"] == sum((folder / name).stat().st_size for name in segment.derived)


def test_prefixes_alone_rank_as_all_vectors_do(made: Job) -> None:
    """Ties of hundreds of images are broken by image_id, with a condition and without."""
    searcher = Searcher(Snapshot.open(made.store))
    own = np.arange(0, COUNT, 11)
    blocks, prefixes = searcher.blocks_of(own), unit(searcher.blocks_of(np.arange(COUNT)).prefix)
    for k in (1, 7, 25, 300):
        for where in (None, "number % 3 = 1", "number > 590"):
            for blanked in (blocks, Blocks(np.zeros_like(blocks.image), blocks.prefix)):
                allowed = None if where is None else searcher.matching(where)
                exclude = own if k == 7 else None
                options = {"image_weight": 0.0, "k": k, "allowed": allowed, "exclude": exclude}
                mine = searcher.nearest(blanked, **options)
                true = searcher.nearest(blanked, **options, exact=True)
                np.testing.assert_array_equal(mine.query, true.query)
                np.testing.assert_allclose(mine.score, true.score, atol=1e-6)
                # Two prefixes that score alike to the sixth decimal may change places, and nothing else.
                assert (mine.row != true.row).mean() < 0.01
                by_hand = np.einsum("td,td->t", prefixes[own[mine.query]], prefixes[mine.row])
                np.testing.assert_allclose(mine.score, by_hand, atol=1e-6)
                same = mine.row == true.row
                np.testing.assert_allclose(mine.image_score[same], true.image_score[same], atol=1e-6)


def test_another_target_builds_other_indexes(job: Job) -> None:
    """A target of one means that there are none; the next run with 0.9 builds them again, and then all is as it was."""
    fpve.run(replace(job, index=IndexConfig(target_recall=1.0)))
    (segment,) = Snapshot.open(job.store).manifest.segments
    assert (segment.ann, segment.derived) == (None, ("exact.faiss", "exact.faiss.sha256"))
    assert [step.way for step in steps(job.store, 0.5)] == ["exact"]
    lower = replace(job, index=IndexConfig(target_recall=0.9))
    report = fpve.run(lower)
    manifest = Snapshot.open(job.store).manifest
    assert manifest.target_recall == 0.9
    assert manifest.segments[0].ann is not None
    assert manifest.segments[0].ann.target == 0.9
    assert report.snapshot == manifest.snapshot
    fpve.run(lower)
    assert Snapshot.open(job.store).manifest.snapshot == manifest.snapshot


def test_a_store_without_them_gets_its_indexes_by_the_next_run_that_publishes(job: Job) -> None:
    """A manifest from before there were any says nothing of them."""
    snapshot = Snapshot.open(job.store)
    (segment,) = snapshot.manifest.segments
    old = replace(snapshot.manifest, segments=(replace(segment, derived=segment.derived[:2], ann=None),))
    snapshot.close()
    path = manifests.path_of(job.store, old.snapshot)
    path.write_bytes(manifests.dumps(old))
    assert [step.way for step in steps(job.store, 0.5)] == ["exact"]
    collection(job.collections[0].source, range(COUNT, COUNT + 5))
    fpve.run(job)
    assert [one.ann is not None for one in Snapshot.open(job.store).manifest.segments].count(True) == 1


def test_more_than_there_is_can_be_asked_for(made: Job) -> None:
    """A k, or a page, beyond all images takes no more memory than these do."""
    store = fpve.open(made.store)
    for options in ({}, {"exact": True}, {"group_by": "kind"}, {"dedup": 0.99}):
        for query in ({"text": "cat of 3"}, {"id": "pets/0003.png"}):
            found = store.search(**query, k=10**9, **options)
            assert 3 <= len(found) <= COUNT
            assert len(store.search(**query, k=10, offset=10**9, **options)) == 0


@pytest.mark.parametrize("target", [0.2, 1.01, -1])
def test_a_target_is_a_share(target: float) -> None:
    """One of 0.2 would be no search."""
    with pytest.raises(JobError, match="expected a share from 0"):
        IndexConfig(target_recall=target)


@pytest.mark.parametrize("kind", ["codes", "graph050"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes()[:100]),
        lambda path: path.write_bytes(bytes([*path.read_bytes()[:-9], 1, *path.read_bytes()[-8:]])),
    ],
    ids=["gone", "cut off", "flipped"],
)
def test_damage_is_found_and_mended(job: Job, kind: str, damage: Callable[[Path], object]) -> None:
    """A search goes on without what can't be read, `verify` names the file, `repair` builds it again."""
    (segment,) = Snapshot.open(job.store).manifest.segments
    path = job.store / "vectors" / segment.name / f"{kind}.faiss"
    damage(path)
    if not path.exists() or path.stat().st_size == 100:
        assert [step.way for step in steps(job.store, 0.5)] == ["exact"]
    problems = fpve.verify(job.store).problems
    assert [one.file for one in problems] == [path.relative_to(job.store).as_posix()]
    fpve.repair(job.store)
    assert not fpve.verify(job.store).problems
    assert [step.way for step in steps(job.store, 0.5)] == ["graph"]


def test_merged_segments_have_an_index_of_their_own(job: Job) -> None:
    """Two segments are searched as one, and are one after `compact`; vectors that no image names are not found."""
    collection(job.collections[0].source, range(COUNT, COUNT + 150))
    table = job.collections[0].source / "metadata.csv"
    table.write_text(table.read_text(encoding="utf-8").replace("cat of 3,", "tabby,"), encoding="utf-8")
    fpve.run(job)
    before = fpve.open(job.store)
    assert before.status().dead_vectors == 10
    ids = before.images["image_id"].to_pylist()[::10]
    assert sorted(step.way for step in steps(job.store, 0.5)) == ["exact", "graph"]
    exact = before.search(ids=ids, k=5, exact=True)
    about = before.search(ids=ids, k=5)
    fpve.compact(job.store)
    after = fpve.open(job.store)
    assert (after.status().segments, after.status().dead_vectors) == (1, 0)
    assert [step.way for step in steps(job.store, 0.5)] == ["graph"]
    for found in (about, after.search(ids=ids, k=5)):
        pairs = [pair for mine, true in zip(found, exact, strict=True) for pair in zip(mine, true, strict=True)]
        assert np.mean([one.image_id == other.image_id for one, other in pairs]) >= 0.98


def test_many_threads_answer_as_one_while_segments_are_added(job: Job) -> None:
    """32 threads search while a writer publishes and readers refresh: each answers as its snapshot alone does."""
    source = job.collections[0].source
    reader = fpve.open(job.store)
    ids = reader.images["image_id"].to_pylist()[:64:2]
    queries = reader._open.searcher.blocks_of(np.arange(0, 64, 2))
    answers: list[tuple[int, int, float, list[tuple[str, float]]]] = []
    failures: list[BaseException] = []
    done = threading.Event()

    def search(number: int) -> None:
        try:
            round_ = 0
            while not done.is_set() or round_ < 3:
                weight = (0.0, 0.5, 1.0)[round_ % 3]
                searcher = reader._open.searcher
                one = Blocks(queries.image[number : number + 1], queries.prefix[number : number + 1])
                where = searcher.matching("number % 2 = 0") if round_ % 2 else None
                found = searcher.hits(searcher.nearest(one, image_weight=weight, k=7, allowed=where))
                rows = list(zip(found["image_id"].to_pylist(), found["score"].to_pylist(), strict=True))
                answers.append((searcher.snapshot.manifest.snapshot, number, weight + 10 * (round_ % 2), rows))
                if number % 8 == 0:
                    reader.refresh()
                round_ += 1
        except BaseException as error:  # noqa: BLE001 (whatever it is, the test is to fail)
            failures.append(error)

    threads = [threading.Thread(target=search, args=(number,)) for number in range(len(ids))]
    for thread in threads:
        thread.start()
    for night in range(3):
        collection(source, range(COUNT + 40 * night, COUNT + 40 * (night + 1)))
        fpve.run(job)
    reader.refresh()
    done.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert len({snapshot for snapshot, *_ in answers}) > 1
    known: dict[int, Searcher] = {}
    expected: dict[tuple[int, int, float], list[tuple[str, float]]] = {}
    for snapshot, number, key, rows in answers:
        if (snapshot, number, key) not in expected:
            searcher = known.setdefault(snapshot, Searcher(Snapshot.open(job.store, snapshot)))
            one = Blocks(queries.image[number : number + 1], queries.prefix[number : number + 1])
            where = searcher.matching("number % 2 = 0") if key >= 10 else None
            found = searcher.hits(searcher.nearest(one, image_weight=key % 10, k=7, allowed=where))
            expected[snapshot, number, key] = list(
                zip(found["image_id"].to_pylist(), found["score"].to_pylist(), strict=True)
            )
        assert rows == expected[snapshot, number, key]
