"""Stores whose encoders embed pictures and texts into one space: a text finds pictures that have no prefix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from own_encoders import COLOURS, Colours, Words
from PIL import Image
from samples import make_job
from tiny_models import write_clip

import fpve
from fpve.cli import cli
from fpve.config import EncoderConfig, Encoders, FusionConfig, Job
from fpve.errors import ImageError, QueryError
from fpve.fusion import Mode
from fpve.store.snapshot import Snapshot

OWN = Encoders(image=EncoderConfig("python:own_encoders:Colours"), text=EncoderConfig("python:own_encoders:Words"))
CAPTIONS = {"0.png": "green", "1.png": "a red thing", "2.png": "red green", "5.png": "blue"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Twelve pictures of one noisy colour each, four of them with captions that don't always say which."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    random = np.random.default_rng(3)
    colours = list(COLOURS.values())
    for number in range(12):
        noise = random.integers(-60, 60, (8, 8, 3))
        pixels = np.clip(np.array(colours[number % len(colours)]) + noise, 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    lines = ["path,caption", *(f"{number}.png,{CAPTIONS.get(f'{number}.png', '')}" for number in range(12))]
    (folder / "metadata.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder


def run(source: Path, store: Path, mode: Mode = "balanced", **options: object) -> Job:
    """A store with the encoders of one space."""
    job = replace(make_job(store, source, **options), encoders=OWN, fusion=FusionConfig(mode=mode, image_weight=0.4))
    fpve.run(job)
    return job


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1; zero rows stay zero."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1)


def cosines(store: fpve.Store, text: str) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of a text with every picture and with every prefix, by NumPy; 0 where there is no prefix."""
    rows = store.images.to_pylist()
    pictures, words = Colours(), Words()
    image = pictures.encode(np.stack([pictures.prepare(Image.open(row["path"])) for row in rows]))
    prefix = np.stack([np.zeros(4) if row["prefix"] is None else words.encode([row["prefix"]])[0] for row in rows])
    query = unit(words.encode([text]))[0]
    return unit(image) @ query, unit(prefix) @ query


@pytest.mark.parametrize("weight", [None, 0.0, 0.25, 1.0])
def test_a_text_is_compared_with_pictures_and_prefixes(source: Path, tmp_path: Path, weight: float | None) -> None:
    """The score is A cross_score + (1 - A) prefix_score, as NumPy has it; A is the store's own where none is given."""
    store = fpve.open(run(source, tmp_path / "store").store)
    hits = store.search(text="red", image_weight=weight, k=12)
    cross, prefix = cosines(store, "red")
    at = 0.4 if weight is None else weight
    expected = {row["image_id"]: n for n, row in enumerate(store.images.to_pylist())}
    rows = [expected[hit.image_id] for hit in hits]
    assert len(set(rows)) == 12
    np.testing.assert_allclose([hit.score for hit in hits], (at * cross + (1 - at) * prefix)[rows], atol=1e-5)
    np.testing.assert_allclose([hit.score for hit in hits], np.sort(at * cross + (1 - at) * prefix)[::-1], atol=1e-5)
    np.testing.assert_allclose([hit.cross_score for hit in hits], cross[rows], atol=1e-5)
    np.testing.assert_allclose([hit.prefix_score or 0 for hit in hits], prefix[rows], atol=1e-5)
    assert {hit.image_score for hit in hits} == {None}
    assert [hit.prefix_score is None for hit in hits] == [hit.prefix is None for hit in hits]


def test_text_finds_pictures_of_a_store_without_prefixes(source: Path, tmp_path: Path) -> None:
    """Where no image has a prefix, the score of a text is its cosine with the picture."""
    store = fpve.open(run(source, tmp_path / "store", prefix=None).store)
    cross, _ = cosines(store, "blue")
    hits = store.search(text="blue", k=12)
    np.testing.assert_allclose([hit.score for hit in hits], np.sort(cross)[::-1], atol=1e-5)
    assert [hit.cross_score for hit in hits] == [hit.score for hit in hits]
    assert {hit.image_id for hit in hits[:2]} == {"pets/2.png", "pets/7.png"}
    np.testing.assert_allclose(store.encode_texts(["blue"]), Words().encode(["blue"]))
    with pytest.raises(QueryError, match="image weight 0 ranks by prefixes alone, but no image has one"):
        store.search(text="blue", image_weight=0)


