"""Night after night: what became of each image, what a run would cost, and what it wrote."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from samples import FAKE, draw, make_job

import fpve
from fpve import images
from fpve.config import EncoderConfig, Encoders, Job, Limits, parse_job
from fpve.encoders import hub
from fpve.encoders.runtimes.machine import cores
from fpve.engines.local import LocalEngine
from fpve.engines.work import Encoded, Models, Target, Work
from fpve.errors import GuardError, ImageError, JobError, SourceNotFound
from fpve.maintenance.rollback import rollback
from fpve.pipeline import forecast
from fpve.pipeline.metrics import metrics_text
from fpve.pipeline.report import RunReport
from fpve.pipeline.run import run as run_job
from fpve.progress import Progress
from fpve.store import pages
from fpve.store.runs import CHANGES, Changes, append_run
from fpve.store.snapshot import Snapshot

Tree = Callable[[Path], dict[str, bytes]]
# Long before any test: what a scan may rely on.
_LONG_AGO = 1_600_000_000


def changes(report: RunReport) -> Changes:
    """What a report says became of the images."""
    return Changes(*(getattr(report, name) for name in Changes._fields))


def settle(folder: Path) -> None:
    """Give the pictures below a folder times that prove something, a second apart."""
    for number, path in enumerate(sorted(folder.rglob("*.*"))):
        os.utime(path, (_LONG_AGO + number, _LONG_AGO + number))


def test_every_image_is_in_one_category(job: Job, pictures: Path) -> None:
    """New, moved, changed, another prefix, other metadata, as it was, removed: each counts once, planned or done."""
    settle(pictures)
    fpve.run(job)
    draw(pictures / "cat/new.png", 100)
    (pictures / "cat/00.png").rename(pictures / "cat/moved.png")
    draw(pictures / "dog/01.png", 101)
    (pictures / "bird/11.png").unlink()
    table = (pictures / "metadata.csv").read_text()
    # 02 has another caption and another price, 05 another price only.
    table = table.replace("bird number 2,bird,2.50", "a robin,bird,3.50").replace(
        "05.png,,bird,5.50", "05.png,,bird,6.50"
    )
    (pictures / "metadata.csv").write_text(table)
    expected = Changes(new=1, moved=1, changed=1, prefix_changed=1, metadata_changed=1, unchanged=7, removed=1)
    planned, done = fpve.run(job, dry_run=True), fpve.run(job)
    assert (changes(planned), changes(done)) == (expected, expected)
    assert (planned.encoded, done.encoded, planned.fused, done.fused) == (2, 2, 1, 2)
    assert done.scanned == sum(expected) - expected.removed
    assert Snapshot.open(job.store).manifest.summary == expected._asdict()


@pytest.mark.parametrize("fate", ["broken", "no file"])
def test_an_image_that_can_no_longer_be_encoded_is_removed(job: Job, pictures: Path, tree: Tree, fate: str) -> None:
    """Its file is there and in quarantine: it is counted, in the history too, and the guard of removals sees it."""

    def spoil(path: Path) -> None:
        path.unlink()
        if fate == "broken":
            path.write_bytes(b"no picture")
        else:
            path.symlink_to("nowhere")

    fpve.run(job)
    spoil(pictures / "cat/00.png")
    report = fpve.run(job)
    expected = Changes(new=0, moved=0, changed=0, prefix_changed=0, metadata_changed=0, unchanged=11, removed=1)
    assert (changes(report), report.quarantined, report.scanned) == (expected, 1, 12)
    assert (len(fpve.open(job.store).images), Snapshot.open(job.store).manifest.summary) == (11, expected._asdict())
    again = fpve.run(job)
    assert (again.published, again.removed, again.unchanged, again.quarantined) == (False, 0, 11, 1)
    tolerant = replace(job, limits=Limits(max_quarantine=0.5))
    for number in (3, 6, 9):
        spoil(pictures / f"cat/{number:02d}.png")
    before = tree(job.store / "snapshots")
    with pytest.raises(GuardError, match=r"3 of 11 images are gone from .* --allow-removals"):
        fpve.run(tolerant)
    assert tree(job.store / "snapshots") == before
    assert fpve.run(tolerant, allow_removals=True).removed == 3
    draw(pictures / "cat/drawn.png", 0)
    (pictures / "cat/00.png").unlink()
    (pictures / "cat/drawn.png").rename(pictures / "cat/00.png")
    back = fpve.run(tolerant)
    assert (back.new, back.encoded, back.quarantined) == (1, 0, 3)


def test_the_categories_have_one_name_each(job: Job) -> None:
    """Report, table of runs and metrics name all of them, the history those that are a change."""
    report = fpve.run(job)
    assert set(CHANGES) <= set(report.to_dict())
    assert set(CHANGES) <= set(fpve.open(job.store).sql("FROM runs").column_names)
    assert [name for name in fpve.history(job.store).column_names if name in CHANGES] == [
        name for name in CHANGES if name != "unchanged"
    ]
    text = metrics_text(report, job.store).decode()
    assert all(f'change="{name}"' in text for name in CHANGES)


def test_a_copy_is_not_moved(job: Job, pictures: Path) -> None:
    """A copy whose original is there is new; of two copies of a picture that is gone one is moved and one is new."""
    fpve.run(job)
    shutil.copy(pictures / "cat/00.png", pictures / "cat/copy.png")
    shutil.copy(pictures / "dog/01.png", pictures / "dog/first.png")
    (pictures / "dog/01.png").rename(pictures / "dog/second.png")
    report = fpve.run(job)
    assert (report.new, report.moved, report.removed, report.encoded) == (2, 1, 0, 0)


def test_a_renamed_folder_is_no_removal(job: Job, pictures: Path) -> None:
    """A third of the images under another name trips no guard, and not one is encoded again."""
    settle(pictures)
    fpve.run(job)
    (pictures / "cat").rename(pictures / "kitten")
    planned = fpve.run(job, dry_run=True)
    assert (planned.moved, planned.new, planned.removed, planned.encoded) == (4, 0, 0, 0)
    report = fpve.run(job)
    assert (report.moved, report.new, report.removed, report.encoded, report.published) == (4, 0, 0, 0, True)
    rows = {row["path"]: row for row in fpve.open(job.store).images.to_pylist()}
    assert rows[str(pictures / "kitten/00.png")]["width"] == 40


def test_a_folder_is_told_to_be_renamed_without_its_times(job: Job, pictures: Path) -> None:
    """Where the scan state says nothing of the images that are gone, as after a restore, their size must do."""
    settle(pictures)
    fpve.run(job)
    shutil.rmtree(job.store / "state" / "scan")
    (pictures / "cat").rename(pictures / "kitten")
    assert (fpve.run(job, dry_run=True).moved, fpve.run(job).moved) == (4, 4)


def test_moves_that_were_guessed_wrong_are_removals(job: Job, pictures: Path, tree: Tree) -> None:
    """Files that only look like the ones that are gone are found out when they are read, and publish nothing."""
    for path in pictures.rglob("*.png"):
        images_of = images.decode(path.read_bytes()).image
        path.unlink()
        images_of.save(path.with_suffix(".bmp"))
    (pictures / "metadata.csv").write_text((pictures / "metadata.csv").read_text().replace(".png", ".bmp"))
    settle(pictures)
    fpve.run(job)
    before = tree(job.store / "snapshots")
    for number, path in enumerate(sorted((pictures / "cat").iterdir())):
        status = path.stat()
        path.unlink()
        other = pictures / "other" / path.name
        draw(other, 500 + number)
        os.utime(other, ns=(status.st_mtime_ns, status.st_mtime_ns))
    assert fpve.run(job, dry_run=True).moved == 4
    with pytest.raises(GuardError, match=r"4 of 12 images are gone .* --allow-removals"):
        fpve.run(job)
    assert tree(job.store / "snapshots") == before
    report = fpve.run(job, allow_removals=True)
    # They were encoded by the run that published nothing.
    assert (report.moved, report.new, report.removed, report.encoded) == (0, 4, 4, 0)


def test_a_dry_run_says_what_a_run_would_cost(job: Job, pictures: Path) -> None:
    """Bytes are those of the files and of the vectors; minutes come from the newest run that encoded enough."""
    settle(pictures)
    report = fpve.run(job, dry_run=True)
    sizes = sum(path.stat().st_size for path in pictures.rglob("*.png"))
    assert (report.bytes_to_read, report.bytes_to_write) == (sizes, 12 * (24 + 16) * 4 * 2 + 12 * 8_000)
    assert (report.downloads, report.language_model_requests, report.bytes_written) == ((), 0, {})
    assert report.estimate_basis == f"30 images/s on each of {cores()} cores, an assumption"
    fpve.run(job)
    for minute, encoded, rate in ((1, 200, 0.05), (2, 100, 0.1), (3, 99, 50.0), (4, 0, None)):
        started = datetime(2025, 1, 1, 0, minute, tzinfo=UTC).isoformat()
        append_run(job.store, RunReport("pets", started, encoded=encoded, images_per_second=rate).to_dict())
    for number in range(3):
        draw(pictures / f"cat/new{number}.png", 100 + number)
    report = fpve.run(job, dry_run=True)
    thumbnails = Snapshot.open(job.store).manifest.tables_named("thumbnails")[0]
    assert report.estimate_basis == "0.1 images/s, as in the run of 2025-01-01 00:02 UTC"
    assert (report.encoded, report.estimated_minutes) == (3, 0.5)
    assert report.bytes_to_write == 3 * (24 + 16) * 4 * 2 + 3 * (thumbnails.file.bytes // 12)


def test_a_dry_run_downloads_nothing(job: Job, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that are not here are named; with them everything would be encoded, and nobody asks the hub for them."""
    settle(pictures)
    fpve.run(job)
    monkeypatch.setattr(hub, "fetch_model", _interrupt)
    other = replace(job, encoders=Encoders(image=FAKE.image, text=EncoderConfig("st:nobody/nothing")))
    report = fpve.run(other, dry_run=True)
    assert (report.downloads, report.encoded, report.unchanged) == (("st:nobody/nothing",), 12, 12)
    checked = fpve.check(other)
    assert (checked.downloads, checked.encoders["text"]) == (("st:nobody/nothing",), "st:nobody/nothing")
    assert fpve.check(job).downloads == ()


