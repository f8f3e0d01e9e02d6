"""Classification of pictures, of images of the store, and of what a source names."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image
from samples import make_job

import fpve
from fpve.cli import cli
from fpve.config import Job
from fpve.errors import MetadataError, PrefixError, QueryError
from fpve.planning.captions import captions
from fpve.store.snapshot import Snapshot


def files_of(job: Job, *numbers: int) -> list[Path]:
    """Pictures of the collection."""
    return [job.collections[0].source / f"{number:02d}.png" for number in numbers]


def test_probabilities_are_those_of_the_formula(store: fpve.Store, job: Job) -> None:
    """What is told of a calibrated prediction follows from its neighbours, the temperature, and the prior."""
    [one] = store.classify(files_of(job, 3), label="kind", k=7)
    found = store.evaluate(label="kind", query="without", k=7)
    counts = {kind: sum(row == kind for row in store.images["kind"].to_pylist()) for kind in ("bird", "cat", "dog")}
    # Fitted to the same images, in the same way: an evaluation's last figures are those of all.
    powers = {}
    for kind, count in counts.items():
        votes = sum(np.exp(voter["score"] / found.temperature) for voter in one.neighbours if voter["label"] == kind)
        powers[kind] = (votes + np.exp(found.prior_score / found.temperature) * (count + 1) / 84) ** found.sharpness
    told = {entry["label"]: entry["probability"] for entry in one.probabilities}
    assert told == {kind: pytest.approx(powers[kind] / sum(powers.values()), abs=1e-4) for kind in told}
    assert one.confidence == one.probabilities[0]["probability"]


def test_an_image_of_the_store_does_not_vote_for_itself(store: fpve.Store) -> None:
    """By id, all others vote; by its vector it would be its own nearest."""
    [one] = store.classify(ids=["pets/03.png"], label="kind", k=90)
    assert len(one.neighbours) == 80
    assert "pets/03.png" not in {voter["image_id"] for voter in one.neighbours}


def test_lists_are_predicted_as_lists(store: fpve.Store) -> None:
    """Each label has its own probability; those above one half are predicted, and the least certain one is told."""
    found = store.classify(ids=["pets/02.png", "pets/03.png"], label="tags", k=10, weights="uniform")
    for one in found:
        votes = {
            name: sum(name in voter["label"] for voter in one.neighbours) / 10
            for name in ("bird", "cat", "dog", "even")
        }
        assert one.prediction == [name for name, share in votes.items() if share > 0.5]
        assert one.confidence == pytest.approx(min(max(share, 1 - share) for share in votes.values()))
        assert {entry["label"]: entry["probability"] for entry in one.probabilities} == {
            name: pytest.approx(share) for name, share in votes.items() if share
        }
    calibrated = store.classify(ids=["pets/02.png"], label="tags")[0]
    assert all(0 < entry["probability"] < 1 for entry in calibrated.probabilities)


def test_abstaining(store: fpve.Store) -> None:
    """What is not sure enough, or unlike the store, has no prediction, but its probabilities all the same."""
    ids = store.images["image_id"].to_pylist()
    sure = store.classify(ids=ids, label="kind")
    bound = float(np.median([one.confidence for one in sure]))
    found = store.classify(ids=ids, label="kind", abstain_below=bound)
    assert [one.prediction is None for one in found] == [one.confidence < bound for one in sure]
    assert found.answered == np.mean([one.confidence >= bound for one in sure])
    assert [one.probabilities for one in found] == [one.probabilities for one in sure]
    novel = store.classify(ids=ids, label="kind", abstain_novel=0.5)
    assert [one.prediction is None for one in novel] == [one.novelty > 0.5 for one in sure]
    assert 0 < novel.answered < 1


def test_a_store_larger_than_k_is_not_needed(store: fpve.Store) -> None:
    """With k beyond the store all labelled images vote."""
    assert len(store.classify(ids=["pets/00.png"], label="kind", k=10_000)[0].neighbours) == 80


def test_a_class_of_one_image(store: fpve.Store) -> None:
    """It can be predicted, and has a probability, though nobody like it is left when it is held out."""
    [one] = store.classify(vectors=vector_of(store, "pets/04.png"), label="rare", k=1)
    assert one.prediction == "single"
    assert store.evaluate(label="rare").classes[-1].recall == 0


def vector_of(store: fpve.Store, image_id: str) -> np.ndarray:
    """The fused vector of an image."""
    rows = store.sql(f"SELECT vector FROM vectors WHERE image_id = '{image_id}'")
    return np.array(rows["vector"].to_pylist(), np.float32)


def test_what_is_compared_with_nothing_is_not_predicted(store: fpve.Store) -> None:
    """An image without a prefix at image weight 0 has no neighbours, and so no class; nor has one without voters."""
    [bare] = store.classify(ids=["pets/00.png"], label="kind", image_weight=0)
    assert (bare.prediction, bare.confidence, bare.novelty, bare.neighbours) == (None, 0, None, [])
    [alone] = store.classify(ids=["pets/01.png"], label="kind", where="image_id = 'pets/01.png'")
    assert (alone.prediction, alone.neighbours) == (None, [])


def test_an_enormous_k_takes_no_room(store: fpve.Store) -> None:
    """There is room for as many votes as there are voters."""
    assert len(store.classify(ids=["pets/01.png"], label="kind", k=10**15)[0].neighbours) == 80
    assert store.evaluate(label="kind", k=10**15).rows == 81


def test_texts_are_those_of_pictures(store: fpve.Store, job: Job) -> None:
    """A text alone is a query by itself; a text that is None leaves its picture without; nothing is left out unsaid."""
    assert store.classify(text="a cat", label="kind")[0] == store.classify(text=["a cat"], label="kind")[0]
    pictures = (one for one in files_of(job, 0, 1))
    mixed = store.classify(pictures, text=[None, "a dog"], label="kind")
    assert mixed[0] == store.classify(files_of(job, 0), label="kind")[0]
    assert mixed[1] == store.classify(files_of(job, 1), text="a dog", label="kind")[0]
    with pytest.raises(QueryError, match="expected pictures alone beside it"):
        store.classify(files_of(job, 0, 1), ids=["pets/00.png"], text=[None, "a dog"], label="kind")
    with pytest.raises(QueryError, match="says whose prefix metadata fills in"):
        store.classify(files_of(job, 0), collection="pets", label="kind")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": None}, "label: expected the name of a column, found None"),
        ({"label": "kind", "k": 2.5}, "k: expected a whole number, found 2.5"),
        ({"label": "kind", "k": "3"}, "k: expected a whole number, found '3'"),
        ({"label": "kind", "image_weight": "0.5"}, "image weight: expected a number .* found '0.5'"),
        ({"label": "kind", "abstain_below": "0.5"}, "abstain_below: expected a number from 0 to 1, found '0.5'"),
        ({"label": "kind", "weights": "uniform", "abstain_novel": 0.5}, "novelty is known of calibrated votes"),
        ({"label": "kind", "head": "mlp", "temperature": 0.07}, "k, weights or temperature: an option of k-NN"),
        ({"label": "kinds"}, "no label column 'kinds'; did you mean 'kind'"),
        ({"label": "kind", "where": "sku = 'none'"}, "no image with a value of 'kind' meets the condition"),
        ({"label": "kind", "abstain_below": 1.5}, "abstain_below: expected a number from 0 to 1, found 1.5"),
        (
            {"label": "kind", "weights": "uniform", "temperature": 0.1},
            "softmax weights have one, found 0.1 with uniform",
        ),
        ({"label": "kind", "head": "forest"}, "head: expected knn, logistic, mlp, found 'forest'"),
        ({"label": "kind", "head": "mlp"}, "no mlp head for 'kind'.*fpve train"),
        ({"label": "kind", "head": "mlp", "k": 3}, "k, weights or temperature: an option of k-NN"),
    ],
)
def test_wrong_classifications_are_refused(store: fpve.Store, options: dict, message: str) -> None:
    """What can't be classified is refused with what was expected, found, and is to be done."""
    with pytest.raises(QueryError, match=message):
        store.classify(ids=["pets/00.png"], **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "only"}, "needs two labelled images of different classes, found 90"),
        ({"label": "kind", "split": "nothing"}, "no column 'nothing'"),
        ({"label": "kind", "split": "sku"}, "expected labelled images with 'test' and others with 'train'"),
        ({"label": "kind", "split": "sku", "folds": 3}, "a split column or a number of folds, found both"),
        ({"label": "kind", "folds": 1}, "folds: expected 2 to"),
        ({"label": "kind", "sample": 0}, "sample: expected at least 1 image, found 0"),
        ({"label": "tags"}, "holds lists; expected one class an image"),
        ({"label": "kind", "query": "wihout"}, "query: expected with or without, found 'wihout'"),
        ({"label": "kind", "mode": "concta"}, "mode: expected balanced or concat, found 'concta'"),
        ({"label": "kind", "seed": 3}, "class_weight, seed: options of heads, found them with k-NN"),
        ({"label": "kind", "head": "mlp", "where": "kind = 'cow'"}, "needs two labelled images of different classes"),
        ({"label": "kind", "head": "mlp", "image_weight": 0, "query": "without"}, "learns from texts alone"),
        ({"label": "only", "head": "logistic"}, "needs two labelled images of different classes"),
        ({"label": "sku", "head": "logistic"}, "class"),
    ],
)
def test_wrong_evaluations_are_refused(store: fpve.Store, options: dict, message: str) -> None:
    """So is what can't be evaluated."""
    with pytest.raises(QueryError, match=message):
        store.evaluate(**options)


