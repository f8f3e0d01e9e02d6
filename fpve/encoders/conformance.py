"""What every encoder must do, as a check that a user's own can be put to: `fpve check JOB` does so."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from fpve.encoders.own import SAME_ROW
from fpve.errors import EncoderError

if TYPE_CHECKING:
    from PIL.Image import Image

    from fpve.encoders.protocol import Encoder, Floats, ImageEncoder, TextEncoder

TEXTS = (
    "a photo of a cat",
    "x",
    "Two planes over the alps, in the last light of a long day in June",
    "Zürich 東京",
    "",
)
# Wide, tall, square, a strip, one pixel, and one that is larger than what most models take.
_SIZES = ((64, 48), (48, 64), (224, 224), (300, 20), (1, 1), (500, 333))
_THREADS = 4


def check_encoder(encoder: Encoder) -> None:
    """Put an encoder through what a store relies on, with pictures and texts that are made for it. Loads its model.

    Checked: a fingerprint; `dim` and `batch_size`; float32 rows of that length, finite and not zero; no rows for no
    inputs; the same row alone, in a batch, in any order and again; different rows for different inputs; one shape and
    dtype for pictures of all sizes, also from several threads.

    Raises:
        EncoderError: naming the first thing that is not so.
    """
    if not encoder.fingerprint:
        raise _wrong(encoder, "expected a fingerprint, found none")
    for what, number in (("dim", encoder.dim), ("batch_size", encoder.batch_size)):
        if not isinstance(number, int | np.integer) or number < 1:
            raise _wrong(encoder, f"expected {what} to be a whole number of at least 1, found {number!r}")
    inputs = _prepared(encoder) if hasattr(encoder, "prepare") else list(TEXTS)  # type: ignore[arg-type]
    rows = _encoded(encoder, inputs)
    if np.abs(rows - rows[0]).max() == 0:
        raise _wrong(encoder, "different inputs give the same row")
    for what, found in (
        ("a second time", _encoded(encoder, inputs)),
        ("in another order", _encoded(encoder, inputs[::-1])[::-1]),
        ("alone", np.concatenate([_encoded(encoder, inputs[at : at + 1]) for at in range(len(inputs))])),
    ):
        cosine = _cosines(rows, found).min()
        if not cosine >= SAME_ROW:
            raise _wrong(encoder, f"an input encoded {what} gives a row of cosine {cosine:.4f} to its first")
    if _encode(encoder, inputs[:0]).shape != (0, encoder.dim):
        raise _wrong(encoder, f"expected no inputs to give shape (0, {encoder.dim})")


def _prepared(encoder: ImageEncoder) -> Any:
    """What `prepare` makes of pictures of all sizes, in several threads at once: one array."""
    pictures = _pictures()
    with ThreadPoolExecutor(_THREADS) as threads:
        made = list(threads.map(encoder.prepare, pictures))
    for picture, array in zip(pictures, made, strict=True):
        if (array.shape, array.dtype) != (made[0].shape, made[0].dtype):
            raise _wrong(
                encoder,
                f"prepare gives {made[0].shape} {made[0].dtype} of a picture of {pictures[0].size} pixels, and "
                f"{array.shape} {array.dtype} of one of {picture.size}",
            )
        if not np.array_equal(array, encoder.prepare(picture)):
            raise _wrong(encoder, "prepare gives another array of the same picture when several threads call it")
    return np.stack(made)


def _encoded(encoder: Encoder, inputs: Any) -> Floats:
    """Rows (n, dim) of n inputs, checked one by one."""
    rows = _encode(encoder, inputs)
    if rows.shape != (len(inputs), encoder.dim) or rows.dtype != np.float32:
        raise _wrong(
            encoder,
            f"expected float32 rows of shape ({len(inputs)}, {encoder.dim}), found {rows.dtype} of {rows.shape}",
        )
    if not np.isfinite(rows).all():
        raise _wrong(encoder, "expected finite rows, found NaN or infinity")
    if not rows.any(axis=1).all():
        raise _wrong(encoder, "expected rows that are not all zero, for a zero row has no direction")
    return rows


def _encode(encoder: Any, inputs: Any) -> Floats:
    model: ImageEncoder | TextEncoder = encoder
    return model.encode(inputs)


def _pictures() -> list[Image]:
    """RGB pictures of different sizes and contents, the same every time."""
    from PIL import Image

    random = np.random.default_rng(7)
    coarse = [random.integers(0, 256, (5, 5, 3), dtype=np.uint8) for _ in _SIZES]
    return [
        Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
        for pixels, size in zip(coarse, _SIZES, strict=True)
    ]


def _cosines(left: Floats, right: Floats) -> Floats:
    products = np.einsum("nd,nd->n", left, right, dtype=np.float64)
    cosines: Floats = products / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)
    return cosines


def _wrong(encoder: Encoder, text: str) -> EncoderError:
    return EncoderError(f"encoder {encoder.name!r}: {text}")
