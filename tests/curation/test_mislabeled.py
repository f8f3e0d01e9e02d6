"""Doubtful labels: out-of-sample votes through the index, against a loop written out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from curation.conftest import pixels, save
from samples import make_job

import fpve
from fpve.classify import Voting, read_labels
from fpve.cli import cli
from fpve.curation import mislabeled as module
from fpve.curation.mislabeled import SCHEMA, mislabeled
from fpve.errors import QueryError
from fpve.evaluate import Subject, judge
from fpve.fusion import unit
from fpve.groups import groups_of
from fpve.neighbours import Panel
from fpve.search import Searcher, others
from fpve.store.snapshot import Snapshot

KINDS = ("cat", "dog", "bird", "fish")
FLIPPED = {5: "cat", 30: "dog", 61: "fish", 90: "cat"}


def write(folder: Path, prefix: str = "") -> None:
    """120 pictures of four kinds, four of them with a wrong label, one of these with a copy that has the same one."""
    rng = np.random.default_rng(2)
    lines = ["path,caption,kind,shade"]
    for number in range(120):
        at = number % 4
        save(folder / f"{number:03d}.png", pixels(at) + rng.integers(-45, 46, (8, 8, 3)))
        kind = FLIPPED.get(number, KINDS[at])
        lines.append(f"{number:03d}.png,{prefix or f'picture {number}'},{kind},grey")
    (folder / "copy.png").write_bytes((folder / "005.png").read_bytes())
    lines.append("copy.png,another,cat,grey")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of them."""
    folder = tmp_path_factory.mktemp("mislabeled") / "pictures"
    write(folder)
    fpve.run(make_job(folder.parent / "store", folder))
    return folder.parent / "store"


def test_wrong_labels_come_first(root: Path) -> None:
    """All of them, the copy as well, before any other; each with the class that it is of."""
    found = fpve.open(root).mislabeled(label="kind", image_weight=1.0)
    first = {one.image_id: (one.label, one.prediction) for one in found[: len(FLIPPED) + 1]}
    expected = {f"pets/{number:03d}.png": (kind, KINDS[number % 4]) for number, kind in FLIPPED.items()}
    assert first == expected | {"pets/copy.png": ("cat", "dog")}
    assert all(one.confidence > one.label_probability for one in found)


@pytest.mark.parametrize(("image_weight", "k"), [(1.0, 5), (0.5, 20), (1.0, 500)])
def test_votes_are_those_of_all_but_copies(root: Path, image_weight: float, k: int) -> None:
    """The neighbours are those that all scores give, without the image and its copies, and so are the probabilities."""
    searcher = Searcher(Snapshot.open(root))
    rows = np.arange(searcher.rows)
    blocks = searcher.blocks_of(rows)
    score = image_weight * unit(blocks.image) @ unit(blocks.image).T.astype(np.float64)
    score += (1 - image_weight) * unit(blocks.prefix) @ unit(blocks.prefix).T
    labels = read_labels(searcher, "kind")
    groups, _ = groups_of(searcher, "kind", labels.codes, rows)
    score[groups.content[:, None] == groups.content] = -np.inf
    order = np.lexsort((np.broadcast_to(rows, score.shape), -np.round(score, 6)))[:, : min(k, len(rows))]
    panel = Panel(order, np.take_along_axis(score, order, axis=1))
    panel = panel._replace(row=np.where(np.isfinite(panel.score), panel.row, -1))
    subject = Subject(labels.codes, groups.clusters(), np.zeros(len(rows), np.int64))
    verdict = judge(panel, labels, labels.labelled, subject, Voting(k=k)).calibrated
    doubted = np.flatnonzero(verdict.predicted != labels.codes)
    table = mislabeled(searcher, label="kind", k=k, image_weight=image_weight).to_arrow()
    assert table.schema == SCHEMA
    ids = searcher.snapshot.images["image_id"].to_pylist()
    assert sorted(table["image_id"].to_pylist()) == sorted(ids[row] for row in doubted)
    found = {row["image_id"]: row for row in table.to_pylist()}
    for row in doubted:
        mine = found[ids[row]]
        assert mine["prediction"] == labels.names[verdict.predicted[row]]
        assert mine["confidence"] == pytest.approx(verdict.confidence[row], abs=1e-3)
        assert mine["label_probability"] == pytest.approx(verdict.probability[row], abs=1e-3)
        assert [one["image_id"] for one in mine["neighbours"]] == [ids[at] for at in panel.row[row][:8] if at >= 0]
        assert [one["label"] for one in mine["neighbours"]] == [
            labels.names[labels.codes[at]] for at in panel.row[row][:8] if at >= 0
        ]
    margin = np.array([row["confidence"] - row["label_probability"] for row in table.to_pylist()])
    assert np.all(np.diff(margin) < 1e-6)


