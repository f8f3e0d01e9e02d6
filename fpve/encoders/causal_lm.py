"""A frozen causal language model as a text encoder: `lm:NAME-OR-PATH`."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fpve.encoders.causal_model import CausalModel
from fpve.encoders.once import Once
from fpve.encoders.runtimes.machine import give_gpu_memory_back, pick_device
from fpve.encoders.runtimes.threads import as_many_as_are_free
from fpve.encoders.truncation import unseen
from fpve.encoders.weights import OFFLINE_TEXT
from fpve.errors import EncoderError

if TYPE_CHECKING:
    import torch

    from fpve.config import EncoderConfig
    from fpve.encoders.protocol import Floats

# Such models are tens of times larger than MiniLM, and a batch is as long as its longest text.
BATCH = 16
# Prefixes are sentences. A model with a context of 128,000 tokens would need the memory for one that is a book.
TOKENS = 512
LAST_LAYER = -1


class CausalTextEncoder:
    """Hidden states of a causal language model, pooled over the tokens of a text: embeddings (n, dim), not normalised.

    `mean` (default) is the mean over all tokens but the first: whatever it is, a causal model gives the first token
    states tens of times longer than others (an attention sink: Xiao et al., 2023, arXiv 2309.17453), which would drown
    the text. Of a text of one token it is that token. `last` is the last token, the only one that has seen all others.
    A text's first 512 tokens count, or fewer where the model's context is shorter.

    Args:
        config: with the options pooling, layer, batch_size and device.
        source: a model's directory, or a name on the Hugging Face hub.

    Raises:
        EncoderNotFound: the source is a path, and there is no model.
    """

    # It embeds texts only.
    space = None

    def __init__(self, config: EncoderConfig, source: str) -> None:
        self.name = config.name
        self.pooling = config.pooling or "mean"
        self.layer = LAST_LAYER if config.layer is None else config.layer
        self._batch_size = config.batch_size or BATCH
        self._device = config.device
        self._files = CausalModel(config.name, source, remedy=OFFLINE_TEXT)
        self._model = Once(self._load)
        self._limit = Once(lambda: min(self._files.context() or TOKENS, TOKENS))
        self._dim = Once(lambda: int(self._rows(["a"]).shape[1]))
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
    def dim(self) -> int:
        """Length of an embedding. Loads the model."""
        return self._dim()

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the model's files, pooling, layer and precision. Needs no torch, but fetches a model."""
        return self._files.fingerprint(
            {
                "architecture": "causal-lm",
                "pooling": self.pooling,
                "layer": self.layer,
                "tokens": TOKENS,
                "precision": "float32",
            }
        )

    def encode(self, texts: Sequence[str]) -> Floats:
        """Encode n texts into embeddings (n, dim) float32.

        Raises:
            EncoderNotFound: the model is not on this machine and can't be fetched.
            EncoderError: its files can't be loaded, or it has no such layer.
        """
        texts = list(texts)
        if not texts:
            return np.empty((0, self.dim), np.float32)
        # Texts of like lengths together: a batch is as long as its longest.
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        rows = [self._rows([texts[number] for number in part]) for part in self._parts(order)]
        return np.concatenate(rows)[np.argsort(order)]

    def cut(self, texts: Sequence[str]) -> list[int]:
        """How many characters at the end of each text the model does not see. Loads its tokenizer only.

        Raises:
            EncoderNotFound: the model is not on this machine and can't be fetched.
            EncoderError: its files can't be loaded.
        """
        tokenizer, limit = self._files.tokenizer(), self._limit()
        with self._encoding:
            return unseen(tokenizer, texts, limit=limit)

    def close(self) -> None:
        """Give back the model's memory; the next call of `encode` loads it again."""
        self._model.forget()
        give_gpu_memory_back()

    def _parts(self, order: list[int]) -> list[list[int]]:
        return [order[at : at + self._batch_size] for at in range(0, len(order), self._batch_size)]

    def _rows(self, texts: list[str]) -> Floats:
        import torch

        model, device = self._model()
        # A fast tokenizer holds truncation as its state, and fails in two threads with "Already borrowed".
        with self._encoding, as_many_as_are_free(), torch.inference_mode():
            numbers = self._tokens(texts)
            longest = max(map(len, numbers))
            # At the end, where a causal model does not look from any token of the text.
            ids = torch.tensor([one + [0] * (longest - len(one)) for one in numbers], device=device)
            lengths = torch.tensor([len(one) for one in numbers], device=device)
            mask = torch.arange(longest, device=device) < lengths[:, None]
            states = model(
                input_ids=ids, attention_mask=mask.long(), output_hidden_states=True, use_cache=False
            ).hidden_states
            pooled = _pooled(self._of_layer(states), mask, self.pooling)
        return np.ascontiguousarray(pooled.float().cpu().numpy(), np.float32)

    def _tokens(self, texts: list[str]) -> list[list[int]]:
        """Numbers of each text's tokens, at least one."""
        tokenizer = self._files.tokenizer()
        made = tokenizer(texts, padding=False, truncation=True, max_length=self._limit())["input_ids"]
        # A model that marks no beginning makes nothing of an empty text; what stands between texts is nearest to it.
        between = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        return [list(one) or [between or 0] for one in made]

    def _of_layer(self, states: Sequence[torch.Tensor]) -> torch.Tensor:
        if not -len(states) <= self.layer < len(states):
            raise EncoderError(
                f"text encoder {self.name!r}: layer = {self.layer}: the model has the hidden states 0 (its input) to "
                f"{len(states) - 1}, or -1 (the last) to {-len(states)}"
            )
        return states[self.layer]

    def _load(self) -> tuple[Any, torch.device]:
        device = pick_device(self._device)
        # Without its head: words are not asked for.
        model = self._files.load(device).base_model
        # Some are published with the beginning cut off, for chats.
        self._files.tokenizer().truncation_side = "right"
        return model, device


def _pooled(states: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """One row (n, dim) of hidden states (n, tokens, dim), of which the mask (n, tokens) says which are of the text."""
    import torch

    lengths = mask.sum(1)
    if pooling == "last":
        return states[torch.arange(len(states), device=states.device), lengths - 1]
    counted = mask.clone()
    # The only token of a text stays.
    counted[:, 0] = lengths == 1
    # Not multiplied: what a model makes of padding may be NaN.
    return states.masked_fill(~counted[..., None], 0).sum(1) / counted.sum(1, keepdim=True)