def test_a_run_says_what_it_wrote(job: Job, pictures: Path, tree: Tree) -> None:
    """Bytes by kind are those of the files that came with the run, and one with nothing to do wrote nothing.

    The cache of scanned files is one that is written again for a single change.
    """
    kinds = {"images": "images", "vectors": "rows.parquet", "tables": "tables", "snapshots": "snapshots"}
    kinds["state"] = "state/scan"
    before: dict[str, bytes] = {}
    for change in (lambda: None, lambda: draw(pictures / "dog/01.png", 50), lambda: None):
        change()
        settle(pictures)
        report = fpve.run(job)
        fresh = {name: len(data) for name, data in tree(job.store).items() if before.get(name) != data}
        expected = {
            kind: sum(size for name, size in fresh.items() if name.startswith(word) or name.endswith(word))
            for kind, word in kinds.items()
        }
        expected["indexes"] = sum(
            size for name, size in fresh.items() if name.startswith("vectors") and not name.endswith(".parquet")
        )
        assert report.bytes_written == expected
        before = tree(job.store)
    assert set(report.bytes_written.values()) == {0}


def test_new_labels_write_no_vector(tmp_path: Path, tree: Tree) -> None:
    """Of 300 images every label changes: pages are written, and no vector, index, prefix or thumbnail."""
    source = tmp_path / "pictures"
    for number in range(300):
        draw(source / f"{number:03d}.png", number)
    label = "path,caption,label\n" + "".join(f"{number:03d}.png,text {number},{{0}}\n" for number in range(300))
    (source / "metadata.csv").write_text(label.format("first"))
    job = make_job(tmp_path / "store", source)
    fpve.run(job)
    before = {name: data for name, data in tree(job.store).items() if name.startswith(("vectors", "tables"))}
    (source / "metadata.csv").write_text(label.format("second"))
    report = fpve.run(job)
    assert changes(report) == Changes(0, 0, 0, 0, 300, 0, 0)
    assert (report.encoded, report.fused) == (0, 0)
    assert [report.bytes_written[kind] for kind in ("vectors", "indexes", "tables")] == [0, 0, 0]
    assert {name: data for name, data in tree(job.store).items() if name.startswith(("vectors", "tables"))} == before
    assert set(fpve.open(job.store).images["label"].to_pylist()) == {"second"}


