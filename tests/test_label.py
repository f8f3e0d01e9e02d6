"""Labels: new values for metadata columns that win over the job's, and cost what they change."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from samples import draw, make_job

import fpve
from fpve.cli import cli
from fpve.cli.jobs import _print_report
from fpve.config import CollectionConfig, Job, Limits
from fpve.errors import FpveError, GuardError, MetadataError, StoreLocked, StoreNotFound
from fpve.store import pages
from fpve.store.lock import writer_lock
from fpve.store.snapshot import Snapshot

Tree = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def labels(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a CSV file of labels."""

    def write(text: str) -> Path:
        path = tmp_path / "labels.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def column(job: Job, name: str) -> dict[str, object]:
    """The values of a column that are not null, by the last part of the image_id."""
    rows = fpve.open(job.store).images.select(["image_id", name]).to_pylist()
    return {row["image_id"].rpartition("/")[2]: row[name] for row in rows if row[name] is not None}


def test_a_label_changes_a_page_and_nothing_else(
    job: Job, labels: Callable[[str], Path], tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two cells of one page: that page, a table and a manifest are written; vectors, indexes and pictures are not."""
    monkeypatch.setattr(pages, "PAGE_ROWS", 3)
    fpve.run(job)
    before, old = tree(job.store), Snapshot.open(job.store)
    report = fpve.label(job.store, labels("image_id,kind,price\npets/cat/00.png,lynx,\npets/cat/03.png,,9.75\n"))
    assert report.to_dict() == {
        "named": 2,
        "changed": 2,
        "unchanged": 0,
        "images": 2,
        "new_columns": (),
        "snapshot": 2,
        "published": True,
    }
    rows = {row["image_id"]: (row["kind"], row["price"]) for row in fpve.open(job.store).images.to_pylist()}
    assert (rows["pets/cat/00.png"], rows["pets/cat/03.png"]) == (("lynx", 0.5), ("cat", 9.75))
    assert (rows["pets/cat/06.png"], rows["pets/dog/01.png"]) == (("cat", 6.5), ("dog", 1.5))
    new = Snapshot.open(job.store)
    kept = set(old.manifest.collections[0].pages) & set(new.manifest.collections[0].pages)
    assert (len(old.manifest.collections[0].pages), len(kept)) == (4, 3)
    assert (new.manifest.segments, new.manifest.operation) == (old.manifest.segments, "label")
    assert new.manifest.summary == {"metadata_changed": 2}
    written = {name.split("/")[0] for name, data in tree(job.store).items() if before.get(name) != data}
    assert written == {"images", "tables", "snapshots"}
    assert sorted(name for name in tree(job.store) if name.startswith("tables/labels/") and name not in before) == [
        table.file.path for table in new.manifest.tables_named("labels")
    ]
    assert [row["prefix"] for row in old.images.to_pylist()] == [row["prefix"] for row in new.images.to_pylist()]


def test_labels_can_be_asked(job: Job, labels: Callable[[str], Path]) -> None:
    """`labels` is a view: image, column, type, value as a text, and when it was given."""
    fpve.run(job)
    assert fpve.open(job.store).sql("FROM labels").to_pylist() == []
    fpve.label(job.store, labels("image_id,price,rating\npets/cat/03.png,9.750,5\npets/cat/00.png,,4\n"))
    found = fpve.open(job.store).sql("FROM labels").to_pylist()
    assert [(row["image_id"], row["column"], row["type"], row["value"]) for row in found] == [
        ("pets/cat/00.png", "rating", "int64", "4"),
        ("pets/cat/03.png", "price", "float64", "9.75"),
        ("pets/cat/03.png", "rating", "int64", "5"),
    ]
    assert all(abs((datetime.now(UTC) - row["at"]).total_seconds()) < 600 for row in found)


def test_a_label_wins_until_it_is_taken_back(job: Job, pictures: Path, labels: Callable[[str], Path]) -> None:
    """A later run, and one whose metadata changed, keeps it; after `undo` the next run has the job's own value."""
    fpve.run(job)
    fpve.label(job.store, labels("image_id,kind\npets/bird/05.png,parrot\npets/cat/00.png,lynx\n"))
    assert fpve.run(job).published is False
    table = (pictures / "metadata.csv").read_text()
    (pictures / "metadata.csv").write_text(table.replace(",bird,", ",fowl,"))
    report = fpve.run(job)
    assert (report.published, report.encoded, report.fused) == (True, 0, 0)
    kinds = column(job, "kind")
    assert (kinds["05.png"], kinds["00.png"], kinds["02.png"], kinds["03.png"]) == ("parrot", "lynx", "fowl", "cat")
    undone = fpve.label(job.store, labels("image_id,kind,price\npets/bird/05.png,x,1\n"), undo=True)
    assert (undone.named, undone.changed, undone.unchanged, undone.published) == (2, 1, 1, True)
    assert "05.png" not in column(job, "kind")
    assert column(job, "price")["05.png"] == 5.5
    assert fpve.label(job.store, labels("image_id,kind\npets/bird/05.png,x\n"), undo=True).published is False
    assert fpve.run(job).published is True
    kinds = column(job, "kind")
    assert (kinds["05.png"], kinds["00.png"]) == ("fowl", "lynx")
    fpve.label(job.store, labels("image_id,kind\npets/cat/00.png,x\n"), undo=True)
    assert Snapshot.open(job.store).manifest.tables_named("labels") == ()


def test_a_label_changes_no_prefix(job: Job, pictures: Path, labels: Callable[[str], Path]) -> None:
    """A prefix that is filled in from the labelled column stays the job's, so that no vector changes."""
    job = make_job(job.store, pictures, prefix="a {kind}")
    fpve.run(job)
    segments = Snapshot.open(job.store).manifest.segments
    fpve.label(job.store, labels("image_id,kind\npets/bird/05.png,parrot\n"))
    draw(pictures / "cat/00.png", 99)
    report = fpve.run(job)
    assert (report.encoded, report.fused, report.published) == (1, 0, True)
    row = next(row for row in fpve.open(job.store).images.to_pylist() if row["image_id"] == "pets/bird/05.png")
    assert (row["kind"], row["prefix"]) == ("parrot", "a bird")
    assert segments[0] in Snapshot.open(job.store).manifest.segments


def test_new_columns_are_typed_as_in_csv(job: Job, labels: Callable[[str], Path]) -> None:
    """A number only if every value survives; the column is the collection's, and the next run publishes nothing."""
    fpve.run(job)
    text = "image_id,rating,code,note\npets/cat/00.png,5,007,\npets/cat/03.png,4,12,\npets/cat/06.png,,3,\n"
    report = fpve.label(job.store, labels(text))
    assert (report.named, report.new_columns) == (5, ("code", "rating"))
    manifest = Snapshot.open(job.store).manifest
    assert [(one.name, one.type) for one in manifest.columns] == [
        ("caption", "string"),
        ("code", "string"),
        ("kind", "string"),
        ("price", "float64"),
        ("rating", "int64"),
    ]
    assert column(job, "rating") == {"00.png": 5, "03.png": 4}
    assert column(job, "code") == {"00.png": "007", "03.png": "12", "06.png": "3"}
    fpve.label(job.store, labels("image_id,area\npets/cat/00.png,1.5\n"))
    assert fpve.run(job).published is False
    assert [row.rating for row in fpve.open(job.store).search(id="pets/cat/03.png", where="rating > 4")] == [5]


def test_a_new_column_goes_with_its_last_label(job: Job, labels: Callable[[str], Path]) -> None:
    """After `undo` a column that only labels had is empty, and the next run drops it without a guard in the way."""
    bare = replace(job, collections=(CollectionConfig(name="pets", source=job.collections[0].source),))
    fpve.run(bare)
    ids = fpve.open(job.store).images["image_id"].to_pylist()
    file = labels("image_id,rating\n" + "".join(f"{one},1\n" for one in ids))
    fpve.label(job.store, file)
    assert fpve.run(bare).published is False
    fpve.label(job.store, file, undo=True)
    assert column(job, "rating") == {}
    assert fpve.run(bare).published is True
    assert Snapshot.open(job.store).manifest.columns == ()


def test_a_label_hides_no_lost_metadata(job: Job, pictures: Path, labels: Callable[[str], Path]) -> None:
    """A metadata table that was cut off is refused though every image has a label."""
    fpve.run(job)
    ids = fpve.open(job.store).images["image_id"].to_pylist()
    fpve.label(job.store, labels("image_id,rating\n" + "".join(f"{one},1\n" for one in ids)))
    table = (pictures / "metadata.csv").read_text().splitlines()
    (pictures / "metadata.csv").write_text("\n".join(table[:4]) + "\n")
    with pytest.raises(GuardError, match="9 of 12 images would lose all their metadata"):
        fpve.run(job)


def test_what_the_store_says_already_publishes_nothing(job: Job, labels: Callable[[str], Path], tree: Tree) -> None:
    """The same labels again, and empty cells, write no file; to say what the job says is a label, though."""
    fpve.run(job)
    fpve.label(job.store, labels("image_id,kind,price\npets/cat/00.png,lynx,1.0\n"))
    before = tree(job.store)
    report = fpve.label(job.store, labels('image_id,kind,price,caption\npets/cat/00.png,lynx,1.00,""\n'))
    assert (report.named, report.unchanged, report.published, report.snapshot) == (2, 2, False, 2)
    assert tree(job.store) == before
    assert fpve.label(job.store, labels("image_id,kind\npets/dog/01.png,dog\n")).published is True
    assert len(fpve.open(job.store).sql("FROM labels")) == 3


def test_labels_that_wait_are_counted(
    job: Job, pictures: Path, labels: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of an image that was moved, is gone, or can't be encoded any more: in the report, and in a line on stderr."""
    job = replace(job, limits=Limits(max_quarantine=0.5))
    fpve.run(job)
    fpve.label(job.store, labels("image_id,kind,price\npets/cat/00.png,lynx,9\npets/cat/03.png,puma,\n"))
    assert fpve.run(job).labels_without_image == 0
    (pictures / "cat/00.png").rename(pictures / "cat/moved.png")
    assert fpve.run(job, dry_run=True).labels_without_image == 2
    report = fpve.run(job)
    assert (report.moved, report.labels_without_image) == (1, 2)
    _print_report(report, "json")
    note = next(line for line in capsys.readouterr().err.splitlines() if "labels" in line)
    assert note.startswith("note: 2 labels are of images that are gone or have another name now")
    waiting = fpve.open(job.store).sql(note.split('"')[1]).to_pylist()
    assert [(row["image_id"], row["column"]) for row in waiting] == [
        ("pets/cat/00.png", "kind"),
        ("pets/cat/00.png", "price"),
    ]
    (pictures / "cat/03.png").write_bytes(b"no")
    assert [fpve.run(job).labels_without_image for _ in range(2)] == [3, 3]
    (pictures / "cat/moved.png").rename(pictures / "cat/00.png")
    assert fpve.run(job).labels_without_image == 1
    assert column(job, "kind")["00.png"] == "lynx"


def test_labels_of_images_that_are_gone_wait(job: Job, pictures: Path, labels: Callable[[str], Path]) -> None:
    """An image that comes back has its label again, and meanwhile the label can be given and taken back."""
    fpve.run(job)
    fpve.label(job.store, labels("image_id,rating\npets/bird/05.png,5\n"))
    (pictures / "bird/05.png").rename(pictures.parent / "away.png")
    fpve.run(job)
    assert "rating" not in fpve.open(job.store).images.column_names
    assert fpve.label(job.store, labels("image_id,rating\npets/bird/05.png,7\n")).published is True
    (pictures.parent / "away.png").rename(pictures / "bird/05.png")
    fpve.run(job)
    assert column(job, "rating") == {"05.png": 7}


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".json", ".parquet"])
def test_every_format_is_read(job: Job, tmp_path: Path, suffix: str) -> None:
    """Types are taken from Parquet and JSON, and in CSV from what survives; null changes nothing."""
    fpve.run(job)
    rows = [
        {"image_id": "pets/cat/00.png", "rating": 4, "area": 0.1, "kind": "lynx"},
        {"image_id": "pets/dog/01.png", "rating": 5, "area": None, "kind": None},
    ]
    path = tmp_path / f"labels{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif suffix == ".json":
        path.write_text(json.dumps(rows))
    elif suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        comma = "," if suffix == ".csv" else "\t"
        lines = [rows[0].keys(), *(["" if one is None else str(one) for one in row.values()] for row in rows)]
        path.write_text("".join(comma.join(line) + "\n" for line in lines))
    assert fpve.label(job.store, path).named == 4
    assert (column(job, "rating"), column(job, "area")) == ({"00.png": 4, "01.png": 5}, {"00.png": 0.1})
    assert fpve.run(job).published is False


