"""Metadata files: types that lose nothing, and rows that find their images."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fpve.errors import MetadataError
from fpve.sources.metadata import convert, match, read_metadata


def csv_types(tmp_path: Path, *values: str) -> str:
    """The type that a CSV column of these values gets."""
    file = tmp_path / "m.csv"
    rows = "".join(f"{number}.png,{value}\n" for number, value in enumerate(values))
    file.write_text(f"path,value\n{rows}", encoding="utf-8")
    return str(read_metadata(file).columns["value"].type)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (("1", "-20", "0"), "int64"),
        (("1", "", "3"), "int64"),
        (("007", "8"), "string"),
        (("+1",), "string"),
        (("-0",), "string"),
        (("1234567890123456789012",), "string"),
        (("1.5", "2", "-0.25"), "double"),
        (("19.90", "5.00"), "double"),
        (("1.1", "1.10"), "string"),
        (("1e3",), "string"),
        (("0.12345678901234567",), "string"),
        (('"1,5"',), "string"),
        (("nan", "1"), "string"),
        (("true", "false"), "string"),
        (("2024-01-01",), "string"),
        (("", ""), "string"),
    ],
)
def test_a_csv_column_is_numeric_only_if_every_value_survives(
    tmp_path: Path, values: tuple[str, ...], kind: str
) -> None:
    """Leading zeros, exponents, too many digits and mixed trailing zeros keep a column text."""
    assert csv_types(tmp_path, *values) == kind


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".jsonl", ".json"])
def test_every_format_gives_the_same_rows(tmp_path: Path, suffix: str) -> None:
    """The same table is the same metadata, whichever file it comes in; a byte order mark and quotes are understood."""
    rows = [{"file_name": "a.png", "text": 'says "hi", twice', "n": 1}, {"file_name": "ö/b.png", "text": None, "n": 2}]
    file = tmp_path / f"m{suffix}"
    if suffix == ".csv":
        file.write_text('\ufefffile_name,text,n\na.png,"says ""hi"", twice",1\nö/b.png,,2\n', encoding="utf-8")
    elif suffix == ".tsv":
        file.write_text('file_name\ttext\tn\na.png\t"says ""hi"", twice"\t1\nö/b.png\t\t2\n', encoding="utf-8")
    elif suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    elif suffix == ".jsonl":
        file.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    else:
        file.write_text(json.dumps(rows), encoding="utf-8")
    found = read_metadata(file)
    assert found.paths.to_pylist() == ["a.png", "ö/b.png"]
    assert found.columns.to_pylist() == [{"text": row["text"], "n": row["n"]} for row in rows]


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("cp1252", "line 3 is not in UTF-8, but maybe in Windows-1252 .'b.png,café'.; save it in UTF-8"),
        ("utf-16", "it is in UTF-16; save it in UTF-8"),
    ],
)
def test_another_encoding_of_text_is_named(tmp_path: Path, encoding: str, message: str) -> None:
    """What spreadsheets save is refused with its line, and with what to do."""
    file = tmp_path / "m.csv"
    file.write_bytes("path,text\na.png,tea\nb.png,café\nc.png,naïve\n".encode(encoding))
    with pytest.raises(MetadataError, match=message):
        read_metadata(file)


def test_another_encoding_of_a_column_s_name_is_named(tmp_path: Path) -> None:
    """It is on the first line."""
    file = tmp_path / "m.csv"
    file.write_bytes("path,größe\na.png,1\n".encode("cp1252"))
    with pytest.raises(MetadataError, match=r"line 1 is not in UTF-8, but maybe in Windows-1252 .'path,größe'."):
        read_metadata(file)


def test_paths_match_relative_to_the_source_or_to_the_file(tmp_path: Path) -> None:
    """Paths are relative to the source, or else to the file's own folder; NFC, ./ and backslashes don't matter."""
    source = tmp_path / "pictures"
    source.mkdir()
    images = pa.array(["a.png", "sub/b\u00fc.png", "c.png"])
    file = tmp_path / "m.csv"
    file.write_text("path,x\n./a.png,1\nsub\\bu\u0308.png,2\n", encoding="utf-8")
    assert match(read_metadata(file), images, source).to_pylist() == [0, 1, None]
    file.write_text(f"path,x\npictures/c.png,1\n{source}/a.png,2\nother/b.png,3\n", encoding="utf-8")
    assert match(read_metadata(file), images, source).to_pylist() == [1, None, 0]


def test_missing_numbers_are_null(tmp_path: Path) -> None:
    """NaN in a Parquet file is a missing value, not a number."""
    file = tmp_path / "m.parquet"
    pq.write_table(pa.table({"path": ["a.png", "b.png"], "x": [1.5, float("nan")]}), file)
    assert read_metadata(file).columns["x"].to_pylist() == [1.5, None]


def test_paths_that_match_nothing_are_shown(tmp_path: Path) -> None:
    """The error has one path of each side, so that the difference can be seen."""
    file = tmp_path / "m.csv"
    file.write_text("path,x\nfoo/a.jpg,1\n", encoding="utf-8")
    with pytest.raises(MetadataError, match=r"none of its 1 paths .* it has 'foo/a.jpg', the images are 'a.png'"):
        match(read_metadata(file), pa.array(["a.png"]), tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.csv", "", "the file is empty"),
        ("m.csv", "a,b\n1,2\n", "expected a column of paths named path, .*, found a, b"),
        ("m.csv", "path;a\nx.png;1,5\n", "its only column is 'path;a': is it separated by ';'. save it with commas"),
        ("m.csv", "path,a\nx.png\n", "can't be read as csv: .*Expected 2 columns, got 1"),
        ("m.csv", "path,a\nx.png,1\nx.png,2\n", "path 'x.png' stands in rows 1 and 2"),
        ("m.csv", "path,a,a\nx.png,1,2\n", "two columns have the same name"),
        ("m.jsonl", '{"path": "x.png"}\nnot json\n', "can't be read as jsonl"),
        ("m.jsonl", '{"path": "x", "a": 1}\n{"path": "y", "a": "b"}\n', "column 'a' mixes int and str"),
        ("m.json", '{"path": "x.png"}', "expected objects"),
        ("m.parquet", "no", "can't be read as parquet"),
        ("m.xlsx", "no", "expected .csv, .tsv, .parquet, .jsonl or .json, found '.xlsx'"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    """A file that can't be used raises one line with its name and what is wrong."""
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    with pytest.raises(MetadataError, match=message) as caught:
        read_metadata(file)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