def test_unchanged_files_are_not_opened(job: Job, pictures: Path) -> None:
    """Whoever opened them would find that they hold something else: size and time are all that is looked at."""
    settle(pictures)
    fpve.run(job)
    for path in pictures.rglob("*.png"):
        status = path.stat()
        path.write_bytes(b"x" * status.st_size)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    report = fpve.run(job)
    assert (report.unchanged, report.quarantined, report.published) == (12, 0, False)


def test_another_source_is_read(job: Job, pictures: Path, tmp_path: Path) -> None:
    """Files of another folder with the sizes and times of the old ones are read once; the same content costs no more.

    Also where the path is a link that points elsewhere now, and after the store was rolled back to the old source.
    """

    def archive(name: str, seed: int) -> Path:
        for number in range(12):
            # Without compression, so that all are of one size.
            (tmp_path / name).mkdir(exist_ok=True)
            draw(tmp_path / name / f"{number:02d}.bmp", seed + number)
            os.utime(tmp_path / name / f"{number:02d}.bmp", (_LONG_AGO, _LONG_AGO))
        return tmp_path / name

    def contents() -> list[str]:
        return [str(row["content_hash"]) for row in fpve.open(job.store).images.to_pylist()]

    def hashes(folder: Path) -> list[str]:
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())]

    first, second, copy = archive("first", 0), archive("second", 100), archive("copy", 100)
    link = tmp_path / "link"
    link.symlink_to(first)
    jobs = [make_job(job.store, folder, metadata=None, prefix=None) for folder in (first, second, copy, link)]
    fpve.run(jobs[0])
    report = fpve.run(jobs[1], dry_run=True)
    assert (report.changed, report.unchanged) == (12, 0)
    report = fpve.run(jobs[1])
    assert (report.changed, report.encoded, contents()) == (12, 12, hashes(second))
    report = fpve.run(jobs[2])
    assert (report.unchanged, report.encoded, report.bytes_to_read > 0) == (12, 0, True)
    assert (contents(), fpve.run(jobs[2]).bytes_to_read) == (hashes(copy), 0)
    rollback(job.store, to=1)
    assert (fpve.run(jobs[0]).published, contents()) == (False, hashes(first))
    assert (fpve.run(jobs[3]).bytes_to_read, contents()) == (0, hashes(first))
    link.unlink()
    link.symlink_to(second)
    assert (fpve.run(jobs[3]).changed, contents()) == (12, hashes(second))


