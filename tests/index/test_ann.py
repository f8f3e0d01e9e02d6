"""ANN indexes of segments, against NumPy: the recall that they promise, and what they do where they can't keep it."""

from __future__ import annotations

import gc
from pathlib import Path

import faiss
import numpy as np
import pytest

from fpve.fusion import Floats, unit
from fpve.index import ann as anns
from fpve.index import recall as recalls
from fpve.index import segment as segments
from fpve.index.ann import build_ann, files_of, is_wanted, open_ann, rebuild_ann
from fpve.index.codes import Codes, Order, encode
from fpve.index.exact import Allowed, ExactVectors
from fpve.index.files import is_unchanged, read_mapped, with_checksums, write_vectors
from fpve.index.graph import GraphBuilder
from fpve.index.recall import WEIGHTS, fetched
from fpve.index.segment import SegmentIndex
from fpve.store.ann import AnnRef, GraphRef, Measured, Plan

IMAGE, PREFIX = 24, 16
ROWS = 3_000
K = 10


def mapped(rng: np.random.Generator, rows: int, dim: int, seed: int) -> Floats:
    """Rows of length 1 near a surface of six dimensions, as features of pictures are."""
    directions = np.random.default_rng(seed).normal(size=(6, dim))
    return unit(np.sin(rng.normal(size=(rows, 6)) @ directions).astype(np.float32))


def blocks(rows: int, seed: int, prefixes: int | None) -> tuple[Floats, Floats]:
    """Image and prefix blocks that have nothing to do with each other; so many prefixes, or each row its own."""
    rng = np.random.default_rng(seed)
    image = mapped(rng, rows, IMAGE, 1)
    if prefixes is None:
        return image, mapped(rng, rows, PREFIX, 2)
    known = mapped(np.random.default_rng(3), prefixes, PREFIX, 2)
    return image, known[rng.integers(0, prefixes, rows)]


def fused(image: Floats, prefix: Floats) -> Floats:
    """Vector rows."""
    return np.hstack([image, prefix]) / np.float32(np.sqrt(2))


def asked(image: Floats, prefix: Floats, weight: float) -> Floats:
    """Queries of a weight."""
    return (np.hstack([weight * image, (1 - weight) * prefix]) * np.sqrt(2)).astype(np.float32)


def recall(scores: Floats, found: np.ndarray, allowed: np.ndarray | None = None) -> float:
    """Share of the k best by score that are among those found, given all scores (q, n)."""
    if allowed is not None:
        scores = np.where(allowed, scores, -np.inf)
        assert allowed[found[found >= 0]].all()
    k = min(K, int(np.isfinite(scores[0]).sum()))
    kth = -np.sort(-scores, axis=1)[:, k - 1 : k]
    own = np.where(found >= 0, np.take_along_axis(scores, np.maximum(found, 0), axis=1), -np.inf)
    return float((-np.sort(-own, axis=1)[:, :k] >= kth - 1e-4).mean())


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ANN index for few vectors, measured on few, of which graphs are walked."""
    monkeypatch.setattr(anns, "MIN_BYTES", 1)
    monkeypatch.setattr(segments, "_CODES_PER_STEP", 1)
    monkeypatch.setattr(segments, "_FEW", 20)
    monkeypatch.setattr(anns, "HELD_OUT", 200)


@pytest.fixture(scope="module", params=[None, 40], ids=["own prefixes", "shared prefixes"])
def prefixes(request: pytest.FixtureRequest) -> int | None:
    """How many prefixes rows share."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, prefixes: int | None) -> tuple[SegmentIndex, AnnRef, Floats]:
    """An index on disk, what it says of itself, and its vectors."""
    vectors = fused(*blocks(ROWS, 7, prefixes))
    folder = tmp_path_factory.mktemp("index")
    exact = ExactVectors.in_memory([vectors])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anns, "HELD_OUT", 200)
        ref, names = build_ann(exact, folder, "", image_dim=IMAGE, target=0.98)
    assert names == files_of(ref, "")
    assert all((folder / name).is_file() for name in with_checksums(names))
    assert all(is_unchanged(folder / name) for name in names)
    return SegmentIndex(exact, open_ann(folder, names, ref, ROWS, IMAGE + PREFIX)), ref, vectors


