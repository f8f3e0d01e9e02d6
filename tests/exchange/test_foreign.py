"""Files from anywhere: what a broken or hostile one may not do, and targets that are no plain files."""

from __future__ import annotations

import json
import os
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fpve
from fpve.errors import EncoderMismatch, FpveError, JobError, MetadataError, QueryError, SourceError

Write = Callable[..., Path]


def matrix(folder: Path, header: str, body: bytes = b"\0" * 64) -> Path:
    """A file that begins as a matrix does, with whatever header, and a table beside it."""
    said = header.encode() + b"\n"
    file = folder / "m.npy"
    file.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(said)) + said + body)
    (folder / "m.csv").write_text("image_id\na\nb\n", encoding="utf-8")
    return file


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, -8), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (True, 8), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1000000000000), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4611686018427387904), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (2, 4), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "-" * 8_000 + "8,), }",
        "[" * 8_000,
    ],
)
def test_headers_that_are_none(tmp_path: Path, header: str) -> None:
    """Whatever NumPy makes of a header, the file is refused in a line of bounded length."""
    with pytest.raises(SourceError) as error:
        fpve.import_vectors(tmp_path / "store", vectors=matrix(tmp_path, header))
    said = str(error.value).removeprefix(f"{tmp_path}/m.npy: can't be read as a matrix: ")
    assert 0 < len(said) <= 201
    assert "\n" not in said


