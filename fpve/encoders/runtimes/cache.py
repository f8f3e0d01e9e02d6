"""Where converted networks and what was measured of them are kept: a cache, of which everything can be deleted."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fpve.caches import cache_folder, temporary_folder
from fpve.encoders.runtimes.machine import cpu_features, cpu_name
from fpve.encoders.runtimes.protocol import Subject

# Counts up when networks are converted, or runtimes chosen, in another way.
_VERSION = 1
# What decides how a network is converted, beside its weights.
LIBRARIES = ("torch", "timm", "torchvision", "open_clip_torch", "sentence-transformers", "openvino", "nncf")
_DIGITS = 24
# Beside the files of a network: their sums.
_SUMS = "SHA256SUMS"
# How names of what is not finished start.
_TEMPORARY = "tmp"
# Seconds after which nobody works on it any longer: a conversion takes minutes at most.
_ABANDONED = 24 * 60 * 60


def recalled(*key: str, make: Callable[[], Any]) -> Any:
    """A JSON value that takes a heavy import or a model to find out: kept under its key, and made where it is not.

    Args:
        key: all that decides it, such as a name and the version of a library.
        make: makes it; what it raises is not kept.

    A file that is not as it was written here is made again, so that what callers get is always what `make` made.
    """
    file = cache_folder() / "facts" / f"{_digest(f'{_VERSION}', *key)}.json"
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        if kept["sha256"] == _sum(kept["value"]):
            return kept["value"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    # As it will be read: a tuple is a list then.
    value = json.loads(json.dumps(make()))
    _write_json(file, {"value": value, "sha256": _sum(value)})
    return value


def _sum(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


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
            folder = _new_name(self._folder)
            folder.mkdir(parents=True)
        except OSError:
            folder = temporary_folder()
            make(folder / self.network.name)
            return folder / self.network.name
        _sweep(self._folder.parent)
        try:
            make(folder / self.network.name)
            _seal(folder)
            return self._place(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _place(self, folder: Path) -> Path:
        """Give a folder the name of the network's; one that is there gives way unless it is whole. Where it is then."""
        target = self.network.parent
        try:
            folder.rename(target)
        except OSError:
            # Another process was first: its network is the same.
            if self.has_network():
                return self.network
            # Renamed at once, so that nobody opens a network of which a part is deleted.
            aside = _new_name(self._folder)
            try:
                with contextlib.suppress(FileNotFoundError):
                    target.rename(aside)
                folder.rename(target)
            except OSError:
                # It came between, or another user's is damaged and can't be moved.
                if self.has_network():
                    return self.network
                return shutil.copytree(folder, temporary_folder(), dirs_exist_ok=True) / self.network.name
            finally:
                shutil.rmtree(aside, ignore_errors=True)
        _fsync(self._folder)
        return self.network


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
    if path.is_dir():
        # Not every system opens folders, and not every file system syncs them.
        with contextlib.suppress(OSError):
            _fsync_opened(os.open(path, os.O_RDONLY))
    else:
        _fsync_opened(os.open(path, os.O_RDWR))


def _fsync_opened(handle: int) -> None:
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _new_name(folder: Path) -> Path:
    """A name for something temporary; what `tempfile` makes no other user can read, also in a cache that is shared."""
    return folder / f"{_TEMPORARY}{secrets.token_hex(8)}"


def _sweep(models: Path) -> None:
    """Delete what conversions left behind that were killed."""
    with contextlib.suppress(OSError):
        for path in models.glob(f"*/{_TEMPORARY}*"):
            if time.time() - path.stat().st_mtime > _ABANDONED:
                shutil.rmtree(path, ignore_errors=True)
                if path.is_file():
                    path.unlink()


def _write_json(file: Path, value: Any) -> None:
    """Put a value into a file; a cache that can't be written is done without."""
    temporary = _new_name(file.parent)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(value, indent=1), encoding="utf-8")
        _fsync(temporary)
        temporary.replace(file)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_DIGITS]
