"""Queries' pictures and texts, encoded with a store's own encoders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import numpy as np
from PIL.Image import Image

from fpve import images
from fpve.encoders import Encoder, ImageEncoder, TextEncoder, open_image_encoder, open_text_encoder
from fpve.errors import EncoderMismatch, ImageError
from fpve.fusion import Floats
from fpve.store.manifest import EncoderRef, Manifest

Picture = str | os.PathLike[str] | bytes | Image


class QueryEncoders:
    """A store's own encoders, each opened once, when a query needs it."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._lock = Lock()
        self._image: ImageEncoder | None = None
        self._text: TextEncoder | None = None

    def encode_images(self, pictures: Sequence[Picture]) -> Floats:
        """Raw features (n, image_dim) of pictures."""
        encoder = self._open_image()
        prepared = [encoder.prepare(_decode(picture)) for picture in pictures]
        step = encoder.batch_size
        parts = [encoder.encode(np.stack(prepared[at : at + step])) for at in range(0, len(prepared), step)]
        return np.concatenate(parts) if parts else np.zeros((0, encoder.dim), np.float32)

    def encode_texts(self, texts: Sequence[str]) -> Floats:
        """Embeddings (n, prefix_dim) of texts."""
        return self._open_text().encode(list(texts))

    def _open_image(self) -> ImageEncoder:
        with self._lock:
            if self._image is None:
                ref = self._manifest.encoders["image"]
                encoder = open_image_encoder(ref.as_config())
                _check_fingerprint(encoder, ref)
                self._image = encoder
            return self._image

    def _open_text(self) -> TextEncoder:
        with self._lock:
            if self._text is None:
                ref = self._manifest.encoders["text"]
                encoder = open_text_encoder(ref.as_config())
                _check_fingerprint(encoder, ref)
                self._text = encoder
            return self._text


def _check_fingerprint(encoder: Encoder, ref: EncoderRef) -> None:
    if encoder.fingerprint != ref.fingerprint:
        raise EncoderMismatch(
            f"the store encodes with {ref}, this machine has {encoder.name}@{encoder.fingerprint[:8]}: "
            "install the weights that made the store, or run its job again to encode it with these"
        )


def _decode(picture: Picture) -> Image:
    """A query's picture, upright and in RGB."""
    if isinstance(picture, bytes):
        return images.decode(picture).image
    if isinstance(picture, str | os.PathLike):
        path = Path(picture)
        try:
            return images.decode(path.read_bytes()).image
        except FileNotFoundError:
            raise ImageError(f"{path}: no such file") from None
        except OSError as error:
            raise ImageError(f"{path}: can't be read: {error.strerror}") from None
        except ImageError as error:
            raise ImageError(f"{path}: {error}") from None
    return images.from_picture(picture).image
