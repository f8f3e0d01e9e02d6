"""Repair: what is derived comes back, what is damaged goes and is made again by a run, what is lost is said."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from maintenance.derived import add_rows, answer, correction
from samples import draw

import fpve
from fpve.config import Job
from fpve.errors import StoreCorrupt
from fpve.store import manifest as manifests
from fpve.store import publishing
from fpve.store.files import ref
from fpve.store.snapshot import Snapshot

Contents = Callable[[Path], dict[str, object]]
Flip = Callable[[Path], None]


def test_a_whole_store_is_left_alone(store: Path, tree: Callable[[Path], dict[str, bytes]]) -> None:
    """Nothing is written where nothing is wrong."""
    before = tree(store)
    done = fpve.repair(store)
    assert (done.rebuilt, done.taken_out, done.lost, done.snapshot, done.published) == ((), (), (), 3, False)
    assert tree(store) == before


def test_indexes_are_built_again(store: Path, tree: Callable[[Path], dict[str, bytes]]) -> None:
    """Without any of its derived files a store is made what it was, byte for byte."""
    before = tree(store)
    for path in [*store.glob("vectors/*/exact.faiss"), *store.glob("vectors/*/*.sha256")]:
        path.unlink()
    done = fpve.repair(store)
    assert len(done.rebuilt) == len(list(store.glob("vectors/*/rows.parquet")))
    assert (done.lost, done.published) == ((), False)
    assert tree(store) == before


def test_copies_of_pages_are_made_again(store: Path, flip: Flip, tree: Callable[[Path], dict[str, bytes]]) -> None:
    """Damaged and missing ones, of all snapshots: the store is what it was, byte for byte; nothing is published."""
    before = tree(store)
    copies = sorted(store.glob("images/*/*.arrow"))
    flip(copies[0])
    flip(copies[1].with_name(copies[1].name + ".sha256"))
    for path in copies[2:5]:
        path.unlink()
    copies[5].with_name(copies[5].name + ".sha256").unlink()
    assert {(one.file, one.kind) for one in fpve.verify(store).problems} == {
        (str(copies[number].relative_to(store)), "copy") for number in (0, 1, 5)
    }
    done = fpve.repair(store)
    named = [str(copies[number].relative_to(store)) for number in (0, 1, 5)]
    assert sorted(done.rebuilt) == sorted([*named, "images: 3 copies of pages, which readers map"])
    assert (done.lost, done.taken_out, done.published) == ((), (), False)
    assert tree(store) == before


def test_a_damaged_segment_is_encoded_again(store: Path, job: Job, contents: Contents, flip: Flip) -> None:
    """Its images are missing until the next run, which encodes just them; then the store is what it was."""
    before = contents(store)
    segment = next(one for one in manifests.load(store).segments if one.rows == 5)
    flip(store / segment.file.path)
    done = fpve.repair(store)
    assert done.taken_out[0] == f"{segment.file.path}: 5 vectors"
    assert done.snapshot == 4
    assert fpve.verify(store).ok
    missing = len(before) - len(contents(store))
    assert f"pets: {missing} images whose vector is gone" in done.taken_out[1]
    assert fpve.run(job).encoded == missing
    assert contents(store) == before
    assert fpve.verify(store).ok


def test_a_damaged_page_is_planned_again(store: Path, job: Job, contents: Contents, flip: Flip) -> None:
    """Its images come back from the sources without one picture being encoded: their vectors are still there."""
    before = contents(store)
    page = manifests.load(store).collections[0].pages[0]
    flip(store / page.file.path)
    done = fpve.repair(store)
    assert done.taken_out == (f"{page.file.path}: {page.rows} images, {page.first} to {page.last}",)
    assert len(contents(store)) == len(before) - page.rows
    report = fpve.run(job)
    assert (report.encoded, report.fused) == (0, 0)
    assert contents(store) == before


def test_older_snapshots_that_need_a_damaged_file_are_given_up(store: Path, flip: Flip) -> None:
    """They are named as lost and set aside with the file; those that don't need it still open."""
    segment = manifests.load(store, 2).segments
    first = {one.name for one in manifests.load(store, 1).segments}
    later = next(one for one in segment if one.name not in first)
    flip(store / later.file.path)
    done = fpve.repair(store)
    assert done.lost == ("snapshot 2: it needs a damaged file, and can't be opened any more",)
    assert manifests.numbers(store) == [1, 4]
    assert fpve.verify(store).ok
    assert fpve.open(store, at=1).status().images == 12
    aside = sorted(path.name.rpartition(".")[0] for path in (store / "state/damaged").iterdir())
    assert aside == [
        "snapshots_00000000000000000002.json",
        "snapshots_00000000000000000003.json",
        later.file.path.replace("/", "_"),
    ]


