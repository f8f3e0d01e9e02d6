"""Files of vectors that can't be imported: each is refused in one line, and leaves no store behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fpve
import fpve.sources.vectors
from fpve.config import Job

Write = Callable[..., Path]
NONE = "row 2, column 'vector': expected finite numbers that are not all zero, found "
TOO_LARGE = "NaN, infinity, or numbers too large for float32"
GOOD = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]


def refused(folder: Path, file: Path, **options: object) -> str:
    """What an import says that is refused, without the folder's name; there is no store afterwards."""
    with pytest.raises(fpve.FpveError) as error:
        fpve.import_vectors(folder / "store", vectors=file, **options)
    assert not (folder / "store").exists()
    assert "\n" not in str(error.value)
    return str(error.value).replace(f"{folder}/", "")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[1.0, 2.0], [0.0, 0.0]], f"{NONE}a zero vector"),
        ([[1.0, 2.0], [1.0, float("nan")]], f"{NONE}{TOO_LARGE}"),
        ([[1.0, 2.0], [3e38, 3e38]], f"{NONE}{TOO_LARGE}"),
        ([[1.0, 2.0], [1.0, 2.0, 3.0]], "row 2, column 'vector': expected 2 numbers as in row 1, found 3"),
        ([[1.0, 2.0], None], "row 2, column 'vector': expected 2 numbers as in row 1, found 0"),
        ([[1.0, 2.0], [1.0, None]], "row 2, column 'vector': expected numbers, found null among them"),
        ([[], []], "row 1, column 'vector': expected numbers, found 0"),
    ],
)
def test_vectors_that_are_none(tmp_path: Path, write: Write, rows: list, expected: str) -> None:
    """A vector without a direction, or of another length, is named with its row and column."""
    assert refused(tmp_path, write(rows)) == f"made.parquet, {expected}"


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["a", "b", "a"], "made.parquet: image_id 'a' stands in rows 1 and 3; keep one of them"),
        (["a", None, "c"], "made.parquet, row 2, column 'image_id': expected an id, found an empty cell"),
        (["a", "b", ""], "made.parquet, row 3, column 'image_id': expected an id, found an empty cell"),
        (
            ["a", "b", "../c"],
            "made.parquet, row 3, column 'image_id': expected a name without empty parts, '.', '..' or control "
            "characters, found '../c'",
        ),
        ([1.5, 2.5, 3.5], "made.parquet: expected texts in column 'image_id', found double"),
    ],
)
def test_ids_that_are_none(tmp_path: Path, write: Write, ids: list, expected: str) -> None:
    """An id that is empty, stands twice or can't be one is named with its row."""
    assert refused(tmp_path, write(GOOD, ids=ids)) == expected


def test_columns_that_are_missing_or_wrong(tmp_path: Path, write: Write) -> None:
    """A missing column is named beside those that are there; a reserved or unknown one is refused."""
    good = pq.read_table(write(GOOD))
    for table, expected in (
        (good.drop_columns(["vector"]), "expected a column 'vector', found image_id"),
        (
            good.rename_columns(["image_id", "vectors"]),
            "expected a column 'vector', found image_id, vectors; did you mean 'vectors'?",
        ),
        (good.rename_columns(["id", "vector"]), "expected a column 'image_id', found id"),
        (good.set_column(1, "vector", good["image_id"]), "expected lists of numbers in column 'vector', found string"),
        (good.append_column("prefix", pa.array([1, 2, 3])), "expected texts in column 'prefix', found int64"),
        (good.slice(0, 0), "expected one row an image, found none"),
    ):
        pq.write_table(table, tmp_path / "bad.parquet")
        options = {"text_encoder": "fake:4", "prefix": "{prefix}"} if "prefix" in table.column_names else {}
        assert refused(tmp_path, tmp_path / "bad.parquet", **options) == f"bad.parquet: {expected}"
    named = refused(tmp_path, write(GOOD, width=[1, 2, 3]))
    assert named.startswith("made.parquet: column 'width' is reserved by fpve; rename it in the file")
    assert refused(tmp_path, write(GOOD, kind=["a", "b", "c"]), columns=["kin"]) == (
        "made.parquet: no column 'kin' (columns); did you mean 'kind'?; it has kind"
    )