def test_prefixes_that_tell_the_label_are_left_out(tmp_path: Path) -> None:
    """Where the label is filled into the prefix pictures are compared alone, and that is said."""
    folder = tmp_path / "pictures"
    write(folder)
    job = make_job(tmp_path / "store", folder, prefix="a {kind}")
    fpve.run(job)
    store = fpve.open(job.store)
    found = store.mislabeled(label="kind")
    assert found.notes
    assert "so pictures are compared alone" in found.notes[0]
    assert found.to_arrow().equals(store.mislabeled(label="kind", image_weight=1.0).to_arrow())
    assert found[:2].notes == found.notes


def test_a_condition_chooses_who_is_looked_at_and_votes(root: Path) -> None:
    """Images that don't meet it are neither doubted nor witnesses."""
    found = fpve.open(root).mislabeled(label="kind", image_weight=1.0, where="kind IN ('cat', 'dog')")
    assert {one.label for one in found} <= {"cat", "dog"}
    assert {name["label"] for one in found for name in one.neighbours} <= {"cat", "dog"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"label": "kin"}, "no label column 'kin', did you mean|no label column 'kin'"),
        ({"label": "shade"}, "label 'shade': expected images of two classes"),
        ({"label": "kind", "k": 0}, "k: expected at least 1"),
        ({"label": "kind", "image_weight": 3}, "image weight: expected a number"),
        ({"label": "kind", "where": "false"}, "label 'kind': expected .* found no labelled image"),
    ],
)
def test_wrong_options_are_refused(root: Path, options: dict[str, object], said: str) -> None:
    """In a line that says what was expected."""
    with pytest.raises(QueryError, match=said):
        fpve.open(root).mislabeled(**options)


def test_the_command_saves_what_sql_can_join(root: Path) -> None:
    """Rows as JSON on stdout, and under a name in the store."""
    ran = CliRunner().invoke(
        cli, ["mislabeled", str(root), "--label", "kind", "-A", "1", "-f", "json", "--save", "doubts"]
    )
    assert ran.exit_code == 0
    store = fpve.open(root)
    joined = store.sql(
        "SELECT image_id, kind = label AS same FROM saved.doubts JOIN images USING (image_id) ORDER BY rank"
    )
    assert joined["image_id"].to_pylist() == [row["image_id"] for row in json.loads(ran.stdout)]
    assert set(joined["same"].to_pylist()) == {True}
    store.remove_saved("doubts")


def test_the_command_says_where_no_label_is_doubted(root: Path) -> None:
    """Rather than printing a table without rows alone."""
    doubted = ", ".join(f"'{one.image_id}'" for one in fpve.open(root).mislabeled(label="kind", image_weight=1.0))
    where = f"image_id NOT IN ({doubted})"
    ran = CliRunner().invoke(
        cli, ["mislabeled", str(root), "--label", "kind", "-A", "1", "-f", "json", "--where", where]
    )
    assert json.loads(ran.stdout) == []
    assert "no label is doubted" in ran.stderr


def test_images_with_many_copies_have_voters_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many copies an image has, and however near these are, its neighbours are the nearest of the others."""
    folder = tmp_path / "pictures"
    write(folder)
    lines = (folder / "metadata.csv").read_text().splitlines()
    for number in range(40):
        (folder / f"many-{number:02d}.png").write_bytes((folder / "004.png").read_bytes())
        lines.append(f"many-{number:02d}.png,many {number % 3},{'dog' if number % 2 else 'cat'},grey")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    fpve.run(make_job(tmp_path / "store", folder))
    store = fpve.open(tmp_path / "store")
    plain = store.mislabeled(label="kind")
    assert sum("/many-" in one.image_id for one in plain) == 20
    # As if lists could not be made long enough to hold all copies.
    monkeypatch.setattr(module, "_MANY", 10)
    monkeypatch.setattr(others, "_DEEPEST", 32)
    assert store.mislabeled(label="kind").to_arrow().equals(plain.to_arrow())
