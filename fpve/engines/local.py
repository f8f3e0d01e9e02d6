"""The engine that runs in this process: reading, decoding, encoding and writing overlap, each input in its order.

On a CPU one pool of as many threads as there are cores both decodes and encodes, each batch in one thread: there is
always something to do, and no thread waits for another. For a GPU the encoding threads are additional ones.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fpve import images
from fpve.encoders.protocol import Closable
from fpve.encoders.runtimes.machine import cores
from fpve.engines.loading import Loaded, Loader
from fpve.engines.meter import Meter
from fpve.engines.ordered import in_order
from fpve.engines.shards import SHARD_ROWS, ShardBuilder, Thumbnail
from fpve.engines.work import Encoded, Models, Outcome, Target, Work
from fpve.engines.writing import Row, ShardWriter
from fpve.fusion import Floats
from fpve.progress import Progress, Stage

# Inputs that are read, decoded or wait for the model, beside those at work: enough to ride out some slow ones.
_AHEAD = 64
# What the files of all these are together at most; one that is larger than that is under way alone.
_BYTES, _BYTES_A_THREAD = 64 * 10**6, 8 * 10**6


class _Waiting(NamedTuple):
    """A decoded picture on its way into a batch; `number` is that of its input."""

    number: int
    content_hash: str
    pixels: NDArray[Any]
    thumbnail: Thumbnail


class LocalEngine:
    """Encodes in this process."""

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or cores()

    def encode(self, work: Work, models: Models, target: Target, progress: Progress) -> Encoded:
        """Encode inputs, leaving shards in `pending/`."""
        with progress.stage("encode", len(work.inputs)) as stage:
            try:
                return encode_here(work, models, target, stage, threads=self._threads)
            finally:
                if isinstance(models.image, Closable):
                    # What comes after encoding needs the memory.
                    models.image.close()


def encode_here(work: Work, models: Models, target: Target, stage: Stage, *, threads: int) -> Encoded:
    """Encode inputs in this process, leaving shards in `pending/`; the models stay loaded for more."""
    with images.without_warnings():
        chain = _Chain(work, models, threads)
        try:
            return chain.run(target, stage)
        finally:
            chain.close()


class _Chain:
    """One run of the stages."""

    def __init__(self, work: Work, models: Models, threads: int) -> None:
        self._work = work
        self._model = models.image
        self._text = models.text
        self._threads = threads
        self._outcomes: list[Outcome] = []
        # No contexts: leaving one would wait for threads that a slow disk holds, and Ctrl-C with it.
        self._readers = ThreadPoolExecutor(work.inputs.at_once, thread_name_prefix="fpve-read")
        self._workers = ThreadPoolExecutor(threads, thread_name_prefix="fpve-work")
        self._pools = [self._readers, self._workers]
        self._meter = Meter(readers=work.inputs.at_once, workers=threads)

    def close(self) -> None:
        """Begin nothing more."""
        for pool in self._pools:
            pool.shutdown(wait=False, cancel_futures=True)

    def run(self, target: Target, stage: Stage) -> Encoded:
        """Read, decode, encode and write everything."""
        pictures = 0
        builder = ShardBuilder(target, self._text)
        with (
            ShardWriter(builder, self._meter, waiting=SHARD_ROWS // 2) as writer,
            closing(self._load()) as loaded,
            closing(self._encode(self._batches(loaded, stage))) as encoded,
        ):
            for batch, features in encoded:
                writer.put(self._rows(batch, features))
                pictures += len(batch)
                stage.advance(len(batch))
                stage.limited_by(self._meter.limit)
        limit = self._meter.limit if pictures else None
        shards = tuple(builder.finished)
        return Encoded(_settle(self._outcomes), pictures, self._meter.seconds, limit, builder.cut, shards)

    def _load(self) -> Generator[Loaded]:
        loader = Loader(self._work, self._model, self._readers, self._workers, self._meter)
        return in_order(
            loader.submit,
            range(len(self._work.inputs)),
            ahead=_AHEAD + 2 * self._threads,
            cost=lambda number: int(self._work.sizes[number]),
            budget=_BYTES + _BYTES_A_THREAD * self._threads,
        )

    def _batches(self, loaded: Iterable[Loaded], stage: Stage) -> Iterator[list[_Waiting]]:
        """Fill batches across files, and keep what became of each."""
        batch: list[_Waiting] = []
        for one in loaded:
            self._outcomes.append(one.outcome)
            if one.pixels is None or one.thumbnail is None or one.outcome.content_hash is None:
                stage.advance()
                continue
            batch.append(_Waiting(one.number, one.outcome.content_hash, one.pixels, one.thumbnail))
            # Asked now, because it loads the model: pictures are decoded meanwhile.
            if len(batch) >= self._model.batch_size:
                yield batch
                batch = []
        if batch:
            yield batch

    def _encode(self, batches: Iterator[list[_Waiting]]) -> Generator[tuple[list[_Waiting], Floats]]:
        first = next(batches, None)
        if first is None:
            return
        calls = self._model.concurrency
        pool = self._workers
        if calls < self._threads:
            pool = ThreadPoolExecutor(calls, thread_name_prefix="fpve-encode")
            self._pools.append(pool)
            self._meter.encodes_apart(calls)

        def submit(batch: list[_Waiting]) -> Future[tuple[list[_Waiting], Floats]]:
            return pool.submit(self._encode_one, batch)

        def every() -> Iterator[list[_Waiting]]:
            yield first
            yield from batches

        yield from in_order(submit, every(), ahead=calls + 1)

    def _encode_one(self, batch: list[_Waiting]) -> tuple[list[_Waiting], Floats]:
        pixels = np.stack([one.pixels for one in batch])
        with self._meter.busy("encode"):
            return batch, self._model.encode(pixels)

    def _rows(self, batch: list[_Waiting], features: Floats) -> list[Row]:
        """What is written of a batch; a picture that the model makes nothing of gets its reason."""
        rows = []
        finite: list[bool] = np.all(np.isfinite(features), axis=1).tolist()
        something: list[bool] = np.any(features, axis=1).tolist()
        for one, feature, is_finite, is_something in zip(batch, features, finite, something, strict=True):
            if is_finite and is_something:
                rows.append(Row(one.content_hash, feature, self._work.prefixes[one.number], one.thumbnail))
            else:
                reason = "the model's features are not finite" if is_something else "the model's features are all zero"
                self._outcomes[one.number] = replace(self._outcomes[one.number], reason=reason)
        return rows


def _settle(outcomes: list[Outcome]) -> list[Outcome]:
    """Give copies of a broken file the reason of the one that was decoded."""
    reasons = {one.content_hash: one.reason for one in outcomes if one.content_hash and one.reason}
    return [
        one
        if one.reason or one.content_hash not in reasons
        else Outcome(one.content_hash, one.size, one.mtime_ns, reasons[one.content_hash])
        for one in outcomes
    ]