def test_what_is_called_a_matrix_and_is_none(tmp_path: Path) -> None:
    """An empty file, an archive and a pickle are refused, and nothing is unpickled."""
    file = matrix(tmp_path, "")
    file.write_bytes(b"")
    with pytest.raises(SourceError, match="can't be read as a matrix"):
        fpve.import_vectors(tmp_path / "store", vectors=file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.npy", b"")
    with pytest.raises(SourceError, match="can't be read as a matrix"):
        fpve.import_vectors(tmp_path / "store", vectors=file)
    file.write_bytes(f"cos\nmkdir\n(S'{tmp_path / 'made'}'\ntR.".encode())
    with pytest.raises(SourceError, match="can't be read as a matrix"):
        fpve.import_vectors(tmp_path / "store", vectors=file)
    assert not (tmp_path / "made").exists()
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("name", ["image_id", "vector", "kind"])
def test_a_column_that_stands_twice(tmp_path: Path, name: str) -> None:
    """Two columns of one name are refused, whichever it is."""
    columns = {"image_id": pa.array(["a"]), "vector": pa.array([[1.0, 2.0]]), "kind": pa.array(["k"])}
    table = pa.table([*columns.values(), columns[name]], names=[*columns, name])
    pq.write_table(table, tmp_path / "twice.parquet")
    with pytest.raises(SourceError, match=f"expected one column '{name}', found 2"):
        fpve.import_vectors(tmp_path / "store", vectors=tmp_path / "twice.parquet")


def test_long_vectors_are_read_few_at_a_time(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long vectors are, no more numbers are held at once than fit, but at least one row."""
    monkeypatch.setattr("fpve.sources.vectors._NUMBERS_AT_ONCE", 20)
    values = np.arange(1, 41, dtype=np.float32).reshape(5, 8)
    np.save(tmp_path / "m.npy", values)
    (tmp_path / "m.csv").write_text("image_id\n" + "\n".join("abcde"), encoding="utf-8")
    for file in (write(values), tmp_path / "m.npy"):
        parts = list(fpve.sources.vectors.open_vectors(file).parts())
        assert [len(part) for part in parts] == [2, 2, 1]
        assert np.array_equal(np.concatenate(parts), values)
    monkeypatch.setattr("fpve.sources.vectors._NUMBERS_AT_ONCE", 1)
    assert [len(part) for part in fpve.sources.vectors.open_vectors(write(values)).parts()] == [1] * 5


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_matrix_that_is_cut_short_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    """It is refused as one that changed; the process goes on."""
    monkeypatch.setattr("fpve.sources.vectors._ROWS_AT_ONCE", 7)
    values = np.random.default_rng(3).normal(size=(5_000, 8)).astype(">f8")
    np.save(tmp_path / "m.npy", np.asarray(values, order=order))
    (tmp_path / "m.csv").write_text("image_id\n" + "\n".join(map(str, range(5_000))), encoding="utf-8")
    opened = fpve.sources.vectors.open_vectors(tmp_path / "m.npy")
    assert np.array_equal(np.concatenate(list(opened.parts())), values.astype(np.float32))
    parts = opened.parts()
    assert np.array_equal(next(parts), values[:7].astype(np.float32))
    os.truncate(tmp_path / "m.npy", 9_000)
    with pytest.raises(SourceError, match="changed while it was being read"):
        list(parts)


def claimed(store: fpve.Store, folder: Path, change: Callable[[dict], object]) -> Path:
    """An export whose header says something else."""
    file = folder / "claimed.parquet"
    store.export(file, vectors="image")
    table = pq.read_table(file)
    said = json.loads(table.schema.metadata[b"fpve_export"])
    change(said["encoders"])
    pq.write_table(table.replace_schema_metadata({b"fpve_export": json.dumps(said)}), file)
    return file


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda said: said.pop("image"), "says of its vectors no image encoder"),
        (lambda said: said["image"].update(config={}), "is no configuration of one"),
        (lambda said: said["image"].update(config={"name": "fake:24", "layer": "x"}), "is no configuration of one"),
        (lambda said: said["text"].update(config={"name": "x", "path": "/"}), "is no configuration of one"),
    ],
)
def test_a_header_that_names_no_encoder(
    store: fpve.Store, tmp_path: Path, change: Callable[[dict], object], expected: str
) -> None:
    """What a file says of its encoders is refused as a whole where it can't be an encoder's configuration."""
    with pytest.raises(MetadataError, match=expected):
        fpve.import_vectors(tmp_path / "other", vectors=claimed(store, tmp_path, change))


def test_no_module_is_imported_because_a_file_names_it(
    store: fpve.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An encoder of somebody's own, which is code, is opened only if who imports the file names it."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "unasked.py").write_text("class Texts:\n    dim = 16\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path / "code")
    file = claimed(store, tmp_path, lambda said: said["text"].update(config={"name": "python:unasked:Texts"}))
    with pytest.raises(EncoderMismatch, match="'python:unasked:Texts', which runs the code of that name"):
        fpve.import_vectors(tmp_path / "other", vectors=file)
    assert "unasked" not in sys.modules
    assert fpve.import_vectors(tmp_path / "other", vectors=file, text_encoder="none").new == 12
    file = claimed(store, tmp_path, lambda said: said["image"].update(config={"name": "python:unasked:Pictures"}))
    report = fpve.import_vectors(tmp_path / "third", vectors=file)
    assert report.encoders["image"].startswith("imported:24@")
    assert "'python:unasked:Pictures' made its vectors, which runs the code of that name" in report.notes[0]
    assert "unasked" not in sys.modules


@pytest.mark.parametrize("kind", [pa.int64(), pa.list_(pa.string())])
def test_a_column_collection_of_other_things(store: fpve.Store, tmp_path: Path, kind: pa.DataType) -> None:
    """Where an exported file's column `collection` holds no names, the file's own name is taken."""
    file = claimed(store, tmp_path, lambda said: said)
    table = pq.read_table(file)
    pq.write_table(table.set_column(1, "collection", pa.nulls(12, kind)), file)
    assert fpve.import_vectors(tmp_path / "other", vectors=file).collection == "claimed"


def test_an_empty_collection_is_no_name(tmp_path: Path, write: Write) -> None:
    """A name that is empty, as an unset variable gives it, is not taken for none."""
    with pytest.raises(JobError, match=r"collection name: expected .*, found ''"):
        fpve.import_vectors(tmp_path / "store", vectors=write([[1.0, 2.0]]), collection="")


def test_an_export_replaces_no_device_or_pipe(store: fpve.Store, tmp_path: Path) -> None:
    """A pipe stays one: Parquet can't go through it, and a matrix, which is two files, is refused."""
    os.mkfifo(tmp_path / "pipe.npy")
    reader = os.open(tmp_path / "pipe.npy", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(OSError, match="lseek"):
            store.export(tmp_path / "pipe.npy", to="embedding-atlas")
    finally:
        os.close(reader)
    assert (tmp_path / "pipe.npy").is_fifo()
    with pytest.raises(QueryError, match="expected a file to write, found a device or a pipe"):
        store.export(tmp_path / "pipe.npy")
    assert (tmp_path / "pipe.npy").is_fifo()


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="there is no device that is full")
@pytest.mark.parametrize("to", ["parquet", "csv"])
def test_a_target_that_is_full_is_named(store: fpve.Store, tmp_path: Path, to: str) -> None:
    """An error of writing names the file that was asked for."""
    (tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as error:
        store.export(tmp_path / "full", to=to)
    assert error.value.filename == str(tmp_path / "full")
    assert Path("/dev/full").is_char_device()


def test_a_store_is_not_exported_over_itself(store: fpve.Store, tmp_path: Path) -> None:
    """A file of the store is no target, by whatever link; others may lie beside them."""
    manifest = next((store.path / "snapshots").glob("*.json"))
    (tmp_path / "link").symlink_to(manifest)
    before = manifest.read_bytes()
    for target in (manifest, tmp_path / "link"):
        with pytest.raises(QueryError, match="expected a file outside of stores"):
            store.export(target, to="parquet")
    page = next((store.path / "images").rglob("*.parquet"))
    with pytest.raises(FpveError, match="expected a file outside of stores"):
        store.export(page.with_suffix(".npy"))
    assert manifest.read_bytes() == before
    assert fpve.verify(store.path).ok
    store.export(store.path / "mine.parquet")
    assert fpve.verify(store.path).ok
