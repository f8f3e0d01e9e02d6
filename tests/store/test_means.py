"""Means: fitted once over what a store holds, then frozen, whatever comes and goes."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from samples import FAKE, draw, make_job

import fpve
from fpve import images
from fpve.config import EncoderConfig, FusionConfig, Job
from fpve.encoders import open_image_encoder, open_text_encoder
from fpve.engines import shards
from fpve.errors import StoreCorrupt
from fpve.store import manifest as manifests
from fpve.store import means, tables
from fpve.store.encoding import CentreRef
from fpve.store.means import Mean
from fpve.store.snapshot import Snapshot

IMAGE, TEXT = open_image_encoder(FAKE.image), open_text_encoder(FAKE.text)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of five rows, and means of six blocks."""
    monkeypatch.setattr(shards, "SHARD_ROWS", 5)
    monkeypatch.setattr(means, "MIN_BLOCKS", 6)


@pytest.fixture
def job(tmp_path: Path, pictures: Path) -> Job:
    """A job over twelve pictures, six of them with captions, whose store is to be centred."""
    return centred(make_job(tmp_path / "store", pictures))


def centred(job: Job, *, centre: bool = True) -> Job:
    """The same job with or without centring."""
    return replace(job, fusion=replace(job.fusion, centre=centre))


def mean_of(blocks: list[np.ndarray]) -> np.ndarray:
    """The mean of unit blocks."""
    return np.mean([block / np.linalg.norm(block) for block in blocks], axis=0)


def expected_image_mean(store: Path) -> np.ndarray:
    """The mean over the distinct pictures of a store, each encoded anew."""
    files = {row["content_hash"]: Path(row["path"]) for row in Snapshot.open(store).images.to_pylist()}
    pictures = [images.decode(files[name].read_bytes()).image for name in sorted(files)]
    return mean_of([IMAGE.encode(IMAGE.prepare(picture)[None])[0] for picture in pictures])


def expected_prefix_mean(store: Path) -> np.ndarray:
    """The mean over the distinct prefixes of a store, each embedded anew."""
    texts = {row["prefix"] for row in Snapshot.open(store).images.to_pylist()} - {None}
    return mean_of([TEXT.encode([text])[0] for text in sorted(texts)])


def recaption(folder: Path, captions: dict[str, str]) -> None:
    """Give pictures, by path, these captions."""
    lines = (folder / "metadata.csv").read_text().splitlines()
    rows = {line.split(",")[0]: line.split(",") for line in lines[1:]}
    for path, caption in captions.items():
        rows[path] = [path, caption, *rows.get(path, ["", "", "cat", "1"])[2:]]
    (folder / "metadata.csv").write_text("\n".join([lines[0], *map(",".join, rows.values())]) + "\n")


def test_means_are_those_of_distinct_living_blocks(job: Job, pictures: Path) -> None:
    """A copy counts once, a prefix that several images share once, and a vector that no image names not at all."""
    fpve.run(centred(job, centre=False))
    shutil.copy(pictures / "cat/00.png", pictures / "cat/copy.png")
    shutil.copy(pictures / "cat/00.png", pictures / "cat/another.png")
    # An image of the same content has two vectors then, one of them with a prefix that others have.
    recaption(pictures, {"cat/copy.png": "cat number 6", "dog/01.png": "cat number 6", "bird/02.png": "a parrot"})
    (pictures / "bird/11.png").unlink()
    fpve.run(centred(job, centre=False))
    snapshot = Snapshot.open(job.store)
    assert sum(one.rows for one in snapshot.manifest.segments) > len(snapshot.images)
    found = means.fit(snapshot)
    assert {name: one.rows for name, one in found.items()} == {"image": 11, "prefix": 6}
    np.testing.assert_allclose(found["image"].values, expected_image_mean(job.store), atol=1e-6)
    np.testing.assert_allclose(found["prefix"].values, expected_prefix_mean(job.store), atol=1e-6)
    assert found["image"].values.dtype == np.float32
    # Merged, rows are elsewhere, in parts of one file, and dead ones are gone.
    fpve.compact(job.store)
    for name, one in means.fit(Snapshot.open(job.store)).items():
        assert one.rows == found[name].rows
        np.testing.assert_allclose(one.values, found[name].values, atol=1e-6)