def test_a_damaged_newest_manifest_gives_way(store: Path, job: Job, contents: Contents, flip: Flip) -> None:
    """The snapshot before it stands again under a new number, and the next run makes the rest again."""
    after, before = contents(store), Snapshot.open(store, 2).images.num_rows
    flip(manifests.path_of(store, 3))
    done = fpve.repair(store)
    assert (done.snapshot, done.published) == (4, True)
    assert done.lost[0].startswith("snapshot 3: its manifest is damaged (")
    assert done.lost[0].endswith("snapshot 2 stands again; the next run makes what it held again")
    assert len(contents(store)) == before
    assert fpve.run(job).encoded == 0
    assert contents(store) == after


def test_without_any_manifest_a_run_begins_anew(store: Path, job: Job, contents: Contents, flip: Flip) -> None:
    """Where every manifest is damaged nothing is left, which is said, and the next run encodes everything."""
    before = contents(store)
    for number in (1, 2, 3):
        flip(manifests.path_of(store, number))
    done = fpve.repair(store)
    assert (done.snapshot, done.published, len(done.lost)) == (None, False, 3)
    assert fpve.run(job).encoded == 12
    assert contents(store) == before


def test_prefixes_are_made_again_from_pages(store: Path, flip: Flip) -> None:
    """Texts come back; where they came from, and when they were made, is said to be lost."""
    columns = ["prefix_id", "text"]
    before = Snapshot.open(store).table("prefixes", columns).sort_by("prefix_id")
    flip(next(store.glob("tables/prefixes/*.parquet")))
    done = fpve.repair(store)
    assert Snapshot.open(store).table("prefixes", columns).sort_by("prefix_id").equals(before)
    rows = Snapshot.open(store).table("prefixes").to_pylist()
    assert {(row["origin"], row["template"], row["generation_id"]) for row in rows} == {("page", None, None)}
    assert done.rebuilt == ("prefixes: 6 texts, from the pages",)
    assert done.lost[0] == "prefixes: where the damaged ones came from, and when, and those that no image has any more"
    assert fpve.verify(store).ok


def test_thumbnails_are_made_again_from_sources(store: Path, pictures: Path, flip: Flip) -> None:
    """They are the same JPEGs; of a picture whose file is gone the loss is counted."""

    def thumbnails() -> dict[str, bytes]:
        rows = Snapshot.open(store).table("thumbnails").to_pylist()
        return {row["content_hash"]: row["jpeg"] for row in rows}

    opened = fpve.open(store)
    alive = set(opened.images["content_hash"].to_pylist())
    before = {name: jpeg for name, jpeg in thumbnails().items() if name in alive}
    (pictures / "cat/03.png").unlink()
    lost = next(row["content_hash"] for row in opened.images.to_pylist() if row["image_id"] == "pets/cat/03.png")
    for file in store.glob("tables/thumbnails/*.parquet"):
        flip(file)
    done = fpve.repair(store)
    assert done.lost[0] == "thumbnails: 1, whose pictures are gone or have changed"
    assert thumbnails() == {name: jpeg for name, jpeg in before.items() if name != lost}


def test_quarantine_is_found_again(job: Job, pictures: Path, flip: Flip) -> None:
    """The next run looks at the inputs again, and says why they can't be encoded."""
    (pictures / "broken.png").write_bytes(b"no")
    fpve.run(job)
    flip(next(job.store.glob("tables/quarantine/*.parquet")))
    done = fpve.repair(job.store)
    assert done.taken_out == ("quarantine: inputs that can't be encoded; the next run looks at them again",)
    assert fpve.run(job).quarantined == 1
    rows = Snapshot.open(job.store).table("quarantine").to_pylist()
    assert [(row["image_id"], row["reason"]) for row in rows] == [
        ("pets/broken.png", "not a picture of any known format")
    ]


