"""Reading files that are not what they were, or were never to be read."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from fpve.images import MAX_FILE_BYTES
from fpve.sources import inputs
from fpve.sources.inputs import Files, read_file
from fpve.sources.stored import read_stored


@pytest.fixture
def file(tmp_path: Path) -> bytes:
    """A file of ten bytes."""
    (tmp_path / "a.png").write_bytes(b"0123456789")
    return os.fsencode(tmp_path / "a.png")


def test_a_file_is_read_whole(file: bytes) -> None:
    """Its bytes, with its size and time; also by its number, and as a store names it."""
    read = read_file(file)
    assert read == (b"0123456789", 10, Path(os.fsdecode(file)).stat().st_mtime_ns)
    assert Files([file]).read(0) == read
    assert read_stored(file) == read.data


@pytest.mark.parametrize("size", [9, 11, 0])
def test_a_file_that_grows_or_shrinks_meanwhile_is_refused(
    file: bytes, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read of it may be half a picture."""
    real = os.fstat

    def before(descriptor: int) -> object:
        status = real(descriptor)
        return SimpleNamespace(st_mode=status.st_mode, st_size=size, st_mtime_ns=status.st_mtime_ns)

    monkeypatch.setattr(inputs, "os", SimpleNamespace(fstat=before, open=os.open, O_NONBLOCK=os.O_NONBLOCK))
    with pytest.raises(OSError, match="its file changed while it was read"):
        read_file(file)


@pytest.mark.parametrize("read", [read_file, read_stored])
def test_what_is_no_file_or_too_large_is_not_read(tmp_path: Path, file: bytes, read: object) -> None:
    """A pipe is not waited for, a device not read for ever, and a file that is too large takes no memory."""
    os.mkfifo(tmp_path / "fifo.png")
    os.truncate(file, MAX_FILE_BYTES + 1)
    for path, message in (
        (os.fsencode(tmp_path / "fifo.png"), "not a regular file"),
        (b"/dev/zero", "not a regular file"),
        (os.fsencode(tmp_path), "Is a directory"),
        (file, "more than .* MB"),
    ):
        with pytest.raises(OSError, match=message):
            read(path)


def test_a_member_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    """Nor is one of an archive that a store names."""
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        info = tarfile.TarInfo("a.png")
        info.size = 10
        tar.addfile(info, io.BytesIO(b"0123456789"))
        info = tarfile.TarInfo("b.png")
        info.size = MAX_FILE_BYTES + 1
        tar.fileobj.write(info.tobuf())
    os.truncate(tmp_path / "x.tar", 2 * MAX_FILE_BYTES)
    assert read_stored(os.fsencode(tmp_path / "x.tar/a.png")) == b"0123456789"
    with pytest.raises(OSError, match=r"more than .* MB"):
        read_stored(os.fsencode(tmp_path / "x.tar/b.png"))
