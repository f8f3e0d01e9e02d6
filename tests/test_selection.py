"""Hits that score enough, one of each group, no picture twice, a page: against the rule on the complete ranking."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from samples import make_job

import fpve
from fpve import selection
from fpve.errors import QueryError
from fpve.records import Record, Step
from fpve.search import Searcher

ROWS = 96


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> fpve.Store:
    """96 images: 24 motifs in four shots each, that are nearly the same or the very same file; products, some unknown.

    A third has no prefix, and one style has all but a few of the images.
    """
    root = tmp_path_factory.mktemp("selection")
    source = root / "pictures"
    source.mkdir()
    lines = ["path,caption,product,style,price"]
    for number in range(ROWS):
        motif, shot = divmod(number, 4)
        pixels = np.random.default_rng(motif).integers(0, 256, (16, 16, 3))
        if shot < 3:
            # The fourth is a copy of the first.
            pixels = pixels + np.random.default_rng(1_000 + number).normal(0, 20 * (shot > 0), pixels.shape)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(source / f"{number:02d}.png")
        caption = f"thing {motif % 7}" if number % 3 else ""
        product = f"sku{number % 11}" if number % 5 else ""
        style = "plain" if number % 16 else f"odd{number // 48}"
        lines.append(f"{number:02d}.png,{caption},{product},{style},{number}")
    (source / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    job = make_job(root / "store", source)
    fpve.run(job)
    return fpve.open(job.store)


@pytest.fixture(params=["as it is", "in small pieces"])
def pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Once with the sizes as they are, and once with such that all of the ways are taken for a small store."""
    if request.param != "as it is":
        for name, value in (
            ("_FIRST", 1),
            ("_DEEPER", 2),
            ("_DEEP", 8),
            ("_MOST", 9),
            ("_COMPARED", 3),
            ("_NEIGHBOURS", 40),
        ):
            monkeypatch.setattr(selection, name, value)
    return request.param


class Rule:
    """The rule, applied in Python to the complete ranking of a query by id."""

    def __init__(self, store: fpve.Store) -> None:
        self.store = store
        rows = store.images.to_pylist()
        self.ids = [row["image_id"] for row in rows]
        self.values = {row["image_id"]: row for row in rows}
        blocks = Searcher(store._open.searcher.snapshot).blocks_of(np.arange(ROWS)).image
        self.rankings: dict[Any, dict[str, list[Record]]] = {}
        self.picture = dict(zip(self.ids, blocks / np.linalg.norm(blocks, axis=1, keepdims=True), strict=True))

    def hits(self, one: str, k: int, offset: int = 0, **options: Any) -> list[str]:
        """The ids of the hits."""
        key = options.get("where"), options.get("image_weight")
        if key not in self.rankings:
            found = self.store.search(ids=self.ids, k=ROWS, where=key[0], image_weight=key[1])
            self.rankings[key] = {name: list(hits) for name, hits in zip(self.ids, found, strict=True)}
        kept: list[str] = []
        for hit in self.rankings[key][one]:
            if hit.score < options.get("min_score", -1) - 5e-7:
                break
            if not any(self.clash(hit.image_id, other, **options) for other in kept):
                kept.append(hit.image_id)
        return kept[offset : offset + k]

    def clash(self, one: str, other: str, dedup: float | None = None, group_by: str | None = None, **_: object) -> bool:
        """Whether two images can't both be hits."""
        value = self.values[one].get(group_by)
        same = value is not None and value == self.values[other].get(group_by)
        return same or (dedup is not None and self.picture[one] @ self.picture[other] >= dedup - 5e-7)


@pytest.fixture(scope="module")
def rule(store: fpve.Store) -> Rule:
    """The rule for the store."""
    return Rule(store)


def test_the_store_is_as_awkward_as_intended(rule: Rule) -> None:
    """Copies have cosine 1, other shots of a motif less, and other motifs hardly any; some products are unknown."""
    ids = [f"pets/{number:02d}.png" for number in range(4)]
    same, *near = (rule.picture[ids[0]] @ rule.picture[ids[at]] for at in (3, 1, 2))
    assert same == pytest.approx(1, abs=1e-6)
    assert all(0.9 < one < 0.999 for one in near)
    every = np.stack(list(rule.picture.values()))
    assert np.mean(every @ every.T < 0.5) > 0.3
    assert [row["product"] for row in rule.values.values()].count(None) == 20
    assert [row["style"] for row in rule.values.values()].count("plain") == 90


