"""Verification: a whole store has no problem, and whatever is wrong is named by its file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fpve
from fpve.errors import StoreNotFound
from fpve.fusion import FusedRows
from fpve.store import manifest as manifests
from fpve.store import pages, publishing, segments
from fpve.store.manifest import Manifest
from fpve.store.parquet import read_parquet


def newest(store: Path) -> Manifest:
    """The newest manifest."""
    return manifests.load(store)


def test_a_whole_store_has_no_problem(store: Path) -> None:
    """Everything that three snapshots name is counted once, and what no snapshot names is no problem."""
    (store / "images/pets/0123456789abcdef.parquet").write_bytes(b"of a killed run")
    found = fpve.verify(store)
    assert (found.ok, found.problems, found.snapshots) == (True, (), (1, 2, 3))
    assert found.files == len({file for number in (1, 2, 3) for file in manifests.load(store, number).files})
    assert (found.unnamed_files, found.unnamed_bytes) == (1, 15)


@pytest.mark.parametrize("pattern", ["images/*/*.parquet", "vectors/*/rows.parquet", "tables/*/*.parquet"])
def test_a_flipped_bit_is_found_by_its_file(store: Path, flip: Callable[[Path], None], pattern: str) -> None:
    """One bit of one file is one problem, which names the file and every snapshot that needs it."""
    file = sorted(store.glob(pattern))[0]
    name = file.relative_to(store).as_posix()
    users = tuple(n for n in (1, 2, 3) if name in {one.path for one in manifests.load(store, n).files})
    flip(file)
    problems = fpve.verify(store).problems
    assert [(one.file, one.snapshots) for one in problems] == [(name, users)]
    assert problems[0].problem == "its content has changed: its SHA-256 is not that of the manifest"


def test_quick_looks_and_does_not_read(store: Path) -> None:
    """A flipped bit in a vector needs reading; a file that was cut off, or is gone, does not."""
    rows = sorted(store.glob("vectors/*/rows.parquet"))
    data = bytearray(rows[0].read_bytes())
    data[20] ^= 1
    rows[0].write_bytes(data)
    assert fpve.verify(store, quick=True).ok
    assert not fpve.verify(store).ok
    rows[0].write_bytes(rows[0].read_bytes()[:-1])
    rows[1].unlink()
    found = {one.file: one.problem for one in fpve.verify(store, quick=True).problems}
    sizes = {one.file.path: one.file.bytes for n in (1, 2, 3) for one in manifests.load(store, n).segments}
    names = [path.relative_to(store).as_posix() for path in rows]
    assert found == {
        names[0]: f"expected {sizes[names[0]]:,} bytes, found {sizes[names[0]] - 1:,}",
        names[1]: "it is missing",
    }


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda path: path.unlink(), "exact.faiss is missing"),
        (lambda path: path.with_name("exact.faiss.sha256").write_text("x"), "it or its checksum has changed"),
        (lambda path: path.write_bytes(b"x"), "it or its checksum has changed"),
    ],
)
def test_an_index_is_compared_with_its_checksum(store: Path, damage: Callable[[Path], None], problem: str) -> None:
    """An index that is gone or changed, or whose checksum is, is a problem of its own kind."""
    index = sorted(store.glob("vectors/*/exact.faiss"))[0]
    damage(index)
    problems = fpve.verify(store).problems
    assert [(one.file, one.kind, one.problem) for one in problems] == [
        (index.relative_to(store).as_posix(), "index", problem)
    ]


def test_an_index_of_other_vectors_is_found(store: Path) -> None:
    """An index with a good checksum that holds another segment's vectors does not agree with Parquet."""
    first, second = sorted(path.parent for path in store.glob("vectors/*/exact.faiss"))[:2]
    for name in ("exact.faiss", "exact.faiss.sha256"):
        (first / name).write_bytes((second / name).read_bytes())
    problems = [(one.file, one.problem) for one in fpve.verify(store).problems]
    assert len(problems) == 1
    assert problems[0][0] == (first / "exact.faiss").relative_to(store).as_posix()
    assert problems[0][1].startswith(("its vectors are not those of rows.parquet", "expected "))


def test_a_damaged_manifest_is_a_problem(store: Path, flip: Callable[[Path], None]) -> None:
    """Its number and its reason are said, and the other snapshots are verified all the same."""
    flip(manifests.path_of(store, 2))
    problems = fpve.verify(store).problems
    assert [(one.kind, one.snapshots) for one in problems] == [("manifest", (2,))]
    assert fpve.verify(store, at=3).ok
    assert not fpve.verify(store, at=2).ok
    with pytest.raises(StoreNotFound, match="no snapshot 7; it has 1, 2, 3"):
        fpve.verify(store, at=7)


def test_vectors_of_a_wrong_length_are_found(store: Path) -> None:
    """A segment that is just as its manifest says, but whose vectors are no unit vectors, is not whole."""
    manifest = newest(store)
    table = read_parquet(store / manifest.segments[0].file.path)
    fused = segments.fused_rows(table)
    longer = FusedRows(fused.vectors * np.float32(1.01), fused.image_norm, fused.prefix_norm)
    names = [table[name].to_pylist() for name in segments.KEY_COLUMNS]
    made = segments.write_segment(store, [segments.rows_table(*names, longer)], longer.vectors.shape[1])
    changed = replace(manifest, snapshot=4, parent=3, segments=(made, *manifest.segments[1:]))
    publishing.publish(store, changed)
    problems = {one.file: one.problem for one in fpve.verify(store, at=4).problems}
    assert problems[made.file.path] == f"{made.rows} vectors are not of the length that balanced fusion gives them"


def test_an_image_without_its_vector_is_found(store: Path) -> None:
    """A page whose files are whole, but in which an image names another picture's vector, is a problem of the store."""
    manifest = newest(store)
    collection = manifest.collections[0]
    rows = pages.read_pages(store, collection.pages, manifest.columns)
    wrong = rows["row"].to_pylist()
    wrong[0] = 99
    rows = rows.set_column(rows.column_names.index("row"), rows.schema.field("row"), pa.array(wrong))
    made = pages.write_pages(store, "pets", rows, collection.pages)
    changed = replace(manifest, snapshot=4, parent=3, collections=(replace(collection, pages=made),))
    publishing.publish(store, changed)
    problems = fpve.verify(store).problems
    assert [(one.file, one.kind) for one in problems] == [(made[0].file.path, "rows")]
    assert problems[0].problem == f"1 images have no vector of their own, such as {made[0].first}"


def test_a_page_out_of_order_is_found(store: Path) -> None:
    """Images that stand twice, or not in the order of their ids, are a problem though every file is whole."""
    manifest = newest(store)
    collection = manifest.collections[0]
    doubled = replace(collection, pages=(collection.pages[0], *collection.pages))
    publishing.publish(store, replace(manifest, snapshot=4, parent=3, collections=(doubled,)))
    assert "its images are not in order, each once" in {one.problem for one in fpve.verify(store).problems}


def test_a_file_that_is_no_parquet_is_found(store: Path) -> None:
    """Structure is checked beside digests: a manifest can name a file that never was one of its kind."""
    manifest = newest(store)
    table = manifest.tables[0]
    path = store / table.file.path
    pq.write_table(pa.table({"x": [1]}), path)
    from fpve.store.files import ref

    made = replace(table, file=ref(store, path))
    publishing.publish(store, replace(manifest, snapshot=4, parent=3, tables=(made, *manifest.tables[1:])))
    problems = {one.file: one.problem for one in fpve.verify(store, at=4).problems}
    assert problems[made.file.path] == f"expected {table.rows} rows, found 1"
