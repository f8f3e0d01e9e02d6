"""Originals: the files of images, read where the store says they are, and only if they are still what it knows."""

from __future__ import annotations

import hashlib
import os
from typing import NamedTuple

from fpve.api import Store
from fpve.errors import SourceError
from fpve.sources.names import raw_paths
from fpve.sources.places import full_path
from fpve.sources.stored import read_stored, seems_there
from fpve.store.imported import is_imported
from fpve.store.manifest import Collection
from fpve.web.refusals import Refused


class Original(NamedTuple):
    """Where an image's file is, and what it must be.

    Attributes:
        image_id: of the image.
        content_hash: SHA-256 of the file, in hexadecimal.
        files: full paths at which it may be: more than one where its name is no UTF-8.
    """

    image_id: str
    content_hash: str
    files: tuple[bytes, ...]

    @property
    def is_at_hand(self) -> bool:
        """Whether there seems to be such a file; it is not read."""
        return any(map(seems_there, self.files))

    def read(self) -> bytes:
        """The bytes of the file.

        Raises:
            Refused: it is not there, can't be read, or is another by now.
        """
        reason = "its file is not there"
        for file in self.files:
            try:
                data = read_stored(file)
            except FileNotFoundError:
                continue
            except OSError as error:
                reason = f"its file can't be read: {error.strerror or error}"
                continue
            except SourceError as error:
                reason = f"its file can't be read: {error}"
                continue
            if hashlib.sha256(data).hexdigest() == self.content_hash:
                return data
            reason = "its file is another one by now; run its job again"
        raise Refused(404, f"{self.image_id}: {reason}")


def original_of(store: Store, row: int) -> Original | None:
    """The original of the image of a row number; None of one that was imported without."""
    snapshot = store.opened.searcher.snapshot
    names = ["image_id", "collection", "path", "content_hash"]
    one = snapshot.rows.take([row], names).to_pylist()[0]
    collection = snapshot.manifest.collection(one["collection"])
    if collection is None or is_imported(collection) or one["content_hash"] is None:
        return None
    return Original(one["image_id"], one["content_hash"], _files(collection, one["path"]))


def _files(collection: Collection, path: str) -> tuple[bytes, ...]:
    """What a full path may stand for, as the operating system has it."""
    folder = collection.folder or collection.source
    relative = path.removeprefix(f"{folder}/")
    # Percent signs of the folder are its own.
    return tuple(full_path(os.fsencode(folder), one) for one in raw_paths(relative))
