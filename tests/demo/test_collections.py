"""The sample collections: what is written, that it is named, and that it is the same each time."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from fpve.demo.collections import write_digits, write_photographs, write_symbols
from fpve.errors import FpveError
from fpve.images import decode

EXPECTED = {write_digits: 1797, write_photographs: 20, write_symbols: 1308}


class Written(NamedTuple):
    """A collection on disk, and the count that its writer returned."""

    writer: Callable[[Path], int]
    folder: Path
    count: int

    @property
    def rows(self) -> list[dict[str, str]]:
        """Its metadata."""
        with (self.folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))


def write(writer, folder) -> Written:
    """Write one collection."""
    return Written(writer, folder, writer(folder))


def contents(folder) -> dict[str, bytes]:
    """Bytes of every file below a folder, by path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module", params=EXPECTED, ids=lambda writer: writer.__name__)
def written(request, tmp_path_factory) -> Written:
    """Each collection in turn, in a folder that was not there."""
    return write(request.param, tmp_path_factory.mktemp("written") / "new" / "folder")


def test_every_picture_is_named_once(written) -> None:
    """The count returned is that of the pictures, and the metadata names each of them in one row without a gap."""
    paths = [row["path"] for row in written.rows]
    assert written.count == EXPECTED[written.writer] == len(paths)
    assert {*paths, "metadata.csv"} == contents(written.folder).keys()
    assert all(value for row in written.rows for value in row.values())


def test_every_picture_decodes(written) -> None:
    """Every file is a picture, and none of them is blank."""
    grey = {row["path"]: decode((written.folder / row["path"]).read_bytes()).image.convert("L") for row in written.rows}
    assert [path for path, image in grey.items() if len(image.getcolors(256)) < 2] == []


def test_a_second_run_writes_the_same_bytes(written, tmp_path) -> None:
    """Two runs agree to the byte, so that a job over a collection that was written again changes nothing."""
    written.writer(tmp_path)
    assert contents(tmp_path) == contents(written.folder)


def test_digits_are_labelled(tmp_path) -> None:
    """All ten digits are there, as often as in the data set."""
    counts = Counter(row["label"] for row in write(write_digits, tmp_path).rows)
    assert [counts[digit] for digit in "0123456789"] == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_digits_are_dark_on_white(tmp_path) -> None:
    """A digit has a white corner and a stroke that is nearly black."""
    first = write(write_digits, tmp_path).folder / "0000.png"
    image = decode(first.read_bytes()).image
    assert image.size == (64, 64)
    assert image.getpixel((0, 0)) == (255, 255, 255)
    assert image.convert("L").getextrema()[0] < 32


def test_photographs_have_captions_of_their_own(tmp_path) -> None:
    """Every caption is one sentence, and no two photographs share one."""
    captions = [row["caption"] for row in write(write_photographs, tmp_path).rows]
    assert len(set(captions)) == len(captions)
    assert [caption for caption in captions if not caption.endswith(".") or ". " in caption] == []


def test_symbols_are_drawn_twice_under_one_name(tmp_path) -> None:
    """A symbol has two pictures with one caption, and is named as Unicode names it."""
    rows = write(write_symbols, tmp_path).rows
    hearts = [row for row in rows if row["codepoint"] == "U+2665"]
    assert [(row["path"], row["style"]) for row in hearts] == [
        ("plain/u2665.png", "plain"),
        ("night/u2665.png", "night"),
    ]
    assert {(row["caption"], row["block"]) for row in hearts} == {("black heart suit", "Miscellaneous Symbols")}
    assert set(Counter(row["codepoint"] for row in rows).values()) == {2}


def test_captions_of_letters_do_not_name_the_script(tmp_path) -> None:
    """The label, a block of Unicode, can't be read off the caption of a letter."""
    rows = write(write_symbols, tmp_path).rows
    georgian = {row["caption"] for row in rows if row["block"] == "Georgian"}
    assert {"letter an", "letter ban", "letter gan"} < georgian
    scripts = {"greek", "cyrillic", "armenian", "georgian", "hebrew", "arabic", "syllabics", "tifinagh", "lao"}
    letters = [row for row in rows if scripts & set(row["block"].lower().split())]
    assert len({row["block"] for row in letters}) == 9
    assert [row["caption"] for row in letters if scripts & set(row["caption"].split())] == []


def test_the_blocks_are_of_a_size(tmp_path) -> None:
    """There are 15 blocks, and each has enough pictures for twenty neighbours."""
    counts = Counter(row["block"] for row in write(write_symbols, tmp_path).rows)
    assert len(counts) == 15
    assert min(counts.values()) == 50


@pytest.mark.parametrize(
    ("writer", "module"),
    [(write_digits, "sklearn.datasets"), (write_photographs, "skimage"), (write_symbols, "matplotlib")],
)
def test_a_missing_library_names_the_extra(writer, module, tmp_path, monkeypatch) -> None:
    """Without the extra `demo`, the error says how to install it, and nothing is written."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(FpveError, match=r"pip install 'fpve\[demo\]'"):
        writer(tmp_path / "folder")
    assert not (tmp_path / "folder").exists()