@pytest.mark.parametrize("kind", ["segment", "manifest"])
def test_a_repair_that_is_killed_is_begun_again(
    store: Path, job: Job, contents: Contents, flip: Flip, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Dying after it published, before it set the damaged files aside, costs nothing."""
    before = contents(store)
    manifest = manifests.load(store)
    flip(store / manifest.segments[0].file.path if kind == "segment" else manifests.path_of(store, 3))
    with monkeypatch.context() as patch:
        patch.setattr("fpve.maintenance.repair.set_aside", _die)
        with pytest.raises(KeyboardInterrupt):
            fpve.repair(store)
    assert not fpve.verify(store).ok
    fpve.repair(store)
    assert fpve.verify(store).ok
    fpve.run(job)
    assert contents(store) == before


def _die(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_picture_that_comes_back_has_its_thumbnail(store: Path, job: Job, pictures: Path, flip: Flip) -> None:
    """Where the thumbnail of a picture that was gone could not be made again, the picture is encoded anew with it."""
    for file in store.glob("tables/thumbnails/*.parquet"):
        flip(file)
    fpve.repair(store)
    draw(pictures / "dog/01.png", 1)
    assert fpve.run(job).encoded == 1
    row = Snapshot.open(store).images.to_pylist()[-4]
    assert (row["image_id"], row["width"], row["height"]) == ("pets/dog/01.png", 40, 30)
    assert fpve.open(store).thumbnail("pets/dog/01.png") is not None


def test_what_cannot_be_read_now_is_no_damage(
    store: Path, tree: Callable[[Path], dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file or a manifest that the system would not let be read is reported, and repair touches nothing."""
    before = tree(store)
    segment = store / manifests.load(store).segments[0].file.path
    manifest = manifests.path_of(store, 2)
    real = Path.open

    def refusing(path: Path) -> Callable[..., object]:
        def open_(self: Path, *options: object, **named: object) -> object:
            if self == path:
                raise PermissionError(13, "Permission denied", str(self))
            return real(self, *options, **named)

        return open_

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refusing(segment))
        problems = fpve.verify(store).problems
        assert [(one.kind, one.problem) for one in problems] == [("unreadable", "can't be read: Permission denied")]
        with pytest.raises(StoreCorrupt, match=r"can't be read: Permission denied; .* nothing was changed"):
            fpve.repair(store)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refusing(manifest))
        for call in (fpve.repair, fpve.verify, fpve.rollback):
            with pytest.raises(PermissionError):
                call(store)
    assert tree(store) == before


def test_labels_survive_the_manifest_that_names_them(store: Path, job: Job, tmp_path: Path, flip: Flip) -> None:
    """They are in a file that says by its name that it is whole, and are named again; the next run lays them over."""
    (tmp_path / "labels.csv").write_text("image_id,kind\npets/cat/00.png,tiger\n")
    fpve.label(store, tmp_path / "labels.csv")
    flip(manifests.path_of(store, 4))
    done = fpve.repair(store)
    assert done.rebuilt == ("labels: 1, as the damaged snapshot had them; the next run lays them over",)
    fpve.run(job)
    kinds = {row["image_id"]: row["kind"] for row in Snapshot.open(store).images.to_pylist()}
    assert kinds["pets/cat/00.png"] == "tiger"
    assert fpve.verify(store).ok


def test_snapshots_are_numbered_on_from_damaged_ones(store: Path, job: Job, flip: Flip) -> None:
    """A reader that has snapshot 3 open notices the store that was made after all its manifests were damaged."""
    reader = fpve.open(store)
    for number in (1, 2, 3):
        flip(manifests.path_of(store, number))
    fpve.repair(store)
    assert fpve.run(job).snapshot == 4
    assert reader.refresh()
    assert reader.snapshot == 4


def test_thumbnails_are_found_under_names_that_are_no_text(job: Job, pictures: Path, flip: Flip) -> None:
    """A picture whose name is not UTF-8, or has a percent sign in it, is found again."""
    (pictures / "cat/00.png").rename(pictures / os.fsdecode(b"cat/caf\xe9.png"))
    (pictures / "cat/03.png").rename(pictures / "cat/100%41.png")
    fpve.run(job)
    before = {row["content_hash"] for row in Snapshot.open(job.store).table("thumbnails").to_pylist()}
    for file in job.store.glob("tables/thumbnails/*.parquet"):
        flip(file)
    assert fpve.repair(job.store).lost == ()
    assert {row["content_hash"] for row in Snapshot.open(job.store).table("thumbnails").to_pylist()} == before


def generated(store: Path) -> list[str]:
    """Names of the answers that the newest snapshot has, each as often as it is there."""
    return sorted(Snapshot.open(store).table("generated")["generation_id"].to_pylist())


