"""Heads in a store: trained, saved, found again, and what the store's other operations do with them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from heads.conftest import COUNT
from samples import draw

import fpve
from fpve.cli import cli
from fpve.config import EncoderConfig, Encoders, FusionConfig, Job
from fpve.errors import QueryError, StoreCorrupt, StoreLocked, StoreNotFound
from fpve.heads.head import Head
from fpve.heads.stored import load_head
from fpve.maintenance.verify import Problem
from fpve.pipeline import train as training
from fpve.store import manifest as manifests
from fpve.store import means, publishing
from fpve.store.lock import writer_lock
from fpve.store.manifest import Manifest
from fpve.store.searched import searched_fusion
from fpve.store.snapshot import Snapshot

Flip = Callable[[Path], None]


def heads(store: Path, at: int | None = None) -> list[tuple[str, str, int]]:
    """Label, kind and training snapshot of each head of a snapshot."""
    return [(one.label, one.kind, one.snapshot) for one in manifests.load(store, at).heads]


def file_of(store: Path) -> Path:
    """The file of the newest snapshot's only head."""
    (one,) = manifests.load(store).heads
    return store / one.file.path


def queries_of(snapshot: Snapshot, weight: float) -> tuple[np.ndarray, list[str]]:
    """All images as queries, and their kinds."""
    (segment,) = snapshot.manifest.segments
    rows = snapshot.segment_rows(segment, snapshot.rows.positions)
    fusion = searched_fusion(snapshot)
    return fusion.query(*snapshot.fusion.unfuse(rows), weight), snapshot.rows.column("kind").to_pylist()


def test_training_publishes_a_head(labelled: Job) -> None:
    """One snapshot more, which says what was learnt, of what, and how well that did on what was held out."""
    found = fpve.train(labelled.store, label="kind", head="mlp", seed=3)
    assert (found.label, found.kind, found.classes, found.rows, found.labelled) == ("kind", "mlp", 3, COUNT, COUNT)
    assert (found.image_weight, found.snapshot, found.published, found.warnings) == (0.5, 2, True, ())
    assert found.metrics["held_out"] == found.metrics["held_out_without"] == 30
    assert found.metrics["accuracy"] > 0.6
    manifest = manifests.load(labelled.store)
    (ref,) = manifest.heads
    assert (manifest.operation, ref.seed, ref.metrics) == ("train", 3, found.metrics)
    assert ref.file.path == f"heads/{ref.file.sha256[:16]}.safetensors"
    assert ref.file in manifest.files
    snapshot = Snapshot.open(labelled.store)
    head = load_head(snapshot, "kind", "mlp")
    assert (head.names, head.snapshot) == (("bird", "cat", "dog"), 1)
    assert (head.settings["seed"], head.settings["hidden"]) == (3, 64)
    queries, kinds = queries_of(snapshot, head.image_weight)
    said = [head.names[code] for code in head.probabilities(queries).argmax(axis=1)]
    assert np.mean([one == other for one, other in zip(said, kinds, strict=True)]) > 0.8
    assert fpve.history(labelled.store)["operation"].to_pylist() == ["train", "run"]
    assert fpve.open(labelled.store).status().heads == (
        {
            "label": "kind",
            "kind": "mlp",
            "classes": 3,
            "rows": COUNT,
            "snapshot": 1,
            "accuracy": found.metrics["accuracy"],
            "accuracy_without": found.metrics["accuracy_without"],
        },
    )
    assert fpve.verify(labelled.store).ok


def test_a_saved_head_says_the_same_in_another_process(trained: Job) -> None:
    """Its probabilities are equal to the bit."""
    snapshot = Snapshot.open(trained.store)
    head = load_head(snapshot, "kind", "logistic")
    queries, _ = queries_of(snapshot, head.image_weight)
    np.save(trained.store.parent / "queries.npy", queries)
    code = (
        "import sys, numpy as np; from fpve.store.snapshot import Snapshot; from fpve.heads.stored import load_head; "
        "head = load_head(Snapshot.open(sys.argv[1]), 'kind', 'logistic'); "
        "print(head.probabilities(np.load(sys.argv[2])).tobytes().hex()); print('torch' in sys.modules)"
    )
    words = [sys.executable, "-c", code, str(trained.store), str(trained.store.parent / "queries.npy")]
    said, torch = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    assert bytes.fromhex(said) == head.probabilities(queries).tobytes()
    assert torch == "False"


def test_the_same_training_publishes_nothing(trained: Job) -> None:
    """What is learnt once more is what is there; another seed takes its place."""
    again = fpve.train(trained.store, label="kind")
    assert (again.published, again.snapshot) == (False, 2)
    other = fpve.train(trained.store, label="kind", seed=1)
    assert (other.published, other.snapshot) == (True, 3)
    assert heads(trained.store) == [("kind", "logistic", 2)]
    assert heads(trained.store, 2) == [("kind", "logistic", 1)]


def test_a_store_has_one_head_of_each_kind_for_each_label(trained: Job) -> None:
    """Others stay beside it, in one order."""
    fpve.train(trained.store, label="kind", head="mlp")
    fpve.train(trained.store, label="colour")
    assert heads(trained.store) == [("colour", "logistic", 3), ("kind", "logistic", 1), ("kind", "mlp", 2)]
    assert fpve.verify(trained.store).ok


def test_a_head_that_is_not_there_is_said_with_the_remedy(trained: Job, labelled: Job) -> None:
    """The error names those that there are, and the command that trains it."""
    snapshot = Snapshot.open(trained.store)
    with pytest.raises(QueryError) as error:
        load_head(snapshot, "knid", "mlp")
    assert str(error.value) == (
        "no mlp head for 'knid'; did you mean 'kind'?; heads are trained for kind (logistic); "
        f"`fpve train {trained.store} --label knid --head mlp` trains one"
    )
    with pytest.raises(QueryError, match="no logistic head for 'kind'; none is trained; `fpve train"):
        load_head(Snapshot.open(trained.store, at=1), "kind", "logistic")


def test_a_condition_says_what_is_learnt_from(labelled: Job) -> None:
    """Only images that meet it count, and classes that none of these has are not learnt."""
    found = fpve.train(labelled.store, label="kind", where="kind <> 'bird' AND colour = 'red'")
    assert (found.rows, found.classes) == (COUNT // 3, 2)
    head = load_head(Snapshot.open(labelled.store), "kind", "logistic")
    assert head.names == ("cat", "dog")
    assert head.settings["where"] == "kind <> 'bird' AND colour = 'red'"


def test_of_many_images_some_are_drawn(labelled: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more than the limit so many are learnt from; that no pairs are compared is said then."""
    monkeypatch.setattr(training, "MAX_ROWS", 60)
    assert fpve.train(labelled.store, label="kind").warnings == ()
    monkeypatch.setattr(training, "MOST_COMPARED", 50)
    monkeypatch.setattr(training, "_AT_ONCE", 7)
    found = fpve.train(labelled.store, label="kind")
    assert (found.rows, found.labelled) == (60, COUNT)
    assert found.warnings == (
        "near-duplicates among 60 images may be on both sides: copies were told by their content",
    )


def test_rows_that_are_read_in_parts_are_in_their_order(labelled: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size of the parts, the same is learnt."""
    fpve.train(labelled.store, label="kind")
    monkeypatch.setattr(training, "_AT_ONCE", 7)
    assert not fpve.train(labelled.store, label="kind").published


def test_copies_stay_on_one_side(labelled: Job) -> None:
    """Copies of a picture under other names and with other captions are held out with it, or not at all."""
    source = labelled.collections[0].source
    lines = (source / "metadata.csv").read_text().splitlines()
    for number in range(0, COUNT, 2):
        (source / f"copy{number:03d}.png").write_bytes((source / f"{number:03d}.png").read_bytes())
        lines.append(f"copy{number:03d}.png,copy {number},{lines[1 + number].split(',')[2]},blue")
    (source / "metadata.csv").write_text("\n".join(lines) + "\n")
    fpve.run(labelled)
    snapshot = Snapshot.open(labelled.store)
    seen: dict[str, np.ndarray] = {}

    def spy(queries: np.ndarray, codes: np.ndarray, clusters: np.ndarray, **options: object) -> object:
        seen["clusters"] = clusters
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "train_head", spy)
        with pytest.raises(KeyboardInterrupt):
            fpve.train(labelled.store, label="kind")
    content = snapshot.rows.column("content_hash").to_pylist()
    of = dict(zip(content, seen["clusters"].tolist(), strict=True))
    assert [of[one] for one in content] == seen["clusters"].tolist()
    assert len(set(of.values())) == COUNT


BAD = [
    ({"label": "knid"}, "did you mean 'kind'"),
    ({"label": "kind", "head": "svm"}, "head: expected logistic or mlp, found 'svm'"),
    ({"label": "kind", "image_weight": 1.5}, r"image weight: expected a number from 0 \(text only\)"),
    ({"label": "kind", "where": "colour = 'green'"}, "no image with a value of 'kind' meets the condition"),
    ({"label": "kind", "where": "kind = 'cat'"}, "at least two classes to learn from, found one class"),
    ({"label": "kind", "where": "caption IS NULL", "image_weight": 0.0}, "learns from texts alone"),
    ({"label": "caption", "where": "caption IS NOT NULL"}, "classes of one image each"),
    ({"label": "kind", "class_weight": "even"}, "class weight: expected balanced"),
    ({"label": "kind", "seed": -1}, "seed: expected 0 or more, found -1"),
    # Before data are read: there is no such label either.
    ({"label": "knid", "device": "nosuch"}, "device 'nosuch': torch can't compute there: Expected one of cpu, cuda"),
    ({"label": "knid", "device": "cuda:99"}, "device 'cuda:99': torch can't compute there: "),
    ({"label": "knid", "device": "meta"}, "device 'meta': torch can't compute there: "),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_what_can_not_be_trained_is_refused(
    labelled: Job, options: dict[str, object], message: str, tree: Callable[[Path], dict[str, bytes]]
) -> None:
    """The error is one line, and nothing is published or written."""
    before = tree(labelled.store / "snapshots")
    with pytest.raises(QueryError, match=message) as error:
        fpve.train(labelled.store, **options)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    assert tree(labelled.store / "snapshots") == before
    assert not (labelled.store / "heads").exists()


def test_training_is_a_writer(labelled: Job) -> None:
    """It waits for nobody if it is not told to, and needs a store."""
    with writer_lock(labelled.store, "somebody"), pytest.raises(StoreLocked, match="somebody"):
        fpve.train(labelled.store, label="kind")
    with pytest.raises(StoreNotFound):
        fpve.train(labelled.store.parent / "nothing", label="kind")


def test_a_weight_of_its_own_is_kept(labelled: Job) -> None:
    """By default it is the store's, or 1 where no labelled image has a prefix; another one is part of the head."""
    assert fpve.train(labelled.store, label="kind", image_weight=0.25).image_weight == 0.25
    assert load_head(Snapshot.open(labelled.store), "kind", "logistic").image_weight == 0.25
    found = fpve.train(labelled.store, label="kind", where="caption IS NULL")
    assert found.image_weight == 1
    assert load_head(Snapshot.open(labelled.store), "kind", "logistic").classifier.full is None


def test_what_changes_no_vector_keeps_heads(trained: Job) -> None:
    """A run over new pictures and other metadata, labels, prefixes, alignment and compaction leave them as they are."""
    store, source = trained.store, trained.collections[0].source
    (before,) = manifests.load(store).heads
    draw(source / "new.png", 5_000)
    table = source / "metadata.csv"
    table.write_text(table.read_text().replace(",red", ",green"))
    assert fpve.run(trained).warnings == ()
    (source / "labels.csv").write_text("image_id,kind\npets/000.png,dog\n")
    assert fpve.label(store, source / "labels.csv").published
    assert fpve.set_prefix(store, where="image_id = 'pets/001.png'", text="a bird").published
    assert fpve.align(store).published
    assert fpve.compact(store).published
    assert manifests.load(store).snapshot == 7
    assert manifests.load(store).heads == (before,)
    assert fpve.verify(store).ok


def other_encoder(job: Job) -> Job:
    """The job with another vision model."""
    return replace(job, encoders=Encoders(image=EncoderConfig("fake:25"), text=job.encoders.text))


def other_mode(job: Job) -> Job:
    """The job with another fusion mode."""
    return replace(job, fusion=FusionConfig(mode="concat"))


def centred(job: Job) -> Job:
    """The job with means."""
    return replace(job, fusion=FusionConfig(centre=True))


@pytest.mark.parametrize("change", [other_encoder, other_mode, centred])
def test_other_vectors_drop_heads_and_say_so(trained: Job, change: Callable[[Job], Job]) -> None:
    """A head knows nothing of other encoders, modes and means; the run says how to train it again."""
    job = change(trained)
    found = fpve.run(job)
    command = f"`fpve train {trained.store} --label kind --head logistic`"
    (warning,) = [one for one in found.warnings if "head" in one]
    assert warning.startswith("the logistic head for 'kind' is dropped: ")
    assert warning.endswith(f"{command} trains it again")
    assert heads(trained.store) == []
    assert heads(trained.store, 2) == [("kind", "logistic", 1)]
    assert fpve.train(trained.store, label="kind").published
    snapshot = Snapshot.open(trained.store)
    head = load_head(snapshot, "kind", "logistic")
    queries, kinds = queries_of(snapshot, head.image_weight)
    said = [head.names[code] for code in head.probabilities(queries).argmax(axis=1)]
    assert np.mean([one == other for one, other in zip(said, kinds, strict=True)]) > 0.8
    assert fpve.verify(trained.store).ok


def test_a_dry_run_says_which_heads_would_go(trained: Job) -> None:
    """Before anything is encoded again, whoever asks is told; and of a run that keeps them nothing is said."""
    (warning,) = [one for one in fpve.run(other_encoder(trained), dry_run=True).warnings if "head" in one]
    assert warning.startswith("the logistic head for 'kind' is dropped: ")
    assert fpve.run(trained, dry_run=True).warnings == ()
    assert heads(trained.store) == [("kind", "logistic", 1)]


def test_new_means_drop_heads(labelled: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a centred store has grown by half, its means are fitted anew, and heads go with the old ones."""
    monkeypatch.setattr(means, "MIN_BLOCKS", 20)
    job = centred(labelled)
    fpve.run(job)
    fpve.train(job.store, label="kind")
    for number in range(10):
        draw(job.collections[0].source / f"few{number}.png", 6_000 + number)
    assert fpve.run(job).warnings == ()
    assert heads(job.store) == [("kind", "logistic", 2)]
    for number in range(COUNT):
        draw(job.collections[0].source / f"many{number}.png", 7_000 + number)
    assert [one.partition(":")[0] for one in fpve.run(job).warnings] == ["the logistic head for 'kind' is dropped"]
    assert heads(job.store) == []


def test_rollback_takes_heads_with_it(trained: Job) -> None:
    """The snapshot before training has none, and the one after it has the same again."""
    fpve.rollback(trained.store)
    assert heads(trained.store) == []
    fpve.rollback(trained.store, to=2)
    assert heads(trained.store) == [("kind", "logistic", 1)]
    assert load_head(Snapshot.open(trained.store), "kind", "logistic").names == ("bird", "cat", "dog")
    assert fpve.verify(trained.store).ok
    assert not fpve.run(trained).published


def test_prune_deletes_what_no_snapshot_names(trained: Job) -> None:
    """A head that was replaced goes with the snapshots that had it, not before, and no other file does."""
    old = file_of(trained.store)
    fpve.train(trained.store, label="kind", seed=1)
    new = file_of(trained.store)
    stray, temporary = trained.store / "heads/notes.txt", trained.store / "heads/.0123456789abcdef.safetensors.tmp"
    stray.write_text("mine")
    temporary.write_text("killed")
    fpve.prune(trained.store, keep=2, grace=timedelta(0))
    assert old.exists()
    assert not temporary.exists()
    fpve.prune(trained.store, keep=1, grace=timedelta(0))
    assert (old.exists(), new.exists(), stray.exists()) == (False, True, True)
    assert fpve.verify(trained.store).ok


def test_verify_finds_a_flipped_bit(trained: Job, flip: Flip) -> None:
    """It is a problem of the head's file; whoever asks for the head is told to repair."""
    file = file_of(trained.store)
    flip(file)
    assert fpve.verify(trained.store, quick=True).ok
    problem = "its content has changed: its SHA-256 is not that of the manifest"
    name = file.relative_to(trained.store).as_posix()
    assert fpve.verify(trained.store).problems == (Problem(name, "head", (2,), problem),)
    with pytest.raises(StoreCorrupt, match="fpve repair"):
        load_head(Snapshot.open(trained.store), "kind", "logistic")
    file.unlink()
    assert fpve.verify(trained.store, quick=True).problems == (Problem(name, "head", (2,), "it is missing"),)


def rewritten(store: Path, data: bytes, **changes: object) -> Manifest:
    """Publish a manifest whose head has another file, with the right checksum."""
    last = manifests.load(store)
    digest = hashlib.sha256(data).hexdigest()
    path = store / f"heads/{digest[:16]}.safetensors"
    path.write_bytes(data)
    (ref,) = last.heads
    file = replace(ref.file, path=f"heads/{digest[:16]}.safetensors", bytes=len(data), sha256=digest)
    manifest = publishing.successor(last, last.snapshot, operation="train", heads=(replace(ref, file=file, **changes),))
    publishing.publish(store, manifest)
    return manifest


def test_verify_finds_heads_that_are_not_what_the_manifest_says(trained: Job) -> None:
    """A file with the right checksum is a head, of that label and of such vectors."""
    store = trained.store
    head = load_head(Snapshot.open(store), "kind", "logistic")
    cases = [
        (b"no head", {}, "expected a head as fpve saves it"),
        (replace(head, label="colour").dumps(), {}, "its label is not that of the manifest"),
        (replace(head, space="0" * 16).dumps(), {"space": "0" * 16}, "vectors that were made in another way"),
    ]
    for number, (data, changes, message) in enumerate(cases, start=3):
        rewritten(store, data, **changes)
        (problem,) = fpve.verify(store, at=number).problems
        assert (problem.kind, problem.snapshots) == ("head", (number,))
        assert message in problem.problem
        with pytest.raises(StoreCorrupt, match=message):
            load_head(Snapshot.open(store), "kind", "logistic")


def test_repair_drops_a_damaged_head_and_says_so(trained: Job, flip: Flip) -> None:
    """All else stays; the head can be trained again, and then is the same one."""
    (before,) = manifests.load(trained.store).heads
    flip(file_of(trained.store))
    found = fpve.repair(trained.store)
    assert found.taken_out == ()
    assert found.lost[0] == (
        f"{before.file.path}: the logistic head for 'kind'; "
        f"`fpve train {trained.store} --label kind --head logistic` trains it again"
    )
    assert found.published
    assert heads(trained.store) == []
    assert manifests.load(trained.store).rows == COUNT
    assert fpve.verify(trained.store).ok
    assert not fpve.run(trained).published
    fpve.train(trained.store, label="kind")
    (after,) = manifests.load(trained.store).heads
    assert after.metrics == before.metrics
    assert fpve.verify(trained.store).ok


def test_repair_drops_heads_with_the_means_they_learnt_with(labelled: Job, flip: Flip) -> None:
    """Means that can't be fitted as they were are others, of which the head knows nothing."""
    job = centred(labelled)
    fpve.run(job)
    fpve.train(job.store, label="kind")
    draw(job.collections[0].source / "new.png", 5_000)
    fpve.run(job)
    # Fitted in the second snapshot, which is gone: they are fitted over one picture more.
    fpve.prune(job.store, keep=1, grace=timedelta(0))
    flip(job.store / manifests.load(job.store).tables_named("means")[0].file.path)
    found = fpve.repair(job.store)
    assert [one.partition(":")[0].partition("/")[0] for one in found.lost] == ["means", "heads"]
    assert heads(job.store) == []
    assert fpve.verify(job.store).ok


def test_a_damaged_newest_manifest_gives_way_to_the_one_before(trained: Job, flip: Flip) -> None:
    """What it named beside that, such as a head, is trained again."""
    flip(manifests.path_of(trained.store, 2))
    fpve.repair(trained.store)
    assert heads(trained.store) == []
    assert fpve.verify(trained.store).ok
    assert fpve.train(trained.store, label="kind").published


def test_the_command_line_trains(labelled: Job) -> None:
    """`fpve train` prints what was learnt, as a table or as one JSON object, and its errors in one line."""

    def run(*words: str) -> Result:
        return CliRunner().invoke(cli, ["train", str(labelled.store), *words])

    done = run("--label", "kind", "--head", "mlp", "--seed", "1", "--format", "json")
    assert done.exit_code == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["label"], said["kind"], said["rows"], said["snapshot"]) == ("kind", "mlp", COUNT, 2)
    done = run("--label", "kind", "--class-weight", "balanced")
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "head         logistic for 'kind', 3 classes"
    assert lines[1] == "learnt from  150 images, image weight 0.5"
    assert lines[2] == "snapshot     3 (published)"
    assert [line.split("  ")[0] for line in lines[-2:]] == ["as they are", "without their prefix"]
    said = str(run("--label", "knid").exception)
    assert said == "no label column 'knid'; did you mean 'kind'?; the store has caption, colour, kind"


def test_a_head_of_few_images_says_that_it_was_not_measured(job: Job) -> None:
    """Twelve pictures are learnt from all the same."""
    fpve.run(job)
    found = fpve.train(job.store, label="kind")
    assert found.rows == 12
    assert not any(name.startswith(("accuracy", "held_out")) for name in found.metrics)
    done = CliRunner().invoke(cli, ["train", str(job.store), "--label", "kind", "--head", "mlp"])
    assert done.exit_code == 0
    assert "how good it is was not measured" in done.stderr
    assert Head.loads(file.read_bytes(), "head").names if (file := next((job.store / "heads").glob("*"))) else False