def test_a_centred_store_says_so(job: Job) -> None:
    """The first snapshot with enough has means, as a table and by version in its manifest, and indexes made by them."""
    fpve.run(job)
    snapshot = Snapshot.open(job.store)
    rows = {row["block"]: row for row in snapshot.table(tables.MEANS).to_pylist()}
    centre = snapshot.centre
    assert centre is not None
    assert snapshot.manifest.fusion.centred == CentreRef(centre.version, 12, 6, 1)
    np.testing.assert_allclose(rows["image"]["mean"], expected_image_mean(job.store), atol=1e-6)
    np.testing.assert_allclose(rows["prefix"]["mean"], expected_prefix_mean(job.store), atol=1e-6)
    assert [(row["rows"], row["version"]) for row in rows.values()] == [(12, centre.version), (6, centre.version)]
    assert np.array_equal(centre.image, np.array(rows["image"]["mean"], np.float32))
    assert all(one.derived[0].startswith("exact-") for one in snapshot.manifest.segments)
    # Rows themselves are raw.
    assert snapshot.fusion.centre is None
    assert fpve.run(job).published is False


def test_means_are_frozen(job: Job, pictures: Path) -> None:
    """Pictures and captions come and go, segments are merged, and vectors are centred by what was fitted before."""
    fpve.run(job)
    first = manifests.load(job.store)
    for number in range(6):
        draw(pictures / f"cat/new{number}.png", 100 + number)
        (pictures / f"{('cat', 'dog', 'bird')[number % 3]}/{number:02d}.png").unlink()
        # Five new prefixes for three that go: not half as many again.
        recaption(pictures, {f"cat/new{number}.png": f"something new {number}" if number else ""})
        fpve.run(job, allow_removals=True)
    fpve.compact(job.store)
    last = manifests.load(job.store)
    assert last.fusion.centred == first.fusion.centred
    assert last.tables_named(tables.MEANS) == first.tables_named(tables.MEANS)
    assert not np.allclose(expected_image_mean(job.store), Snapshot.open(job.store).centre.image, atol=1e-3)
    assert fpve.verify(job.store).ok


def test_means_are_fitted_again_when_a_store_has_grown(job: Job, pictures: Path) -> None:
    """With half as many pictures again their mean is that of all of them, in a version of its own; prefixes stay."""
    fpve.run(job)
    first = manifests.load(job.store).fusion.centred
    for number in range(5):
        draw(pictures / f"cat/new{number}.png", 100 + number)
    fpve.run(job)
    assert manifests.load(job.store).fusion.centred == first
    draw(pictures / "cat/new5.png", 105)
    fpve.run(job)
    last = manifests.load(job.store)
    assert (first.pictures, last.fusion.centred.pictures, last.fusion.centred.prefixes) == (12, 18, 6)
    assert last.fusion.centred.version != first.version
    np.testing.assert_allclose(Snapshot.open(job.store).centre.image, expected_image_mean(job.store), atol=1e-6)
    assert not fpve.run(job).published
    assert fpve.verify(job.store).ok


def test_a_block_of_which_there_are_too_few_is_centred_later(job: Job, pictures: Path) -> None:
    """Its mean is fitted in the first snapshot that has enough; the other stays, and so does when it was fitted."""
    recaption(pictures, {"cat/00.png": ""})
    fpve.run(job)
    early = Snapshot.open(job.store)
    assert (early.manifest.fusion.centred.pictures, early.manifest.fusion.centred.prefixes) == (12, 0)
    assert early.centre.prefix is None
    draw(pictures / "cat/new.png", 100)
    recaption(pictures, {"cat/new.png": "something new"})
    fpve.run(job)
    late = Snapshot.open(job.store)
    assert late.manifest.fusion.centred == CentreRef(late.centre.version, 12, 6, 2)
    assert late.centre.version != early.centre.version
    assert np.array_equal(late.centre.image, early.centre.image)
    np.testing.assert_allclose(late.centre.prefix, expected_prefix_mean(job.store), atol=1e-6)
    fitted = [{row["block"]: row["fitted_at"] for row in one.table(tables.MEANS).to_pylist()} for one in (early, late)]
    assert fitted[1]["image"] == fitted[0]["image"]
    # The indexes of both are there: neither reader is answered by the other's.
    assert not {name for one in early.manifest.segments for name in one.derived} & {
        name for one in late.manifest.segments for name in one.derived
    }
    assert fpve.verify(job.store).ok


