"""Mapped rows: what the pages say, read as far as it is asked for, whatever has become of the copies."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import fpve
from fpve.config import Job
from fpve.errors import StoreCorrupt
from fpve.store import mapped, pages
from fpve.store.encoding import FusionRef
from fpve.store.files import FileRef
from fpve.store.manifest import Collection, Manifest, Segment
from fpve.store.mapped import MappedRows
from fpve.store.schema import Column, page_schema

COLUMNS = (Column("kind", "string"), Column("tags", "list<string>"))
# Sorted by image_id: "a-b/…" comes before "a/…".
IDS = [f"a-b/{number:02d}" for number in range(5)] + [f"a/{number:02d}" for number in range(12)]
# The first segment has 20 vectors, the second 4; two images share one.
PLACES = [("s1", 19 - number) for number in range(15)] + [("s2", 3), ("s2", 3)]
POSITIONS = [19 - number for number in range(15)] + [23, 23]


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of five rows: one of the first collection, three of the second."""
    monkeypatch.setattr(pages, "PAGE_ROWS", 5)


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """A snapshot of two collections, of which one has its pictures below a folder, and one names a file absolutely."""
    schema = page_schema(COLUMNS)
    collections = []
    for name, folder in (("a", None), ("a-b", "/mnt/pictures")):
        numbers = [number for number, one in enumerate(IDS) if one.startswith(f"{name}/")]
        values = {
            "image_id": [IDS[number] for number in numbers],
            "collection": [name] * len(numbers),
            "path": ["/else/where.png" if number == 7 else IDS[number][-2:] + ".png" for number in numbers],
            "content_hash": [f"{number:064d}" for number in numbers],
            "prefix": [None if number % 4 else f"Präfix {number}" for number in numbers],
            "segment": [PLACES[number][0] for number in numbers],
            "row": [PLACES[number][1] for number in numbers],
            "kind": [("cat", "dog", None)[number % 3] for number in numbers],
            "tags": [None if number % 5 == 0 else ["é"] * (number % 3) for number in numbers],
        }
        rows = pa.table([values.get(field.name, [None] * len(numbers)) for field in schema], schema=schema)
        made = pages.write_pages(tmp_path, name, rows, ())
        collections.append(Collection(name, f"/data/{name}", "job", (), COLUMNS, made, folder))
    segments = [Segment(name, FileRef(f"vectors/{name}/rows.parquet", 1, ""), rows, ()) for name, rows in SEGMENTS]
    return Manifest(1, None, "", "", {}, FusionRef("balanced", 0.5), COLUMNS, tuple(collections), tuple(segments), ())


SEGMENTS = (("s1", 20), ("s2", 4))