def test_times_truths_and_missing_numbers(job: Job, tmp_path: Path) -> None:
    """Types that CSV has not survive the table of labels and a run; NaN is an empty cell."""
    fpve.run(job)
    moment = datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
    rows = {
        "image_id": ["pets/cat/00.png", "pets/dog/01.png"],
        "seen": [moment, None],
        "day": [date(2024, 2, 29), None],
        "good": [True, False],
        "area": [float("nan"), 1e300],
    }
    pq.write_table(pa.table(rows), tmp_path / "labels.parquet")
    assert fpve.label(job.store, tmp_path / "labels.parquet").named == 5
    (job.collections[0].source / "cat/new.png").write_bytes((job.collections[0].source / "cat/00.png").read_bytes())
    assert fpve.run(job).published is True
    assert column(job, "seen") == {"00.png": moment}
    assert column(job, "day") == {"00.png": date(2024, 2, 29)}
    assert column(job, "good") == {"00.png": True, "01.png": False}
    assert column(job, "area") == {"01.png": 1e300}


def test_a_column_of_another_collection(job: Job, tmp_path: Path, labels: Callable[[str], Path]) -> None:
    """Labels reach every collection; a column that only another one has keeps its type there too."""
    fpve.run(job)
    draw(tmp_path / "more/one.png", 50)
    other = replace(job, name="cars", collections=(CollectionConfig(name="cars", source=tmp_path / "more"),))
    fpve.run(other)
    report = fpve.label(job.store, labels("image_id,price\ncars/one.png,3\npets/cat/00.png,4\n"))
    assert (report.changed, report.new_columns) == (2, ())
    manifest = Snapshot.open(job.store).manifest
    assert [[column.name for column in one.columns] for one in manifest.collections] == [
        ["price"],
        ["caption", "kind", "price"],
    ]
    assert (fpve.run(job).published, fpve.run(other).published) == (False, False)
    assert fpve.open(job.store).sql("SELECT price FROM images WHERE image_id = 'cars/one.png'")["price"][0].as_py() == 3


