"""Running a job: what a store holds afterwards, and what the next run costs."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from samples import FAKE, KINDS, draw, make_job

import fpve
from fpve import images
from fpve.config import CollectionConfig, EncoderConfig, Encoders, FusionConfig, Job, Limits
from fpve.encoders import open_image_encoder, open_text_encoder
from fpve.encoders.fake import FakeTextEncoder
from fpve.errors import FpveError, GuardError, StoreConflict, StoreCorrupt, StoreLocked
from fpve.fusion import Fusion
from fpve.pipeline import run as run_module
from fpve.store.lock import writer_lock
from fpve.store.snapshot import Snapshot

Tree = Callable[[Path], dict[str, bytes]]


def _vectors(job: Job) -> dict[str, list[float]]:
    """The vector of each image."""
    rows = fpve.open(job.store).sql("FROM vectors").to_pylist()
    return {row["image_id"]: row["vector"] for row in rows}


def test_a_run_stores_the_formula_of_every_picture(job: Job, pictures: Path) -> None:
    """Each image's vector is the fusion of its own features and its own caption, with the norms beside."""
    report = fpve.run(job)
    assert (report.scanned, report.new, report.encoded, report.quarantined, report.snapshot) == (12, 12, 12, 0, 1)
    assert report.without_prefix == 6
    snapshot = Snapshot.open(job.store)
    rows = _stored(snapshot)
    stored = {(key["content_hash"], key["prefix_id"]): at for at, key in enumerate(_all_keys(snapshot))}
    fused = snapshot.segment_rows(snapshot.manifest.segments[0])
    image, text = open_image_encoder(FAKE.image), open_text_encoder(FAKE.text)
    for row in rows:
        picture = images.decode((pictures / row["path"]).read_bytes()).image
        feature = image.encode(image.prepare(picture)[None])
        prefix = None if row["prefix"] is None else text.encode([row["prefix"]])
        expected = Fusion(24, 16).fuse(feature, prefix)
        at = stored[row["content_hash"], row["prefix_id"]]
        np.testing.assert_allclose(fused.vectors[at], expected.vectors[0], atol=1e-6)
        assert fused.image_norm[at] == pytest.approx(expected.image_norm[0], rel=1e-5)
        assert fused.prefix_norm[at] == pytest.approx(expected.prefix_norm[0], rel=1e-5)
        assert (row["segment"], row["row"]) == (snapshot.manifest.segments[0].name, at)


def test_image_rows_hold_what_is_known_of_a_picture(job: Job, pictures: Path) -> None:
    """A row has id, path, size in bytes and pixels, prefix, and metadata with the types that lose nothing."""
    fpve.run(job)
    row = _stored(Snapshot.open(job.store))[1]
    assert row["image_id"] == "pets/bird/05.png"
    assert row["path"] == "bird/05.png"
    assert row["bytes"] == (pictures / "bird/05.png").stat().st_size
    assert (row["width"], row["height"]) == (40, 30)
    assert (row["prefix"], row["prefix_id"], row["caption"]) == (None, None, None)
    assert (row["kind"], row["price"]) == ("bird", 5.5)


def test_running_again_changes_nothing(job: Job, tree: Tree) -> None:
    """A second run encodes nothing, publishes nothing, and touches neither manifests, vectors, pages nor tables."""
    fpve.run(job)
    before = {name: data for name, data in tree(job.store).items() if not name.startswith(("state", "runs"))}
    report = fpve.run(job)
    after = {name: data for name, data in tree(job.store).items() if not name.startswith(("state", "runs"))}
    assert (report.encoded, report.fused, report.unchanged, report.published) == (0, 0, 12, False)
    assert after == before


def test_the_same_bytes_are_encoded_once(job: Job, pictures: Path) -> None:
    """A copy shares its original's features; with the same prefix it shares the vector row too."""
    shutil.copy(pictures / "cat/03.png", pictures / "cat/copy.png")
    report = fpve.run(job)
    assert (report.scanned, report.encoded) == (13, 12)
    rows = {row["path"]: row for row in _stored(Snapshot.open(job.store))}
    places = [(rows[path]["segment"], rows[path]["row"]) for path in ("cat/03.png", "cat/copy.png")]
    assert places[0] == places[1]


