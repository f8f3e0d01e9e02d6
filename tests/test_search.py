"""Search, against a NumPy reference that knows nothing of FAISS, segments or shared vectors."""

from __future__ import annotations

import copy
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from maintenance.derived import guesses, predict
from own_encoders import Words
from samples import FAKE, KINDS, draw, make_job

import fpve
from fpve import images
from fpve.config import EncoderConfig, Encoders, FusionConfig, Job
from fpve.encoders import open_image_encoder, open_text_encoder
from fpve.errors import ImageError, ImageNotFound, QueryError
from fpve.fusion import Blocks, Fusion, Mode
from fpve.search import Searcher
from fpve.store import means, tables
from fpve.store.snapshot import Snapshot

WEIGHTS = [0.0, 0.1, 0.25, 0.5, 0.8, 1.0]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """60 images: half without prefix, prefixes that repeat, copies of pictures, several segments, dead rows."""
    root = tmp_path_factory.mktemp("search")
    source = root / "pictures"
    lines = ["path,caption,kind"]
    for number in range(60):
        kind = KINDS[number % 3]
        path = f"{kind}/{number:02d}.png"
        # 9 has a caption, its original 6 has none; 18 and 12, 48 and 42 have none, and share their vectors.
        if (original := {9: 6, 18: 12, 29: 24, 48: 42}.get(number)) is not None:
            shutil.copy(source / f"{KINDS[original % 3]}/{original:02d}.png", source / path)
        else:
            draw(source / path, number)
        lines.append(f"{path},{f'{kind} number {number // 8}' if number % 2 else ''},{kind}")
        if number in (19, 39, 59):
            (source / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
            fpve.run(make_job(root / "store", source))
    # Some captions change, so that their old vectors are dead.
    (source / "metadata.csv").write_text("\n".join(lines).replace("cat number 1", "a tabby") + "\n", encoding="utf-8")
    job = make_job(root / "store", source)
    fpve.run(job)
    return job


@pytest.fixture(scope="module")
def store(job: Job) -> fpve.Store:
    """The store, open."""
    return fpve.open(job.store)


class Reference:
    """Blocks of every image, encoded anew, and the scores that the formula gives."""

    def __init__(self, job: Job) -> None:
        self.store = job.store
        self.rows = fpve.open(job.store).images.to_pylist()
        self.ids = [row["image_id"] for row in self.rows]
        image, text = open_image_encoder(FAKE.image), open_text_encoder(FAKE.text)
        pictures = [images.decode(Path(row["path"]).read_bytes()).image for row in self.rows]
        self.image = _unit(image.encode(np.stack([image.prepare(picture) for picture in pictures])))
        self.prefix = np.stack(
            [
                np.zeros(16, np.float32) if row["prefix"] is None else text.encode([row["prefix"]])[0]
                for row in self.rows
            ]
        )
        self.prefix = _unit(self.prefix)
        self.raw = (self.image, self.prefix)
        # Prefix blocks of queries are real ones; those that they are compared with can be predicted.
        self.compared = self.prefix

    def centred(self) -> Reference:
        """The same with the blocks less the means that the store says, and predicted ones of their lengths."""
        found = copy.copy(self)
        snapshot = Snapshot.open(self.store)
        mean = {row["block"]: np.array(row["mean"]) for row in snapshot.table(tables.MEANS).to_pylist()}
        guess = {row["content_hash"]: np.array(row["vector"]) for row in snapshot.table(tables.PREDICTED).to_pylist()}
        found.image, found.prefix = (_less(block, mean[name]) for name, block in zip(mean, self.raw, strict=True))
        found.compared = found.prefix.copy()
        for at, row in enumerate(self.rows):
            if row["prefix"] is None and row["content_hash"] in guess:
                block = guess[row["content_hash"]]
                found.compared[at] = np.linalg.norm(block) * _less(_unit(block[None]), mean["prefix"])[0]
        return found

    def scores(self, image: np.ndarray, prefix: np.ndarray, weight: float) -> np.ndarray:
        """A cos_image + (1 - A) cos_prefix with every image; a missing cosine counts 0."""
        return weight * self.image @ image + (1 - weight) * self.compared @ prefix


@pytest.fixture(scope="module")
def reference(job: Job) -> Reference:
    """The reference for the store."""
    return Reference(job)


def test_the_store_is_as_awkward_as_intended(store: fpve.Store) -> None:
    """The fixture has several segments, dead vectors, shared vectors and rows without prefix."""
    status = store.status()
    manifest = Snapshot.open(store.path).manifest
    assert len(manifest.segments) > 3
    places = {(row["segment"], row["row"]) for row in store.images.to_pylist()}
    assert len(places) < status.images == 60
    assert status.vectors > len(places)
    assert status.collections[0].with_prefix == 30


@pytest.mark.parametrize("weight", WEIGHTS)
def test_every_query_by_id_ranks_as_numpy_does(store: fpve.Store, reference: Reference, weight: float) -> None:
    """For every image as a query, at any weight, hits and scores are the reference's; equal scores are ties."""
    found = store.search(ids=reference.ids, image_weight=weight, k=12)
    for at, hits in enumerate(found):
        scores = reference.scores(reference.image[at], reference.prefix[at], weight)
        _assert_ranks_as(hits, reference, np.delete(scores, at), np.delete(np.arange(60), at), k=12)


def test_a_batch_answers_as_single_queries_do(store: fpve.Store, reference: Reference) -> None:
    """Each query of a batch has the weight that it would have alone: 1 where its row has no prefix."""
    for one, hits in zip(reference.ids, store.search(ids=reference.ids, k=5), strict=True):
        alone = store.search(id=one, k=5)
        assert [hit.image_id for hit in hits] == [hit.image_id for hit in alone]
        np.testing.assert_allclose([hit.score for hit in hits], [hit.score for hit in alone], atol=1e-6)
    assert store.search(ids=[]) == store.search(texts=[]) == store.search(images=[]) == []


def test_scores_are_the_weighted_cosines(store: fpve.Store) -> None:
    """A hit's score is A image_score + (1 - A) prefix_score; a cosine is null where either side lacks the block."""
    hits = store.search(id="pets/dog/01.png", image_weight=0.3, k=59)
    for hit in hits:
        assert hit.score == pytest.approx(0.3 * (hit.image_score or 0) + 0.7 * (hit.prefix_score or 0), abs=1e-4)
        assert (hit.prefix_score is None) == (hit.prefix is None)
    assert {hit.prefix_score for hit in store.search(id="pets/cat/00.png", image_weight=1, k=59)} == {None}


def test_picture_text_and_both_agree_with_the_reference(job: Job, store: fpve.Store, reference: Reference) -> None:
    """A file, a text, and both are encoded as the rows were; the weight defaults to 1, 0 and the store's own."""
    file = job.collections[0].source / "dog/01.png"
    at = reference.ids.index("pets/dog/01.png")
    text = _unit(open_text_encoder(FAKE.text).encode(["cat number 3"]))[0]
    every = np.arange(60)
    nothing = np.zeros(16, np.float32)
    _assert_ranks_as(
        store.search(image=file, k=60), reference, reference.scores(reference.image[at], nothing, 1), every
    )
    no_image = np.zeros(24, np.float32)
    _assert_ranks_as(store.search(text="cat number 3", k=60), reference, reference.scores(no_image, text, 0), every)
    both = reference.scores(reference.image[at], text, 0.5)
    _assert_ranks_as(store.search(image=file, text="cat number 3", k=60), reference, both, every)
    hit = store.search(image=file, k=1)[0]
    assert (hit.image_id, hit.path) == ("pets/dog/01.png", str(file))
    assert hit.score == pytest.approx(1, abs=1e-5)
    assert store.search(image=file.read_bytes(), k=1)[0] == hit


def test_ties_are_broken_by_image_id(store: fpve.Store) -> None:
    """Images with the same prefix are equal to a text; they come in the order of their ids, whatever k is."""
    every = store.search(text="dog number 1", k=60)
    keys = [(-round(hit.score, 6), hit.image_id) for hit in every]
    assert keys == sorted(keys)
    for k in (1, 2, 5, 33):
        assert [hit.image_id for hit in store.search(text="dog number 1", k=k)] == [hit.image_id for hit in every[:k]]


def test_a_filter_never_loses_a_match(store: fpve.Store, reference: Reference) -> None:
    """With a condition, the hits are the best of exactly the rows that meet it; all of them if that is fewer than k."""
    rows = np.array([at for at, row in enumerate(reference.rows) if row["kind"] == "cat" and row["prefix"] is None])
    at = reference.ids.index("pets/bird/05.png")
    scores = reference.scores(reference.image[at], reference.prefix[at], 0.5)
    hits = store.search(id="pets/bird/05.png", k=100, where="kind = 'cat' AND prefix IS NULL -- a comment")
    _assert_ranks_as(hits, reference, scores[rows], rows)
    assert len(hits) == 10
    assert len(store.search(id="pets/bird/05.png", where="false")) == 0


def test_an_image_does_not_find_itself_but_finds_its_copies(store: fpve.Store) -> None:
    """A query by id leaves out the image, not others with the same content."""
    ids = [hit.image_id for hit in store.search(id="pets/cat/06.png", image_weight=1, k=59)]
    assert "pets/cat/06.png" not in ids
    assert len(ids) == 59
    assert ids[0] == "pets/cat/09.png"


@pytest.mark.parametrize("mode", ["balanced", "concat"])
def test_vector_queries(job: Job, tmp_path: Path, mode: Mode) -> None:
    """A row's own fused vector finds that row with score 1; an image block alone ranks by picture."""
    other = replace(job, store=tmp_path / "store", fusion=FusionConfig(mode=mode))
    fpve.run(other)
    store = fpve.open(other.store)
    vectors = store.sql("SELECT image_id, vector FROM vectors JOIN images USING (image_id) WHERE prefix IS NOT NULL")
    fused = np.array(vectors["vector"].to_pylist(), np.float32)
    for hits, row in zip(store.search(vectors=fused, k=3), vectors.to_pylist(), strict=True):
        assert hits[0].score == pytest.approx(1, abs=1e-5)
        assert row["image_id"] in [hit.image_id for hit in hits if hit.score > 1 - 1e-5]
    by_picture = store.search(vector=fused[0, :24], k=5).to_arrow()["image_id"]
    assert by_picture == store.search(vector=fused[0], image_weight=1, k=5).to_arrow()["image_id"]


def test_many_threads_get_the_same_answers(job: Job) -> None:
    """A fresh store searched from eight threads at once answers each as a single thread would."""
    store = fpve.open(job.store)
    ids = [row["image_id"] for row in fpve.open(job.store).images.to_pylist()][:16]
    expected = {one: fpve.open(job.store).search(id=one).to_arrow() for one in ids}
    wrong: list[str] = []

    def ask(mine: list[str]) -> None:
        wrong.extend(one for one in mine if store.search(id=one).to_arrow() != expected[one])

    threads = [threading.Thread(target=ask, args=(ids[at:] + ids[:at],)) for at in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_refresh_moves_on_to_the_newest_snapshot(tmp_path: Path, pictures: Path) -> None:
    """An open store stays at its snapshot until it is refreshed; an older one can be opened by number."""
    job = make_job(tmp_path / "store", pictures)
    fpve.run(job)
    store = fpve.open(job.store)
    draw(pictures / "cat/new.png", 77)
    fpve.run(job)
    assert (len(store.images), store.refresh(), len(store.images), store.refresh()) == (12, True, 13, False)
    assert len(fpve.open(job.store, at=1).images) == 12


@pytest.mark.parametrize(
    ("query", "error", "message"),
    [
        ({}, QueryError, "expected a picture, a text, both, an id or a vector, found none"),
        ({"id": "pets/cat/00.png", "text": "x"}, QueryError, "found ids and texts"),
        ({"id": "pets/cat/0.png"}, ImageNotFound, "no image 'pets/cat/0.png' .* did you mean"),
        ({"id": "x" * 100_000}, ImageNotFound, "no image in .* has an id of 100,000 characters"),
        ({"text": "x", "k": 0}, QueryError, "k: expected at least 1, found 0"),
        ({"text": "x", "image_weight": 1.5}, QueryError, "from 0 .text only. to 1 .picture only., found 1.5"),
        ({"text": "x", "image_weight": 1}, QueryError, "ranks by the picture alone, but the query has no picture"),
        ({"image": b"x", "image_weight": 0}, QueryError, "ranks by the text alone, but the query has no text"),
        ({"text": " "}, QueryError, "expected words, found an empty text"),
        ({"texts": "cat"}, QueryError, "texts: expected a list, found 'cat'"),
        ({"text": "x", "where": "true) UNION ALL SELECT 10000 WHERE (true"}, QueryError, "where: "),
        ({"text": "x", "where": ""}, QueryError, "where: "),
        ({"text": "x", "where": "nonsense ="}, QueryError, "where: "),
        ({"text": "x", "where": "kindd = 'cat'"}, QueryError, "where: .*kindd"),
        ({"text": "x", "where": "true); SELECT (1"}, QueryError, "where: "),
        ({"image": "missing.png"}, ImageError, "missing.png: no such file"),
        ({"image": "/"}, ImageError, "/: expected a picture, found a folder; --queries takes one"),
        ({"image": b"text"}, ImageError, "not a picture"),
        ({"vector": np.ones(7)}, QueryError, r"expected 40 numbers \(24 of the image, 16 of the prefix\).* found 7"),
        ({"vector": np.zeros(40)}, QueryError, "not all zero"),
        ({"vectors": np.ones(40)}, QueryError, r"expected a matrix \(m, 40\), found an array of shape \(40,\)$"),
        ({"images": [b""], "texts": ["a", "b"]}, QueryError, "as many texts as pictures, found 2 and 1"),
        ({"text": "x", "ids": ["y"]}, QueryError, "one query or several"),
    ],
)
def test_wrong_queries_are_refused(store: fpve.Store, query: dict, error: type[Exception], message: str) -> None:
    """A query that can't be answered raises an error that says why, in one line."""
    with pytest.raises(error, match=message) as caught:
        store.search(**query)
    assert "\n" not in str(caught.value)


def test_text_against_a_store_without_prefixes_names_the_remedies(tmp_path: Path, pictures: Path) -> None:
    """Nothing could be compared with the text, so the error says what would help."""
    job = make_job(tmp_path / "store", pictures, prefix=None)
    fpve.run(job)
    with pytest.raises(QueryError, match=r"no image has a prefix .* prefix such as .*, or search by picture"):
        fpve.open(job.store).search(text="a cat")


# Centred stores

TENTHS = [number / 10 for number in range(11)]


@pytest.fixture(scope="module", params=["real", "predicted"])
def centred_job(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """66 images, a third of them without prefix, in a centred store of several segments, with predictions or not."""
    root = tmp_path_factory.mktemp("centred")
    source = root / "pictures"
    lines = ["path,caption,kind"]
    job = replace(make_job(root / "store", source), fusion=FusionConfig(centre=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(means, "MIN_BLOCKS", 14)
        # What comes after that is centred by means that it had no part in.
        patch.setattr(means, "GROWTH", 10)
        for number in range(66):
            kind = KINDS[number // 3 % 3]
            draw(source / f"{kind}/{number:02d}.png", number)
            lines.append(f"{kind}/{number:02d}.png,{f'{kind} number {number // 2}' if number % 3 else ''},{kind}")
            if number in (30, 50, 65):
                (source / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
                fpve.run(job)
    if request.param == "predicted":
        found = guesses(Snapshot.open(job.store))
        # One has none.
        found.popitem()
        predict(job.store, found)
    return job


@pytest.fixture(scope="module")
def centred(centred_job: Job) -> fpve.Store:
    """The centred store, open."""
    return fpve.open(centred_job.store)


@pytest.fixture(scope="module")
def compared(centred_job: Job) -> Reference:
    """The reference for the centred store."""
    return Reference(centred_job).centred()


def test_the_centred_store_is_as_awkward_as_intended(centred: fpve.Store, compared: Reference) -> None:
    """It has several segments, both means, and no prefix for a third of its rows."""
    snapshot = Snapshot.open(centred.path)
    assert len(snapshot.manifest.segments) == 3
    assert (snapshot.manifest.fusion.centred.pictures, snapshot.manifest.fusion.centred.prefixes) == (31, 15)
    assert [row["prefix"] is None for row in compared.rows].count(True) == 22
    assert np.any(compared.compared, axis=1).sum() in (44, 65)


@pytest.mark.parametrize("weight", TENTHS)
def test_a_centred_store_ranks_as_numpy_does(centred: fpve.Store, compared: Reference, weight: float) -> None:
    """For every image as a query, at any weight, hits and scores are those of centred blocks; equal scores are ties."""
    found = centred.search(ids=compared.ids, image_weight=weight, k=65)
    for at, hits in enumerate(found):
        scores = compared.scores(compared.image[at], compared.prefix[at], weight)
        _assert_ranks_as(hits, compared, np.delete(scores, at), np.delete(np.arange(66), at), k=65)


@pytest.mark.parametrize("weight", TENTHS)
def test_pictures_and_texts_are_centred_as_rows_are(
    centred_job: Job, centred: fpve.Store, compared: Reference, weight: float
) -> None:
    """A picture, a text and both rank as NumPy does on centred blocks, at any weight that leaves something of them."""
    mean = {row["block"]: row["mean"] for row in Snapshot.open(centred.path).table(tables.MEANS).to_pylist()}
    text = _less(_unit(open_text_encoder(FAKE.text).encode(["dog number 3"])), np.array(mean["prefix"]))[0]
    at = compared.ids.index("pets/dog/03.png")
    file = centred_job.collections[0].source / "dog/03.png"
    nothing = (np.zeros(24), np.zeros(16))
    asked = [({"image": file}, compared.image[at], nothing[1])] if weight else []
    asked += [({"text": "dog number 3"}, nothing[0], text)] if weight < 1 else []
    asked += [({"image": file, "text": "dog number 3"}, compared.image[at], text)]
    for query, image, prefix in asked:
        hits = centred.search(**query, image_weight=weight, k=66)
        _assert_ranks_as(hits, compared, compared.scores(image, prefix, weight), np.arange(66), k=66)


def test_cosines_of_hits_are_those_of_centred_blocks(centred: fpve.Store, compared: Reference) -> None:
    """A predicted prefix has a whole cosine, and says that it is predicted; a missing one has none."""
    at = compared.ids.index("pets/cat/02.png")
    is_predicted = Snapshot.open(centred.path).has_predictions
    for hit in centred.search(id="pets/cat/02.png", image_weight=0.5, k=65):
        row = compared.ids.index(hit.image_id)
        assert hit.image_score == pytest.approx(compared.image[at] @ compared.image[row], abs=1e-5)
        length = np.linalg.norm(compared.compared[row])
        if length:
            cosine = compared.compared[row] @ compared.prefix[at] / length
            assert hit.prefix_score == pytest.approx(cosine, abs=1e-5)
        else:
            assert hit.prefix_score is None
        if is_predicted:
            assert hit.prefix_predicted == (hit.prefix is None and length > 0)


def test_raw_blocks_are_read_from_a_centred_store(centred: fpve.Store, compared: Reference) -> None:
    """What the index holds is centred; the blocks that queries by id are made of are what the encoders gave."""
    searcher = Searcher(Snapshot.open(centred.path))
    found = searcher.blocks_of(np.arange(66))
    np.testing.assert_allclose(_unit(found.image), compared.raw[0], atol=1e-5)
    np.testing.assert_allclose(found.prefix, compared.raw[1], atol=1e-5)
    near = searcher.variant(centred=False).nearest(found, image_weight=1, k=5)
    raw = np.einsum("td,td->t", compared.raw[0][near.query], compared.raw[0][near.row])
    np.testing.assert_allclose(near.image_score, raw, atol=1e-5)


def test_one_store_is_compared_in_other_ways(centred: fpve.Store, centred_job: Job, compared: Reference) -> None:
    """Raw or centred, with predictions or real blocks only, balanced or not, as a store made so would answer."""
    searcher = Searcher(Snapshot.open(centred.path))
    blocks = searcher.blocks_of(np.arange(66))
    raw = Reference(centred_job)
    real = copy.copy(compared)
    real.compared = real.prefix
    for options, reference in (({"centred": False, "predicted": False}, raw), ({"predicted": False}, real)):
        variant = searcher.variant(**options)
        assert variant is searcher.variant(**options)
        found = variant.nearest(blocks, image_weight=0.4, k=66)
        expected = np.stack([reference.scores(reference.image[at], reference.prefix[at], 0.4) for at in range(66)])
        np.testing.assert_allclose(found.score, expected[found.query, found.row], atol=1e-4)
        np.testing.assert_allclose(found.score.reshape(66, 66), -np.sort(-expected, axis=1), atol=1e-4)
    assert searcher.variant(centred=True) is searcher
    bare = searcher.variant(mode="concat", predicted=False)
    assert bare.fusion == Fusion(24, 16, "concat")
    joined = Fusion(24, 16, "concat").fuse(*blocks).vectors
    found = bare.nearest(blocks, image_weight=0.5, k=66)
    np.testing.assert_allclose(found.score, (joined @ joined.T)[found.query, found.row], atol=1e-5)


def test_an_uncentred_store_is_compared_centred(store: fpve.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the means that it would have, fitted over what it holds; a store with too little stays raw."""
    searcher = Searcher(Snapshot.open(store.path))
    assert searcher.variant(centred=True).fusion.centre is None
    monkeypatch.setattr(means, "MIN_BLOCKS", 10)
    searcher = Searcher(Snapshot.open(store.path))
    variant = searcher.variant(centred=True)
    fitted = means.fit(searcher.snapshot)
    assert variant.fusion.centre == means.centre_of(fitted)
    blocks = searcher.blocks_of(np.arange(60))
    image, prefix = (
        _less(_unit(block), fitted[name].values) for name, block in zip(("image", "prefix"), blocks, strict=True)
    )
    found = variant.nearest(blocks, image_weight=0.3, k=60)
    expected = 0.3 * image @ image.T + 0.7 * prefix @ prefix.T
    np.testing.assert_allclose(found.score, expected[found.query, found.row], atol=1e-4)


def test_texts_across_one_space_are_centred_as_texts(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a space of pictures and texts a query's text is less the mean of texts, and pictures less that of pictures."""
    monkeypatch.setattr(means, "MIN_BLOCKS", 4)
    captions = ["red", "green", "blue yellow", "white", "", "yellow"]
    names = sorted(path.relative_to(pictures).as_posix() for path in pictures.rglob("*.png"))
    lines = [f"{name},{captions[at % 6]}" for at, name in enumerate(names)]
    (pictures / "metadata.csv").write_text("\n".join(["path,caption", *lines]) + "\n", encoding="utf-8")
    own = Encoders(image=EncoderConfig("python:own_encoders:Colours"), text=EncoderConfig("python:own_encoders:Words"))
    job = replace(make_job(tmp_path / "store", pictures), encoders=own, fusion=FusionConfig(centre=True))
    fpve.run(job)
    searcher = Searcher(Snapshot.open(job.store))
    centre = searcher.fusion.centre
    raw = searcher.blocks_of(np.arange(12))
    text = Words().encode(["red yellow"]).astype(np.float32)
    found = searcher.nearest(Blocks(text, text), image_weight=0.3, k=12, across=True)
    query = _less(_unit(text), centre.prefix)[0]
    image, prefix = _less(_unit(raw.image), centre.image), _less(_unit(raw.prefix), centre.prefix)
    np.testing.assert_allclose(found.image_score, (image @ query)[found.row], atol=1e-5)
    np.testing.assert_allclose(found.score, (0.3 * image @ query + 0.7 * prefix @ query)[found.row], atol=1e-5)
    assert np.array_equal(found.score, -np.sort(-found.score))
    # A picture of the same embedding is another query.
    other = searcher.nearest(Blocks(text, text), image_weight=0.3, k=12)
    assert not np.allclose(
        other.image_score[np.argsort(other.row)], found.image_score[np.argsort(found.row)], atol=1e-2
    )


def _less(blocks: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Unit blocks less a mean, of length one again; missing ones stay zero."""
    return _unit(np.where(np.any(blocks, axis=1)[:, None], blocks - mean, 0))


def _unit(rows: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norm > 0, norm, 1)


def _assert_ranks_as(
    hits: fpve.Hits, reference: Reference, scores: np.ndarray, rows: np.ndarray, *, k: int = 60
) -> None:
    """The hits have the reference's best scores, in order, and each the score that the reference gives it."""
    assert len(hits) == min(k, len(scores))
    best = np.sort(scores)[::-1][: len(hits)]
    np.testing.assert_allclose([hit.score for hit in hits], best, atol=1e-4)
    mine = {reference.ids[row]: score for row, score in zip(rows, scores, strict=True)}
    np.testing.assert_allclose([mine[hit.image_id] for hit in hits], best, atol=1e-4)
    assert len({hit.image_id for hit in hits}) == len(hits)
