"""A worker: a process of the cluster that has its own models, and encodes one shard after the other."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from fpve._version import __version__
from fpve.config import Encoders
from fpve.encoders.weights import first_line
from fpve.engines.cluster.lot import KnownHashes, Lot, Shard
from fpve.engines.cluster.receipt import Failure, Receipt
from fpve.engines.cluster.tally import ToldStage
from fpve.engines.local import encode_here
from fpve.engines.work import Encoded, Models, Target
from fpve.errors import ClusterError, EncoderMismatch, EncoderNotFound, SourceError
from fpve.fusion import Fusion
from fpve.replica import located, replica_of
from fpve.store.files import make_directory
from fpve.store.pending import Recipe

_NOTHING = Encoded([], 0)


@dataclass(frozen=True, slots=True)
class Orders:
    """What workers are told: all that is small.

    Attributes:
        store: where the store is, as every machine finds it: an absolute path, or the URL of one in a bucket.
        mark: a name in it by which a worker sees that it is the same store; None where it can't be told.
        recipe, fusion: those of the target.
        encoders: what models are made of.
        threads: how many threads decode and encode.
        tries: how often a shard is begun at most.
        folder: the driver's working directory, at which the relative paths of a job begin.
        told_every: seconds after which the tally is told how far a shard is.
        version: of fpve.
    """

    store: str
    mark: str | None
    recipe: Recipe
    fusion: Fusion
    encoders: Encoders
    threads: int
    tries: int
    folder: str
    told_every: float
    version: str = __version__


@dataclass(frozen=True, slots=True)
class Shared:
    """References to what workers have in common.

    Attributes:
        lot: the inputs, a `Lot`.
        known: the content hashes that need not be encoded, `KnownHashes`.
        tally: a handle of a `Tally`.
    """

    lot: Any
    known: Any
    tally: Any


@contextmanager
def marked(root: Path) -> Iterator[str | None]:
    """Have a mark in a store, meanwhile, that no other has: called like what a killed writer leaves, to be swept.

    One in a bucket has none: a URL is the same store everywhere.
    """
    if replica_of(root) is not None:
        yield None
        return
    mark = make_directory(root, "pending") / f".{secrets.token_hex(8)}.tmp"
    mark.mkdir()
    try:
        yield str(mark.relative_to(root))
    finally:
        with suppress(OSError):
            mark.rmdir()


class Worker:
    """Encodes shards: what Ray makes an actor of.

    It raises nothing: Ray would tell of it at length, and could not tell what it means for the other shards.

    Args:
        orders: what to do.
        shared: where the rest is.
    """

    def __init__(self, orders: Orders, shared: Shared) -> None:
        self._host = socket.gethostname()
        self._orders = orders
        self._tally = shared.tally
        self._refusal: str | None = None
        # The rest of the machine is other workers'. Nobody has asked yet how many there are.
        os.environ["FPVE_CORES"] = str(orders.threads)
        try:
            self._open(shared)
        except Exception as error:  # noqa: BLE001 (told by the next receipt)
            self._refusal = _described(error)

    def _open(self, shared: Shared) -> None:
        import ray

        if self._orders.version != __version__:
            raise ClusterError(
                f"expected fpve {self._orders.version}, found {__version__}; install the same on every machine"
            )
        with suppress(OSError):
            # Not every job has relative paths; who misses something there says so.
            os.chdir(self._orders.folder)
        root = located(self._orders.store, begin=True)
        if self._orders.mark is not None and not (root / self._orders.mark).is_dir():
            raise ClusterError(
                f"can't see the store: expected {root} to be the same directory on every machine, found "
                f"{'another one' if root.is_dir() else 'none'}; put the store on a file system that all share"
            )
        self._models = Models.of(self._orders.encoders)
        _check_same(self._models, self._orders.recipe)
        self._target = Target(root, self._orders.recipe, self._orders.fusion)
        self._lot: Lot = ray.get(shared.lot)
        self._known: KnownHashes = ray.get(shared.known)

    def __call__(self, row: pa.Table) -> pa.Table:
        """Encode the shard in a row, and say what became of it in another."""
        shard = Shard(*(row[name][0].as_py() for name in Shard._fields))
        return self._encode(shard).to_table()

    def _encode(self, shard: Shard) -> Receipt:
        if self._refusal is not None:
            return Receipt(shard.number, self._host, _NOTHING, Failure.WORKER, self._refusal)
        try:
            if self._begun(shard) > self._orders.tries:
                return Receipt(shard.number, self._host, _NOTHING, Failure.LOST, "the process of its worker died")
            work = self._lot.work(shard, self._known)
            stage = ToldStage(self._tally, shard.number, self._orders.told_every)
            encoded = encode_here(work, self._models, self._target, stage, threads=self._orders.threads)
        except (SourceError, EncoderNotFound) as error:
            # A source that is out of reach altogether, or a model that is not on this machine: they end a run anywhere.
            return Receipt(shard.number, self._host, _NOTHING, Failure.WORKER, _described(error))
        except OSError as error:
            # An input that can't be read has its outcome.
            return Receipt(shard.number, self._host, _NOTHING, Failure.STORE, _described(error))
        except Exception as error:  # noqa: BLE001 (somebody else's code, or a shard that can't be encoded)
            return Receipt(shard.number, self._host, _NOTHING, Failure.SHARD, _described(error))
        self._tally.end.remote(shard.number)
        return Receipt(shard.number, self._host, encoded)

    def _begun(self, shard: Shard) -> int:
        import ray

        return int(ray.get(self._tally.begin.remote(shard.number)))


def _check_same(models: Models, recipe: Recipe) -> None:
    """Refuse models that would make other vectors than the store's."""
    for kind, model, expected in (("image", models.image, recipe.image), ("text", models.text, recipe.text)):
        found = None if model is None else model.fingerprint
        if found != expected:
            raise EncoderMismatch(
                f"the {kind} encoder is another one: expected {expected or 'none'}, found {found or 'none'}; have the "
                "same weights and the same code on every machine"
            )


def _described(error: BaseException) -> str:
    """What went wrong, in one line."""
    return first_line(error) if isinstance(error, ClusterError) else f"{type(error).__name__}: {first_line(error)}"
