"""Exports: what each format holds, to the digit, and what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from samples import make_job

import fpve
import fpve.export.rows
from fpve.config import FusionConfig, Job
from fpve.errors import FpveError, QueryError
from fpve.export import Header

COLUMNS = ["image_id", "collection", "path", "prefix", "caption", "kind", "price", "width", "height", "content_hash"]


def matrix(column: pa.ChunkedArray) -> np.ndarray:
    """Lists of one length as rows; null is a row of zeros."""
    rows = column.to_pylist()
    dim = next(len(one) for one in rows if one is not None)
    return np.array([[0.0] * dim if one is None else one for one in rows], np.float32)


def test_parquet_holds_the_rows_and_their_fused_vectors(store: fpve.Store, tmp_path: Path) -> None:
    """One row an image, in the order of ids, with what `images` says and the very vectors that SQL gives."""
    done = store.export(tmp_path / "out.parquet")
    assert done.to_dict() == {
        "files": (str(tmp_path / "out.parquet"),),
        "format": "parquet",
        "rows": 12,
        "vectors": "fused",
        "dim": 40,
        "snapshot": 1,
        "command": None,
    }
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == [*COLUMNS, "vector"]
    assert table.schema.field("vector").type == pa.list_(pa.float32())
    images = store.images
    assert all(table[name].to_pylist() == images[name].to_pylist() for name in COLUMNS)
    expected = store.sql("SELECT vector FROM vectors ORDER BY image_id")["vector"]
    assert table["vector"].to_pylist() == expected.to_pylist()


def test_image_vectors_have_the_length_that_they_had(store: fpve.Store, tmp_path: Path) -> None:
    """Raw features are those that the model gives, to rounding; the file says who it was."""
    store.export(tmp_path / "out.parquet", vectors="image")
    table = pq.read_table(tmp_path / "out.parquet")
    features = store.encode_images([Path(one) for one in table["path"].to_pylist()])
    assert np.allclose(matrix(table["vector"]), features, rtol=1e-5, atol=1e-5)
    header = Header.read(tmp_path / "out.parquet")
    assert header is not None
    assert (header.vectors, header.snapshot, header.fusion.image_weight) == ("image", 1, 0.5)
    assert [(name, one.config, one.dim) for name, one in header.encoders.items()] == [
        ("image", {"name": "fake:24"}, 24),
        ("text", {"name": "fake:16"}, 16),
    ]


def test_a_missing_block_is_null(store: fpve.Store, tmp_path: Path) -> None:
    """Of prefix vectors those of images without a prefix are null, the others are the embeddings of their texts."""
    store.export(tmp_path / "out.parquet", vectors="prefix")
    table = pq.read_table(tmp_path / "out.parquet")
    texts = table["prefix"].to_pylist()
    assert [one is None for one in table["vector"].to_pylist()] == [one is None for one in texts]
    there = [at for at, text in enumerate(texts) if text is not None]
    expected = store.encode_texts([texts[at] for at in there])
    assert np.allclose(matrix(table["vector"])[there], expected, atol=1e-6)


def test_some_rows_and_columns_without_vectors(store: fpve.Store, tmp_path: Path) -> None:
    """A condition chooses rows, names choose metadata columns, and vectors can be left out."""
    done = store.export(tmp_path / "out.parquet", vectors="none", where="price > 8", columns=["price"])
    assert (done.rows, done.dim) == (4, 0)
    assert pq.read_table(tmp_path / "out.parquet").select(["image_id", "price"]).to_pylist() == [
        {"image_id": "pets/bird/08.png", "price": 8.5},
        {"image_id": "pets/bird/11.png", "price": 11.5},
        {"image_id": "pets/cat/09.png", "price": 9.5},
        {"image_id": "pets/dog/10.png", "price": 10.5},
    ]
    assert pq.read_schema(tmp_path / "out.parquet").names == [*COLUMNS[:4], "price", *COLUMNS[7:]]


def test_csv_has_vectors_only_if_asked(store: fpve.Store, tmp_path: Path) -> None:
    """CSV has no vectors by itself; asked for, they are JSON lists of the same numbers."""
    store.export(tmp_path / "bare.csv")
    with (tmp_path / "bare.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == COLUMNS
    assert [row["image_id"] for row in rows] == store.images["image_id"].to_pylist()
    store.export(tmp_path / "full.csv", vectors="fused")
    with (tmp_path / "full.csv").open(encoding="utf-8") as file:
        texts = [row["vector"] for row in csv.DictReader(file)]
    store.export(tmp_path / "full.parquet")
    expected = matrix(pq.read_table(tmp_path / "full.parquet")["vector"])
    assert np.array_equal(np.array([json.loads(one) for one in texts], np.float32), expected)
    # No more digits than a number needs.
    assert max(len(number) for one in texts for number in one[1:-1].split(", ")) <= len("-0.123456789e-12")
    store.export(tmp_path / "some.csv", vectors="prefix")
    with (tmp_path / "some.csv").open(encoding="utf-8") as file:
        there = [(row["prefix"] != "", row["vector"] != "") for row in csv.DictReader(file)]
    assert set(there) == {(True, True), (False, False)}


def test_a_matrix_and_its_rows(store: fpve.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row n of the matrix belongs to row n of the table beside it, in whatever parts they are written."""
    monkeypatch.setattr("fpve.export.rows.ROWS_AT_ONCE", 5)
    done = store.export(tmp_path / "out.npy", vectors="prefix")
    assert done.files == (str(tmp_path / "out.npy"), str(tmp_path / "out.parquet"))
    found = np.load(tmp_path / "out.npy", mmap_mode="r")
    assert (found.shape, found.dtype) == ((12, 16), np.float32)
    rows = pq.read_table(tmp_path / "out.parquet")
    assert rows.column_names == COLUMNS
    store.export(tmp_path / "same.parquet", vectors="prefix")
    same = pq.read_table(tmp_path / "same.parquet")
    assert rows["image_id"].to_pylist() == same["image_id"].to_pylist()
    assert np.array_equal(found, matrix(same["vector"]))
    # Another matrix takes its place; the table of one does not take that of vectors.
    store.export(tmp_path / "out.npy", vectors="image")
    with pytest.raises(QueryError, match=r"expected no vectors in same.parquet, .*, found an export that has some"):
        store.export(tmp_path / "same.npy")
    assert pq.read_table(tmp_path / "same.parquet").equals(same)


