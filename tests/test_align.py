"""Alignment in a store: predicted prefixes find pictures without one, never replace a real one, and follow captions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from samples import draw, make_job

import fpve
from fpve.config import EncoderConfig, Encoders, FusionConfig, Job
from fpve.errors import AlignmentError
from fpve.pipeline import align as align_module
from fpve.pipeline.align import read_alignment
from fpve.store import tables
from fpve.store.snapshot import Snapshot

COUNT = 60


@pytest.fixture
def captioned(tmp_path: Path) -> Job:
    """A store of 60 pictures with captions of their own for all but every third."""
    folder = tmp_path / "many"
    for number in range(COUNT):
        draw(folder / f"{number:02d}.png", number)
    write_captions(folder, lambda number: number % 3 > 0)
    job = make_job(tmp_path / "store", folder)
    fpve.run(job)
    return job


def write_captions(folder: Path, has: object) -> None:
    """Write the metadata file, with captions for the pictures that `has` holds for."""
    lines = [f"{number:02d}.png,{f'caption {number}' if has(number) else ''}" for number in range(COUNT)]  # type: ignore[operator]
    (folder / "metadata.csv").write_text("path,caption\n" + "\n".join(lines) + "\n", encoding="utf-8")


def predictions(store: Path) -> dict[str, np.ndarray]:
    """Predicted prefix blocks by content hash."""
    rows = Snapshot.open(store).table(tables.PREDICTED).to_pylist()
    return {row["content_hash"]: np.array(row["vector"], np.float32) for row in rows}


def test_a_text_reaches_pictures_without_a_prefix(captioned: Job) -> None:
    """They are found by what is predicted of them, flagged, with the score that the formula says; others as before."""
    before = fpve.open(captioned.store).search(text="caption 7", k=COUNT)
    assert "prefix_predicted" not in before.to_arrow().column_names
    found = fpve.align(captioned.store)
    assert (found.predicted, found.rows, found.prefixes, found.published) == (20, 40, 40, True)
    assert set(found.recall) == set(found.ridge) == set(found.chance) == {"1", "5", "10"}
    assert all(0 <= share <= 1 for one in (found.recall, found.ridge, found.chance) for share in one.values())
    store = fpve.open(captioned.store)
    hits = store.search(text="caption 7", k=COUNT)
    real = {hit.image_id: hit.score for hit in before if hit.prefix is not None}
    query = store.encode_texts(["caption 7"])[0]
    content = dict(zip(*(store.images[name].to_pylist() for name in ("image_id", "content_hash")), strict=True))
    guessed = predictions(captioned.store)
    assert len(hits) == COUNT
    for hit in hits:
        assert hit.prefix_predicted == (hit.prefix is None)
        if hit.prefix_predicted:
            block = guessed[content[hit.image_id]]
            assert hit.score == pytest.approx(float(query @ block) / np.linalg.norm(query), abs=1e-5)
            assert hit.prefix_score == pytest.approx(hit.score / np.linalg.norm(block), abs=1e-5)
        else:
            assert hit.score == pytest.approx(real[hit.image_id], abs=1e-6)
    assert fpve.verify(captioned.store).ok


def test_queries_by_picture_are_as_before(captioned: Job) -> None:
    """At weight 1 no prediction counts, nor does one in evaluation or classification."""
    store = fpve.open(captioned.store)
    before = store.search(id="pets/07.png", image_weight=1, k=COUNT).to_arrow()
    fpve.align(captioned.store)
    store.refresh()
    after = store.search(id="pets/07.png", image_weight=1, k=COUNT).to_arrow()
    assert after["image_id"].equals(before["image_id"])
    np.testing.assert_allclose(after["score"], before["score"], atol=1e-6)


def test_predictions_are_those_of_the_map(captioned: Job) -> None:
    """What is stored is the map's own prediction, at the length that was fitted; the map is read back to the bit."""
    fpve.align(captioned.store)
    snapshot = Snapshot.open(captioned.store)
    alignment = read_alignment(snapshot)
    found = predictions(captioned.store)
    for segment in snapshot.manifest.segments:
        keys, rows = snapshot.segment_keys(segment), snapshot.segment_rows(segment)
        units = snapshot.fusion.units(rows.vectors)
        for at, (content, norm) in enumerate(zip(keys["content_hash"].to_pylist(), rows.prefix_norm, strict=True)):
            if norm == 0:
                expected = alignment.predict(units.image[at : at + 1])[0] * alignment.norm
                np.testing.assert_allclose(found[content], expected, atol=1e-6)


def test_a_run_predicts_for_new_pictures(captioned: Job) -> None:
    """The map stays while captions hardly change; a new picture without one gets a prediction in the run."""
    fpve.align(captioned.store)
    before, then = Snapshot.open(captioned.store).manifest.alignment, predictions(captioned.store)
    draw(captioned.collections[0].source / "new.png", 1000)
    fpve.run(captioned)
    after = predictions(captioned.store)
    assert Snapshot.open(captioned.store).manifest.alignment == before
    assert len(after) == 21
    assert all(np.array_equal(after[name], block) for name, block in then.items())
    assert not fpve.run(captioned).published
    assert fpve.verify(captioned.store).ok


