"""Pictures that were uploaded to be searched by: encoded once, remembered in memory by what they are, never on disk."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass

from fpve import images
from fpve.api import Store
from fpve.fusion import Floats
from fpve.store.encoding import EncoderRef
from fpve.web.refusals import Refused

# Whoever goes back does so to one of the last. Each takes some 50 kB.
_REMEMBERED = 64
# Pixels of what is shown of one.
_SIDE = 512


@dataclass(frozen=True, slots=True)
class Upload:
    """A picture that was uploaded.

    Attributes:
        features: (1, image_dim), raw.
        encoder: what made them.
        jpeg: a small JPEG of it.
    """

    features: Floats
    encoder: EncoderRef
    jpeg: bytes


class Uploads:
    """The last pictures that were uploaded, by their handles. Safe to use from many threads."""

    def __init__(self, most: int = _REMEMBERED) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._held: dict[str, Upload] = {}

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._held)

    def add(self, store: Store, data: bytes) -> str:
        """Remember a picture; its handle, the SHA-256 of its bytes in hexadecimal.

        Raises:
            ImageError: it can't be decoded.
        """
        handle = hashlib.sha256(data).hexdigest()
        known = self._known(store, handle)
        if known is None:
            features = store.encode_images([data])
            jpeg = images.thumbnail(images.decode(data).image, _SIDE)
            known = Upload(features, _encoder(store), jpeg)
        with self._lock:
            # Put last: the one that was not asked for longest goes first.
            self._held.pop(handle, None)
            self._held[handle] = known
            while len(self._held) > self._most:
                del self._held[next(iter(self._held))]
        return handle

    def find(self, store: Store, handle: str) -> Upload:
        """The picture of a handle.

        Raises:
            Refused: it is no longer known, or was encoded by what the store no longer has.
        """
        found = self._known(store, handle)
        if found is None:
            raise Refused(410, "this picture is no longer known; upload it again")
        return found

    def _known(self, store: Store, handle: str) -> Upload | None:
        with self._lock:
            found = self._held.pop(handle, None)
            if found is None or found.encoder != _encoder(store):
                return None
            self._held[handle] = found
            return found


def _encoder(store: Store) -> EncoderRef:
    return store.opened.searcher.snapshot.manifest.encoders["image"]
