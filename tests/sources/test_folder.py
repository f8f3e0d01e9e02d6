"""Scanning a folder: what is a picture, what is left out, and what its id is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fpve.errors import SourceError, SourceNotFound
from fpve.sources.folder import scan_folder
from fpve.sources.names import text_path


def touch(folder: Path, *names: str) -> None:
    """Make files, with something in them."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def ids(folder: Path, **options: list[str]) -> list[str]:
    """image_ids that a scan finds."""
    return scan_folder(folder, collection="c", **options).files["image_id"].to_pylist()


def test_pictures_are_found_by_extension_sorted_by_id(tmp_path: Path) -> None:
    """Pictures at any depth count, in any case; other files, hidden ones and links to folders do not."""
    touch(tmp_path, "b.JPG", "a/z.png", "a.webp", "notes.txt", ".hidden.png", ".git/x.png", "a-b/x.tif")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "linked.png").symlink_to(tmp_path / "b.JPG")
    assert ids(tmp_path) == ["c/a-b/x.tif", "c/a.webp", "c/a/z.png", "c/b.JPG", "c/linked.png"]


def test_include_and_exclude(tmp_path: Path) -> None:
    """Globs over relative paths choose; exclude wins."""
    touch(tmp_path, "a/1.png", "a/21.png", "b/c/1.png", "1.png")
    assert ids(tmp_path, include=["a/*"]) == ["c/a/1.png", "c/a/21.png"]
    assert ids(tmp_path, exclude=["**/1.png"]) == ["c/a/21.png"]
    assert ids(tmp_path, include=["b/**/1.png"]) == ["c/b/c/1.png"]
    assert ids(tmp_path, include=["*.png"], exclude=["a/*", "1.png"]) == ["c/b/c/1.png"]


def test_names_are_nfc_and_bytes_that_are_no_text_are_escaped(tmp_path: Path) -> None:
    """An id is NFC; a byte that is not UTF-8 becomes %XX, and a percent sign beside it %25."""
    os.close(os.open(os.fsencode(tmp_path) + b"/caf\xe9 100%.png", os.O_CREAT))
    touch(tmp_path, "u\u0308.png", "50%.png")
    files = scan_folder(tmp_path, collection="c").files
    assert files["image_id"].to_pylist() == ["c/50%.png", "c/caf%E9 100%25.png", "c/\u00fc.png"]
    # The path is as the system has it, so that it can be opened.
    assert (tmp_path / files["path"][2].as_py()).exists()
    assert text_path(b"%E9.png") == "%E9.png"


def test_two_spellings_of_one_name_are_told(tmp_path: Path) -> None:
    """Files whose ids would be the same are not both taken; which one was left out is said."""
    touch(tmp_path, "u\u0308.png", "\u00fc.png")
    scan = scan_folder(tmp_path, collection="c")
    assert scan.files["image_id"].to_pylist() == ["c/\u00fc.png"]
    assert "another spelling" in scan.skipped[0].reason


def test_what_is_no_regular_file_is_skipped(tmp_path: Path) -> None:
    """A fifo, a broken link and a loop of links are skipped with a reason, and nothing hangs."""
    touch(tmp_path, "good.png")
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    scan = scan_folder(tmp_path, collection="c")
    assert scan.files["path"].to_pylist() == ["good.png"]
    reasons = {one.path: one.reason for one in scan.skipped}
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
        scan_folder(tmp_path, collection="c")
    assert ids(tmp_path, exclude=["closed/*"]) == ["c/a.png"]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda path: path / "missing", SourceNotFound, "no such folder; is its disk mounted"),
        (lambda path: path / "file", SourceError, "expected a folder of pictures, found a file"),
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
        scan_folder(make(tmp_path), collection="c")