def test_files_that_are_none(tmp_path: Path, write: Write) -> None:
    """A file that is not there, of another kind or broken says so; so does a matrix without its table."""
    assert refused(tmp_path, tmp_path / "none.parquet") == "none.parquet: no such file of vectors"
    (tmp_path / "bad.parquet").write_text("no")
    assert refused(tmp_path, tmp_path / "bad.parquet").startswith("bad.parquet: can't be read as parquet: ")
    (tmp_path / "made.txt").write_text("no")
    assert refused(tmp_path, tmp_path / "made.txt") == "made.txt: expected .parquet or .npy, found '.txt'"
    assert refused(tmp_path, write(GOOD), ids=tmp_path / "made.txt") == (
        "made.parquet: has its ids in a column; expected a table of ids for .npy only"
    )
    np.save(tmp_path / "m.npy", np.array(GOOD))
    assert refused(tmp_path, tmp_path / "m.npy") == (
        "m.npy: expected a table of its rows beside it, such as m.parquet, found none; name it with ids"
    )
    (tmp_path / "m.csv").write_text("image_id\na\nb\n")
    assert refused(tmp_path, tmp_path / "m.npy") == "m.csv: expected 3 rows as m.npy has, found 2"
    assert refused(tmp_path, tmp_path / "m.npy", ids=tmp_path / "x.csv") == "x.csv: no such metadata file"
    np.save(tmp_path / "m.npy", np.array([{"a": 1}], object), allow_pickle=True)
    assert refused(tmp_path, tmp_path / "m.npy").startswith("m.npy: can't be read as a matrix: ")
    np.save(tmp_path / "m.npy", np.zeros(3))
    assert refused(tmp_path, tmp_path / "m.npy") == (
        "m.npy: expected a matrix (n, d) of numbers, found float64 of shape (3,)"
    )


def test_a_zero_row_of_a_matrix(tmp_path: Path) -> None:
    """A row of a matrix is named without a column."""
    np.save(tmp_path / "m.npy", np.array([[1.0, 2.0], [0.0, 0.0]]))
    (tmp_path / "m.csv").write_text("image_id\na\nb\n")
    assert refused(tmp_path, tmp_path / "m.npy") == (
        "m.npy, row 2: expected finite numbers that are not all zero, found a zero vector"
    )


def test_vectors_of_another_length_than_the_encoders(tmp_path: Path, write: Write) -> None:
    """An encoder that makes vectors of another length can't have made these."""
    assert refused(tmp_path, write(GOOD), image_encoder="fake:24") == (
        "made.parquet: expected vectors of 24 numbers, as fake:24 makes them, found 2; name what made them with "
        "--image-encoder"
    )
    assert refused(tmp_path, write(GOOD), image_encoder="fakes").startswith(
        "no image encoder 'fakes'; did you mean 'fake'?"
    )


def test_an_export_that_is_no_export_of_features(store: fpve.Store, tmp_path: Path) -> None:
    """Fused vectors can't be imported; nor can features under the name of an encoder that did not make them."""
    store.export(tmp_path / "fused.parquet")
    assert refused(tmp_path / "x", tmp_path / "fused.parquet").endswith(
        "fused.parquet: expected features of pictures, found vectors that were exported as 'fused'; export them with "
        "--vectors image"
    )
    store.export(tmp_path / "image.parquet", vectors="image")
    fingerprint = store.status().encoders["image"]
    found = refused(tmp_path / "x", tmp_path / "image.parquet", image_encoder="fake:25")
    assert f"image.parquet says that {fingerprint} made its vectors, --image-encoder is fake:25@" in found


def test_a_store_of_other_encoders(job: Job, tmp_path: Path, write: Write) -> None:
    """Beside another collection only vectors of the store's own encoders can be; both are named."""
    fpve.run(job)
    file = write(np.ones((3, 24), np.float32))
    for options, mine in (({}, "imported:24@"), ({"image_encoder": "fake:24", "text_encoder": "fake:8"}, "fake:24@")):
        with pytest.raises(fpve.FpveError) as error:
            fpve.import_vectors(job.store, vectors=file, **options)
        said = str(error.value)
        assert f"{job.store} encodes with fake:24@" in said
        assert f"the vectors of {file} are of {mine}" in said
        assert "there is a collection 'pets' of the former" in said
    assert fpve.open(job.store).snapshot == 1


def test_the_collection_of_a_job(job: Job, write: Write) -> None:
    """A collection that a job owns is not replaced by an import."""
    fpve.run(job)
    with pytest.raises(fpve.FpveError) as error:
        fpve.import_vectors(
            job.store, vectors=write(np.ones((3, 24), np.float32)), collection="pets", image_encoder="fake:24"
        )
    assert str(error.value) == (
        f"collection 'pets' in {job.store} is owned by job 'pets', and was not imported; give the import another name "
        "with --collection"
    )


def test_a_file_that_changes_while_it_is_read(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors that are replaced in the middle of an import are not mixed with those that were looked at."""
    file = write(GOOD)
    before = fpve.sources.vectors._check

    def replaced(*arguments: object) -> None:
        before(*arguments)
        write([[9.0, 9.0, 9.0]])

    monkeypatch.setattr("fpve.sources.vectors._check", replaced)
    assert (
        refused(tmp_path, file)
        == "made.parquet: changed while it was being read; nothing was published. Import it again"
    )
