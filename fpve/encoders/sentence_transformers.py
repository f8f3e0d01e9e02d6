"""Encoders of the sentence-transformers library: `st:NAME-OR-PATH`, for texts and, of some models, for pictures."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fpve.encoders.fingerprint import fingerprint
from fpve.encoders.once import Once
from fpve.encoders.runtimes.machine import pick_device
from fpve.encoders.runtimes.threads import as_many_as_are_free
from fpve.encoders.sentence_model import NOT_THE_MODEL, SentenceModel
from fpve.encoders.truncation import unseen
from fpve.encoders.vision import InputSpec, VisionEncoder
from fpve.encoders.weights import OFFLINE_IMAGE, OFFLINE_TEXT, first_line
from fpve.errors import EncoderError

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from fpve.config import EncoderConfig
    from fpve.encoders.protocol import Floats
    from fpve.encoders.runtimes import Runtime

# MiniLM on captions, 2 cores: 785 texts/s in batches of 64, 755 in those of 32, 826 of 128, which pad long texts more.
TEXT_BATCH = 64
# Of the pictures by which a model is asked what it makes of pixel values; any size will do.
_PROBE_SIDE = 64
_GREY = 51
# What float32 rounding leaves of the straight line from black to white.
_LINEAR = 1e-3


class SentenceTransformerEncoder:
    """A frozen text model; its embeddings are unit rows only where the model itself ends in that.

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
        self._files = SentenceModel(config.name, source, offline=OFFLINE_TEXT)
        self._model = Once(lambda: self._files.load(pick_device(self._device)))
        self._encoding = threading.Lock()

    @property
    def batch_size(self) -> int:
        """How many texts one pass through the model takes."""
        return self._batch_size

    @property
    def available(self) -> bool:
        """Whether its files are on this machine; asks no hub."""
        return self._files.available

    @property
    def space(self) -> str | None:
        """Name of the space in which the same model embeds pictures, if it takes any."""
        return self._files.space

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
        return fingerprint(settings, self._files.directory(), ignore=NOT_THE_MODEL)

    def encode(self, texts: Sequence[str]) -> Floats:
        """Encode n texts into embeddings (n, dim) float32, as the model gives them.

        Raises:
            EncoderNotFound: the model is not on this machine and can't be fetched.
            EncoderError: its files can't be loaded, or it takes no texts.
        """
        if not len(texts):
            return np.empty((0, self.dim), np.float32)
        return self._rows(list(texts))

    def cut(self, texts: Sequence[str]) -> list[int]:
        """How many characters at the end of each text the model does not see. Loads the model.

        Raises:
            EncoderNotFound: the model is not on this machine and can't be fetched.
            EncoderError: its files can't be loaded.
        """
        model = self._model()
        tokenizer, limit = getattr(model[0], "tokenizer", None), model.max_seq_length
        if limit is None:
            return [0] * len(texts)
        # What a model puts before every text, as some do that were trained with instructions.
        before = model.prompts.get(model.default_prompt_name) or ""
        with self._encoding:
            return unseen(tokenizer, texts, limit=int(limit), before=before)

    def _rows(self, texts: list[str]) -> Floats:
        model = self._model()
        takes = _modalities(model)
        if "text" not in takes:
            raise EncoderError(f"encoder {self.name!r}: its model takes no texts; {OFFLINE_TEXT}")
        # A model that takes pictures too would open a text that is the path or the address of one.
        inputs = [{"text": text} for text in texts] if len(takes) > 1 else texts
        # A fast tokenizer holds padding and truncation as its state, and fails in two threads with "Already borrowed".
        with self._encoding, as_many_as_are_free():
            rows = model.encode(inputs, batch_size=self._batch_size, show_progress_bar=False, convert_to_numpy=True)
        return np.ascontiguousarray(rows, dtype=np.float32)