def copies_of(root: Path, manifest: Manifest) -> list[Path]:
    """The copies of all pages, in the order of their images."""
    found = {page.first: root / page.copy[0] for one in manifest.collections for page in one.pages}
    return [found[first] for first in sorted(found)]


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The first image of each page that is loaded from Parquet."""
    found: list[str] = []
    real = mapped.read_pages

    def read(root: Path, these: list[pages.Page], columns: tuple[Column, ...]) -> pa.Table:
        found.extend(page.first for page in these)
        return real(root, these, columns)

    monkeypatch.setattr(mapped, "read_pages", read)
    return found


def test_rows_are_numbered_by_image_id(tmp_path: Path, manifest: Manifest, loaded: list[str]) -> None:
    """Rows, columns and positions say what pages say, with full paths, and no page is loaded."""
    rows = MappedRows(tmp_path, manifest)
    assert len(rows) == 17
    assert [rows.row_of(one) for one in IDS] == list(range(17))
    found = rows.take([16, 0, 7, 8])
    assert found["image_id"].to_pylist() == ["a/11", "a-b/00", "a/02", "a/03"]
    assert found["path"].to_pylist() == [
        "/data/a/11.png",
        "/mnt/pictures/00.png",
        "/else/where.png",
        "/data/a/03.png",
    ]
    assert found["prefix"].to_pylist() == ["Präfix 16", "Präfix 0", None, "Präfix 8"]
    assert found["tags"].to_pylist() == [["é"], None, ["é"], ["é", "é"]]
    assert found.schema == rows.schema == page_schema(COLUMNS)
    assert rows.column("kind").to_pylist() == [("cat", "dog", None)[number % 3] for number in range(17)]
    assert rows.column("path")[0].as_py() == "/mnt/pictures/00.png"
    assert rows.null_count("kind") == 5
    assert rows.positions.tolist() == POSITIONS
    assert loaded == []


@pytest.mark.parametrize(
    ("image_id", "row"), [("a/011", None), ("a-b/", None), ("", None), ("zebra", None), ("a/99", None), ("a/00", 5)]
)
def test_an_id_that_is_none_has_no_row(tmp_path: Path, manifest: Manifest, image_id: str, row: int | None) -> None:
    """Wherever it would stand: before the first, after the last, between two."""
    assert MappedRows(tmp_path, manifest).row_of(image_id) == row


def test_ids_below_a_folder(tmp_path: Path, manifest: Manifest) -> None:
    """They are those that begin with a text, so many at most."""
    rows = MappedRows(tmp_path, manifest)
    assert rows.below("a-b/", 10) == IDS[:5]
    assert rows.below("a/1", 10) == ["a/10", "a/11"]
    assert rows.below("a", 7) == IDS[:7]
    assert rows.below("b", 7) == []


def test_many_rows_are_taken_as_few_are(tmp_path: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Page by page or one by one, in the order in which they were asked for, some of them twice."""
    wanted = random.Random(1).choices(range(17), k=60)
    few = MappedRows(tmp_path, manifest).take(wanted)
    monkeypatch.setattr(mapped, "_FEW", 0)
    many = MappedRows(tmp_path, manifest).take(wanted)
    assert many.equals(few)
    assert few["image_id"].to_pylist() == [IDS[number] for number in wanted]
    names = ["path", "image_id"]
    assert MappedRows(tmp_path, manifest).take(wanted, names).equals(few.select(names))
    assert few["kind"].num_chunks == many["kind"].num_chunks == 1


def test_numbers_that_are_none(tmp_path: Path, manifest: Manifest) -> None:
    """There is no row -1; of no rows there is an empty table."""
    rows = MappedRows(tmp_path, manifest)
    for wrong in ([-1], [3, 17]):
        with pytest.raises(IndexError, match="expected numbers of rows from 0 to 16"):
            rows.take(wrong)
    assert rows.take([]).schema == rows.schema
    assert rows.take([], ["kind"]).schema.names == ["kind"]
    empty = MappedRows(tmp_path, replace(manifest, collections=()))
    assert (len(empty), empty.row_of("a"), empty.below("", 3), len(empty.table())) == (0, None, [], 0)
    assert empty.positions.tolist() == []


def _replace(path: Path, data: bytes) -> None:
    """Put other bytes in the place of a file that may be mapped."""
    other = path.with_name("other")
    other.write_bytes(data)
    other.replace(path)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path, other: path.unlink(),
        lambda path, other: _replace(path, b""),
        lambda path, other: _replace(path, path.read_bytes()[:-1]),
        lambda path, other: _replace(path, path.read_bytes()[: path.stat().st_size // 2]),
        lambda path, other: _replace(path, b"ARROW1" + bytes(5000) + b"ARROW1"),
        lambda path, other: _replace(path, other.read_bytes()),
    ],
    ids=["missing", "empty", "cut off", "half", "zeros", "another page's"],
)
def test_a_page_without_a_sound_copy_is_loaded(
    tmp_path: Path, manifest: Manifest, loaded: list[str], spoil: Callable[[Path, Path], None]
) -> None:
    """The page itself answers, once; the others are mapped."""
    expected = MappedRows(tmp_path, manifest).table()
    _, second, third, _ = copies_of(tmp_path, manifest)
    spoil(second, third)
    rows = MappedRows(tmp_path, manifest)
    assert rows.take(range(17)).equals(expected.combine_chunks())
    assert [rows.row_of(one) for one in IDS] == list(range(17))
    assert rows.positions.tolist() == POSITIONS
    assert rows.table().equals(expected)
    assert loaded == ["a/00"]