def test_a_small_store_is_not_centred(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one picture less than is needed nothing is: its vectors are searched as they are stored, to the bit."""
    monkeypatch.setattr(means, "MIN_BLOCKS", 13)
    fpve.run(job)
    plain = centred(replace(job, store=job.store.with_name("plain")), centre=False)
    fpve.run(plain)
    snapshot = Snapshot.open(job.store)
    assert (snapshot.centre, snapshot.manifest.fusion.centred) == (None, None)
    assert snapshot.manifest.fusion.centre
    assert not snapshot.manifest.tables_named(tables.MEANS)
    assert {one.derived for one in snapshot.manifest.segments} == {("exact.faiss", "exact.faiss.sha256")}
    for weight in (0, 0.3, 1):
        mine, theirs = (
            fpve.open(one.store).search(id="pets/cat/00.png", image_weight=weight, k=12).to_arrow()
            for one in (job, plain)
        )
        assert mine.equals(theirs)


def test_the_bare_formula_is_never_centred(job: Job) -> None:
    """In `concat` the option has no effect."""
    fpve.run(replace(job, fusion=FusionConfig(mode="concat", centre=True)))
    assert Snapshot.open(job.store).centre is None


def test_centring_can_be_taken_back(job: Job) -> None:
    """Without the option there are no means, and the plain indexes; with it again they are fitted anew."""
    fpve.run(job)
    fpve.run(centred(job, centre=False))
    snapshot = Snapshot.open(job.store)
    assert (snapshot.centre, snapshot.manifest.tables_named(tables.MEANS)) == (None, ())
    assert {one.derived[0] for one in snapshot.manifest.segments} == {"exact.faiss"}
    assert fpve.run(job).encoded == 0
    assert manifests.load(job.store).fusion.centred == CentreRef(Snapshot.open(job.store, 1).centre.version, 12, 6, 3)
    assert fpve.verify(job.store).ok


def test_another_encoder_has_means_of_its_own(job: Job) -> None:
    """What was fitted over other vectors goes with them."""
    fpve.run(job)
    fpve.run(replace(job, encoders=replace(FAKE, image=EncoderConfig("fake:32"))))
    snapshot = Snapshot.open(job.store)
    assert snapshot.centre.image.shape == (32,)
    assert snapshot.manifest.fusion.centred.snapshot == 2
    assert fpve.verify(job.store).ok


def test_a_version_is_a_digest_of_the_values() -> None:
    """The same means have the same version wherever they were fitted, and of how many rows; others have another."""
    one, other = np.array([0.5, 0.25], np.float32), np.array([0.5, 0.25000003], np.float32)
    versions = [
        means.centre_of(found).version
        for found in (
            {"image": Mean(100, one)},
            {"image": Mean(200, one.copy())},
            {"image": Mean(100, other)},
            {"prefix": Mean(100, one)},
            {"image": Mean(100, one), "prefix": Mean(100, other)},
            {"prefix": Mean(100, other), "image": Mean(100, one)},
        )
    ]
    assert versions[0] == versions[1]
    assert versions[4] == versions[5]
    assert len(set(versions)) == 4
    assert means.centre_of({}) is None


def test_means_that_are_not_those_of_the_manifest_are_refused(job: Job) -> None:
    """A snapshot whose table of means has another version, or is missing, can't be searched, and says what to do."""
    fpve.run(job)
    last = manifests.load(job.store)
    for changes in (
        {"fusion": replace(last.fusion, centred=replace(last.fusion.centred, version="0" * 16))},
        {"tables": tuple(one for one in last.tables if one.name != tables.MEANS)},
    ):
        with pytest.raises(StoreCorrupt, match="and its table of means holds others; see `fpve repair"):
            _ = Snapshot(job.store, replace(last, **changes)).centre
