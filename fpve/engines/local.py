"""The engine that runs in this process: files are decoded by threads while the model encodes."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fpve import images
from fpve.engines.shards import ShardBuilder, Thumbnail
from fpve.engines.work import Encoded, Models, Outcome, Target, Work
from fpve.errors import ImageError
from fpve.progress import Progress, Stage

# Batches that are decoded ahead of the model: enough to ride out a few slow files, little enough to hold in memory.
_BATCHES_AHEAD = 4


class _Loaded(NamedTuple):
    """A file that was read; `pixels` and `thumbnail` only if it is to be encoded."""

    outcome: Outcome
    pixels: NDArray[Any] | None = None
    thumbnail: Thumbnail | None = None


class _Waiting(NamedTuple):
    """A decoded picture on its way into a batch; `number` is that of its file."""

    number: int
    content_hash: str
    pixels: NDArray[Any]
    thumbnail: Thumbnail
    prefix: str | None


class LocalEngine:
    """Encodes in this process."""

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or os.cpu_count() or 1

    def encode(self, work: Work, models: Models, target: Target, progress: Progress) -> Encoded:
        """Encode files, leaving shards in `pending/`."""
        builder = ShardBuilder(target, models.text)
        outcomes: list[Outcome] = []
        batch: list[_Waiting] = []
        pictures = 0
        with (
            progress.stage("encode", len(work.inputs)) as stage,
            images.without_warnings(),
            closing(self._load(work, models)) as files,
        ):
            for number, loaded in enumerate(files):
                outcomes.append(loaded.outcome)
                if loaded.pixels is None or loaded.thumbnail is None or loaded.outcome.content_hash is None:
                    stage.advance()
                    continue
                content_hash = loaded.outcome.content_hash
                batch.append(_Waiting(number, content_hash, loaded.pixels, loaded.thumbnail, work.prefixes[number]))
                if len(batch) >= models.image.batch_size:
                    pictures += _encode_batch(batch, models, builder, stage, outcomes)
            pictures += _encode_batch(batch, models, builder, stage, outcomes)
            builder.finish()
        return Encoded(_settle(outcomes), pictures)

    def _load(self, work: Work, models: Models) -> Generator[_Loaded]:
        """Read and decode files in their order, a few batches ahead."""
        loader = _Loader(work, models)
        ahead = self._threads + _BATCHES_AHEAD * models.image.batch_size
        running: deque[Future[_Loaded]] = deque()
        # No context: leaving it would wait for threads that a slow disk holds, and Ctrl-C with it.
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="fpve-decode")
        try:
            for number in range(len(work.inputs)):
                running.append(pool.submit(loader.load, number))
                if len(running) >= ahead:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class _Loader:
    """Reads files, and decodes each content once."""

    def __init__(self, work: Work, models: Models) -> None:
        self._inputs = work.inputs
        self._known = work.known
        self._prepare = models.image.prepare
        self._claimed: set[str] = set()
        self._lock = Lock()

    def load(self, number: int) -> _Loaded:
        try:
            data, size, mtime_ns = self._inputs.read(number)
        except OSError as error:
            return _Loaded(Outcome(None, -1, -1, f"can't be read: {error.strerror}"))
        content_hash = hashlib.sha256(data).hexdigest()
        outcome = Outcome(content_hash, size, mtime_ns)
        if not self._claim(content_hash):
            return _Loaded(outcome)
        try:
            decoded = images.decode(data)
            thumbnail = Thumbnail(decoded.width, decoded.height, images.thumbnail(decoded.image))
            return _Loaded(outcome, self._prepare(decoded.image), thumbnail)
        except ImageError as error:
            return _Loaded(Outcome(content_hash, size, mtime_ns, str(error)))

    def _claim(self, content_hash: str) -> bool:
        """Whether this thread is the first that met this content, and the store does not have it."""
        with self._lock:
            if content_hash in self._known or content_hash in self._claimed:
                return False
            self._claimed.add(content_hash)
            return True


def _encode_batch(
    batch: list[_Waiting], models: Models, builder: ShardBuilder, stage: Stage, outcomes: list[Outcome]
) -> int:
    """Encode a batch, empty it, and return its length; a picture that the model makes nothing of gets its reason."""
    if not batch:
        return 0
    features = models.image.encode(np.stack([one.pixels for one in batch]))
    for one, feature in zip(batch, features, strict=True):
        if np.isfinite(feature).all() and feature.any():
            builder.add(one.content_hash, feature, one.prefix, one.thumbnail)
        else:
            reason = "the model's features are not finite" if feature.any() else "the model's features are all zero"
            outcomes[one.number] = replace(outcomes[one.number], reason=reason)
    count = len(batch)
    stage.advance(count)
    batch.clear()
    return count


def _settle(outcomes: list[Outcome]) -> list[Outcome]:
    """Give copies of a broken file the reason of the one that was decoded."""
    reasons = {one.content_hash: one.reason for one in outcomes if one.content_hash and one.reason}
    return [
        one
        if one.reason or one.content_hash not in reasons
        else Outcome(one.content_hash, one.size, one.mtime_ns, reasons[one.content_hash])
        for one in outcomes
    ]