def test_a_centred_store_exports_its_raw_rows(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fused vectors are those of Parquet, not the centred ones that are searched."""
    monkeypatch.setattr("fpve.store.means.MIN_BLOCKS", 4)
    job = make_job(job.store, job.collections[0].source)
    fpve.run(type(job)(**{**{name: getattr(job, name) for name in job.__slots__}, "fusion": FusionConfig(centre=True)}))
    store = fpve.open(job.store)
    assert store.status().fusion["centre_pictures"] == 12
    store.export(tmp_path / "out.parquet")
    expected = matrix(store.sql("SELECT vector FROM vectors ORDER BY image_id")["vector"])
    assert np.allclose(matrix(pq.read_table(tmp_path / "out.parquet")["vector"]), expected, atol=1e-6)


def test_embedding_atlas_gets_thumbnails_points_and_neighbours(store: fpve.Store, tmp_path: Path) -> None:
    """Neighbours are numbers of rows of the file, nearest first and without the image itself, as a search has it."""
    done = store.export(tmp_path / "out.parquet", to="embedding-atlas")
    assert done.command == (
        f"embedding-atlas {tmp_path / 'out.parquet'} --x x --y y --neighbors neighbors --image image --text prefix"
    )
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == [*COLUMNS, "image", "x", "y", "neighbors"]
    ids = table["image_id"].to_pylist()
    assert [store.thumbnail(one) for one in ids] == table["image"].to_pylist()
    for name, found in zip(ids, table["neighbors"].to_pylist(), strict=True):
        hits = store.search(id=name, k=15, exact=True)
        assert [ids[at] for at in found["ids"]] == [hit.image_id for hit in hits]
        assert np.allclose(found["distances"], [max(1 - hit.score, 0) for hit in hits], atol=1e-6)
    points = np.stack([table["x"].to_numpy(), table["y"].to_numpy()])
    assert np.all(np.isfinite(points))
    assert len(np.unique(points, axis=1).T) == 12


def test_embedding_atlas_of_some_images(store: fpve.Store, tmp_path: Path) -> None:
    """Neighbours are among the images that are exported, and a metadata column keeps its name."""
    done = store.export(tmp_path / "out.parquet", to="embedding-atlas", where="kind = 'cat'")
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [sorted(row["neighbors"]["ids"]) for row in rows] == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]
    assert done.rows == 4


def test_metadata_called_like_a_column_of_the_viewer(tmp_path: Path, pictures: Path) -> None:
    """A metadata column `x` keeps its name: the point's column is another, and the command names that."""
    (pictures / "metadata.csv").write_text("path,x,caption\ncat/00.png,7,one\n", encoding="utf-8")
    fpve.run(make_job(tmp_path / "other", pictures))
    done = fpve.open(tmp_path / "other").export(tmp_path / "out.parquet", to="embedding-atlas")
    assert done.command is not None
    assert "--x __x --y y " in done.command
    table = pq.read_table(tmp_path / "out.parquet")
    assert sorted(table["x"].drop_null().to_pylist()) == [7]
    assert table.schema.field("__x").type == pa.float32()


@pytest.mark.parametrize("to", ["parquet", "csv", "npy", "embedding-atlas"])
def test_nothing_to_export_is_an_empty_file(store: fpve.Store, tmp_path: Path, to: str) -> None:
    """Where no image meets the condition the file has the columns and no row."""
    target = tmp_path / ("out.npy" if to == "npy" else "out")
    done = store.export(target, to=to, where="price < 0")
    assert done.rows == 0
    if to == "csv":
        assert target.read_text() == ",".join(f'"{name}"' for name in COLUMNS) + "\n"
        return
    table = pq.read_table(done.files[-1])
    assert (len(table), table.column_names[: len(COLUMNS)]) == (0, COLUMNS)
    if to == "npy":
        assert np.load(target).shape == (0, 40)


def test_a_failure_leaves_what_was_there(store: fpve.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An export that breaks off replaces nothing, and leaves no temporary file."""
    for name in ("out.npy", "out.parquet"):
        (tmp_path / name).write_text("before")
    monkeypatch.setattr("fpve.export.rows.ROWS_AT_ONCE", 5)
    before = fpve.export.rows.Chosen.images

    def broken(self: object, rows: np.ndarray) -> pa.Table:
        if rows[0] >= 5:
            raise OSError(28, "No space left on device")
        return before(self, rows)

    monkeypatch.setattr("fpve.export.rows.Chosen.images", broken)
    for target in ("out.npy", "out.parquet"):
        with pytest.raises(OSError, match="No space left"):
            store.export(tmp_path / target)
    files = {path.name: path.read_text() for path in tmp_path.iterdir() if path.is_file()}
    assert files == {"out.npy": "before", "out.parquet": "before"}


@pytest.mark.parametrize(
    ("target", "options", "expected"),
    [
        (
            "out.txt",
            {},
            "out.txt: expected .parquet, .csv, .npy, or a format to say what it is "
            "(parquet, csv, npy, embedding-atlas), found '.txt'",
        ),
        (
            "out.parquet",
            {"to": "parqet"},
            "to: expected parquet, csv, npy, embedding-atlas, found 'parqet'; did you mean 'parquet'?",
        ),
        ("out.parquet", {"vectors": "raw"}, "vectors: expected fused, image, prefix, none, found 'raw'"),
        ("out.parquet", {"to": "npy"}, "out.parquet: expected .npy for a matrix, found '.parquet'"),
        ("out.npy", {"vectors": "none"}, "vectors: expected 'fused', 'image' or 'prefix' for a matrix, found 'none'"),
        (
            "out.parquet",
            {"columns": ["prise"]},
            "columns: no metadata column 'prise'; did you mean 'price'?; there is caption, kind, price",
        ),
        (
            "out.parquet",
            {"to": "embedding-atlas", "vectors": "fused"},
            "vectors: a viewer gets coordinates in their place; expected none, found 'fused'",
        ),
        ("none/out.csv", {}, "none/out.csv: no such folder: "),
    ],
)
def test_what_is_refused(
    store: fpve.Store, tmp_path: Path, target: str, options: dict[str, object], expected: str
) -> None:
    """A wrong format, vector, column or place is refused in one line, before anything is computed."""
    with pytest.raises(QueryError) as error:
        store.export(tmp_path / target, **options)
    assert str(error.value).replace(f"{tmp_path}/", "").startswith(expected)
    assert not list(tmp_path.glob("out*"))


def test_older_snapshots_are_exported(job: Job, tmp_path: Path, pictures: Path) -> None:
    """What is exported is the snapshot that is open."""
    fpve.run(job)
    (pictures / "dog" / "10.png").unlink()
    fpve.run(job)
    assert fpve.open(job.store).export(tmp_path / "new.csv").rows == 11
    assert fpve.open(job.store, at=1).export(tmp_path / "old.csv").rows == 12


def test_a_header_that_cannot_be_read(store: fpve.Store, tmp_path: Path) -> None:
    """Metadata of another version is told, not guessed at."""
    store.export(tmp_path / "out.parquet", vectors="image")
    table = pq.read_table(tmp_path / "out.parquet")
    pq.write_table(table.replace_schema_metadata({"fpve_export": '{"vectors": "image"}'}), tmp_path / "bad.parquet")
    with pytest.raises(FpveError, match="has 3 fields that are not known here: another version of fpve exported it"):
        Header.read(tmp_path / "bad.parquet")
