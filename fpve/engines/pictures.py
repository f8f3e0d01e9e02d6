"""Pictures encoded in memory: several are decoded and encoded at once, and one that can't be spoils no other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from fpve.encoders import ImageEncoder
from fpve.encoders.runtimes.machine import cores
from fpve.engines.ordered import in_order
from fpve.errors import ImageError
from fpve.fusion import Floats

# Pictures that wait for a batch or are decoded for one, beside those at work: enough to ride out some slow ones.
_AHEAD = 16


class EncodedPictures(NamedTuple):
    """Raw features (n, dim) of pictures, and by their numbers why some could not be encoded, whose rows are zero."""

    features: Floats
    failed: dict[int, str]


class _Batch(NamedTuple):
    """Pictures that go through the model together."""

    numbers: list[int]
    pixels: list[NDArray[Any]]


def encode_pictures(
    encoder: ImageEncoder,
    count: int,
    decode: Callable[[int], Image],
    *,
    advance: Callable[[int], object] = lambda _: None,
) -> EncodedPictures:
    """Encode as many of n pictures as can be.

    Args:
        encoder: the model.
        count: their number n.
        decode: gives the picture of a number, in RGB, or raises an ImageError; called from several threads.
        advance: is told how many more are done.
    """
    found = EncodedPictures(np.zeros((count, encoder.dim), np.float32), {})

    def prepare(number: int) -> NDArray[Any] | ImageError:
        try:
            return encoder.prepare(decode(number))
        except ImageError as error:
            return error

    def encode(batch: _Batch) -> int:
        found.features[batch.numbers] = encoder.encode(np.stack(batch.pixels))
        return len(batch.numbers)

    if count == 1:
        # A thread of its own would have torch set up its own threads, for one picture.
        for batch in _batches(map(prepare, range(count)), encoder.batch_size, found.failed):
            advance(encode(batch))
    elif count:
        threads = cores()
        # No context: leaving one would wait for threads that a slow disk holds, and Ctrl-C with it.
        pool = ThreadPoolExecutor(threads, thread_name_prefix="fpve-query")
        try:
            prepared = in_order(lambda number: pool.submit(prepare, number), range(count), ahead=_AHEAD + threads)
            with closing(prepared):
                batches = _batches(prepared, encoder.batch_size, found.failed)
                for done in in_order(lambda batch: pool.submit(encode, batch), batches, ahead=encoder.concurrency):
                    advance(done)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    useless = ~np.isfinite(found.features).all(axis=1) | ~found.features.any(axis=1)
    for number in np.flatnonzero(useless).tolist():
        reason = f"{encoder.name} makes nothing of it: its features are all zero, or not finite"
        found.failed.setdefault(number, reason)
    return found


def _batches(prepared: Iterable[NDArray[Any] | ImageError], size: int, failed: dict[int, str]) -> Iterator[_Batch]:
    """Batches of so many of the prepared pictures; those that can't be are kept in `failed` with the reason."""
    batch = _Batch([], [])
    for number, one in enumerate(prepared):
        if isinstance(one, ImageError):
            failed[number] = str(one)
            continue
        batch.numbers.append(number)
        batch.pixels.append(one)
        if len(batch.numbers) == size:
            yield batch
            batch = _Batch([], [])
    if batch.numbers:
        yield batch