def test_a_value_that_does_not_fit_is_named_with_its_row() -> None:
    """Casting loses nothing: the first value that would is named, with the way out."""
    with pytest.raises(
        MetadataError, match=r"m.csv, column 'n', row 2: expected int64, found 'x'; .* \"string\" in types"
    ):
        convert(pa.chunked_array([["1", "x"]]), pa.int64(), where="m.csv, column 'n'")


def test_a_wrong_key_column_names_the_nearest(tmp_path: Path) -> None:
    """metadata_key that is not a column is answered with the one that is most like it."""
    file = tmp_path / "m.csv"
    file.write_text("pathname,x\na.png,1\n", encoding="utf-8")
    with pytest.raises(MetadataError, match=r"no column 'pathnam' .*; did you mean 'pathname'"):
        read_metadata(file, key="pathnam")


def test_other_spellings_of_a_path_are_the_same_path(tmp_path: Path) -> None:
    """Blanks, backslashes and `./` are taken away; absolute paths and those from the file's folder may be untidy."""
    source = tmp_path / "pictures"
    images = pa.array(["a/1.png", "a/2.png", "\u00fc.png"])
    for paths in (
        [" ./a/1.png", "a\\2.png ", "u\u0308.png"],
        [f"{source}/a/1.png", f"{source}//a/./2.png", f"{source}/u\u0308.png"],
        ["pictures/a/1.png", "pictures//a/2.png", "./pictures/\u00fc.png"],
    ):
        file = tmp_path / "m.csv"
        file.write_text("path,x\n" + "".join(f"{path},1\n" for path in [*paths, "elsewhere.png"]), encoding="utf-8")
        assert match(read_metadata(file), images, source).to_pylist() == [0, 1, 2]