@pytest.mark.parametrize("weight", [*WEIGHTS, 0.05, 0.77, 0.999])
def test_the_target_recall_is_reached_at_every_weight(
    index: tuple[SegmentIndex, AnnRef, Floats], prefixes: int | None, weight: float
) -> None:
    """For new queries, at tested weights and between them, whatever way is taken."""
    segment, ref, vectors = index
    image, prefix = blocks(300, 8, prefixes)
    queries = asked(image, prefix, weight)
    found = segment.approximate(queries, K, K, weight=weight)
    # Of 300 queries the mean is known to 0.01.
    assert recall(queries @ vectors.T, found.nearest.rows) >= 0.97
    assert (found.way == "graph") == (ref.plan(K, weight) is not None)


def test_what_is_measured_is_what_new_queries_find(
    index: tuple[SegmentIndex, AnnRef, Floats], prefixes: int | None
) -> None:
    """The recall in the manifest is that of NumPy on other queries, to the error of 200 queries."""
    segment, ref, vectors = index
    image, prefix = blocks(300, 9, prefixes)
    for at, weight in enumerate(WEIGHTS):
        plan = ref.plan(K, weight)
        if plan is not None:
            queries = asked(image, prefix, weight)
            found = segment.approximate(queries, K, K, weight=weight).nearest.rows
            measured = ref.graphs[plan.graph].measured[0]
            assert measured.k == K
            assert abs(recall(queries @ vectors.T, found) - measured.recall[at]) < 0.02


def test_graphs_are_walked_at_few_weights_only_as_far_as_they_serve(
    index: tuple[SegmentIndex, AnnRef, Floats], prefixes: int | None
) -> None:
    """One graph where both blocks say something; where prefixes are shared a second one serves pictures alone."""
    _, ref, _ = index
    assert ref.graphs[0].image_weight == 0.5
    assert ref.held_out == 200
    assert ref.target == 0.98
    served = [weight for weight in WEIGHTS if ref.plan(K, weight) is not None]
    assert 0.5 in served
    assert 1.0 in served
    assert all(recall == 1 or recall >= 0.98 for recall in ref.recall(K))