class SentenceTransformerImageEncoder(VisionEncoder):
    """A frozen model that takes pictures, such as CLIP or SigLIP, with the projection into the space of its texts.

    The side of its pictures, and the mean and deviation of their normalisation, are what its own processor makes of
    black, grey and white ones; how a picture becomes a square is the option `resize`.

    Args:
        config: with the options resize, precision, batch_size and device.
        source: a model's directory, or a name on the Hugging Face hub (`NAME` stands for `sentence-transformers/NAME`).

    Raises:
        EncoderNotFound: the source is a path, and there is no such directory.
    """

    def __init__(self, config: EncoderConfig, source: str) -> None:
        super().__init__(config)
        self._files = SentenceModel(config.name, source, offline=OFFLINE_IMAGE)
        # From the first question about its input until it is run: what runs it may have a copy of its own.
        self._held: Any = None

    @property
    def available(self) -> bool:
        """Whether its files are on this machine; asks no hub."""
        return self._files.available

    @property
    def space(self) -> str | None:
        """Name of the space in which the same model embeds texts."""
        return self._files.space

    def settings(self) -> dict[str, Any]:
        """What decides the output beside the model's files, resize and precision."""
        return {"architecture": "sentence-transformers", "input": "image"}

    def weights_file(self) -> Path:
        """The model's directory; it is fetched if that is possible."""
        return self._files.directory()

    def input(self) -> InputSpec:
        """What the model's processor makes of pixel values: a square of one side, and a line for each channel.

        Loads the model.
        """
        from PIL import Image

        model = self._files.load("cpu")
        if "image" not in _modalities(model):
            raise EncoderError(
                f"encoder {self.name!r}: its model takes no pictures, as CLIP and SigLIP do; {OFFLINE_IMAGE}"
            )
        colours = [Image.new("RGB", (_PROBE_SIDE, _PROBE_SIDE), (value,) * 3) for value in (0, _GREY, 255)]
        try:
            made = model.preprocess(colours)
            black, grey, white = made["pixel_values"].double().numpy()
        except Exception as error:  # each model has a processor of its own
            raise self._unfit(first_line(error)) from error
        first, last = black.reshape(3, -1)[:, 0], white.reshape(3, -1)[:, 0]
        slope = (last - first) / 255
        line = black.reshape(3, -1) + slope[:, None] * _GREY
        is_square = black.ndim == 3 and black.shape[1] == black.shape[2]
        if not is_square or not (slope > 0).all() or np.abs(grey.reshape(3, -1) - line).max() > _LINEAR:
            raise self._unfit(f"of pictures it makes {tuple(made['pixel_values'].shape)}")
        others = set(made) - {"pixel_values", "modality"}
        if others:
            raise self._unfit(f"it also wants {', '.join(sorted(others))}")
        self._held = model
        red, green, blue = zip((-first / slope).tolist(), (1 / slope).tolist(), strict=True)
        return InputSpec(black.shape[1], (red[0], green[0], blue[0]), (red[1], green[1], blue[1]))

    def network(self) -> torch.nn.Module:
        """Make the model: normalised pictures (n, 3, side, side) to embeddings (n, dim)."""
        from fpve.encoders.networks import SentencePictures

        # Asked first: a model that takes no pictures is refused there.
        self._spec()
        model, self._held = self._held or self._files.load("cpu"), None
        return SentencePictures(model)

    def _open_runtime(self) -> Runtime:
        try:
            # Before the runtime: a question that comes later would load a model that nothing lets go of.
            self._spec()
            return super()._open_runtime()
        finally:
            self._held = None

    def _unfit(self, why: str) -> EncoderError:
        return EncoderError(
            f"encoder {self.name!r}: expected a model of square pictures of one size, normalised by channel ({why}); "
            "wrap it in a class of your own as python:MODULE:CLASS"
        )


def _modalities(model: Any) -> list[Any]:
    """What a model takes: `text`, `image`, and others."""
    return list(getattr(model, "modalities", None) or ["text"])
