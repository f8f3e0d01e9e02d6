"""k-NN classification and its evaluation, against NumPy written out by hand."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from samples import KINDS, draw, make_job

import fpve
from fpve.config import Job
from fpve.errors import QueryError
from fpve.fusion import Mode
from fpve.splits import NEAR_DUPLICATE
from fpve.store.snapshot import Snapshot


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """45 images of three kinds; captions tell the kind two times in three, some are shared; some pictures too."""
    root = tmp_path_factory.mktemp("knn")
    source = root / "pictures"
    lines = ["path,caption,kind,day"]
    for number in range(45):
        kind = KINDS[number % 3]
        path = f"{number:02d}.png"
        if number in (20, 33):
            shutil.copy(source / f"{number - 3:02d}.png", source / path)
        elif number in (26, 39):
            # Not the same bytes, but nearly the same picture.
            with Image.open(source / f"{number - 6:02d}.png") as original:
                original.point(lambda value: min(value + 1, 255)).save(source / path)
        else:
            draw(source / path, number)
        word = kind if number % 9 < 6 else "thing"
        lines.append(f"{path},{word} in place {number // 6},{'' if number == 7 else kind},{number % 7}")
    (source / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    job = make_job(root / "store", source)
    fpve.run(job)
    return job


@pytest.fixture(scope="module")
def store(job: Job) -> fpve.Store:
    """The store, open."""
    return fpve.open(job.store)


def reference_leave_one_out(job: Job, weight: float, mode: Mode, k: int, tau: float, *, grouped: bool) -> float:
    """Accuracy from all pairwise scores at once, with loops instead of an index."""
    snapshot = Snapshot.open(job.store)
    rows = snapshot.images.to_pylist()
    segments = {one.name: snapshot.segment_rows(one) for one in snapshot.manifest.segments}
    blocks = [snapshot.fusion.unfuse(segments[name]) for name in segments]
    place = {name: at for at, name in enumerate(segments)}
    image = np.stack([blocks[place[row["segment"]]].image[row["row"]] for row in rows])
    prefix = np.stack([blocks[place[row["segment"]]].prefix[row["row"]] for row in rows])
    unit_image, unit_prefix = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (image, prefix))
    scores = weight * unit_image @ unit_image.T + (1 - weight) * unit_prefix @ unit_prefix.T
    if mode == "concat":
        query = np.hstack([weight * image, (1 - weight) * prefix])
        stored = np.hstack([image, prefix])
        scores = (query / np.linalg.norm(query, axis=1, keepdims=True)) @ (
            stored / np.linalg.norm(stored, axis=1, keepdims=True)
        ).T
    right = total = 0
    for at, row in enumerate(rows):
        if row["kind"] is None:
            continue
        others = [
            other
            for other in range(len(rows))
            if other != at
            and rows[other]["kind"] is not None
            and not (
                grouped
                and (
                    rows[other]["content_hash"] == row["content_hash"]
                    or rows[other]["prefix"] == row["prefix"]
                    or unit_image[other] @ unit_image[at] >= NEAR_DUPLICATE
                )
            )
        ]
        nearest = sorted(others, key=lambda other: (-round(scores[at, other], 6), rows[other]["image_id"]))[:k]
        votes: dict[str, float] = {}
        for other in nearest:
            votes[rows[other]["kind"]] = votes.get(rows[other]["kind"], 0) + np.exp(scores[at, other] / tau)
        right += max(sorted(votes), key=lambda name: votes[name]) == row["kind"]
        total += 1
    return right / total


@pytest.mark.parametrize(("weight", "mode"), [(0.5, "balanced"), (1.0, "balanced"), (0.0, "balanced"), (0.5, "concat")])
@pytest.mark.parametrize("k", [1, 5, 20])
def test_leave_one_out_agrees_with_numpy(job: Job, store: fpve.Store, weight: float, mode: Mode, k: int) -> None:
    """Grouped and naive accuracy are those of a reference that compares all pairs."""
    found = store.evaluate(label="kind", image_weight=weight, mode=mode, centred=False, k=k)
    for grouped, accuracy in ((True, found.accuracy), (False, found.naive_accuracy)):
        expected = reference_leave_one_out(job, weight, mode, k, found.temperature, grouped=grouped)
        assert accuracy == pytest.approx(expected), "grouped" if grouped else "naive"


def test_near_duplicates_do_not_vote(job: Job, store: fpve.Store) -> None:
    """The fixture has pictures that are nearly, not exactly, the same; grouped evaluation leaves them out."""
    hit = store.search(id="pets/20.png", image_weight=1, k=2)
    assert "pets/26.png" in [one.image_id for one in hit]
    assert all(one.score >= NEAR_DUPLICATE for one in hit)
    hashes = {row["image_id"]: row["content_hash"] for row in store.images.to_pylist()}
    assert hashes["pets/20.png"] != hashes["pets/26.png"]
    grouped = reference_leave_one_out(job, 1.0, "balanced", 1, 0.07, grouped=True)
    assert store.evaluate(label="kind", image_weight=1, centred=False, k=1).accuracy == pytest.approx(grouped)


def test_figures_follow_from_the_confusion_matrix(store: fpve.Store) -> None:
    """Accuracy, recalls and F1 are those of the matrix, whose rows count each class once."""
    found = store.evaluate(label="kind")
    matrix = np.array(found.confusion)
    assert found.rows == matrix.sum() == 44
    assert [one.label for one in found.classes] == ["bird", "cat", "dog"]
    assert found.accuracy == pytest.approx(np.trace(matrix) / 44)
    recall = np.diag(matrix) / matrix.sum(axis=1)
    precision = np.diag(matrix) / matrix.sum(axis=0)
    np.testing.assert_allclose([one.recall for one in found.classes], recall)
    np.testing.assert_allclose([one.precision for one in found.classes], precision)
    assert found.balanced_accuracy == pytest.approx(recall.mean())
    assert found.macro_f1 == pytest.approx(np.mean(2 * precision * recall / (precision + recall)))


def test_a_prediction_explains_itself(job: Job, store: fpve.Store) -> None:
    """Probabilities are the neighbours' weighted votes, largest first, and the first of them is the prediction."""
    files = [job.collections[0].source / name for name in ("00.png", "01.png")]
    found = store.classify(files, label="kind", k=5, temperature=0.1)
    assert len(found) == 2
    for one in found:
        votes: dict[str, float] = {}
        for voter in one.neighbours:
            votes[voter["label"]] = votes.get(voter["label"], 0) + np.exp(voter["score"] / 0.1)
        total = sum(votes.values())
        assert len(one.neighbours) == 5
        assert {entry["label"]: pytest.approx(entry["probability"]) for entry in one.probabilities} == {
            name: share / total for name, share in votes.items()
        }
        shares = [entry["probability"] for entry in one.probabilities]
        assert shares == sorted(shares, reverse=True)
        assert (one.prediction, one.confidence) == (one.probabilities[0]["label"], shares[0])
    assert found[0].neighbours[0]["image_id"] == "pets/00.png"


