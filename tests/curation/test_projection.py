"""Where images lie in a plane: the vectors of a search, their principal components, and UMAP's neighbourhoods."""

from __future__ import annotations

import builtins
import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import KINDS, draw, make_job
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness

import fpve
from fpve.config import Job
from fpve.curation import projection, space
from fpve.curation.projection import plane_of, project, weight_of
from fpve.curation.space import points_in_parts
from fpve.errors import QueryError
from fpve.fusion import Floats
from fpve.progress import SilentProgress
from fpve.search import Searcher
from fpve.store import means
from fpve.store.snapshot import Snapshot


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 60 pictures, a third of them without a caption; the captions of the others are shared by four."""
    folder = tmp_path_factory.mktemp("projection")
    (folder / "pictures").mkdir()
    with (folder / "pictures/metadata.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "caption", "kind"])
        for number in range(60):
            draw(folder / "pictures" / f"{number:02d}.png", number)
            caption = f"{KINDS[number // 20]} {number // 6}" if number % 3 else ""
            writer.writerow([f"{number:02d}.png", caption, KINDS[number % 3]])
    fpve.run(make_job(folder / "store", folder / "pictures"))
    return folder / "store"


@pytest.fixture(scope="module")
def searcher(root: Path) -> Searcher:
    """A searcher over it."""
    return Searcher(Snapshot.open(root))


def written_out(searcher: Searcher, weight: float) -> Floats:
    """The vectors [sqrt(A) f^ ; sqrt(1-A) p^] of all rows, by the formula."""
    blocks = searcher.fusion.directions(*searcher.blocks_of(np.arange(searcher.rows)))
    return np.hstack([np.sqrt(weight) * blocks.image, np.sqrt(1 - weight) * blocks.prefix])


def everything(searcher: Searcher) -> np.ndarray:
    """The numbers of all rows."""
    return np.arange(searcher.rows)


def up_to_sign(points: Floats, others: Floats) -> Floats:
    """Points whose axes point where those of others do."""
    return points * np.sign((points * others).sum(axis=0))


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("part", [7, 4096])
def test_pca_is_the_full_one(searcher: Searcher, weight: float, part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At any weight, however few rows are read at once, places and variance are those of scikit-learn's full PCA."""
    monkeypatch.setattr(space, "PART", part)
    monkeypatch.setattr(projection, "PART", part)
    full = PCA(2, svd_solver="full")
    expected = full.fit_transform(written_out(searcher, weight).astype(np.float64))
    plane = plane_of(searcher, everything(searcher), image_weight=weight)
    assert plane.points.dtype == np.float32
    np.testing.assert_allclose(up_to_sign(plane.points, expected), expected, atol=2e-6)
    assert plane.share == pytest.approx(full.explained_variance_ratio_.sum(), abs=1e-6)


def test_products_of_what_is_projected_are_scores(searcher: Searcher) -> None:
    """Of two images they are the score by which one finds the other, missing blocks and all."""
    vectors = np.concatenate(list(points_in_parts(searcher, everything(searcher), 0.3)))
    found = searcher.nearest(searcher.blocks_of(everything(searcher)), image_weight=0.3, k=60, exact=True)
    np.testing.assert_allclose((vectors @ vectors.T)[found.query, found.row], found.score, atol=2e-6)