CASES: list[dict[str, Any]] = [
    {"dedup": 1.0},
    {"dedup": 0.95},
    {"dedup": 0.5},
    {"dedup": 0.05},
    {"group_by": "product"},
    {"group_by": "style"},
    {"group_by": "collection"},
    {"group_by": "prefix"},
    {"group_by": "content_hash"},
    {"group_by": "price"},
    {"group_by": "product", "dedup": 0.95},
    {"group_by": "style", "dedup": 0.5},
    {"min_score": 0.3},
    {"min_score": 0.2, "dedup": 0.95},
    {"min_score": 0.3, "group_by": "product"},
    {"where": "price > 40", "group_by": "product"},
    {"where": "price > 40 AND product IS NOT NULL", "dedup": 0.9, "min_score": 0.1},
    {"where": "false", "group_by": "product"},
    {"image_weight": 0.1, "dedup": 0.95},
]


@pytest.mark.parametrize("options", CASES, ids=[" ".join(f"{key}={one[key]}" for key in one) for one in CASES])
def test_hits_are_those_that_the_rule_keeps(
    store: fpve.Store, rule: Rule, options: dict[str, Any], pieces: str
) -> None:
    """Whatever is left out, hits are what is kept walking down the complete ranking, for one query and for a batch."""
    mine = rule.ids[::7]
    for k, offset in ((1, 0), (3, 2), (10, 0), (200, 0)):
        expected = [rule.hits(one, k, offset, **options) for one in mine]
        found = store.search(ids=mine, k=k, offset=offset, **options)
        assert [[hit.image_id for hit in hits] for hits in found] == expected
        assert store.search(id=mine[5], k=k, offset=offset, **options).to_arrow() == found[5].to_arrow()


@pytest.mark.parametrize("options", [{}, {"dedup": 0.95}, {"group_by": "product"}, {"min_score": 0.1}], ids=str)
def test_pages_make_up_the_whole(store: fpve.Store, options: dict[str, Any]) -> None:
    """Pages of ten, one after the other, are the hits of one long search; past the end there is none."""
    whole = store.search(id="pets/05.png", k=200, **options).to_arrow()
    assert store.search(id="pets/05.png", k=10, offset=20, **options).to_arrow() == whole.slice(20, 10)
    pages = [store.search(id="pets/05.png", k=10, offset=at, **options) for at in range(0, 110, 10)]
    assert [hit.image_id for hit in itertools.chain(*pages)] == whole["image_id"].to_pylist()
    assert len(pages[-1]) == 0


def test_a_score_is_enough_to_six_decimals(store: fpve.Store) -> None:
    """A copy of the query's picture is among hits of 1, whatever float32 makes of its cosine."""
    hits = store.search(id="pets/08.png", image_weight=1, min_score=1)
    assert [hit.image_id for hit in hits] == ["pets/11.png"]
    scores = [hit.score for hit in store.search(id="pets/08.png", k=50)]
    enough = [score for score in scores if score > 0.2]
    assert [hit.score for hit in store.search(id="pets/08.png", k=50, min_score=enough[-1])] == enough
    assert len(store.search(id="pets/08.png", k=200, min_score=-1)) == ROWS - 1