def test_a_text_is_fused_with_the_picture(job: Job, store: fpve.Store) -> None:
    """With a text, the votes change to those of both blocks; only labelled rows that meet the condition vote."""
    file = job.collections[0].source / "00.png"
    with_text = store.classify([file], label="kind", text="dog in place 1", image_weight=0.0, where="day < 3")[0]
    assert with_text.prediction == "dog"
    days = {row["image_id"]: row["day"] for row in store.images.to_pylist()}
    assert all(days[voter["image_id"]] < 3 for voter in with_text.neighbours)
    every = store.classify([file], label="kind", k=100)[0].neighbours
    assert len(every) == 44
    assert "pets/07.png" not in {voter["image_id"] for voter in every}


def test_labels_of_any_type(store: fpve.Store) -> None:
    """A numeric column is a column of classes too."""
    assert {one.label for one in store.evaluate(label="day").classes} <= {str(day) for day in range(7)}


def test_a_prefix_that_gives_the_label_away_is_warned_of(tmp_path: Path, pictures: Path) -> None:
    """A template over the label column leaks it: the figures say so. A constant prefix ranks nothing: they say that."""
    job = make_job(tmp_path / "store", pictures, prefix="a {kind}")
    fpve.run(job)
    assert any("leak" in text for text in fpve.open(job.store).evaluate(label="kind").warnings)
    fpve.run(make_job(job.store, pictures, prefix="{kind} {stem}"))
    assert any("fills it into its prefix" in text for text in fpve.open(job.store).evaluate(label="kind").warnings)
    fpve.run(make_job(job.store, pictures, prefix="a pet"))
    assert any("ranks nothing" in text for text in fpve.open(job.store).evaluate(label="kind").warnings)


def test_ablation_without_prefixes_has_pictures_only(tmp_path: Path, pictures: Path) -> None:
    """Where no image has a prefix, nothing that needs one is evaluated."""
    job = make_job(tmp_path / "store", pictures, prefix=None)
    fpve.run(job)
    store = fpve.open(job.store)
    assert list(store.ablation(label="kind")) == ["image only"]
    assert store.evaluate(label="kind").image_weight == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "kinds"}, "no label column 'kinds'; did you mean 'kind'"),
        ({"label": "kind", "k": 0}, "k: expected at least 1, found 0"),
        ({"label": "kind", "temperature": 0}, "temperature: expected more than 0"),
        ({"label": "kind", "where": "day > 100"}, "needs two labelled images of different classes, found 0"),
        ({"label": "kind", "where": "kind = 'cat'"}, "of different classes"),
        ({"label": "kind", "image_weight": 2}, "image weight"),
    ],
)
def test_wrong_evaluations_are_refused(store: fpve.Store, options: dict, message: str) -> None:
    """What can't be evaluated is refused with what was expected and found."""
    with pytest.raises(QueryError, match=message):
        store.evaluate(**options)