def test_answers_of_a_damaged_file_are_lost(store: Path, flip: Flip) -> None:
    """They cost money, and can't be made again; those of other files stay."""
    add_rows(store, "generated", [answer("a"), answer("b")])
    made = add_rows(store, "generated", [answer("c")])
    old, new = (next(one for one in made.tables_named("generated") if one.rows == rows) for rows in (2, 1))
    flip(store / old.file.path)
    done = fpve.repair(store)
    assert done.lost[0] == ("generated: answers of language models; the next run asks again for those that images need")
    assert generated(store) == ["c"]
    assert manifests.load(store).tables_named("generated") == (new,)
    assert fpve.verify(store).ok


def test_answers_are_found_in_files_of_older_snapshots(store: Path, flip: Flip) -> None:
    """A merged file is damaged, of which older snapshots have the parts: what these hold is not lost."""
    add_rows(store, "generated", [answer("a"), answer("b")])
    add_rows(store, "generated", [answer("c")])
    fpve.compact(store)
    (merged,) = manifests.load(store).tables_named("generated")
    assert merged.rows == 3
    flip(store / merged.file.path)
    done = fpve.repair(store)
    assert "generated: 3 answers, which other files hold as well" in done.rebuilt
    assert generated(store) == ["a", "b", "c"]
    assert fpve.verify(store).ok


def test_answers_and_corrections_survive_the_manifest_that_names_them(store: Path, job: Job, flip: Flip) -> None:
    """They are in files that say by their names that they are whole, and are named again."""
    add_rows(store, "generated", [answer("a")])
    add_rows(store, "corrected", [correction("pets/cat/00.png", "a tabby")])
    last = add_rows(store, "generated", [answer("b")])
    for number in (4, 5, 6):
        flip(manifests.path_of(store, number))
    done = fpve.repair(store)
    assert done.rebuilt == (
        "corrected: 1, as the damaged snapshot had them; the next run gives them to their images",
        "generated: 2 answers, which other files hold as well",
    )
    assert manifests.load(store).tables == last.tables
    assert generated(store) == ["a", "b"]
    assert fpve.verify(store).ok
    fpve.run(job)
    prefixes = {row["image_id"]: row["prefix"] for row in Snapshot.open(store).images.to_pylist()}
    assert prefixes["pets/cat/00.png"] == "a tabby"


def test_answers_outlive_every_manifest(store: Path, job: Job, flip: Flip) -> None:
    """With no snapshot left they wait where those of a killed run do, and the next run publishes them."""
    add_rows(store, "generated", [answer("a"), answer("b")])
    add_rows(store, "corrected", [correction("pets/cat/00.png", "a tabby")])
    for number in manifests.numbers(store):
        flip(manifests.path_of(store, number))
    done = fpve.repair(store)
    assert done.rebuilt == ("generated: 2 answers, which are kept for the next run",)
    assert done.lost[-1] == "corrected: no snapshot is left that names them"
    fpve.run(job)
    assert generated(store) == ["a", "b"]


def test_damaged_corrections_are_lost(store: Path, flip: Flip) -> None:
    """Pages hold the texts until the next run, as they hold labels."""
    made = add_rows(store, "corrected", [correction("pets/cat/00.png", "a tabby")])
    (table,) = made.tables_named("corrected")
    flip(store / table.file.path)
    done = fpve.repair(store)
    assert done.lost == ("corrected: texts that people gave; pages hold them until the next run",)
    assert not manifests.load(store).tables_named("corrected")
    assert fpve.verify(store).ok


def test_older_files_lack_columns_that_came_later(store: Path) -> None:
    """A table of prefixes without `generation_id`, as earlier versions wrote it, is whole; one without texts is not."""
    last = manifests.load(store)
    table = last.tables_named("prefixes")[0]
    for column, ok in (("generation_id", True), ("template", True), ("text", False)):
        path = store / "tables/prefixes/0123456789abcdef.parquet"
        pq.write_table(pq.read_table(store / table.file.path).drop_columns([column]), path)
        others = [one for one in last.tables if one != table]
        changed = replace(table, file=ref(store, path))
        number = manifests.numbers(store)[-1]
        publishing.publish(
            store,
            replace(last, snapshot=number + 1, parent=number, tables=manifests.sorted_tables((*others, changed))),
        )
        problems = [one.problem for one in fpve.verify(store, at=number + 1).problems]
        assert problems == ([] if ok else ["expected a column 'text' of string"])
        assert set(Snapshot.open(store).table("prefixes").column_names) >= {"generation_id", "template"}
        path.unlink()
        manifests.path_of(store, number + 1).unlink()