def test_a_run_costs_what_changed(job: Job, pictures: Path) -> None:
    """One new, one changed, one renamed and one removed picture: two are encoded, and the rest stays where it was."""
    fpve.run(job)
    first = {row["path"]: row for row in _stored(Snapshot.open(job.store))}
    draw(pictures / "cat/new.png", 100)
    draw(pictures / "dog/01.png", 101)
    (pictures / "bird/05.png").rename(pictures / "bird/moved.png")
    (pictures / "bird/11.png").unlink()
    report = fpve.run(job)
    assert (report.encoded, report.snapshot) == (2, 2)
    assert (report.new, report.moved, report.changed, report.removed, report.unchanged) == (1, 1, 1, 1, 9)
    snapshot = Snapshot.open(job.store)
    second = {row["path"]: row for row in _stored(snapshot)}
    assert set(second) == set(first) - {"bird/05.png", "bird/11.png"} | {"cat/new.png", "bird/moved.png"}
    assert second["bird/moved.png"]["content_hash"] == first["bird/05.png"]["content_hash"]
    assert len(snapshot.manifest.segments) == 2
    assert _stored(Snapshot.open(job.store, at=1)) == list(first.values())


def test_a_changed_prefix_is_fused_from_stored_features(job: Job) -> None:
    """Another template makes new vectors without one picture going through the vision model."""
    fpve.run(job)
    report = fpve.run(make_job(job.store, job.collections[0].source, prefix="a {kind}"))
    assert (report.encoded, report.fused, report.without_prefix) == (0, 12, 0)
    store = fpve.open(job.store)
    assert store.search(id="pets/cat/00.png", image_weight=0, k=3).to_arrow()["prefix"].to_pylist() == ["a cat"] * 3