@pytest.mark.parametrize("share", [0.0005, 0.01, 0.1, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("against", [False, True], ids=["random", "anti-correlated"])
@pytest.mark.parametrize("count", [1, 40], ids=["one query", "many queries"])
def test_filters_lose_no_recall(
    index: tuple[SegmentIndex, AnnRef, Floats], prefixes: int | None, share: float, against: bool, count: int
) -> None:
    """However few rows are allowed, and though they be those farthest from the query; fewer than k are all found."""
    segment, _, vectors = index
    rng = np.random.default_rng(2)
    recalls_: list[float] = []
    for image, prefix in zip(*blocks(200 // count, 10, prefixes), strict=True):
        near = rng.normal(scale=0.01, size=(2, count, IMAGE)).astype(np.float32)
        queries = asked(unit(image + near[0]), unit(prefix + near[1, :, :PREFIX]), 0.5)
        order = np.argsort(vectors @ queries[0]) if against else rng.permutation(ROWS)
        allowed = np.zeros(ROWS, bool)
        allowed[order[: max(2, int(share * ROWS))]] = True
        part = None if share == 1 else Allowed(allowed)
        found = segment.approximate(queries, K, min(K, int(allowed.sum())), weight=0.5, allowed=part)
        recalls_.append(recall(queries @ vectors.T, found.nearest.rows, allowed))
        assert found.way == "graph" or recalls_[-1] == 1
    # Of 200 queries the mean is known to 0.01.
    assert np.mean(recalls_) >= 0.98 - (0.01 if count == 1 else 0.05)


def test_queries_that_no_graph_was_tested_with_are_exact(index: tuple[SegmentIndex, AnnRef, Floats]) -> None:
    """One by one by their codes, which are scored again until it is sure; many at once as a product of matrices."""
    segment, _, vectors = index
    queries = unit(np.random.default_rng(4).normal(size=(30, IMAGE + PREFIX)).astype(np.float32))
    best = np.argsort(-(queries @ vectors.T), axis=1)[:, :K]
    few, many = (segment.approximate(queries[:n], K, K, weight=None) for n in (5, 30))
    assert (few.way, many.way) == ("codes", "exact")
    np.testing.assert_array_equal(few.nearest.rows, best[:5])
    np.testing.assert_array_equal(many.nearest.rows, best)
    np.testing.assert_allclose(few.nearest.scores, -np.sort(-(queries @ vectors.T), axis=1)[:5, :K], atol=1e-6)


def test_codes_of_vectors_that_score_all_alike_are_not_trusted() -> None:
    """Where scores lie closer than codes can tell, all vectors are scored."""
    rng = np.random.default_rng(5)
    common = unit(rng.normal(size=(1, 40)).astype(np.float32))
    vectors = unit(common + 1e-4 * rng.normal(size=(2_000, 40)).astype(np.float32))
    exact, order = ExactVectors.in_memory([vectors]), Order(2_000, 0)
    found = Codes(encode(exact, order), order).search(exact, common, K)
    np.testing.assert_allclose(found.scores[0], -np.sort(-(vectors @ common[0]))[:K], atol=1e-7)


def test_no_graph_is_kept_that_does_not_reach_the_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise of 100 dimensions has no neighbours: there are codes only, and every search is exact."""
    monkeypatch.setattr(recalls, "_WIDTHS", (16, 32))
    vectors = unit(np.random.default_rng(6).normal(size=(2_000, 100)).astype(np.float32))
    exact = ExactVectors.in_memory([vectors])
    ref, names = build_ann(exact, tmp_path, "", image_dim=60, target=0.99)
    assert (ref.graphs, names) == ((), ["codes.faiss"])
    assert ref.recall(K) == (1.0,) * len(WEIGHTS)
    queries = unit(np.random.default_rng(7).normal(size=(3, 100)).astype(np.float32))
    found = SegmentIndex(exact, open_ann(tmp_path, names, ref, 2_000, 100)).approximate(queries, K, K, weight=0.5)
    assert found.way == "codes"
    assert recall(queries @ vectors.T, found.nearest.rows) == 1


def test_an_index_can_be_built_again(tmp_path: Path) -> None:
    """Codes to the bit, and graphs that find as much, under the names that they had."""
    image, prefix = blocks(ROWS, 7, None)
    exact = ExactVectors.in_memory([fused(image, prefix)])
    ref, names = build_ann(exact, tmp_path, "abc", image_dim=IMAGE, target=0.98)
    codes = (tmp_path / names[0]).read_bytes()
    for path in tmp_path.iterdir():
        path.unlink()
    rebuild_ann(exact, tmp_path, "abc", ref, image_dim=IMAGE)
    assert (tmp_path / names[0]).read_bytes() == codes
    segment = SegmentIndex(exact, open_ann(tmp_path, names, ref, ROWS, IMAGE + PREFIX))
    queries = asked(*blocks(300, 8, None), 0.5)
    found = segment.approximate(queries, K, K, weight=0.5)
    assert found.way == "graph"
    assert recall(queries @ exact.vectors.T, found.nearest.rows) >= 0.97


def test_what_is_missing_or_of_another_size_is_not_opened(tmp_path: Path) -> None:
    """Then a search is exact."""
    exact = ExactVectors.in_memory([fused(*blocks(ROWS, 7, None))])
    ref, names = build_ann(exact, tmp_path, "", image_dim=IMAGE, target=0.98)
    assert open_ann(tmp_path, names, ref, ROWS, 40) is not None
    assert open_ann(tmp_path, names, ref, ROWS - 1, 40) is None
    assert open_ann(tmp_path, names[:1], ref, ROWS, 40) is None
    (tmp_path / names[1]).write_bytes(b"x")
    assert open_ann(tmp_path, names, ref, ROWS, 40) is None
    (tmp_path / names[1]).unlink()
    assert open_ann(tmp_path, names, ref, ROWS, 40) is None


@pytest.mark.parametrize(("rows", "held_out"), [(10, 0), (10, 1), (10, 5), (1_000, 37), (1_024, 512), (1_025, 512)])
def test_every_row_has_one_place(rows: int, held_out: int) -> None:
    """Rows that are held out are the last, spread over all; none of a search is none."""
    order = Order(rows, held_out)
    found = order.all()
    np.testing.assert_array_equal(np.sort(found), np.arange(rows))
    last = found[rows - held_out :]
    np.testing.assert_array_equal(last, np.arange(1, held_out + 1) * (rows // max(1, held_out)) - 1)
    assert order.rows_of(np.array([-1, 0])).tolist() == [-1, found[0]]


def test_exact_vectors_are_written_as_faiss_writes_them(tmp_path: Path) -> None:
    """Byte for byte, from parts of which one is held at a time; too few of them are refused."""
    vectors = np.random.default_rng(0).normal(size=(100, 7)).astype(np.float32)
    index = faiss.IndexFlatIP(7)
    index.add(vectors)
    write_vectors(iter([vectors[:30], vectors[30:]]), 100, 7, tmp_path / "exact.faiss")
    assert (tmp_path / "exact.faiss").read_bytes() == bytes(faiss.serialize_index(index))
    np.testing.assert_array_equal(ExactVectors(read_mapped(tmp_path / "exact.faiss")).vectors, vectors)
    with pytest.raises(ValueError, match="expected 101 vectors, found 100"):
        write_vectors([vectors], 101, 7, tmp_path / "other.faiss")


def test_products_are_the_same_in_one_thread_and_in_several() -> None:
    """Of few rows, copied, and of many, where they lie; of no row there is none."""
    rng = np.random.default_rng(0)
    exact = ExactVectors.in_memory([rng.normal(size=(500, 64)).astype(np.float32)])
    queries, rows = rng.normal(size=(2_000, 64)).astype(np.float32), rng.integers(-1, 500, (2_000, 20))
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(2)
    try:
        many = exact.products(queries, rows)
    finally:
        faiss.omp_set_num_threads(threads)
    few = np.vstack([exact.products(queries[at : at + 100], rows[at : at + 100]) for at in range(0, 2_000, 100)])
    np.testing.assert_allclose(many, few, atol=1e-4)
    assert np.isneginf(many[rows < 0]).all()


def test_a_plan_is_of_the_narrowest_graph_that_serves_the_weight() -> None:
    """A weight between two tested ones needs what both need, and a larger k a wider search."""
    ref = AnnRef(
        target=0.98,
        held_out=10,
        weights=(0.0, 0.5, 1.0),
        graphs=(
            GraphRef(
                0.5, (Measured(10, (64, 20, None), (0.98, 0.99, 0.3)), Measured(100, (200, 120, None), (1, 1, 0)))
            ),
            GraphRef(
                0.8, (Measured(10, (None, 90, 30), (0.5, 0.98, 0.99)), Measured(100, (None, 400, 130), (0, 1, 1)))
            ),
        ),
    )
    assert ref.plan(10, 0.0) == Plan(0, 64)
    assert ref.plan(10, 0.3) == Plan(0, 64)
    assert ref.plan(10, 0.5) == Plan(0, 20)
    assert ref.plan(10, np.float32(0.5)) == Plan(0, 20)
    assert ref.plan(10, 0.7) == Plan(1, 90)
    assert ref.plan(10, 1.0) == Plan(1, 30)
    assert ref.plan(55, 0.5) == Plan(0, 70)
    assert ref.plan(100, 0.5) == Plan(0, 120)
    assert ref.plan(3, 0.5) == Plan(0, 20)
    assert ref.plan(1_000, 0.5) == Plan(0, 1_200)
    assert ref.recall(10) == (0.98, 0.99, 0.99)
    assert AnnRef(0.98, 10, (0.0, 0.5, 1.0), ()).plan(10, 0.5) is None


def test_rows_without_a_block_are_no_queries_by_it(tmp_path: Path) -> None:
    """A tenth of the rows has a prefix: they alone say how well a text finds them, and the target holds for them."""
    image, prefix = blocks(ROWS, 7, None)
    prefix[np.arange(ROWS) % 10 > 0] = 0
    exact = ExactVectors.in_memory([fused(image, prefix)])
    ref, names = build_ann(exact, tmp_path, "", image_dim=IMAGE, target=0.95)
    segment = SegmentIndex(exact, open_ann(tmp_path, names, ref, ROWS, IMAGE + PREFIX))
    _, asking = blocks(300, 8, None)
    queries = asked(np.zeros((300, IMAGE), np.float32), asking, 0.0)
    found = segment.approximate(queries, K, K, weight=0.0)
    assert recall(queries @ exact.vectors.T, found.nearest.rows) >= 0.94


def test_without_prefixes_nothing_is_known_of_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All vectors are pictures only: one graph serves all queries with a picture, and none is tried for texts."""
    tried: list[float] = []

    class Spied(GraphBuilder):
        def __init__(self, exact: ExactVectors, codes: Codes, image_dim: int, image_weight: float) -> None:
            tried.append(image_weight)
            super().__init__(exact, codes, image_dim, image_weight)

    monkeypatch.setattr(anns, "GraphBuilder", Spied)
    image, prefix = blocks(ROWS, 7, None)
    exact = ExactVectors.in_memory([fused(image, np.zeros_like(prefix))])
    ref, _ = build_ann(exact, tmp_path, "", image_dim=IMAGE, target=0.98)
    assert ref.plan(K, 0.0) is None
    assert all(ref.plan(K, weight) is not None for weight in WEIGHTS[1:])
    assert [graph.image_weight for graph in ref.graphs] == tried == [0.5]


def test_what_is_closed_is_no_longer_mapped(tmp_path: Path) -> None:
    """A reader that moves on from snapshot to snapshot keeps nothing of the old ones."""
    exact = ExactVectors.in_memory([fused(*blocks(ROWS, 7, None))])
    ref, names = build_ann(exact, tmp_path, "", image_dim=IMAGE, target=0.98)
    for _ in range(3):
        opened = open_ann(tmp_path, names, ref, ROWS, IMAGE + PREFIX)
        assert opened is not None
        assert str(tmp_path) in Path("/proc/self/maps").read_text(encoding="utf-8")
        del opened
        gc.collect()
    assert str(tmp_path) not in Path("/proc/self/maps").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "wrong",
    [
        {"held_out": -1},
        {"weights": ()},
        {"weights": (0.0, 1.0)},
        {"weights": (0.0, 0.5, 0.4, 1.0)},
        {"weights": (0.0, 0.5, 0.7, 1.0)},
        {"graphs": (GraphRef(0.5, (Measured(10, (18, 18), (1.0, 1.0)),)),)},
    ],
)
def test_what_no_search_could_go_by_is_refused(wrong: dict[str, object]) -> None:
    """A manifest that says so is none."""
    graph = GraphRef(0.5, (Measured(10, (18, 18, None), (1.0, 1.0, 0.1)),))
    known: dict[str, object] = {"target": 0.98, "held_out": 10, "weights": (0.0, 0.5, 1.0), "graphs": (graph,)}
    AnnRef(**known)
    with pytest.raises(ValueError, match="expected"):
        AnnRef(**{**known, **wrong})
    for options in ((0, (18,), (1.0,)), (10, (0,), (1.0,)), (10, (1 << 40,), (1.0,)), (10, (18, 18), (1.0,))):
        with pytest.raises(ValueError, match="expected"):
            Measured(*options)
    for weight in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="expected a weight"):
            GraphRef(weight, graph.measured)


def test_small_segments_and_a_target_of_one_have_no_ann_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """From 32 MB on, unless everything is to be found."""
    monkeypatch.undo()
    assert not is_wanted(7_999, 1_000, 0.98)
    assert is_wanted(8_000, 1_000, 0.98)
    assert not is_wanted(8_000_000, 1_000, 1.0)


def test_more_is_taken_from_a_graph_than_is_wanted() -> None:
    """As codes put some too low: the best are scored again."""
    assert [fetched(k) for k in (1, 10, 30, 100)] == [9, 18, 38, 125]
    assert max(recalls.KS) == 100
