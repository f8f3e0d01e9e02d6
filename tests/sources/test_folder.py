"""Scanning a folder: what is a picture, what is left out, and what its id is."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pyarrow as pa
import pytest

from fpve.config import CollectionConfig
from fpve.errors import SourceError, SourceNotFound
from fpve.sources.names import normalised, text_path, text_paths
from fpve.sources.scan import Scan
from fpve.sources.source import scan_source
from fpve.sources.walk import PICTURES, UNDECODABLE


def touch(folder: Path, *names: str) -> None:
    """Make files, with something in them."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def scan(folder: Path, **options: tuple[str, ...]) -> Scan:
    """What a scan finds."""
    return scan_source(CollectionConfig("c", folder, **options))


def ids(folder: Path, **options: tuple[str, ...]) -> list[str]:
    """image_ids that a scan finds."""
    return scan(folder, **options).files["image_id"].to_pylist()


def test_pictures_are_found_by_extension_sorted_by_id(tmp_path: Path) -> None:
    """Pictures at any depth count, in any case; other files, hidden ones and links to folders do not."""
    touch(tmp_path, "b.JPG", "a/z.png", "a.webp", "notes.txt", ".hidden.png", ".git/x.png", "a-b/x.tif")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "linked.png").symlink_to(tmp_path / "b.JPG")
    assert ids(tmp_path) == ["c/a-b/x.tif", "c/a.webp", "c/a/z.png", "c/b.JPG", "c/linked.png"]


def test_include_and_exclude(tmp_path: Path) -> None:
    """Globs over relative paths choose; exclude wins."""
    touch(tmp_path, "a/1.png", "a/21.png", "b/c/1.png", "1.png")
    assert ids(tmp_path, include=("a/*",)) == ["c/a/1.png", "c/a/21.png"]
    assert ids(tmp_path, exclude=("**/1.png",)) == ["c/a/21.png"]
    assert ids(tmp_path, include=("b/**/1.png",)) == ["c/b/c/1.png"]
    assert ids(
        tmp_path,
        include=("*.png",),
        exclude=(
            "a/*",
            "1.png",
        ),
    ) == ["c/b/c/1.png"]


def test_names_are_nfc_and_bytes_that_are_no_text_are_escaped(tmp_path: Path) -> None:
    """An id is NFC; a byte that is not UTF-8 becomes %XX, and a percent sign beside it %25."""
    os.close(os.open(os.fsencode(tmp_path) + b"/caf\xe9 100%.png", os.O_CREAT))
    touch(tmp_path, "u\u0308.png", "50%.png")
    files = scan(tmp_path).files
    assert files["image_id"].to_pylist() == ["c/50%.png", "c/caf%E9 100%25.png", "c/\u00fc.png"]
    # The path is as the system has it, so that it can be opened.
    assert (tmp_path / files["path"][2].as_py()).exists()
    assert text_path(b"%E9.png") == "%E9.png"


def test_two_spellings_of_one_name_are_told(tmp_path: Path) -> None:
    """Files whose ids would be the same are not both taken; which one was left out is said."""
    touch(tmp_path, "u\u0308.png", "\u00fc.png")
    found = scan(tmp_path)
    assert found.files["image_id"].to_pylist() == ["c/\u00fc.png"]
    assert "another spelling" in found.skipped[0].reason


def test_pictures_that_can_not_be_decoded_are_counted(tmp_path: Path) -> None:
    """By their extensions, in any case, unless nobody wants them; where there are no others, they are the reason."""
    touch(tmp_path, "1.HEIC", "a/2.heic", "a/3.cr2", "notes.txt", ".hidden.heic")
    with pytest.raises(SourceError, match=r"only pictures of formats that can't be decoded \(\.heic, \.cr2\): convert"):
        scan(tmp_path)
    touch(tmp_path, "good.png")
    assert scan(tmp_path).undecodable == {".heic": 2, ".cr2": 1}
    assert scan(tmp_path, exclude=("a/*",)).undecodable == {".heic": 1}
    assert not UNDECODABLE & PICTURES