def test_more_classes_than_images(store: fpve.Store) -> None:
    """Where each image has a class of its own nobody votes for it, which is said by the figures."""
    found = store.evaluate(label="sku", temperature=0.07)
    assert (found.accuracy, found.without_votes, len(found.classes)) == (0, 1, 90)
    assert store.evaluate(label="sku").without_votes == 1


def test_metadata_fills_in_the_prefix(store: fpve.Store, job: Job, tmp_path: Path) -> None:
    """A picture with the columns of the collection's template is classified as with the text that these give."""
    for name, seed in (("a.png", 500), ("b.png", 501), ("c.png", 502)):
        pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    table = tmp_path / "new.csv"
    table.write_text(f"path,caption\na.png,dog in place 3\n{tmp_path / 'b.png'},\n", encoding="utf-8")
    new = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    found = store.classify(new, label="kind", metadata=table)
    expected = [
        store.classify(new[:1], label="kind", text="dog in place 3")[0],
        *store.classify(new[1:], label="kind"),
    ]
    assert [dict(one) for one in found] == [dict(one) for one in expected]
    assert store.classify(new, label="kind", metadata=table, collection="pets")[0] == found[0]
    with pytest.raises(PrefixError, match="no collection 'birds' with a prefix; there is pets"):
        store.classify(new, label="kind", metadata=table, collection="birds")
    with pytest.raises(QueryError, match="expected a text or metadata to make it of, found both"):
        store.classify(new, label="kind", metadata=table, text="a dog")
    table.write_text("path,name\na.png,dog\n", encoding="utf-8")
    with pytest.raises(PrefixError, match="caption"):
        store.classify(new, label="kind", metadata=table)
    table.write_text("path,caption\nx.png,dog\n", encoding="utf-8")
    with pytest.raises(MetadataError) as caught:
        store.classify(new, label="kind", metadata=table)
    assert str(caught.value) == (
        f"{table}: none of its 1 paths is one of the 3 pictures; they are read as absolute, or relative to {tmp_path}, "
        "and the first is 'x.png'"
    )
    table.write_text("picture,caption\na.png,dog\n", encoding="utf-8")
    with pytest.raises(MetadataError) as caught:
        store.classify(new, label="kind", metadata=table)
    assert str(caught.value) == (
        f"{table}: expected a column of paths named path, file_name, filename, file, image, found picture, caption; "
        "call it path"
    )