@pytest.mark.parametrize("mode", ["balanced", "concat"])
def test_a_prefix_that_was_embedded_is_not_embedded_again(
    job: Job, pictures: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """Vectors for it are made of those that there are: the text model is asked for new texts only."""
    job = replace(make_job(job.store, pictures, prefix="a {kind}"), fusion=FusionConfig(mode=mode))
    fpve.run(job)
    asked: list[str] = []
    encode = FakeTextEncoder.encode

    def recorded(self: FakeTextEncoder, texts: list[str]) -> Any:
        asked.extend(texts)
        return encode(self, texts)

    monkeypatch.setattr(FakeTextEncoder, "encode", recorded)
    table = pictures / "metadata.csv"
    table.write_text(table.read_text().replace("cat,0.50", "dog,0.50").replace(f"{KINDS[1]},1.50", "cow,1.50"))
    report = fpve.run(job)
    # One that was a cat is a dog now, as others are; of cows there was none.
    assert (report.encoded, report.fused, asked) == (0, 2, ["a cow"])
    again = replace(job, store=job.store.parent / "again")
    fpve.run(again)
    fused, fresh = (_vectors(one) for one in (job, again))
    assert fused.keys() == fresh.keys()
    for name, vector in fresh.items():
        np.testing.assert_allclose(fused[name], vector, atol=1e-6)
    # Of another text model nothing is taken.
    asked.clear()
    other = replace(job, encoders=Encoders(image=FAKE.image, text=EncoderConfig("fake:20")))
    assert (fpve.run(other).fused, set(asked)) == (12, {"a cat", "a dog", "a bird", "a cow"})


def test_changed_labels_rewrite_pages_only(job: Job, pictures: Path) -> None:
    """New metadata with the same prefixes leaves vectors, indexes and tables alone."""
    fpve.run(job)
    before = Snapshot.open(job.store).manifest
    table = (pictures / "metadata.csv").read_text()
    (pictures / "metadata.csv").write_text(table.replace(",bird,", ",parrot,"))
    report = fpve.run(job)
    after = Snapshot.open(job.store).manifest
    assert (report.encoded, report.fused, report.metadata_changed, report.published) == (0, 0, 4, True)
    assert (after.segments, after.tables) == (before.segments, before.tables)
    assert "parrot" in Snapshot.open(job.store).images["kind"].to_pylist()


def test_a_broken_picture_is_quarantined(job: Job, pictures: Path) -> None:
    """One unreadable file costs nothing but itself, is not opened again, and is an image once it is mended."""
    (pictures / "cat/broken.png").write_bytes(b"not a picture")
    report = fpve.run(job)
    assert (report.encoded, report.quarantined, report.published) == (12, 1, True)
    row = Snapshot.open(job.store).table("quarantine").to_pylist()[0]
    assert (row["image_id"], row["reason"]) == ("pets/cat/broken.png", "not a picture of any known format")
    assert fpve.run(job).published is False
    draw(pictures / "cat/broken.png", 200)
    report = fpve.run(job)
    assert (report.encoded, report.quarantined, report.published) == (1, 0, True)


def test_too_many_broken_pictures_publish_nothing(job: Job, pictures: Path) -> None:
    """More than max_quarantine is an error that names the option, and what was encoded serves the next run."""
    for number in range(2):
        (pictures / f"cat/broken{number}.png").write_bytes(b"no")
    with pytest.raises(
        GuardError,
        match=r"2 of 14 pictures can't be encoded, more than max_quarantine = 0\.01 .*broken0\.png: not a picture .*"
        r"broken1\.png: not a picture .*\. Mend or exclude them, or allow them: max_quarantine = 2 in the job, "
        r"or --max-quarantine 2 of `fpve encode`\. ",
    ):
        fpve.run(job)
    assert not (job.store / "snapshots").exists()
    report = fpve.run(replace(job, limits=Limits(max_quarantine=0.5)))
    assert (report.encoded, report.quarantined, report.published) == (0, 2, True)


def test_vanished_pictures_need_permission(job: Job, pictures: Path, tree: Tree) -> None:
    """A run that would remove more than max_removed publishes nothing until it is allowed to."""
    fpve.run(job)
    before = tree(job.store)
    shutil.rmtree(pictures / "cat")
    with pytest.raises(GuardError, match=r"4 of 12 images are gone .* --allow-removals"):
        fpve.run(job)
    assert {name: data for name, data in tree(job.store).items() if name in before or name[:5] != "runs/"} == before
    assert fpve.run(job, allow_removals=True).removed == 4


def test_finished_shards_of_a_killed_run_are_used(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that dies after encoding leaves shards that the next run takes up instead of encoding again."""
    with monkeypatch.context() as patch:
        patch.setattr("fpve.pipeline.run.commit", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            fpve.run(job)
    assert not (job.store / "snapshots").exists()
    report = fpve.run(job)
    assert (report.encoded, report.published, report.scanned) == (0, True, 12)
    assert not any((job.store / "pending").iterdir())


def test_a_damaged_shard_is_never_published(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard of a killed run that has lost a bit since, or was cut off, is made again."""
    with monkeypatch.context() as patch:
        patch.setattr("fpve.pipeline.run.commit", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            fpve.run(job)
    rows = next(job.store.glob("pending/*/rows.parquet"))
    data = bytearray(rows.read_bytes())
    data[len(data) // 2] ^= 1
    rows.write_bytes(data)
    assert fpve.run(job).encoded == 12
    vectors = Snapshot.open(job.store).segment_rows(Snapshot.open(job.store).manifest.segments[0]).vectors
    assert np.linalg.norm(vectors, axis=1).max() < 1.0001


def test_a_damaged_leftover_of_a_killed_commit_is_never_published(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that dies between linking its files and its manifest leaves links that rot with their shard."""
    with monkeypatch.context() as patch:
        patch.setattr("fpve.store.publishing.publish", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            fpve.run(job)
    linked = next(job.store.glob("vectors/*/rows.parquet"))
    good = linked.read_bytes()
    # In place, so that both names of the file show it.
    with linked.open("r+b") as file:
        file.seek(len(good) // 2)
        file.write(bytes([good[len(good) // 2] ^ 1]))
    assert fpve.run(job).encoded == 12
    assert linked.read_bytes() == good
    entry = Snapshot.open(job.store).manifest.segments[0]
    assert entry.file.sha256 == hashlib.sha256(good).hexdigest()


@pytest.mark.parametrize("name", ["", "pictures", "project"])
def test_only_an_empty_place_becomes_a_store(job: Job, tmp_path: Path, name: str, tree: Tree) -> None:
    """The job's own folder, the source and a project with an images/ of its own are not turned into stores."""
    (tmp_path / "project/images").mkdir(parents=True)
    (tmp_path / "project/images/logo.txt").write_text("x")
    before = tree(tmp_path)
    with pytest.raises(StoreConflict, match="no store, and not empty"):
        fpve.run(replace(job, store=tmp_path / name))
    assert tree(tmp_path) == before


def test_an_unreadable_picture_is_not_deleted(job: Job, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that fails to open keeps its image as it was and is reported; the next run takes up what it holds."""
    fpve.run(job)
    before = fpve.open(job.store).images.to_pylist()
    draw(pictures / "cat/00.png", 99)
    real = os.open

    def fails(path: object, *options: object, **named: object) -> object:
        if isinstance(path, bytes) and path.endswith(b"cat/00.png"):
            raise PermissionError(13, "Permission denied")
        return real(path, *options, **named)

    with monkeypatch.context() as patch:
        patch.setattr("os.open", fails)
        report = fpve.run(job)
    assert (report.quarantined, report.removed) == (1, 0)
    assert fpve.open(job.store).images.to_pylist() == before
    reason = fpve.open(job.store).sql("SELECT reason FROM quarantine")["reason"][0].as_py()
    assert reason == "can't be read: Permission denied; kept as it was"
    report = fpve.run(job)
    assert (report.encoded, report.quarantined) == (1, 0)


def test_lost_metadata_needs_permission(job: Job, pictures: Path) -> None:
    """A metadata table that was cut off publishes nothing until it is allowed to."""
    fpve.run(job)
    table = (pictures / "metadata.csv").read_text().splitlines()
    (pictures / "metadata.csv").write_text("\n".join(table[:4]) + "\n")
    with pytest.raises(GuardError, match=r"9 of 12 images would lose all their metadata.* --allow-removals"):
        fpve.run(job)
    assert fpve.run(job, allow_removals=True).published


def test_a_prefix_is_what_the_file_says(job: Job, pictures: Path) -> None:
    """A price of 5.50 is a number to SQL and 5.50 in the text; `{price:.1f}` formats the number."""
    source = job.collections[0].source
    fpve.run(make_job(job.store, source, prefix="costs {price}"))
    row = fpve.open(job.store).images.to_pylist()[1]
    assert (row["price"], row["prefix"]) == (5.5, "costs 5.50")
    fpve.run(make_job(job.store, source, prefix="costs {price:.1f}"))
    assert fpve.open(job.store).images.to_pylist()[1]["prefix"] == "costs 5.5"


def test_a_column_keeps_its_type(job: Job, pictures: Path) -> None:
    """A value that does not fit the column's type is refused by file, row and column; `types` settles it."""
    fpve.run(job)
    table = (pictures / "metadata.csv").read_text().replace("1.50\n", "n/a\n", 1)
    (pictures / "metadata.csv").write_text(table)
    with pytest.raises(FpveError, match=r"metadata.csv, column 'price', row \d+: expected float64, found 'n/a'"):
        fpve.run(job)
    settled = make_job(job.store, pictures, types={"price": "string"})
    assert fpve.run(settled).published
    assert set(fpve.open(job.store).images["price"].to_pylist()) >= {"n/a", "5.50"}


def test_thumbnails_are_kept_once_and_found_by_id(job: Job, pictures: Path) -> None:
    """Each content has one thumbnail, also after another encoder has read the pictures again, in other shards."""
    fpve.run(job)
    draw(pictures / "cat/new.png", 100)
    fpve.run(job)
    fpve.run(replace(job, encoders=Encoders(image=EncoderConfig("fake:8"), text=FAKE.text)))
    assert sum(one.rows for one in Snapshot.open(job.store).manifest.tables_named("thumbnails")) == 13
    store = fpve.open(job.store)
    found = store.thumbnails(["pets/cat/00.png", "pets/dog/01.png"])
    assert sorted(found) == ["pets/cat/00.png", "pets/dog/01.png"]
    assert images.decode(found["pets/cat/00.png"]).image.size == (40, 30)
    assert store.thumbnail("pets/dog/01.png") == found["pets/dog/01.png"]


def test_two_jobs_do_not_publish_in_turns(job: Job, tmp_path: Path) -> None:
    """Where two jobs say the default weight differently, the store's stands and nothing is published again."""
    fpve.run(job)
    draw(tmp_path / "more/one.png", 50)
    other = replace(
        job,
        name="cars",
        fusion=FusionConfig(image_weight=0.3),
        collections=(CollectionConfig(name="cars", source=tmp_path / "more"),),
    )
    fpve.run(other)
    assert (fpve.run(job).published, fpve.run(other).published) == (False, False)
    with pytest.raises(StoreConflict, match="a name like 'PETS' must differ more"):
        fpve.run(replace(other, collections=(CollectionConfig(name="PETS", source=tmp_path / "more"),)))


def test_another_encoder_means_a_full_encode(job: Job) -> None:
    """With other fingerprints everything is encoded again and no old vector is named any more."""
    fpve.run(job)
    other = replace(job, encoders=Encoders(image=EncoderConfig("fake:8"), text=FAKE.text))
    report = fpve.run(other)
    assert (report.encoded, report.snapshot) == (12, 2)
    snapshot = Snapshot.open(job.store)
    assert snapshot.fusion == Fusion(8, 16)
    assert len(snapshot.manifest.segments) == 1


def test_another_mode_rescales_stored_features(job: Job) -> None:
    """Changing the fusion mode fuses again and encodes nothing."""
    fpve.run(job)
    report = fpve.run(replace(job, fusion=FusionConfig(mode="concat")))
    assert (report.encoded, report.fused) == (0, 12)
    snapshot = Snapshot.open(job.store)
    norms = np.linalg.norm(snapshot.segment_rows(snapshot.manifest.segments[0]).vectors, axis=1)
    np.testing.assert_allclose(norms, 1, atol=1e-6)


def test_a_job_touches_its_own_collections_only(job: Job, tmp_path: Path) -> None:
    """Two jobs share a store; neither sees the other's images as removed, and neither may take the other's name."""
    fpve.run(job)
    draw(tmp_path / "more/one.png", 50)
    cars = CollectionConfig(name="cars", source=tmp_path / "more")
    other = replace(job, name="cars", collections=(cars,))
    assert fpve.run(other).removed == 0
    assert fpve.run(job).published is False
    manifest = Snapshot.open(job.store).manifest
    assert [(one.name, one.job, one.rows) for one in manifest.collections] == [
        ("cars", "cars", 1),
        ("pets", "pets", 12),
    ]
    with pytest.raises(StoreConflict, match="owned by job 'pets', this is job 'cars'"):
        fpve.run(replace(job, name="cars"))


def test_one_writer_at_a_time(job: Job) -> None:
    """A second writer is told who holds the store, and leaves it alone."""
    with writer_lock(job.store, "night"), pytest.raises(StoreLocked, match=r"job 'night' \(process \d+ on"):
        fpve.run(job)
    assert fpve.run(job).published


def test_snapshots_that_vanish_after_the_plan(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody deletes them before the run has the lock: one line, in the report too; the next run makes them again."""
    fpve.run(job)
    lock = run_module.writer_lock

    def deleted_meanwhile(*arguments: Any, **options: Any) -> Any:
        shutil.rmtree(job.store / "snapshots")
        return lock(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "writer_lock", deleted_meanwhile)
        with pytest.raises(StoreCorrupt, match=r"store: its snapshots vanished .* run again to make the store anew"):
            fpve.run(job)
    assert not (job.store / "snapshots").exists()
    assert (fpve.run(job).snapshot, fpve.run(job).published) == (1, False)


def test_a_dry_run_writes_nothing(job: Job, tmp_path: Path) -> None:
    """A dry run says what would be encoded and makes not even a directory."""
    report = fpve.run(job, dry_run=True)
    assert (report.encoded, report.new, report.dry_run, report.published) == (12, 12, True, False)
    assert not job.store.exists()


def test_a_deleted_index_is_made_again_in_memory(job: Job) -> None:
    """FAISS files are derived: without them, or with a broken one, a search answers the same."""
    fpve.run(job)
    expected = fpve.open(job.store).search(id="pets/cat/00.png").to_arrow()
    index = next(job.store.glob("vectors/*/exact.faiss"))
    index.write_bytes(b"broken")
    assert fpve.open(job.store).search(id="pets/cat/00.png").to_arrow() == expected
    index.unlink()
    assert fpve.open(job.store).search(id="pets/cat/00.png").to_arrow() == expected


def test_encode_makes_a_collection_without_a_job_file(tmp_path: Path, pictures: Path, job: Job) -> None:
    """`encode` adds a collection to a store with the store's own encoders; labels come from folders."""
    fpve.run(job)
    report = fpve.encode(job.store, pictures, collection="again", prefix="a {folder}", label_from="folder")
    assert (report.encoded, report.fused) == (0, 12)
    counts = fpve.open(job.store).sql("SELECT label, count(*) AS n FROM images WHERE collection = 'again' GROUP BY ALL")
    assert sorted(counts.to_pydict()["label"]) == ["bird", "cat", "dog"]


def test_every_row_of_parquet_is_named_by_the_manifest(job: Job) -> None:
    """Sizes and digests in the manifest are those of the files, and row counts add up."""
    fpve.run(job)
    manifest = Snapshot.open(job.store).manifest
    files = [*(page for one in manifest.collections for page in one.pages), *manifest.segments, *manifest.tables]
    for entry in files:
        data = (job.store / entry.file.path).read_bytes()
        assert (entry.file.bytes, entry.file.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert entry.rows == pq.read_metadata(job.store / entry.file.path).num_rows


@pytest.mark.parametrize("name", ["snapshot", "image"])
def test_errors_before_the_first_picture_write_nothing(job: Job, name: str) -> None:
    """A mistake that is found while planning leaves no store behind."""
    broken = {
        "snapshot": make_job(job.store, job.collections[0].source, prefix="{captoin}"),
        "image": replace(job, encoders=Encoders(image=EncoderConfig("resnet18"))),
    }[name]
    with pytest.raises(FpveError, match=r"did you mean|offline"):
        fpve.run(broken)
    assert not job.store.exists()


def _stored(snapshot: Snapshot) -> list[dict[str, object]]:
    return snapshot.read_collection(snapshot.manifest.collections[0]).to_pylist()


def _all_keys(snapshot: Snapshot) -> list[dict[str, object]]:
    return [key for segment in snapshot.manifest.segments for key in snapshot.segment_keys(segment).to_pylist()]


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_one_of_two_collections_changes(job: Job, pictures: Path, tmp_path: Path) -> None:
    """A new picture in one collection is encoded beside another collection where all is as it was."""
    draw(tmp_path / "more" / "one.png", 300)
    more = CollectionConfig(name="more", source=tmp_path / "more", prefix="one more")
    both = replace(job, collections=(*job.collections, more))
    fpve.run(both)
    draw(tmp_path / "more" / "two.png", 301)
    report = fpve.run(both)
    assert (report.encoded, report.new, report.unchanged) == (1, 1, 13)
