"""What image encoders make of pictures: each picture is decoded once, and each vision model sees it once."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fpve import images
from fpve.encoders import ImageEncoder
from fpve.encoders.protocol import Closable
from fpve.encoders.runtimes.machine import cores
from fpve.encoders.vision import FeatureMaps, VisionEncoder
from fpve.errors import ImageError
from fpve.experiment.maps import MapFile
from fpve.experiment.pictures import Pictures
from fpve.fusion import Floats
from fpve.neighbours import Mask, Rows
from fpve.progress import Progress

# Pictures that are in memory at once: full batches for a GPU, and 64 MB of EfficientNet-Lite0's maps.
_AT_ONCE = 256
# How an encoder without a feature map pools: as it always does.
OWN = "own"


@dataclass(frozen=True, slots=True)
class Features:
    """What an image encoder makes of n pictures.

    Attributes:
        encoder: its name.
        pooled: features (n, dim) by pooling; rows of pictures that are left out are of no meaning.
        maps: the feature maps of all pictures that were decoded, where these are needed once more.
        places: (n,) which row of `maps` each picture's is.
        ms_per_image: milliseconds of the model alone, with all cores at work on it.
    """

    encoder: str
    pooled: dict[str, Floats]
    maps: MapFile | None
    places: Rows
    ms_per_image: float


class Encoded(NamedTuple):
    """What became of n pictures.

    Attributes:
        features: of each encoder.
        content_hash: (n,) SHA-256 of their bytes; None where they can't be read.
        reasons: by number, why pictures are left out.
    """

    features: tuple[Features, ...]
    content_hash: list[str | None]
    reasons: dict[int, str]

    @property
    def good(self) -> Mask:
        """(n,) which pictures all encoders made something of."""
        mask = np.ones(len(self.content_hash), bool)
        mask[list(self.reasons)] = False
        return mask


class Model:
    """An image encoder at work on pictures.

    Args:
        encoder: the encoder.
        poolings: in which ways its feature maps are pooled; one without maps pools in its own.
        keep_maps: whether maps are needed once more.
        count: how many pictures there are at most.
    """

    def __init__(self, encoder: ImageEncoder, poolings: Sequence[str], *, keep_maps: bool, count: int) -> None:
        self.encoder = encoder
        found = encoder.feature_maps() if isinstance(encoder, VisionEncoder) else None
        self._maps = found
        self._poolings = tuple(poolings) if found is not None else (OWN,)
        self._kept = MapFile(found.shape, count) if found is not None and keep_maps else None
        self._parts: dict[str, list[Floats]] = {name: [] for name in self._poolings}
        self._seconds, self._pictures = 0.0, 0
        self._pool: ThreadPoolExecutor | None = None

    def take(self, pixels: NDArray[Any]) -> Mask:
        """Encode prepared pictures (m, …); which of them (m,) it made something of."""
        model = self._maps or self.encoder
        found = self._run(model, pixels)
        useful: Mask = np.all(np.isfinite(found.reshape(len(found), -1)), axis=1)
        if self._maps is None:
            parts = {OWN: found}
        else:
            parts = {name: _pooled(found, name) for name in self._poolings}
            if self._kept is not None:
                self._kept.add(np.where(useful[:, None, None, None], found, 0))
        for name, part in parts.items():
            self._parts[name].append(part)
            useful &= part.any(axis=1)
        return useful

    def features(self, places: Rows) -> Features:
        """What was made of all pictures, given which of those that it took each of n is; -1 for none."""
        pooled = {name: np.concatenate(parts)[places] for name, parts in self._parts.items() if parts}
        milliseconds = 1000 * self._seconds / max(1, self._pictures)
        return Features(self.encoder.name, pooled, self._kept, places, milliseconds)

    def close(self) -> None:
        """Give back the model's memory, and the file of maps."""
        for one in (self._maps, self.encoder):
            if isinstance(one, Closable):
                one.close()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        if self._kept is not None:
            self._kept.close()

    def _run(self, model: ImageEncoder | FeatureMaps, pixels: NDArray[Any]) -> Floats:
        """Encode in as many calls at once as pay; only this is timed, once the model is there."""
        step = max(1, model.batch_size)
        batches = [pixels[at : at + step] for at in range(0, len(pixels), step)]
        if self._pool is None:
            # What the first call does beside encoding is no part of the price of a picture.
            model.encode(batches[0][:1])
            self._pool = ThreadPoolExecutor(model.concurrency, thread_name_prefix="fpve-encode")
        start = time.perf_counter()
        found = list(self._pool.map(model.encode, batches))
        self._seconds += time.perf_counter() - start
        self._pictures += len(pixels)
        return np.concatenate(found)


def encode(pictures: Pictures, models: Sequence[Model], progress: Progress) -> Encoded:
    """Read and decode each picture once, and have each model encode it once."""
    enough = images.enough_for(max(one.encoder.side for one in models))
    count = len(pictures)
    numbers = pictures.table["number"].to_numpy()
    hashes: list[str | None] = [None] * count
    reasons: dict[int, str] = {}
    places = np.full(count, -1)
    taken = 0
    prepares = [one.encoder.prepare for one in models]

    def load(number: int) -> _Loaded:
        return _load(pictures, int(numbers[number]), enough, prepares)

    with (
        progress.stage("encode", count) as stage,
        images.without_warnings(),
        ThreadPoolExecutor(cores(), thread_name_prefix="fpve-work") as workers,
    ):
        for start in range(0, count, _AT_ONCE):
            rows = range(start, min(start + _AT_ONCE, count))
            loaded = list(workers.map(load, rows))
            for row, one in zip(rows, loaded, strict=True):
                hashes[row] = one.content_hash
                if one.reason is not None:
                    reasons[row] = one.reason
            good = [row for row in rows if row not in reasons]
            places[good] = taken + np.arange(len(good))
            taken += len(good)
            for number, model in enumerate(models if good else ()):
                useful = model.take(np.stack([loaded[row - start].pixels[number] for row in good]))
                for at in np.flatnonzero(~useful):
                    reasons.setdefault(good[at], f"{model.encoder.name} makes nothing of it")
            stage.advance(len(rows))
    features = tuple(one.features(places) for one in models) if taken else ()
    return Encoded(features, hashes, reasons)


class _Loaded(NamedTuple):
    """A picture as each model takes it, or why there is none."""

    content_hash: str | None
    pixels: list[NDArray[Any]]
    reason: str | None


def _load(pictures: Pictures, number: int, enough: int, prepares: Sequence[Callable[[Any], NDArray[Any]]]) -> _Loaded:
    try:
        data = pictures.inputs.read(number).data
    except OSError as error:
        return _Loaded(None, [], f"can't be read: {error.strerror}")
    content_hash = hashlib.sha256(data).hexdigest()
    try:
        picture = images.decode(data, enough=enough).image
        return _Loaded(content_hash, [prepare(picture) for prepare in prepares], None)
    except ImageError as error:
        return _Loaded(content_hash, [], str(error))


def _pooled(maps: Floats, pooling: str) -> Floats:
    """Pool maps (m, c, h, w) to (m, c)."""
    import torch

    from fpve.encoders.networks import pool

    found: Floats = pool(torch.from_numpy(maps), "gem" if pooling == "gem" else "mean").numpy()
    return found
