"""Text encoders of the sentence-transformers library: `st:NAME-OR-PATH`."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fpve.encoders.fingerprint import fingerprint
from fpve.encoders.torch_runtime import Once, pick_device
from fpve.encoders.weights import OFFLINE_TEXT, first_line
from fpve.errors import EncoderError, EncoderNotFound

if TYPE_CHECKING:
    from fpve.config import EncoderConfig
    from fpve.encoders.protocol import Floats

# MiniLM on captions, 2 cores: 785 texts/s in batches of 64, 755 in those of 32, 826 of 128, which pad long texts more.
TEXT_BATCH = 64
# Where names without an owner live on the hub.
DEFAULT_OWNER = "sentence-transformers"
HUB_TIMEOUT_SECONDS = 10

# Files of a model's directory that torch does not load: texts about it, and its weights for other runtimes.
NOT_THE_MODEL = (
    *(".*", "*/.*", "*.md", "LICENSE*", "*.py", "data_config.json"),
    *("onnx/*", "openvino/*", "*.onnx", "*.h5", "*.msgpack", "*.ot", "*.tflite", "*.mlmodel"),
)


class SentenceTransformerEncoder:
    """A frozen sentence-transformers model; its embeddings are unit rows only where the model itself ends in that.

    Args:
        config: with the options batch_size and device.
        source: a model's directory, or a name on the Hugging Face hub (`NAME` stands for `sentence-transformers/NAME`).
        dim: length of an embedding, where it is known without loading the model.

    Raises:
        EncoderNotFound: the source is a path, and there is no such directory.
    """

    def __init__(self, config: EncoderConfig, source: str, *, dim: int | None = None) -> None:
        self.name = config.name
        self._batch_size = config.batch_size or TEXT_BATCH
        self._device = config.device
        self._dim = dim
        path = Path(source).expanduser()
        self._source = source
        if not path.is_dir() and _looks_like_path(source):
            raise EncoderNotFound(f"encoder {self.name!r}: no directory of a model at {path}; {OFFLINE_TEXT}")
        self._directory = Once(lambda: path if path.is_dir() else _from_hub(source, self.name))
        self._model = Once(self._load)
        self._encoding = threading.Lock()

    @property
    def batch_size(self) -> int:
        """How many texts one pass through the model takes."""
        return self._batch_size

    @property
    def available(self) -> bool:
        """Whether its files are on this machine; asks no hub."""
        return Path(self._source).expanduser().is_dir() or _cached(_repository(self._source)) is not None

    @property
    def dim(self) -> int:
        """Length of an embedding. Loads the model where the length is not known."""
        if self._dim is None:
            self._dim = int(self._rows(["a"]).shape[1])
        return self._dim

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the model's files and the precision. Needs no torch, but fetches a model that is not here yet."""
        settings = {"architecture": "sentence-transformers", "precision": "float32"}
        return fingerprint(settings, self._directory(), ignore=NOT_THE_MODEL)

    def encode(self, texts: Sequence[str]) -> Floats:
        """Encode n texts into embeddings (n, dim) float32, as the model gives them.

        Raises:
            EncoderNotFound: the model is not on this machine and can't be fetched.
            EncoderError: its files can't be loaded.
        """
        if not len(texts):
            return np.empty((0, self.dim), np.float32)
        return self._rows(list(texts))

    def _rows(self, texts: list[str]) -> Floats:
        model = self._model()
        # A fast tokenizer holds padding and truncation as its state, and fails in two threads with "Already borrowed".
        with self._encoding:
            rows = model.encode(texts, batch_size=self._batch_size, show_progress_bar=False, convert_to_numpy=True)
        return np.ascontiguousarray(rows, dtype=np.float32)

    def _load(self) -> Any:
        directory, device = self._directory(), pick_device(self._device)
        with _quiet():
            from sentence_transformers import SentenceTransformer

            try:
                model = SentenceTransformer(str(directory), device=str(device), local_files_only=True)
            except Exception as error:  # a directory can hold anything, and each module reads its own files
                raise EncoderError(
                    f"encoder {self.name!r}: {directory} can't be loaded by sentence-transformers: "
                    f"{first_line(error)}; {OFFLINE_TEXT}"
                ) from error
        # Models are also published in half precision, which is slow on a CPU and differs between devices.
        return model.eval().float()


def _looks_like_path(source: str) -> bool:
    # A name on the hub is NAME or OWNER/NAME.
    return not source or source.startswith((".", "/", "~")) or source.count("/") > 1 or Path(source).is_file()


def _repository(source: str) -> str:
    return source if "/" in source else f"{DEFAULT_OWNER}/{source}"


def _snapshot(repository: str, *, local: bool) -> Path:
    from huggingface_hub import snapshot_download

    # sentence-transformers' own setting, so that what it has fetched is found.
    cache = os.environ.get("SENTENCE_TRANSFORMERS_HOME")
    found = snapshot_download(repository, cache_dir=cache, ignore_patterns=list(NOT_THE_MODEL), local_files_only=local)
    return Path(found)


def _cached(repository: str) -> Path | None:
    """Directory of a model in the hub's cache, if all of it is there."""
    try:
        found = _snapshot(repository, local=True)
    except (OSError, ValueError):
        return None
    # A snapshot can hold no more than the one file that something asked for.
    return found if any(found.rglob(pattern) for pattern in ("*.safetensors", "*.bin")) else None


def _from_hub(source: str, encoder: str) -> Path:
    """Directory of a model in the hub's cache, where it is put if it is not there.

    Raises:
        EncoderNotFound: it is not there and can't be fetched.
    """
    from huggingface_hub import HfApi

    repository = _repository(source)
    cached = _cached(repository)
    if cached is not None:
        return cached
    try:
        # Asked first because the download itself has no time limit for connecting, and would hang without a network.
        HfApi().model_info(repository, timeout=HUB_TIMEOUT_SECONDS)
        with _quiet_downloads():
            return _snapshot(repository, local=False)
    except Exception as error:  # the client lets through its HTTP library's, which is another one in each version
        raise EncoderNotFound(
            f"encoder {encoder!r}: {repository} is not on this machine and can't be fetched from the Hugging Face hub "
            f"({first_line(error)}); give a directory as st:PATH; {OFFLINE_TEXT}"
        ) from error


@contextmanager
def _quiet_downloads() -> Iterator[None]:
    """Leave out the hub's progress bars."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out the progress bars and the remarks with which transformers loads a model."""
    from transformers.utils import logging as remarks

    bars, verbosity = remarks.is_progress_bar_enabled(), remarks.get_verbosity()
    remarks.set_verbosity(logging.ERROR)
    with _quiet_downloads():
        if bars:
            remarks.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            remarks.set_verbosity(verbosity)
            if bars:
                remarks.enable_progress_bar()  # type: ignore[no-untyped-call]