@pytest.mark.parametrize("options", [{"mode": "concat"}, {"centred": True}, {"mode": "concat", "centred": True}])
def test_blocks_are_those_of_the_search(root: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """In another mode they are unit blocks as well, and where the search centres them they are centred."""
    monkeypatch.setattr(means, "MIN_BLOCKS", 10)
    searcher = Searcher(Snapshot.open(root))
    variant = searcher.variant(**options)
    vectors = np.concatenate(list(points_in_parts(variant, everything(searcher), 0.5)))
    np.testing.assert_allclose(vectors, written_out(variant, 0.5), atol=2e-6)
    is_centred = np.allclose(written_out(variant, 0.5), written_out(searcher, 0.5), atol=1e-3)
    assert is_centred != bool(options.get("centred"))


def test_the_weight_is_the_stores_where_there_are_prefixes(searcher: Searcher, tmp_path: Path, root: Path) -> None:
    """Without any prefix the picture alone counts; a weight out of [0, 1] is refused."""
    assert weight_of(searcher, None) == 0.5
    assert weight_of(searcher, 0.25) == 0.25
    fpve.run(make_job(tmp_path / "bare", root.parent / "pictures", prefix=None))
    bare = Searcher(Snapshot.open(tmp_path / "bare"))
    assert weight_of(bare, None) == 1
    with pytest.raises(QueryError, match=r"image weight: expected a number from 0 .* found 1.5"):
        project(searcher, everything(searcher), image_weight=1.5)


class _Told:
    """What a projection has told of its stages: their names, of how many images, and how many were looked at."""

    def __init__(self) -> None:
        self.stages: list[list[Any]] = []

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[_Told]:
        self.stages.append([name, total, 0])
        yield self

    def advance(self, count: int = 1) -> None:
        self.stages[-1][2] += count

    def limited_by(self, part: str) -> None:
        raise AssertionError(part)


def test_how_far_it_is_is_told(searcher: Searcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """PCA looks at all images three times; UMAP then at the neighbours of each, and at the end says only that."""
    monkeypatch.setattr(space, "PART", 7)
    told = {method: _Told() for method in ("pca", "umap")}
    for method, progress in told.items():
        plane_of(searcher, everything(searcher)[:40], method=method, progress=progress)

    assert told["pca"].stages == [["project", 120, 120]]
    assert told["umap"].stages == [["project", 120, 120], ["compare", 40, 40], ["unfold", None, 0]]


@pytest.mark.parametrize("method", ["pca", "umap"])
def test_the_same_again(searcher: Searcher, method: projection.Method) -> None:
    """The same options give the same places to the bit; signs follow a rule."""
    one, other = (project(searcher, everything(searcher), method=method) for _ in range(2))
    assert one.shape == (60, 2)
    np.testing.assert_array_equal(one, other)


def test_each_axis_points_to_its_largest_loading(searcher: Searcher) -> None:
    """Of both components the loading that is largest in size is positive."""
    vectors = written_out(searcher, 0.5)
    points = project(searcher, everything(searcher))
    loadings = (vectors - vectors.mean(axis=0)).T @ points
    assert np.all(loadings[np.abs(loadings).argmax(axis=0), [0, 1]] > 0)


def test_umap_keeps_neighbours(searcher: Searcher) -> None:
    """What is near stays near: trustworthiness is high, and other seeds give other planes."""
    vectors = written_out(searcher, 0.5)
    points = project(searcher, everything(searcher), method="umap")
    assert trustworthiness(vectors, points, n_neighbors=8, metric="cosine") > 0.8
    assert np.any(project(searcher, everything(searcher), method="umap", seed=1) != points)


def test_neighbourhoods_are_those_of_the_search(searcher: Searcher) -> None:
    """Of rows that are chosen only these are neighbours: each itself first, then by score."""
    rows = np.arange(3, 60, 2)
    with SilentProgress().stage("compare", None) as stage:
        near, far = projection._neighbourhoods(searcher, rows, 0.5, stage)
    vectors = written_out(searcher, 0.5)[rows]
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, np.inf)
    assert near.shape == (29, 15)
    np.testing.assert_array_equal(near[:, 0], np.arange(29))
    np.testing.assert_array_equal(far[:, 0], 0)
    expected = -np.sort(-scores, axis=1)[:, 1:15]
    np.testing.assert_allclose(1 - far[:, 1:], expected, atol=2e-6)
    np.testing.assert_allclose(np.take_along_axis(scores, near[:, 1:], axis=1), expected, atol=2e-6)


@pytest.mark.parametrize("method", ["pca", "umap"])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 6, 15, 16])
def test_few_rows_have_places(searcher: Searcher, method: projection.Method, count: int) -> None:
    """No row, one, or fewer than a neighbourhood has: there are finite places for all, one apart from another."""
    points = project(searcher, np.arange(count), method=method)
    assert points.shape == (count, 2)
    assert np.isfinite(points).all()
    assert len(np.unique(points, axis=0)) == count


