"""Images that a job names by columns: what they are called, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from samples import draw, make_job

import fpve
from fpve.config import CollectionConfig, Job
from fpve.errors import JobError, MetadataError
from fpve.planning.columns import file_columns, read_given
from fpve.sources.source import scan_source


def ids(source: Path, **options: Any) -> list[str]:
    """image_ids under which a collection's files go."""
    config = CollectionConfig("c", source, **options)
    files, _ = file_columns(config, read_given(config), scan_source(config), ())
    return [str(one) for one in files["image_id"].to_pylist()]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table of three pictures whose columns name them in several ways."""
    for number in range(3):
        draw(tmp_path / f"p{number}.png", number)
    lines = ["path,sku,view,n,bad,twice,some", "p0.png,007,front,2,a/../b,x,1", "p1.png,u\u0308,back,1,a//b,x,"]
    (tmp_path / "t.csv").write_text("\n".join([*lines, "p2.png,b c,front,3,/a,y,2"]) + "\n", encoding="utf-8")
    return tmp_path / "t.csv"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("sku", ["c/007", "c/b c", "c/\u00fc"]),
        ("{sku}", ["c/007", "c/b c", "c/\u00fc"]),
        ("{view}-{n:02d}", ["c/back-01", "c/front-02", "c/front-03"]),
        ("{view}/{stem}", ["c/back/p1", "c/front/p0", "c/front/p2"]),
        ("{row}", ["c/0", "c/1", "c/2"]),
    ],
)
def test_a_column_or_a_template_names_the_images(table: Path, template: str, expected: list[str]) -> None:
    """Values are as they are written, in NFC; images are sorted by their new names."""
    assert ids(table, id=template) == expected


@pytest.mark.parametrize(
    ("template", "error", "message"),
    [
        ("twice", MetadataError, r"id 'twice' is 'x' for row 1 and for row 2 \(1 ids stand more than once\)"),
        ("some", MetadataError, "id 'some' is empty for 1 of 3 pictures, the first is row 2; fill in the cell"),
        ("bad", MetadataError, r"id 'bad' is 'a/\.\./b' for row 1: expected a name without empty parts"),
        ("skus", JobError, "id 'skus': no metadata column 'skus'; did you mean 'sku'"),
        ("{sku", JobError, "collection 'c', id: '{sku': expected '}'"),
        ("{}", JobError, "id: '{}': expected a column name between braces"),
        ("{{sku}}", JobError, "expected a column in id, such as {sku}"),
        ("{view:d}", JobError, "id: .*can't be filled in with 'front'"),
    ],
)
def test_ids_that_name_nothing_are_refused(table: Path, template: str, error: type[Exception], message: str) -> None:
    """Ids that are empty, not unique, or no names: the row is named, and what to do."""
    with pytest.raises(error, match=message):
        ids(table, id=template)


def test_a_folder_with_metadata_is_named_by_it(job: Job, pictures: Path) -> None:
    """Columns of its metadata name the pictures of a folder; one without a row is told by its path."""
    named = make_job(job.store, pictures, id="{kind}:{price:.1f}")
    for path in pictures.rglob("*.png"):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    fpve.run(named)
    found = {row["image_id"]: row for row in fpve.open(job.store).images.to_pylist()}
    assert (found["pets/bird:5.5"]["path"], len(found)) == (str(pictures / "bird/05.png"), 12)
    assert (fpve.run(named).published, fpve.run(named).bytes_to_read) == (False, 0)
    draw(pictures / "cat/new.png", 100)
    with pytest.raises(MetadataError, match=r"is empty for 1 of 13 pictures, the first is 'cat/new.png'; .* exclude"):
        fpve.run(named)


def test_a_file_that_is_renamed_keeps_its_id(job: Job, pictures: Path) -> None:
    """Its path is other metadata, and it is read once; labels that it was given stay with it."""
    named = make_job(job.store, pictures, id="{kind} {price}")
    fpve.run(named)
    labels = pictures.parent / "labels.csv"
    labels.write_text("image_id,note\npets/bird 5.50,good\n")
    fpve.label(job.store, labels)
    (pictures / "bird/05.png").rename(pictures / "bird/moved.png")
    table = pictures / "metadata.csv"
    table.write_text(table.read_text().replace("bird/05.png", "bird/moved.png"))
    report = fpve.run(named)
    assert (report.metadata_changed, report.moved, report.removed, report.encoded) == (1, 0, 0, 0)
    row = next(row for row in fpve.open(job.store).images.to_pylist() if row["image_id"] == "pets/bird 5.50")
    assert (row["path"], row["note"]) == (str(pictures / "bird/moved.png"), "good")


def test_other_names_for_the_same_images_are_moves(job: Job, pictures: Path) -> None:
    """Naming them anew encodes nothing, and needs no permission."""
    fpve.run(job)
    report = fpve.run(make_job(job.store, pictures, id="{kind}-{stem}"))
    assert (report.moved, report.removed, report.encoded) == (12, 0, 0)