def test_metadata_is_matched_by_any_spelling_of_a_path(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path that leads up and down again, one over a link, and one with a byte that is no text find their rows."""
    pixels = np.random.default_rng(500).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    folder = tmp_path / "new"
    folder.mkdir()
    names = [folder / "a.png", folder / "b.png", folder / os.fsdecode(b"c\xff.png")]
    for name in names:
        Image.fromarray(pixels).save(name)
    (tmp_path / "link").symlink_to(folder)
    table = tmp_path / "new.csv"
    table.write_text("path,caption\nnew/a.png,dog\nlink/b.png,cat\nnew/c%FF.png,bird\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    spelt = [Path("new/../new/a.png"), Path("./link/b.png"), names[2]]
    manifest = Snapshot.open(job.store).manifest
    assert captions(manifest, spelt, table, collection=None) == (["dog", "cat", "bird"], ())
    assert captions(manifest, [], table, collection=None) == ([], ())


def test_pictures_without_a_row_are_told(store: fpve.Store, job: Job, tmp_path: Path) -> None:
    """By the predictions, and on stderr: these are as those of a picture alone."""
    table = tmp_path / "new.csv"
    new = files_of(job, 0, 1, 2)
    table.write_text(f"path,caption\n{new[1]},dog in place 3\n", encoding="utf-8")
    found = store.classify(new, label="kind", metadata=table)
    note = f"2 of 3 pictures have no row in {table}: they are classified without a text"
    assert found.notes == found[:1].notes == (note,)
    assert store.classify(new[1:2], label="kind", metadata=table).notes == ()
    words = ["classify", str(job.store), *map(str, new), "--label", "kind", "--metadata", str(table)]
    done = CliRunner().invoke(cli, words)
    assert (done.exit_code, done.stderr) == (0, f"note: {note}\n")


def test_a_prefix_with_the_place_of_an_image_is_none_of_a_new_picture(tmp_path: Path, pictures: Path) -> None:
    """A path that no image of the collection has would make a text that none of them has."""
    job = make_job(tmp_path / "store", pictures, prefix="{kind} at {path}")
    fpve.run(job)
    with pytest.raises(PrefixError) as caught:
        fpve.open(job.store).classify(sorted(pictures.rglob("*.png")), label="kind", metadata=pictures / "metadata.csv")
    assert str(caught.value) == (
        "the prefixes of 'pets' have {path} in them, the place of an image in its collection, which a new picture has "
        "not; give a text instead"
    )


def test_many_are_classified_as_one_is(store: fpve.Store, job: Job, tmp_path: Path) -> None:
    """A table of ids gives what each id gives, in its order, in a file; what can't be answered is told."""
    table = tmp_path / "ids.csv"
    ids = ["pets/05.png", "pets/01.png", "pets/99.png", "pets/00.png"]
    table.write_text("image_id\n" + "\n".join(ids) + "\n", encoding="utf-8")
    rows, report = store.classify_many(table, label="kind", abstain_below=0.4).collect()
    known = [one for one in ids if one != "pets/99.png"]
    assert rows["query"].to_pylist() == known
    assert rows.drop_columns("query").equals(store.classify(ids=known, label="kind", abstain_below=0.4).to_arrow())
    assert [(one.query, one.reason) for one in report.failed] == [
        ("pets/99.png", "no image 'pets/99.png' in the store")
    ]
    target = tmp_path / "found.parquet"
    command = ["classify", str(store.path), "--queries", str(table), "--label", "kind", "--abstain-below", "0.4"]
    done = CliRunner().invoke(cli, [*command, "--output", str(target)], standalone_mode=False)
    assert done.return_value == 3
    assert "pets/99.png: no image" in done.stderr
    assert pq.read_table(target).equals(rows)


def test_the_command_says_how_many_it_answered(store: fpve.Store, job: Job) -> None:
    """Predictions go to stdout, what became of the rest to stderr."""
    files = [str(one) for one in files_of(job, 0, 1, 2)]
    command = ["classify", str(store.path), *files, "--label", "kind", "--abstain-below", "1"]
    done = CliRunner().invoke(cli, [*command, "--format", "json"])
    assert done.exit_code == 0
    assert [row["prediction"] for row in json.loads(done.stdout)] == [None, None, None]
    assert "answered 0 of 3" in done.stderr
    assert CliRunner().invoke(cli, ["classify", str(store.path), "--label", "kind"]).exit_code == 2
    both = ["classify", str(store.path), files[0], "--queries", files[0], "--label", "kind"]
    assert CliRunner().invoke(cli, both).exit_code == 2
