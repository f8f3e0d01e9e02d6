"""Where converted networks and what was measured of them are kept: a cache, of which everything can be deleted."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fpve.encoders.runtimes.machine import cpu_features, cpu_name
from fpve.encoders.runtimes.protocol import Subject

# Counts up when networks are converted, or runtimes chosen, in another way.
_VERSION = 1
# What decides how a network is converted, beside its weights.
LIBRARIES = ("torch", "timm", "torchvision", "open_clip_torch", "sentence-transformers", "openvino", "nncf")
_DIGITS = 24
# Beside the files of a network: their sums.
_SUMS = "SHA256SUMS"


def cache_folder() -> Path:
    """The folder of all caches of this user: `$FPVE_CACHE`, else `fpve` in `$XDG_CACHE_HOME` or `~/.cache`."""
    if own := os.environ.get("FPVE_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "fpve"


def recalled(*key: str, make: Callable[[], Any]) -> Any:
    """A JSON value that takes a heavy import or a model to find out: kept under its key, and made where it is not.

    Args:
        key: all that decides it, such as a name and the version of a library.
        make: makes it; what it raises is not kept.
    """
    file = cache_folder() / "facts" / f"{_digest(f'{_VERSION}', *key)}.json"
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        value = make()
        _write_json(file, value)
        # As it will be read: a tuple is a list then.
        return json.loads(json.dumps(value))


def version_of(library: str) -> str:
    """The version of an installed library, without importing it; empty where it is not installed."""
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return ""


class Entry:
    """What is kept of one encoder: its converted network, and for each kind of machine the runtime that was chosen."""

    def __init__(self, subject: Subject) -> None:
        versions = [f"{name} {version_of(name)}" for name in LIBRARIES]
        key = _digest(f"{_VERSION}", subject.fingerprint, *versions)
        self._folder = cache_folder() / "models" / key
        machine = _digest(cpu_name(), *sorted(cpu_features()), os.environ.get("FPVE_RUNTIME", ""))
        self._choice = self._folder / f"{machine}.json"

    @property
    def network(self) -> Path:
        """Where the converted network is, if there is one."""
        return self._folder / "network" / "model.xml"

    def choice(self) -> dict[str, Any] | None:
        """What was chosen on a machine like this one; None if nothing was, or the network is gone or damaged."""
        try:
            found = json.loads(self._choice.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        usable = isinstance(found, dict) and (found.get("runtime") != "openvino" or self.has_network())
        return found if usable else None

    def has_network(self) -> bool:
        """Whether the converted network is there, and is what was written: a flipped bit changes vectors unseen."""
        try:
            return (self.network.parent / _SUMS).read_text(encoding="utf-8") == _sums(self.network.parent)
        except (OSError, ValueError):
            return False

    def forget(self) -> None:
        """Delete the converted network, and what was chosen."""
        with contextlib.suppress(OSError):
            self._choice.unlink(missing_ok=True)
        shutil.rmtree(self.network.parent, ignore_errors=True)

    def keep_choice(self, choice: dict[str, Any]) -> None:
        """Remember what was chosen."""
        _write_json(self._choice, choice)

    def make_network(self, make: Callable[[Path], None]) -> Path:
        """Let `make` write a network to a path of its own, and put it where it is looked for; the path of it.

        Where the cache can't be written, it stays in a temporary folder until the process ends.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=self._folder))
        except OSError:
            return _temporary_network(make)
        try:
            make(folder / self.network.name)
            _seal(folder)
            self._place(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return self.network

    def _place(self, folder: Path) -> None:
        """Give a folder the name of the network's; one that is there gives way unless it is whole.

        Raises:
            OSError: it has not become the network's.
        """
        try:
            folder.rename(self.network.parent)
        except OSError:
            # Another process was first: its network is the same.
            if self.has_network():
                return
            # Renamed at once, so that nobody opens a network of which a part is deleted.
            aside = Path(tempfile.mkdtemp(dir=self._folder))
            try:
                with contextlib.suppress(FileNotFoundError):
                    self.network.parent.rename(aside / self.network.parent.name)
                folder.rename(self.network.parent)
            except OSError:
                if not self.has_network():
                    raise
            finally:
                shutil.rmtree(aside, ignore_errors=True)
        _fsync(self._folder)


def _sums(folder: Path) -> str:
    """SHA-256 of each file of a network, as `sha256sum` lists them."""
    lines = []
    for file in sorted(folder.iterdir()):
        if file.name != _SUMS:
            with file.open("rb") as content:
                lines.append(f"{hashlib.file_digest(content, 'sha256').hexdigest()}  {file.name}\n")
    return "".join(lines)


def _seal(folder: Path) -> None:
    """Write down the sums of a network's files, and make all of it survive a power cut."""
    (folder / _SUMS).write_text(_sums(folder), encoding="utf-8")
    for file in folder.iterdir():
        _fsync(file)
    _fsync(folder)


def _fsync(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no folders
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _temporary_network(make: Callable[[Path], None]) -> Path:
    holder = tempfile.TemporaryDirectory(prefix="fpve-")
    _holders.append(holder)
    path = Path(holder.name) / "model.xml"
    make(path)
    return path


# Their folders are deleted when the process ends.
_holders: list[tempfile.TemporaryDirectory[str]] = []


def _write_json(file: Path, value: Any) -> None:
    """Put a value into a file; a cache that can't be written is done without."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False, encoding="utf-8") as temporary:
            json.dump(value, temporary, indent=1)
        Path(temporary.name).replace(file)
    except OSError:
        return


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_DIGITS]