BAD = [
    (
        "image_id,kind\npets/cat/99.png,x\npets/cat/00.png,x\npets/x.png,x\n",
        "2 of 3 image_ids are not in .*cat/99.png' in row 1",
    ),
    (
        "image_id,price\npets/cat/00.png,1\npets/cat/03.png,cheap\n",
        "column 'price', row 2: expected float64, found 'cheap'",
    ),
    ("image_id,score\npets/cat/00.png,1\n", "column 'score' is reserved"),
    ("image_id,prefix\npets/cat/00.png,1\n", "column 'prefix' is reserved"),
    ("image_id,Kind\npets/cat/00.png,x\n", "'Kind' differs from the store's 'kind' in case only"),
    ("image_id,a,A\npets/cat/00.png,x,y\n", "columns 'a' and 'A' differ only in case"),
    ("image_id\npets/cat/00.png\n", "expected a column of values beside 'image_id'"),
    ("path,kind\ncat/00.png,x\n", "expected a column 'image_id', found path, kind"),
    ("image_id,kind\n,x\n", "row 1: expected an image_id, found an empty cell"),
    ("image_id,kind\npets/cat/00.png,x\npets/cat/00.png,y\n", "'pets/cat/00.png' stands in rows 1 and 2"),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_a_wrong_file_changes_nothing(
    job: Job, labels: Callable[[str], Path], tree: Tree, text: str, message: str
) -> None:
    """Images that are not there, values that do not fit and names that are taken are refused; nothing is published."""
    fpve.run(job)
    before = tree(job.store)
    with pytest.raises(MetadataError, match=message):
        fpve.label(job.store, labels(text))
    assert tree(job.store) == before


def test_what_is_misspelt_takes_nothing_back(
    job: Job, labels: Callable[[str], Path], tmp_path: Path, tree: Tree
) -> None:
    """`undo` of a column that there is not is an error that names the nearest, and a file that is not there is one."""
    fpve.run(job)
    fpve.label(job.store, labels("image_id,rating\npets/cat/00.png,5\n"))
    before = tree(job.store)
    message = (
        "no column 'ratign' whose labels could be taken back; did you mean 'rating'.; there is caption, kind, price, "
    )
    with pytest.raises(MetadataError, match=message):
        fpve.label(job.store, labels("image_id,ratign\npets/cat/00.png,5\n"), undo=True)
    assert tree(job.store) == before
    with pytest.raises(MetadataError, match=r"missing\.csv: no such file of labels"):
        fpve.label(job.store, tmp_path / "missing.csv")


def test_lists_are_no_labels(job: Job, tmp_path: Path) -> None:
    """A list is refused, as a value and as what a column holds."""
    fpve.run(job)
    path = tmp_path / "labels.jsonl"
    path.write_text('{"image_id": "pets/cat/00.png", "tags": ["a"]}\n')
    with pytest.raises(MetadataError, match=r"column 'tags' is list<.*; a label is a text, number, truth or time"):
        fpve.label(job.store, path)
    table = tmp_path / "tags.jsonl"
    table.write_text('{"path": "cat/00.png", "tags": ["a"]}\n')
    fpve.run(make_job(job.store, job.collections[0].source, metadata=table, prefix=None), allow_removals=True)
    path.write_text('{"image_id": "pets/cat/00.png", "tags": "a"}\n')
    with pytest.raises(MetadataError, match="column 'tags' holds lists"):
        fpve.label(job.store, path)


def test_a_label_that_no_longer_fits(job: Job, pictures: Path, labels: Callable[[str], Path]) -> None:
    """A job that gives a labelled column another type is told which label is in the way."""
    fpve.run(job)
    fpve.label(job.store, labels("image_id,rating\npets/cat/00.png,good\n"))
    table = (pictures / "metadata.csv").read_text().splitlines()
    rated = [f"{line},{number}" for number, line in enumerate(table)]
    (pictures / "metadata.csv").write_text("\n".join([table[0] + ",rating", *rated[1:]]) + "\n")
    assert fpve.run(job).published is True
    assert column(job, "rating")["00.png"] == "good"
    with pytest.raises(FpveError, match=r"label of 'pets/cat/00.png', column 'rating': expected int64, found 'good'"):
        fpve.run(make_job(job.store, pictures, types={"rating": "int64"}))


def test_a_label_needs_the_store_to_itself(job: Job, tmp_path: Path, labels: Callable[[str], Path]) -> None:
    """It waits for no other writer, and makes no store where there is none."""
    file = labels("image_id,kind\npets/cat/00.png,lynx\n")
    with pytest.raises(StoreNotFound):
        fpve.label(tmp_path / "nothing", file)
    assert not (tmp_path / "nothing").exists()
    fpve.run(job)
    with writer_lock(job.store, "night"), pytest.raises(StoreLocked, match="job 'night'"):
        fpve.label(job.store, file)


def test_the_command(job: Job, labels: Callable[[str], Path]) -> None:
    """`fpve label` prints what changed, as text and as JSON, and `--undo` takes it back."""
    fpve.run(job)
    file = str(labels("image_id,kind,rating\npets/cat/00.png,lynx,5\n"))
    done = CliRunner().invoke(cli, ["label", str(job.store), file])
    assert done.stdout.splitlines() == [
        "cells        2 labelled, 0 as they were",
        "images       1",
        "new columns  rating",
        "snapshot     2 (published)",
    ]
    done = CliRunner().invoke(cli, ["label", str(job.store), file, "--undo", "--format", "json"])
    assert json.loads(done.stdout) == {
        "named": 2,
        "changed": 2,
        "unchanged": 0,
        "images": 1,
        "new_columns": [],
        "snapshot": 3,
        "published": True,
    }


def test_a_new_column_that_is_called_nearly_as_another_is_pointed_out(job: Job, labels: Callable[[str], Path]) -> None:
    """A slip of the pen makes a column; the note has the command that takes it back, and one of its own is no slip."""
    fpve.run(job)
    file = labels("image_id,knid,rating\npets/cat/00.png,lynx,5\n")
    done = CliRunner().invoke(cli, ["label", str(job.store), str(file)])
    undo = f"fpve label {job.store} {file} --undo"
    assert done.stderr == f"note: the column 'knid' is new; did you mean 'kind'? Take it back: {undo}\n"
    assert CliRunner().invoke(cli, undo.split()[1:]).exit_code == 0
    fpve.run(job)
    assert [one.name for one in fpve.open(job.store).columns] == ["caption", "kind", "price"]


def test_a_label_given_again_after_a_rollback_counts_at_once(job: Job, labels: Callable[[str], Path]) -> None:
    """A rollback keeps labels for the next run to lay over; who does not wait for it gives them again."""
    fpve.run(job)
    file = labels("image_id,kind\npets/cat/00.png,lynx\n")
    fpve.label(job.store, file)
    fpve.rollback(job.store, 1)
    assert column(job, "kind")["00.png"] == "cat"
    assert fpve.label(job.store, file).changed == 1
    assert column(job, "kind")["00.png"] == "lynx"
    assert fpve.label(job.store, file).published is False