def test_two_rows_lie_on_a_line(searcher: Searcher) -> None:
    """Where nothing varies in a second direction, it is zero, and the first shows everything."""
    plane = plane_of(searcher, np.array([1, 40]))
    np.testing.assert_array_equal(plane.points[:, 1], [0, 0])
    assert plane.points[0, 0] == pytest.approx(-plane.points[1, 0])
    assert plane.share == pytest.approx(1)


@pytest.mark.parametrize("method", ["pca", "umap"])
def test_what_is_the_same_is_in_one_place(searcher: Searcher, method: projection.Method) -> None:
    """Of equal vectors all places are the origin, and no share of the variance is shown, for there is none."""
    plane = plane_of(searcher, np.full(20, 7), method=method)
    np.testing.assert_array_equal(plane.points, np.zeros((20, 2)))
    assert plane.share is None


def test_copies_are_no_trouble_to_umap(tmp_path: Path) -> None:
    """Of two pictures and 15 copies of each: two groups."""
    (tmp_path / "pictures").mkdir()
    lines = ["path,caption"]
    for number in range(32):
        draw(tmp_path / "pictures" / f"{number:02d}.png", number % 2)
        lines.append(f"{number:02d}.png,")
    (tmp_path / "pictures/metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    fpve.run(make_job(tmp_path / "store", tmp_path / "pictures", prefix=None))
    points = project(Searcher(Snapshot.open(tmp_path / "store")), np.arange(32), method="umap")
    assert np.isfinite(points).all()
    even, odd = points[::2], points[1::2]
    apart = np.linalg.norm(even.mean(axis=0) - odd.mean(axis=0))
    assert apart > max(np.ptp(even, axis=0).max(), np.ptp(odd, axis=0).max())


def test_an_unknown_method_is_named(searcher: Searcher) -> None:
    """With the one that was meant."""
    with pytest.raises(QueryError, match=r"method: expected pca or umap, found 'umpa'; did you mean 'umap'\?"):
        project(searcher, everything(searcher), method="umpa")  # type: ignore[arg-type]


def test_a_missing_library_is_one_line(searcher: Searcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the extra to install, before anything is computed."""
    real = builtins.__import__

    def importing(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "umap":
            raise ModuleNotFoundError("No module named 'umap'", name="umap")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", importing)
    with pytest.raises(QueryError, match=r"umap-learn, found none \(umap\): `pip install 'fpve\[map\]'`"):
        project(searcher, everything(searcher), method="umap")


def test_a_map_has_places_and_a_column(root: Path) -> None:
    """Rows are by image_id; a condition leaves out others, and a slice knows how it was made."""
    with fpve.open(root) as store:
        found = store.map(where="kind = 'dog'", color="kind", image_weight=1)
        assert found.to_arrow().column_names == ["image_id", "x", "y", "kind"]
        assert found.to_arrow()["kind"].to_pylist() == ["dog"] * 20
        assert [row.image_id for row in found[:2]] == ["pets/01.png", "pets/04.png"]
        assert (found[:2].method, found[:2].image_weight, found[:2].color) == ("pca", 1.0, "kind")
        rows = np.flatnonzero(np.array(store.images["kind"].to_pylist()) == "dog")
        expected = project(Searcher(Snapshot.open(root)), rows, image_weight=1)
        np.testing.assert_array_equal(found.to_arrow()["x"].to_numpy(), expected[:, 0])
        assert store.map().to_arrow().column_names == ["image_id", "x", "y"]
        assert store.map(color="image_id").to_arrow().column_names == ["image_id", "x", "y"]
        with pytest.raises(QueryError, match=r"color: no column 'knid'; did you mean 'kind'\?"):
            store.map(color="knid")


def test_a_column_called_x_has_another_name(job: Job, pictures: Path) -> None:
    """It is x_1 beside the place x."""
    text = (pictures / "metadata.csv").read_text(encoding="utf-8").replace("price", "x", 1)
    (pictures / "metadata.csv").write_text(text, encoding="utf-8")
    fpve.run(job)
    found = fpve.open(job.store).map(color="x")
    assert found.to_arrow().column_names == ["image_id", "x", "y", "x_1"]
    assert found.color == "x"