def test_what_is_no_regular_file_is_skipped(tmp_path: Path) -> None:
    """A fifo, a broken link and a loop of links are skipped with a reason, and nothing hangs."""
    touch(tmp_path, "good.png")
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    found = scan(tmp_path)
    assert found.files["path"].to_pylist() == ["good.png"]
    reasons = {one.path: one.reason for one in found.skipped}
    assert reasons["fifo.png"] == "not a regular file"
    assert set(reasons) == {"fifo.png", "gone.png", "loop.png"}


def test_a_folder_that_can_not_be_read_is_no_deletion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error that names the way to leave it out, rather than pictures that seem to be gone."""
    touch(tmp_path, "a.png", "closed/b.png")
    real = os.scandir

    def scandir(path: bytes) -> object:
        if path.endswith(b"closed"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(SourceError, match=r'closed: can.t be read: Permission denied; .* exclude = \["closed/\*"\]'):
        scan(tmp_path)
    assert ids(tmp_path, exclude=("closed/*",)) == ["c/a.png"]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda path: path / "missing", SourceNotFound, "no such folder; is its disk mounted"),
        (lambda path: path / "file", SourceError, r"expected a folder .* or a table .*, found a file"),
        (lambda path: path / "empty", SourceError, "the folder is empty"),
        (lambda path: path / "texts", SourceError, "no pictures in it"),
    ],
)
def test_a_source_without_pictures_is_an_error(
    tmp_path: Path, make: object, error: type[Exception], message: str
) -> None:
    """A source that is missing, empty or without pictures is told apart, and never taken for a deletion."""
    touch(tmp_path, "file", "texts/a.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(error, match=message):
        scan(make(tmp_path))


def test_a_scan_is_the_same_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few names are turned into columns at once, each is found with its own folder, size and time."""
    names = [f"{folder}{number}.jpg" for folder in ("", "a/", "a/b/", "a-b/", "z/") for number in range(3)]
    touch(tmp_path, *names, "empty/notes.txt")
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(b"x" * number)
        os.utime(tmp_path / name, ns=(number, number))
    whole = scan(tmp_path).files
    assert whole["path"].to_pylist() == sorted(names)
    rows = {row["path"]: (row["size"], row["mtime_ns"]) for row in whole.to_pylist()}
    assert rows == {name: (number, number) for number, name in enumerate(names)}
    for count in (1, 2, 4):
        monkeypatch.setattr("fpve.sources.walk._AT_ONCE", count)
        monkeypatch.setattr("fpve.sources.names._AT_ONCE", count)
        assert scan(tmp_path).files.equals(whole)


def test_columns_of_names_are_what_single_names_are() -> None:
    """Decoding and normalising by the column gives what it gives one by one, odd names among plain ones."""
    raw = [b"plain.png", b"caf\xe9 100%.png", b"50%.png", "u\u0308.png".encode(), "\u00e9.png".encode(), b"\xff%41.png"]
    texts = text_paths(pa.array(raw, pa.binary()))
    assert texts.to_pylist() == [text_path(one) for one in raw]
    assert normalised(texts).to_pylist() == [unicodedata.normalize("NFC", text_path(one)) for one in raw]
    assert normalised(pa.array(["a", None, "u\u0308"])).to_pylist() == ["a", None, "\u00fc"]
    plain = pa.array(["a", "b"])
    assert normalised(plain) is plain


def test_links_to_folders_are_no_files(tmp_path: Path) -> None:
    """A folder whose only entries are links to folders is empty, also where a link is called like a picture."""
    (tmp_path / "real").mkdir()
    source = tmp_path / "source"
    source.mkdir()
    for name in ("link", "link.png"):
        (source / name).symlink_to(tmp_path / "real")
    with pytest.raises(SourceError, match="the folder is empty"):
        scan(source)
    touch(source, "link2.png.txt")
    with pytest.raises(SourceError, match="no pictures in it"):
        scan(source)


def test_what_is_excluded_is_not_looked_at(tmp_path: Path) -> None:
    """A broken link that is not wanted is not reported."""
    touch(tmp_path, "a.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert scan(tmp_path, exclude=("gone*",)).skipped == ()