def test_what_cannot_be_read_is_not(tmp_path: Path, manifest: Manifest, loaded: list[str]) -> None:
    """A text that would lie beyond the file, or is no UTF-8, sends to the page those who ask for it, and no others."""
    copy = copies_of(tmp_path, manifest)[0]
    expected = MappedRows(tmp_path, manifest).table()
    data = bytearray(copy.read_bytes())
    # The ends of five ids of six letters each, in the first column: that of the second is far away now.
    ends = np.arange(0, 31, 6, dtype=np.int32).tobytes()
    data[data.index(ends) + 8 : data.index(ends) + 12] = (2**30).to_bytes(4, "little")
    _replace(copy, bytes(data))
    rows = MappedRows(tmp_path, manifest)
    assert rows.take([0, 3, 4])["image_id"].to_pylist() == ["a-b/00", "a-b/03", "a-b/04"]
    assert loaded == []
    assert rows.take([1])["image_id"].to_pylist() == ["a-b/01"]
    assert loaded == ["a-b/00"]
    copy = copies_of(tmp_path, manifest)[3]
    data = bytearray(copy.read_bytes())
    data[data.index("Präfix 16".encode()) + 3] = 0x20
    _replace(copy, bytes(data))
    rows = MappedRows(tmp_path, manifest)
    assert rows.table().equals(expected)
    assert loaded == ["a-b/00", "a-b/00", "a/08"]


def test_no_flipped_bit_harms_a_reader(tmp_path: Path, manifest: Manifest) -> None:
    """Wherever a bit of a copy is flipped: there are as many rows as before, and each has its id or that of a flip."""
    copy = copies_of(tmp_path, manifest)[1]
    good = copy.read_bytes()
    rng = random.Random(1)
    for _ in range(400):
        data = bytearray(good)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        _replace(copy, bytes(data))
        rows = MappedRows(tmp_path, manifest)
        found = rows.take(range(17)).to_pylist()
        assert sum(row["image_id"] == one for row, one in zip(found, IDS, strict=True)) >= 16
        assert len(rows.table().to_pylist()) == 17
        assert rows.positions.shape == (17,)
        assert 0 <= rows.positions.min() <= rows.positions.max() < 24


def test_an_older_page_has_nulls(tmp_path: Path, manifest: Manifest, loaded: list[str]) -> None:
    """A column that came later is null; one that is of another type now is converted, for which pages are loaded."""
    wider = replace(manifest, columns=(*COLUMNS, Column("zoom", "float64")))
    rows = MappedRows(tmp_path, wider)
    assert rows.take([2, 3])["zoom"].to_pylist() == [None, None]
    assert rows.table().schema == page_schema(wider.columns)
    narrower = replace(manifest, columns=(Column("tags", "list<string>"),))
    assert MappedRows(tmp_path, narrower).take([1])["tags"].to_pylist() == [["é"]]
    assert loaded == []


def test_an_image_without_a_vector_is_damage(tmp_path: Path, manifest: Manifest) -> None:
    """A page that names a segment, or a row, that the snapshot does not have is named itself."""
    for segments in (manifest.segments[:1], (replace(manifest.segments[0], rows=19), manifest.segments[1])):
        rows = MappedRows(tmp_path, replace(manifest, segments=segments))
        with pytest.raises(StoreCorrupt, match=r"\.parquet: an image names a (segment|row) that is not in .*repair"):
            _ = rows.positions


def test_what_is_written_comes_from_pages(tmp_path: Path, manifest: Manifest, loaded: list[str]) -> None:
    """Without copies each page is loaded, and compared with its checksum."""
    rows = MappedRows(tmp_path, manifest, use_copies=False).table()
    assert loaded == ["a-b/00", "a/00", "a/04", "a/08"]
    assert rows.equals(MappedRows(tmp_path, manifest).table())


def test_queries_load_no_page(job: Job, loaded: list[str]) -> None:
    """Searching, conditions, SQL, thumbnails and classification need none of the pages' Parquet files."""
    fpve.run(job)
    store = fpve.open(job.store)
    assert len(store.search(id="pets/cat/00.png", k=20)) == 11
    assert len(store.search(id="pets/cat/00.png", k=20, where="kind = 'dog'")) == 4
    assert store.sql("SELECT count(*) AS n FROM images")["n"].to_pylist() == [12]
    assert store.thumbnail("pets/cat/00.png") is not None
    assert loaded == []
    assert len(store.images) == 12