def test_pages_that_nothing_touched_are_neither_read_nor_written(
    job: Job, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With four images a page, one new price rewrites one page; of the others only what a plan compares is read."""
    monkeypatch.setattr(pages, "PAGE_ROWS", 4)
    fpve.run(job)
    before = Snapshot.open(job.store).manifest.collections[0].pages
    table = (pictures / "metadata.csv").read_text()
    (pictures / "metadata.csv").write_text(table.replace("cat/03.png,,cat,3.50", "cat/03.png,,cat,4.50"))
    compared: list[str] = []
    real = pages._same
    monkeypatch.setattr(pages, "_same", lambda root, page, rows: compared.append(page.first) or real(root, page, rows))
    assert fpve.run(job).metadata_changed == 1
    after = Snapshot.open(job.store).manifest.collections[0].pages
    assert [one in before for one in after] == [True, False, True]
    assert compared == ["pets/cat/00.png"]
    # The page is what it would be if all of it had been made anew.
    anew = replace(job, store=job.store.with_name("anew"))
    fpve.run(anew)
    columns = ["image_id", "content_hash", "bytes", "width", "height", "prefix_id", "prefix", "price"]
    mine, theirs = (fpve.open(one.store).images.select(columns) for one in (job, anew))
    assert mine.equals(theirs)


def test_quarantined_files_are_tried_again_when_asked(
    job: Job, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that an older Pillow could not decode is left alone until `retry_quarantined`, and is an image then."""
    real = images.decode

    def decode(data: bytes, *, enough: int) -> object:
        if data == (pictures / "cat/00.png").read_bytes():
            raise ImageError("no plugin")
        return real(data, enough=enough)

    settle(pictures)
    with monkeypatch.context() as patch:
        patch.setattr(images, "decode", decode)
        assert fpve.run(job).quarantined == 1
        assert fpve.run(job, retry_quarantined=True).quarantined == 1
    report = fpve.run(job)
    assert (report.quarantined, report.encoded, report.published) == (1, 0, False)
    assert fpve.run(job, dry_run=True, retry_quarantined=True).encoded == 1
    report = fpve.run(job, retry_quarantined=True)
    assert (report.quarantined, report.encoded, report.new, report.published) == (0, 1, 1, True)


@pytest.mark.parametrize(
    ("limit", "broken", "published"),
    [(2, 2, True), (1, 2, False), (0, 1, False), (0.0, 1, False), (0.01, 1, True), (0.01, 2, False), (0.2, 2, True)],
)
def test_a_count_or_a_share_may_be_broken(job: Job, pictures: Path, limit: float, broken: int, published: bool) -> None:
    """A whole number is a count; a share above 0 tolerates one input at least, 0 none."""
    for number in range(broken):
        (pictures / f"cat/broken{number}.png").write_bytes(b"no" * (number + 1))
    limited = replace(job, limits=Limits(max_quarantine=limit))
    if published:
        assert fpve.run(limited).quarantined == broken
    else:
        with pytest.raises(GuardError, match=f"more than max_quarantine = {limit:g} allows"):
            fpve.run(limited)


def test_a_job_file_says_a_count_or_a_share() -> None:
    """`5` is a count, `0.05` a share; neither is negative, and no share is above 1."""
    job = {"store": "s", "collections": [{"name": "c", "source": "p"}]}
    for value in (5, 0.05, 0, 1):
        found = parse_job({**job, "limits": {"max_quarantine": value}}).limits.max_quarantine
        assert (found, type(found)) == (value, type(value))
    for value in (-1, 1.5, "5"):
        with pytest.raises(JobError, match="max_quarantine"):
            parse_job({**job, "limits": {"max_quarantine": value}})


class _Unplugs(LocalEngine):
    """An engine whose source goes away while it works."""

    def __init__(self, unplug: Callable[[], object]) -> None:
        super().__init__()
        self._unplug = unplug

    def encode(self, work: Work, models: Models, target: Target, progress: Progress) -> Encoded:
        """Lose the source, then read it."""
        self._unplug()
        return super().encode(work, models, target, progress)


@pytest.mark.parametrize("empty", [False, True], ids=["gone", "empty mount point"])
def test_a_source_that_vanishes_in_mid_run_publishes_nothing(job: Job, pictures: Path, tree: Tree, empty: bool) -> None:
    """A disk that goes away while its pictures are read is an error, and not thousands of quarantined files."""
    settle(pictures)
    fpve.run(job)
    before = tree(job.store / "snapshots")
    for number in range(2):
        draw(pictures / f"cat/new{number}.png", 100 + number)
    kept = pictures.with_name("elsewhere")

    def unplug() -> None:
        pictures.rename(kept)
        if empty:
            pictures.mkdir()

    with pytest.raises(SourceNotFound, match="pictures: vanished while it was being read; nothing was published"):
        run_job(replace(job, limits=Limits(max_quarantine=1000)), engine=_Unplugs(unplug))
    assert tree(job.store / "snapshots") == before
    shutil.rmtree(pictures, ignore_errors=True)
    kept.rename(pictures)
    assert fpve.run(job).new == 2


def test_shards_of_a_killed_run_serve_another_prefix(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that died before it published encoded the pictures for good: with another prefix they keep their sizes."""
    with monkeypatch.context() as patch:
        patch.setattr("fpve.pipeline.run.commit", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            fpve.run(job)
    report = fpve.run(make_job(job.store, job.collections[0].source, prefix="a {kind}"))
    assert (report.encoded, report.fused) == (0, 12)
    store = fpve.open(job.store)
    assert set(store.images["width"].to_pylist()) == {40}
    assert store.thumbnail("pets/cat/00.png") is not None


def test_a_night_with_nothing_to_do_writes_no_scan_state(job: Job, pictures: Path) -> None:
    """What the scan state says already is not written again."""
    settle(pictures)
    fpve.run(job)
    file = job.store / "state/scan/pets.parquet"
    before = file.stat().st_mtime_ns
    fpve.run(job)
    assert file.stat().st_mtime_ns == before
    draw(pictures / "cat/00.png", 100)
    fpve.run(job)
    assert file.stat().st_mtime_ns != before


def test_a_rate_is_assumed_for_another_encoder(job: Job, pictures: Path) -> None:
    """What the store's runs achieved says nothing of another model."""
    fpve.run(job)
    started = datetime(2025, 1, 1, tzinfo=UTC).isoformat()
    append_run(job.store, RunReport("pets", started, encoded=200, images_per_second=0.1).to_dict())
    other = replace(job, encoders=Encoders(image=EncoderConfig("fake:8"), text=FAKE.text))
    report = fpve.run(other, dry_run=True)
    assert (report.encoded, report.estimate_basis.endswith("an assumption")) == (12, True)
    assert report.estimated_minutes == round(12 / forecast.ASSUMED_RATE / cores() / 60, 1)


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems normalise names themselves")
def test_another_spelling_of_a_name_is_taken_up(job: Job, pictures: Path) -> None:
    """A file that is renamed from NFD to NFC is the same image; its path is the one by which it can be opened."""
    draw(pictures / "u\u0308.png", 60)
    fpve.run(job)
    (pictures / "u\u0308.png").rename(pictures / "\u00fc.png")
    report = fpve.run(job)
    assert (report.metadata_changed, report.moved, report.removed, report.encoded) == (1, 0, 0, 0)
    assert str(pictures / "\u00fc.png") in fpve.open(job.store).images["path"].to_pylist()


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt
