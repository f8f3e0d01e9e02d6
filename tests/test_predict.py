"""Labels that a job has predicted: for which images, when again, and what becomes of them under every operation."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from predicting import Source, check, job_of, predictions
from samples import KINDS, draw, make_job

import fpve
from fpve.cli import cli
from fpve.config import CollectionConfig, EncoderConfig, Encoders, Job, PredictRule
from fpve.errors import JobError, StoreConflict
from fpve.store import tables
from fpve.store.snapshot import Snapshot

COUNT = 110
NIGHT = """
store = "store"
[encoders]
image = "fake:24"
text = "fake:16"
[[collections]]
name = "pets"
source = "pictures"
metadata = "pictures/metadata.csv"
prefix = "{caption}"
[[predict]]
label = "kind"
where = "kind IS NULL"
[[predict]]
label = "colour"
"""


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """110 pictures, 55 of them labelled."""
    return Source.of(tmp_path / "pictures", COUNT)


@pytest.fixture
def predicted(tmp_path: Path, source: Source) -> Job:
    """A store whose labels are predicted."""
    job = job_of(tmp_path / "store", source)
    fpve.run(job)
    return job


def give(store: Path, folder: Path, column: str = "kind", **kinds: str) -> fpve.LabelReport:
    """Label images, by the names of their files without the suffix."""
    file = folder / "given.csv"
    lines = [f"pets/{name.removeprefix('n')}.png,{kind}" for name, kind in kinds.items()]
    file.write_text("\n".join([f"image_id,{column}", *lines]) + "\n", encoding="utf-8")
    return fpve.label(store, file)


def test_unlabelled_images_are_predicted(predicted: Job) -> None:
    """Each image without a value has a row that `classify` agrees with; the report, the status and history count it."""
    found = predictions(predicted.store)
    store = fpve.open(predicted.store)
    assert sorted(found) == [f"pets/{number:03d}.png" for number in range(0, COUNT, 2)]
    check(predicted.store)
    told = store.classify(ids=sorted(found), label="kind", k=5).to_arrow()
    for row, one in zip(told.to_pylist(), [found[name] for name in sorted(found)], strict=True):
        assert one["prediction"] == row["prediction"]
        assert one["confidence"] == pytest.approx(row["confidence"], abs=1e-6)
        assert (one["label"], one["head"], one["snapshot"]) == ("kind", "knn", 1)
    assert store.status().predictions == ({"label": "kind", "job": "pets", "head": "knn", "images": 55},)
    assert store.sql("SELECT published, predicted FROM runs").to_pylist() == [{"published": True, "predicted": 55}]
    assert fpve.history(predicted.store)["predicted"].to_pylist() == [55]


def test_the_view_joins_images(predicted: Job) -> None:
    """Its columns are those of the docs, and `image_id` is all that it takes."""
    store = fpve.open(predicted.store)
    assert store.sql("FROM predictions LIMIT 1").column_names == [
        "image_id",
        "label",
        "prediction",
        "confidence",
        "novelty",
        "neighbours",
        "head",
        "predicted_at",
        "snapshot",
    ]
    found = store.sql("SELECT count(*) AS n FROM images JOIN predictions USING (image_id) WHERE kind IS NULL")
    assert found.to_pylist() == [{"n": 55}]
    voters = store.sql("SELECT DISTINCT n.image_id FROM (SELECT unnest(neighbours) AS n FROM predictions)")
    assert all(int(name[5:8]) % 2 for name in voters["image_id"].to_pylist())


def test_a_run_with_nothing_new_publishes_nothing(tmp_path: Path, source: Source) -> None:
    """Nor does it load a model, an index or DuckDB, be it after a compaction, with a condition and a rule in vain."""
    file = tmp_path / "night.toml"
    file.write_text(NIGHT, encoding="utf-8")
    assert fpve.run(file).predicted == 55
    fpve.compact(tmp_path / "store")
    program = (
        f"import sys, fpve; report = fpve.run({str(file)!r}); assert not report.published\n"
        "assert not {'torch', 'faiss', 'duckdb'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_only_what_changed_is_predicted_again(predicted: Job, source: Source) -> None:
    """A picture that changed, and those whose neighbour was relabelled or may be nearer now; the others stand."""
    source.put("000", 900)
    fpve.run(predicted)
    found = predictions(predicted.store)
    assert {name for name, row in found.items() if row["snapshot"] == 2} == {"pets/000.png"}
    voter = found["pets/002.png"]["neighbours"][0]["image_id"]
    source.kinds[voter[5:8]] = next(kind for kind in KINDS if kind != source.kinds[voter[5:8]])
    source.write()
    report = fpve.run(predicted)
    named = {name for name, row in found.items() if voter in [one["image_id"] for one in row["neighbours"]]}
    again = {name for name, row in predictions(predicted.store).items() if row["snapshot"] == 3}
    assert again == named
    assert report.predicted == len(named)
    assert 0 < len(named) < 55
    check(predicted.store)


def test_metadata_that_says_nothing_of_a_label_changes_no_prediction(predicted: Job, tmp_path: Path) -> None:
    """Pages are written again, and the table of predictions is the same file."""
    before = Snapshot.open(predicted.store).manifest.tables_named(tables.PREDICTIONS)
    give(predicted.store, tmp_path, "price", n000="7", n001="8")
    assert Snapshot.open(predicted.store).manifest.tables_named(tables.PREDICTIONS) == before


def test_a_label_takes_the_place_of_a_prediction(predicted: Job, tmp_path: Path) -> None:
    """At once, and the image votes; taken back, it is predicted again by what votes then."""
    give(predicted.store, tmp_path, n000="cat", n002="dog")
    found = predictions(predicted.store)
    assert len(found) == 53
    assert not {"pets/000.png", "pets/002.png"} & set(found)
    check(predicted.store)
    fpve.label(predicted.store, tmp_path / "given.csv", undo=True)
    assert len(predictions(predicted.store)) == 55
    check(predicted.store)
    assert fpve.history(predicted.store)["operation"].to_pylist() == ["label", "label", "run"]
    assert not fpve.run(predicted).published


def test_another_prefix_is_another_vector(predicted: Job) -> None:
    """Setting the prefix of an image predicts it again, and those that it may be near to if it is labelled."""
    fpve.set_prefix(predicted.store, where="image_id IN ('pets/000.png', 'pets/001.png')", text="a caption")
    assert predictions(predicted.store)["pets/000.png"]["snapshot"] == 2
    check(predicted.store)


def test_alignment_says_nothing_of_labels(predicted: Job, source: Source) -> None:
    """Predicted prefixes take no part in votes: no prediction changes, and what is made later knows nothing of them."""
    source.captions = {name: f"caption {name}" for name in source.captions}
    source.write()
    fpve.run(predicted)
    before = predictions(predicted.store)
    assert fpve.align(predicted.store).predicted == 73
    assert predictions(predicted.store) == before
    assert not fpve.run(predicted).published
    source.put("900", 900)
    source.kinds["001"] = "dog"
    source.write()
    fpve.run(predicted)
    check(predicted.store)


def test_what_is_gone_is_predicted_no_more(predicted: Job, source: Source) -> None:
    """Removed images and such as can't be read any more have no row, and no vote."""
    source.drop("000")
    source.drop("001")
    source.write()
    (source.folder / "002.png").write_bytes(b"no picture")
    (source.folder / "003.png").write_bytes(b"none either")
    fpve.run(replace(predicted, limits=replace(predicted.limits, max_quarantine=2)))
    found = predictions(predicted.store)
    assert len(found) == 53
    voters = {one["image_id"] for row in found.values() for one in row["neighbours"]}
    assert not {"pets/001.png", "pets/003.png"} & voters
    check(predicted.store)


def test_another_encoder_predicts_all_again(predicted: Job, source: Source) -> None:
    """Nothing stands of what other vectors said, nor does the calibration."""
    other = Encoders(image=EncoderConfig("fake:32"), text=EncoderConfig("fake:16"))
    assert fpve.run(replace(predicted, encoders=other)).predicted == 55
    check(predicted.store)
    assert set(Snapshot.open(predicted.store).table(tables.CALIBRATIONS)["snapshot"].to_pylist()) == {2}


def test_a_calibration_stands_until_labels_have_grown_by_half(predicted: Job, source: Source, tmp_path: Path) -> None:
    """With half as many voters again it is fitted anew, and all is predicted again."""
    fitted = Snapshot.open(predicted.store).table(tables.CALIBRATIONS)
    assert fitted["voters"].to_pylist() == [55, 18]
    assert [one is None for one in fitted["temperature"].to_pylist()] == [False, True]
    give(predicted.store, tmp_path, **{f"n{number:03d}": "cat" for number in range(0, 4, 2)})
    after = Snapshot.open(predicted.store)
    assert after.table(tables.CALIBRATIONS).equals(fitted)
    give(predicted.store, tmp_path, **{f"n{number:03d}": "cat" for number in range(0, 60, 2)})
    again = Snapshot.open(predicted.store)
    assert again.table(tables.CALIBRATIONS)["snapshot"].to_pylist() == [3, 3]
    assert {row["snapshot"] for row in predictions(predicted.store).values()} == {3}
    check(predicted.store)


def test_a_class_that_is_gone_is_predicted_no_more(predicted: Job, source: Source) -> None:
    """A prior that knows it is fitted again."""
    source.kinds = {name: "cat" if kind == "bird" else kind for name, kind in source.kinds.items()}
    source.write()
    fpve.run(predicted)
    assert {row["prediction"] for row in predictions(predicted.store).values()} <= {"cat", "dog"}
    assert Snapshot.open(predicted.store).table(tables.CALIBRATIONS)["snapshot"].to_pylist() == [2, 2]


def test_a_rule_that_changed_predicts_all_again(predicted: Job) -> None:
    """Another number of voters, say; a rule that is gone takes its predictions with it."""
    assert fpve.run(replace(predicted, predict=(PredictRule("kind", k=7),))).predicted == 55
    assert {len(row["neighbours"]) for row in predictions(predicted.store).values()} == {7}
    check(predicted.store)
    assert fpve.run(replace(predicted, predict=())).published
    manifest = Snapshot.open(predicted.store).manifest
    assert (manifest.predict, predictions(predicted.store)) == ((), {})
    assert not {tables.PREDICTIONS, tables.CALIBRATIONS} & {one.name for one in manifest.tables}


def test_where_chooses_among_images_without_a_label(tmp_path: Path, source: Source) -> None:
    """Labelled ones are never predicted, whatever the condition says; those below the confidence have no prediction."""
    job = job_of(tmp_path / "store", source, PredictRule("kind", where="image_id < 'pets/010.png'", abstain_below=1.0))
    fpve.run(job)
    found = predictions(job.store)
    assert sorted(found) == [f"pets/{number:03d}.png" for number in range(0, 10, 2)]
    assert {row["prediction"] for row in found.values()} == {None}
    assert all(0 < row["confidence"] < 1 for row in found.values())


@pytest.mark.parametrize(
    ("kinds", "reason"),
    [
        ({}, "[[predict]] for 'kind' predicts nothing: label column 'kind' has no values; label some images first"),
        (
            {"001": "cat", "003": "cat"},
            "[[predict]] for 'kind' predicts nothing: all labelled images have one class, 'cat'; label some of another",
        ),
    ],
)
def test_too_few_labels_are_a_warning(tmp_path: Path, source: Source, kinds: dict[str, str], reason: str) -> None:
    """The night is published, the report and the status name the rule; the first labels of two classes are enough."""
    source.kinds = kinds
    source.write()
    job = job_of(tmp_path / "store", source)
    report = fpve.run(job)
    assert (report.published, report.predicted, report.warnings) == (True, 0, (reason,))
    assert fpve.open(job.store).status().predictions[0]["reason"] == reason
    said = CliRunner().invoke(cli, ["status", str(job.store)]).stdout
    assert [line.split(maxsplit=1)[1] for line in said.splitlines() if line.startswith("predicted")] == [
        f"{reason} (job pets)"
    ]
    assert not fpve.run(job).published
    give(job.store, tmp_path, n005="dog", n007="bird")
    assert len(predictions(job.store)) == COUNT - 2 - len(kinds)
    assert "reason" not in fpve.open(job.store).status().predictions[0]


def test_a_column_that_nobody_has_is_told_before(tmp_path: Path, source: Source) -> None:
    """By the check as well as by every run, with the nearest name; labels make it."""
    job = job_of(tmp_path / "store", source, PredictRule("kinds", where="kinds IS NULL"))
    warning = (
        "[[predict]] for 'kinds' predicts nothing: no collection has such a column; did you mean 'kind'?; give it "
        "values with metadata, or with `fpve label`"
    )
    assert fpve.check(job).warnings == (warning,)
    assert fpve.run(job).warnings == (warning,)
    give(job.store, tmp_path, "kinds", n001="a", n002="b")
    assert len(predictions(job.store, "kinds")) == COUNT - 2
    assert fpve.check(job).warnings == ()


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (PredictRule("kind", where="knid IS NULL"), "predict: for 'kind', where: Binder Error"),
        (PredictRule("kind", where="kind IS"), "predict: for 'kind', where: Parser Error"),
        (PredictRule("image_id"), "predict: 'image_id' is a column of fpve's own, and no metadata column"),
        (PredictRule("Score"), "predict: 'Score' is a column of fpve's own, and no metadata column"),
    ],
)
def test_a_rule_that_can_never_be_followed_is_found_before_anything_is_encoded(
    tmp_path: Path, source: Source, rule: PredictRule, message: str
) -> None:
    """By the check, the dry run and the run; nothing is there afterwards."""
    job = job_of(tmp_path / "store", source, rule)
    attempts: list[Callable[[], object]] = [
        lambda: fpve.check(job),
        lambda: fpve.run(job, dry_run=True),
        lambda: fpve.run(job),
    ]
    for attempt in attempts:
        with pytest.raises(JobError) as caught:
            attempt()
        assert str(caught.value).startswith(message)
    assert not list(tmp_path.glob("store/pending/*/rows.parquet"))


def test_lists_of_classes_are_refused(tmp_path: Path) -> None:
    """Before anything is encoded, in one line."""
    folder = tmp_path / "tagged"
    draw(folder / "a.png", 1)
    (folder / "m.jsonl").write_text('{"path": "a.png", "tags": ["x", "y"]}\n', encoding="utf-8")
    job = make_job(tmp_path / "store", folder, metadata=folder / "m.jsonl", prefix=None)
    with pytest.raises(JobError, match=r"predict: column 'tags' holds lists \(list<string>\)"):
        fpve.run(replace(job, predict=(PredictRule("tags"),)))


def test_a_condition_that_fails_later_fails_no_night(predicted: Job, source: Source, tmp_path: Path) -> None:
    """What a condition makes of data can't be known before: the rule says why, and predicts nothing that night."""
    job = replace(predicted, predict=(PredictRule("kind", where="caption::INT > 3"),))
    report = fpve.run(job)
    assert report.published
    assert report.warnings[0].startswith("[[predict]] for 'kind' predicts nothing: where: Conversion Error")
    assert predictions(job.store) == {}


def test_two_jobs_keep_their_rules(predicted: Job, tmp_path: Path, source: Source) -> None:
    """Each its own; one label has one rule, and a job that owns nothing any more has none."""
    others = CollectionConfig("others", source.folder, metadata=source.folder / "metadata.csv", label_from="caption")
    second = replace(predicted, name="second", collections=(others,), predict=())
    # There are twice as many voters now, so that even what there was is predicted again.
    assert fpve.run(second).predicted == 110
    assert len(predictions(predicted.store)) == 110
    check(predicted.store)
    second = replace(second, predict=(PredictRule("label", k=3),))
    fpve.run(second)
    labels = [(one.job, one.rule.label) for one in Snapshot.open(predicted.store).manifest.predict]
    assert labels == [("pets", "kind"), ("second", "label")]
    check(predicted.store)
    check(predicted.store, "label")
    assert not fpve.run(predicted).published
    with pytest.raises(StoreConflict, match="predicts 'kind' by a rule of job 'pets', this is job 'second'"):
        fpve.run(replace(second, predict=(PredictRule("kind"),)))
    fpve.run(replace(predicted, predict=()))
    assert [one.job for one in Snapshot.open(predicted.store).manifest.predict] == ["second"]
    assert predictions(predicted.store) == {}
    check(predicted.store, "label")


def test_going_back_takes_the_predictions_along(predicted: Job, tmp_path: Path) -> None:
    """An older snapshot is published with what was predicted of it; the next run lays labels over, and predicts."""
    before = predictions(predicted.store)
    give(predicted.store, tmp_path, n000="cat")
    fpve.rollback(predicted.store)
    assert predictions(predicted.store) == before
    fpve.run(predicted)
    assert "pets/000.png" not in predictions(predicted.store)
    check(predicted.store)


def test_merging_and_pruning_leave_them_alone(predicted: Job, source: Source) -> None:
    """They are as they were, and a run after that has nothing to do."""
    for number in range(3):
        source.put(f"{500 + number}", 500 + number)
        source.write()
        fpve.run(predicted)
    before = predictions(predicted.store)
    assert fpve.compact(predicted.store).published
    fpve.prune(predicted.store, keep=1)
    assert predictions(predicted.store) == before
    assert not fpve.run(predicted).published
    source.put("600", 600)
    source.write()
    assert fpve.run(predicted).predicted == 1
    check(predicted.store)
    assert fpve.verify(predicted.store).ok


@pytest.mark.parametrize("name", [tables.PREDICTIONS, tables.CALIBRATIONS])
def test_damaged_predictions_are_made_again(predicted: Job, name: str) -> None:
    """Verification names the file, repair leaves them out, and the next run makes all of them again."""
    file = predicted.store / Snapshot.open(predicted.store).manifest.tables_named(name)[0].file.path
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))
    assert [one.kind for one in fpve.verify(predicted.store).problems] == [name]
    found = fpve.repair(predicted.store)
    assert found.taken_out == ("predictions: 55 labels; the next run predicts them again",)
    assert (predictions(predicted.store), fpve.verify(predicted.store).ok) == ({}, True)
    assert fpve.run(predicted).predicted == 55
    check(predicted.store)
    assert not fpve.run(predicted).published


def test_a_repair_that_loses_images_loses_their_votes(predicted: Job) -> None:
    """What was predicted with images that are taken out does not stay; the run that finds them again predicts."""
    page = Snapshot.open(predicted.store).manifest.collections[0].pages[0]
    (predicted.store / page.file.path).write_bytes(b"no page")
    fpve.repair(predicted.store)
    assert predictions(predicted.store) == {}
    fpve.run(predicted)
    assert len(predictions(predicted.store)) == 55
    check(predicted.store)


def test_a_run_that_dies_before_it_publishes_costs_nothing(
    predicted: Job, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last predictions stand, and the next run makes the same as if nothing had happened."""
    before = predictions(predicted.store)
    source.put("700", 700)
    source.put("000", 701)
    source.write()
    with monkeypatch.context() as patch:
        patch.setattr("fpve.store.publishing.publish", _dies)
        with pytest.raises(KeyboardInterrupt):
            fpve.run(predicted)
    assert predictions(predicted.store) == before
    assert fpve.run(predicted).predicted == 2
    check(predicted.store)
    assert fpve.verify(predicted.store).ok


def _dies(*_: object) -> None:
    raise KeyboardInterrupt


def test_predictions_are_no_labels(predicted: Job) -> None:
    """They neither vote nor count in an evaluation."""
    store = fpve.open(predicted.store)
    assert store.evaluate(label="kind").rows == 55
    voters = {one["image_id"] for row in predictions(predicted.store).values() for one in row["neighbours"]}
    assert not voters & set(predictions(predicted.store))