def test_as_much_of_a_ranking_is_fetched_as_it_takes(store: fpve.Store) -> None:
    """A plain search fetches what is wanted; one that leaves out much fetches more, and all if need be."""
    assert store.search(id="pets/00.png", k=3, offset=4).explanation.ranked == 7
    assert store.search(id="pets/00.png", k=3, group_by="product").explanation.ranked == 6
    assert store.search(id="pets/00.png", k=3, group_by="style").explanation.ranked > 6
    assert store.search(id="pets/00.png", k=30, dedup=0.05).explanation.ranked == ROWS


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"offset": -1}, "offset: expected at least 0, found -1"),
        ({"image_weight": 2}, "image weight: expected a number from 0 (text only) to 1 (picture only), found 2"),
        ({"min_score": 70}, "min_score: expected a score from -1 to 1, found 70"),
        ({"min_score": float("nan")}, "min_score: expected a score from -1 to 1, found nan"),
        ({"dedup": 0}, "dedup: expected a cosine above 0 and at most 1, such as 0.97, found 0"),
        ({"dedup": 95}, "found 95"),
        ({"group_by": "produkt"}, "group_by: no column 'produkt'; did you mean 'product'?; there is image_id, coll"),
        ({"group_by": "vector"}, "group_by: no column 'vector'"),
    ],
)
def test_wrong_selections_are_refused(store: fpve.Store, options: dict[str, Any], message: str) -> None:
    """What can't be selected by raises an error in one line, before a query is encoded."""
    with pytest.raises(QueryError) as caught:
        store.search(image="missing.png", **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_lists_are_no_groups(tmp_path: Path, pictures: Path) -> None:
    """A column of lists can't be grouped by."""
    rows = [f'{{"path": "{kind}/{at:02d}.png", "tags": ["a", "b"]}}' for at, kind in ((0, "cat"), (1, "dog"))]
    (pictures / "tags.jsonl").write_text("\n".join(rows), encoding="utf-8")
    job = make_job(tmp_path / "store", pictures, metadata=pictures / "tags.jsonl", prefix=None)
    fpve.run(job)
    with pytest.raises(QueryError, match="column 'tags' holds lists; expected one value an image"):
        fpve.open(job.store).search(id="pets/cat/00.png", group_by="tags")


def test_a_search_says_what_it_did(store: fpve.Store) -> None:
    """Each Hits has the explanation of its search, slices of it too; it is no column."""
    hits = store.search(id="pets/00.png", k=3, where="price < 50", image_weight=0.25)
    explanation = hits.explanation
    assert (explanation.queries, explanation.images, explanation.weights) == (1, 50, (0.25, 0.25))
    assert explanation.ranked == 3
    # Copies without a prefix, and those with the same, share a vector.
    assert [(step.way, step.vectors) for step in explanation.steps] == [("exact", 38)]
    assert hits[:2].explanation is explanation
    assert [hit.image_id for hit in hits[1:]] == [hits[1].image_id, hits[2].image_id]
    assert "explanation" not in hits.to_arrow().column_names
    first, second = store.search(ids=["pets/00.png", "pets/01.png"], exact=True)
    assert first.explanation is second.explanation
    assert (first.explanation.queries, first.explanation.weights) == (2, (0.5, 1.0))


def test_a_search_says_what_may_have_been_missed(store: fpve.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The target recall is that of the store where an ANN index was used, and none where all hits are exact."""
    searcher, ways = store._open.searcher, ["exact"]
    usual = searcher.nearest

    def nearest(*blocks: Any, steps: list[Step] | None, **options: Any) -> Any:
        found = usual(*blocks, **options)
        if steps is not None:
            steps += [Step(way, 1, 60, "") for way in ways]
        return found

    monkeypatch.setattr(searcher, "nearest", nearest)
    assert store.search(id="pets/00.png").explanation.target_recall is None
    ways += ["graph", "graph"]
    explanation = store.search(id="pets/00.png").explanation
    assert explanation.target_recall == searcher.snapshot.manifest.target_recall == 0.98
    assert [step.way for step in explanation.steps] == ["exact", "graph"]


def test_hits_of_a_batch_are_cut_out_of_one_table(store: fpve.Store) -> None:
    """Hits of one query know their rows, by number, from the end, as slices and as text."""
    several = store.search(ids=["pets/04.png", "pets/05.png", "pets/06.png"], k=4)
    assert [len(hits) for hits in several] == [4, 4, 4]
    alone = store.search(id="pets/05.png", k=4)
    assert [dict(hit) for hit in several[1]] == [dict(hit) for hit in alone]
    assert (dict(several[1][-1]), dict(several[1][0])) == (dict(alone[3]), dict(alone[0]))
    assert [hit.image_id for hit in several[1][::-1]] == [hit.image_id for hit in alone][::-1]
    assert repr(several[1]).startswith("Hits(4 rows: image_id, ")
    with pytest.raises(IndexError, match="row 4 of 4"):
        several[1][4]