def test_it_follows_captions_as_they_arrive(captioned: Job) -> None:
    """A picture that gets a caption is found by that, and with a quarter more of them the map is learnt anew."""
    fpve.align(captioned.store)
    write_captions(captioned.collections[0].source, lambda number: number % 3 > 0 or number < 3)
    fpve.run(captioned)
    assert Snapshot.open(captioned.store).manifest.alignment.rows == 40
    hit = fpve.open(captioned.store).search(text="caption 0", k=1)[0]
    assert (hit.image_id, hit.prefix_predicted) == ("pets/00.png", False)
    write_captions(captioned.collections[0].source, lambda number: number % 3 > 0 or number < 36)
    fpve.run(captioned)
    ref = Snapshot.open(captioned.store).manifest.alignment
    assert (ref.rows, ref.prefixes, ref.snapshot) == (52, 52, 4)
    assert len(predictions(captioned.store)) == 8
    assert fpve.verify(captioned.store).ok


def test_it_can_be_turned_off(captioned: Job) -> None:
    """The store answers as it did before, and later runs predict nothing."""
    store = fpve.open(captioned.store)
    before = store.search(text="caption 7", k=COUNT).to_arrow()
    fpve.align(captioned.store)
    assert fpve.align(captioned.store, off=True).predicted == 0
    store.refresh()
    assert store.search(text="caption 7", k=COUNT).to_arrow().equals(before)
    assert store.status().alignment == {}
    assert fpve.verify(captioned.store).ok


def test_it_is_fitted_once_to_the_same(captioned: Job) -> None:
    """A second time changes nothing, and publishes nothing."""
    fpve.align(captioned.store)
    again = fpve.align(captioned.store)
    assert (again.published, again.predicted, again.snapshot) == (False, 20, 2)


def test_too_few_captions_are_told(tmp_path: Path, job: Job) -> None:
    """One line with what was found and what to do; nothing is published."""
    fpve.run(job)
    with pytest.raises(AlignmentError, match="expected at least 20 pictures with prefixes of their own"):
        fpve.align(job.store)
    bare = Job(
        name="pets",
        store=tmp_path / "bare",
        encoders=Encoders(image=EncoderConfig("fake:24"), text=EncoderConfig("none")),
        collections=make_job(tmp_path, job.collections[0].source, prefix=None).collections,
    )
    fpve.run(bare)
    with pytest.raises(AlignmentError, match="encodes no texts"):
        fpve.align(bare.store)
    assert fpve.open(job.store).snapshot == 1


def test_another_encoder_learns_anew(captioned: Job) -> None:
    """Predictions of the old vectors go with them, and the run that re-encodes fits the map to the new ones."""
    fpve.align(captioned.store)
    old = Snapshot.open(captioned.store).manifest.alignment
    other = Job(
        name="pets",
        store=captioned.store,
        encoders=Encoders(image=EncoderConfig("fake:32"), text=EncoderConfig("fake:16")),
        collections=captioned.collections,
    )
    fpve.run(other)
    snapshot = Snapshot.open(captioned.store)
    assert read_alignment(snapshot).landmarks.shape == (40, 32)
    assert snapshot.manifest.alignment.snapshot > old.snapshot
    assert len(predictions(captioned.store)) == 20
    assert fpve.verify(captioned.store).ok


def test_it_goes_with_centring(captioned: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a centred store predictions are centred as prefixes are, and all that is published is whole."""
    monkeypatch.setattr("fpve.store.means.MIN_BLOCKS", 10)
    centred = Job(
        name="pets",
        store=captioned.store,
        encoders=captioned.encoders,
        fusion=FusionConfig(centre=True),
        collections=captioned.collections,
    )
    fpve.run(centred)
    fpve.align(captioned.store)
    snapshot = Snapshot.open(captioned.store)
    assert snapshot.centre is not None
    store = fpve.open(captioned.store)
    query = store.encode_texts(["caption 7"])[0]
    mean = snapshot.centre.prefix
    query = query / np.linalg.norm(query) - mean
    content = dict(zip(*(store.images[name].to_pylist() for name in ("image_id", "content_hash")), strict=True))
    guessed = predictions(captioned.store)
    for hit in store.search(text="caption 7", k=COUNT):
        if hit.prefix_predicted:
            block = guessed[content[hit.image_id]]
            length = np.linalg.norm(block)
            moved = block / length - mean
            expected = float(query @ moved) / np.linalg.norm(query) / np.linalg.norm(moved)
            assert hit.prefix_score == pytest.approx(expected, abs=1e-5)
            assert hit.score == pytest.approx(expected * length, abs=1e-5)
    assert fpve.verify(captioned.store).ok


def test_rows_to_learn_from_are_bounded(captioned: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more captioned pictures than that as many are drawn, always the same."""
    monkeypatch.setattr(align_module, "MAX_ROWS", 30)
    first, groups = align_module.learning_rows(Snapshot.open(captioned.store))
    again, _ = align_module.learning_rows(Snapshot.open(captioned.store))
    assert (first.image.shape, first.prefix.shape, len(np.unique(groups))) == ((30, 24), (30, 16), 30)
    np.testing.assert_array_equal(first.image, again.image)