def test_a_text_beside_a_picture_needs_prefixes(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no image has a prefix, a picture with a text is refused before a model is run; either alone is answered."""
    store = fpve.open(run(source, tmp_path / "store", prefix=None).store)
    for encoder in (Colours, Words):
        monkeypatch.setattr(encoder, "encode", lambda *args: pytest.fail("a model was run"))
    for weight in (None, 0.0, 0.5, 1.0):
        with pytest.raises(QueryError, match=r"no image has a prefix that the text .* leave out the picture, to comp"):
            store.search(image=source / "1.png", text="red", image_weight=weight)
    monkeypatch.undo()
    assert store.search(image=source / "1.png", k=1)[0].image_id == "pets/1.png"
    assert len(store.search(text="red", k=1)) == 1


def test_a_query_with_a_picture_of_its_own_has_no_cross_score(source: Path, tmp_path: Path) -> None:
    """By picture, by picture and text, and by id the image block is a picture's, and scores are as in any store."""
    store = fpve.open(run(source, tmp_path / "store").store)
    picture = source / "1.png"
    for hits in (
        store.search(image=picture, k=3),
        store.search(image=picture, text="green", k=3),
        store.search(id="pets/2.png", k=3),
    ):
        assert {hit.cross_score for hit in hits} == {None}
        assert None not in {hit.image_score for hit in hits}
    _, prefix = cosines(store, "green")
    for hit in store.search(image=picture, text="green", k=12):
        row = [one["image_id"] for one in store.images.to_pylist()].index(hit.image_id)
        assert hit.score == pytest.approx(0.4 * hit.image_score + 0.6 * prefix[row], abs=1e-5)


def test_texts_in_one_call_answer_as_each_alone(source: Path, tmp_path: Path) -> None:
    """Several texts get what each gets alone, also in a store that concatenates raw features."""
    for mode in ("balanced", "concat"):
        store = fpve.open(run(source, tmp_path / mode, mode=mode).store)
        for text, hits in zip(["red", "blue"], store.search(texts=["red", "blue"], k=4), strict=True):
            alone = store.search(text=text, k=4)
            assert [hit.image_id for hit in hits] == [hit.image_id for hit in alone]
            np.testing.assert_allclose([hit.cross_score for hit in hits], [hit.cross_score for hit in alone], atol=1e-6)


def test_the_manifest_says_which_space(source: Path, tmp_path: Path) -> None:
    """A reader knows without a model whether pictures and texts can be compared; other stores have no such column."""
    job = run(source, tmp_path / "store")
    assert {one.space for one in Snapshot.open(job.store).manifest.encoders.values()} == {"colours"}
    other = make_job(tmp_path / "other", source)
    fpve.run(other)
    assert {one.space for one in Snapshot.open(other.store).manifest.encoders.values()} == {None}
    assert "cross_score" in fpve.open(job.store).search(text="red").to_arrow().column_names
    assert "cross_score" not in fpve.open(other.store).search(text="red").to_arrow().column_names
    # Running it again changes nothing.
    assert fpve.run(job).snapshot == 1


def test_a_table_shows_the_score_that_the_query_has(source: Path, tmp_path: Path) -> None:
    """The command prints cross_score for a text and image_score for a picture, not the other one's empty column."""
    store = run(source, tmp_path / "store").store
    for options, shown, hidden in (
        (["--text", "red"], "cross_score", "image_score"),
        (["--image", str(source / "1.png")], "image_score", "cross_score"),
    ):
        done = CliRunner().invoke(cli, ["search", str(store), *options])
        assert done.exit_code == 0, done.output
        assert shown in done.stdout
        assert hidden not in done.stdout


def test_a_picture_of_which_the_model_makes_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A query whose features are not finite, or zero, is refused by the number of its picture."""
    store = fpve.open(run(source, tmp_path / "store").store)
    usual = Colours.encode

    def spoilt(factor: float) -> Callable[[Colours, np.ndarray], np.ndarray]:
        return lambda self, batch: usual(self, batch) * np.array([1, factor])[: len(batch), None]

    for factor in (np.nan, 0):
        monkeypatch.setattr(Colours, "encode", spoilt(factor))
        with pytest.raises(ImageError, match="picture 2 of 2: python:own_encoders:Colours makes nothing of it"):
            store.encode_images([source / "1.png", source / "2.png"])


def test_clip_from_end_to_end(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store of CLIP's vectors is searched by text as NumPy ranks what sentence-transformers makes of both sides."""
    # Measuring which runtime is the faster one takes seconds, and is not the point.
    monkeypatch.setenv("FPVE_RUNTIME", "torch")
    from sentence_transformers import SentenceTransformer

    from fpve import images

    model = write_clip(tmp_path / "clip", 0)
    clip = EncoderConfig(f"st:{model}", device="cpu")
    job = replace(
        make_job(tmp_path / "store", source),
        encoders=Encoders(image=clip, text=clip),
        fusion=FusionConfig(image_weight=0.4),
    )
    assert fpve.run(job).encoded == 12
    store = fpve.open(job.store)
    library = SentenceTransformer(str(model), device="cpu")
    rows = store.images.to_pylist()
    squares = [Image.fromarray(images.resize(Image.open(row["path"]), 32, "squash")) for row in rows]
    image = unit(library.encode(squares))
    prefix = np.stack([np.zeros(24) if row["prefix"] is None else library.encode([row["prefix"]])[0] for row in rows])
    query = unit(library.encode(["a red thing on blue"]))[0]
    cross, prefix = image @ query, unit(prefix) @ query
    at = {row["image_id"]: number for number, row in enumerate(rows)}
    for weight, expected in ((1.0, cross), (0.0, prefix), (None, 0.4 * cross + 0.6 * prefix)):
        hits = store.search(text="a red thing on blue", image_weight=weight, k=12)
        found = [at[hit.image_id] for hit in hits]
        np.testing.assert_allclose([hit.score for hit in hits], expected[found], atol=1e-4)
        np.testing.assert_allclose([hit.score for hit in hits], np.sort(expected)[::-1], atol=1e-4)
        np.testing.assert_allclose([hit.cross_score for hit in hits], cross[found], atol=1e-4)
