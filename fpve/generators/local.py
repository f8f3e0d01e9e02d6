"""Causal language models of transformers that run here: `hf:NAME-OR-PATH`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fpve.encoders.causal_model import CausalModel
from fpve.encoders.once import Once
from fpve.encoders.runtimes.machine import give_gpu_memory_back, pick_device
from fpve.encoders.runtimes.threads import as_many_as_are_free
from fpve.encoders.sentence_model import quiet
from fpve.encoders.weights import first_line
from fpve.errors import EncoderError, GenerationError
from fpve.generators.protocol import THOUGHT, Answer, refuse_unusable, without_thoughts

if TYPE_CHECKING:
    import torch

    from fpve.config import GenerateConfig

_REMEDY = "give a directory as hf:PATH, or ask a server as openai:MODEL with its base_url"
# What a decoder makes of a character of which a token has only the first bytes.
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A model that can answer.

    Attributes:
        model: on its device, in float32.
        tokenizer: its own.
        device: where it is.
        context: how many tokens prompt and answer have together at most; None where the model says nothing.
        ends: the tokens that end an answer.
    """

    model: Any
    tokenizer: Any
    device: torch.device
    context: int | None
    ends: frozenset[int]


class LocalGenerator:
    """A causal language model in this process: in float32, one prompt at a time, so that nothing depends on a batch.

    It takes the likeliest token each time, or samples where a temperature above 0 is set: with the same seed for every
    prompt, so that an answer does not depend on what was asked before. Settings of generation that are published with
    a model (penalties, top_k) are left out, but for the tokens that end an answer.

    Args:
        config: with `model`, system, temperature, top_p, max_tokens, seed and device.
    """

    def __init__(self, config: GenerateConfig) -> None:
        self.name = config.model
        self._config = config
        self._files = Once(lambda: CausalModel(config.model, config.source, remedy=_REMEDY))
        self._loaded = Once(self._load)
        self._busy = threading.Lock()

    @property
    def server(self) -> str | None:
        """There is none."""
        return None

    @property
    def parameters(self) -> dict[str, Any]:
        """What shapes an answer besides model and prompt; what only sampling uses is left out where there is none."""
        config = self._config
        found: dict[str, Any] = {"system": config.system, "max_tokens": config.max_tokens}
        if self._samples:
            found |= {"temperature": config.temperature, "top_p": config.top_p, "seed": config.seed}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def concurrency(self) -> int:
        """One, whatever is configured: answers are made one after the other."""
        return 1

    def check(self) -> None:
        """Find out whether the model's directory is there. A name on the hub is looked for by the first use.

        Raises:
            GenerationError: it is not, or holds no model.
        """
        with self._as_generator():
            self._files()

    def generate(self, prompt: str, image: bytes | None = None) -> Answer:
        """Answer a prompt.

        Raises:
            GenerationError: the model can't be loaded, the prompt is blank or too long, or the answer is blank.
        """
        if image is not None:
            raise GenerationError(f"language model {self.name!r} takes no pictures here", is_general=True)
        refuse_unusable(self.name, prompt)
        with self._as_generator(), self._busy:
            loaded = self._loaded()
            given, thinks = self._given(loaded.tokenizer, prompt)
            room = self._room(loaded, len(given))
            with quiet(), as_many_as_are_free():
                made = self._made(loaded, given, room)
            return self._answer(loaded, made, given=len(given), thinks=thinks)

    def keep_tokens(self, answer: Answer, count: int) -> str:
        """Text of the first `count` tokens of an answer; a character of which they have a part is left out.

        Raises:
            GenerationError: the answer is another generator's, or the tokenizer can't be loaded.
        """
        if answer.token_ids is None:
            raise GenerationError(
                f"language model {self.name!r}: the tokens of this answer are not known; use keep_chars",
                is_general=True,
            )
        with self._as_generator(), self._busy:
            tokenizer, numbers = self._files().tokenizer(), list(answer.token_ids)
            # The first token can have more in it than the beginning of the text, after thoughts that were left out.
            start = max(_text(tokenizer, numbers).find(answer.text), 0)
            kept = _text(tokenizer, numbers[:count])[start:]
        same = (one == other for one, other in zip(kept, answer.text, strict=False))
        return kept[: next((at for at, is_same in enumerate(same) if not is_same), len(answer.text))]

    def close(self) -> None:
        """Give back the model's memory; the next call of `generate` loads it again."""
        self._loaded.forget()
        give_gpu_memory_back()

    @property
    def _samples(self) -> bool:
        return bool(self._config.temperature)

    @cached_property
    def _revision(self) -> str:
        return self._files().fingerprint({"precision": "float32"})

    def _given(self, tokenizer: Any, prompt: str) -> tuple[list[int], bool]:
        """Tokens of what the model is given: by its chat template, if it has one; and whether that begins a thought."""
        system = self._config.system
        if not tokenizer.chat_template:
            text = f"{system}\n\n{prompt}" if system else prompt
            return list(tokenizer(text, verbose=False)["input_ids"]), False
        messages = [{"role": "system", "content": system}] if system else []
        messages.append({"role": "user", "content": prompt})
        try:
            text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        except Exception as error:  # templates raise what they like, and many know no system message
            raise GenerationError(
                f"language model {self.name!r}: its chat template can't be filled in: {first_line(error)}; "
                + ("write what `system` says into the prompt" if system else "take a model with another one"),
                is_general=True,
            ) from error
        # The template has the special tokens in it.
        numbers = list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        return numbers, text.rstrip().endswith(THOUGHT)

    def _room(self, loaded: _Loaded, given: int) -> int:
        """How many tokens the answer can have."""
        if not given:
            raise GenerationError(f"language model {self.name!r}: expected a prompt of at least 1 token, found 0")
        if loaded.context is None:
            return self._config.max_tokens
        if given >= loaded.context:
            raise GenerationError(
                f"language model {self.name!r}: expected a prompt of fewer than {loaded.context} tokens, the model's "
                f"context, found one of {given}; shorten it"
            )
        return min(self._config.max_tokens, loaded.context - given)

    def _made(self, loaded: _Loaded, given: list[int], room: int) -> list[int]:
        """Tokens of the answer, with the one that ended it, if any."""
        import torch
        from transformers import GenerationConfig

        config = self._config
        settings: dict[str, Any] = {"do_sample": False}
        if self._samples:
            top_p = 1.0 if config.top_p is None else config.top_p
            # Without a top_k, which is 50 unless it is said.
            settings = {"do_sample": True, "temperature": config.temperature, "top_p": top_p, "top_k": 0}
        ends = sorted(loaded.ends)
        settings |= {"max_new_tokens": room, "eos_token_id": ends or None, "pad_token_id": ends[0] if ends else 0}
        ids = torch.tensor([given], device=loaded.device)
        gpus = [loaded.device] if loaded.device.type == "cuda" else []
        try:
            with torch.random.fork_rng(devices=gpus), torch.inference_mode():
                torch.manual_seed(config.seed)
                made = loaded.model.generate(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    generation_config=GenerationConfig(**settings),  # type: ignore[no-untyped-call]
                )
        except Exception as error:  # each architecture raises its own, and torch where memory is short
            raise GenerationError(f"language model {self.name!r} failed: {first_line(error)}") from error
        return [int(number) for number in made[0, len(given) :]]

    def _answer(self, loaded: _Loaded, made: list[int], *, given: int, thinks: bool) -> Answer:
        ended = bool(made) and made[-1] in loaded.ends
        numbers = made[:-1] if ended else made
        whole = _text(loaded.tokenizer, numbers)
        # The length can end within a character.
        whole = whole if ended else whole.rstrip(_REPLACEMENT)
        text = without_thoughts(THOUGHT + whole if thinks else whole)
        if not text.strip():
            found = "nothing but thoughts" if whole.strip() else "a blank one"
            raise GenerationError(
                f"language model {self.name!r}: expected a text, found {found}, {len(made)} tokens; "
                + ("ask it otherwise" if ended else "raise max_tokens, or ask it otherwise")
            )
        if text != whole:
            numbers = _after(loaded.tokenizer, numbers, text)
        return Answer(
            text,
            token_ids=tuple(numbers),
            prompt_tokens=given,
            completion_tokens=len(made),
            finish_reason="stop" if ended else "length",
            revision=self._revision,
        )

    def _load(self) -> _Loaded:
        from transformers import GenerationConfig

        files, device = self._files(), pick_device(self._config.device)
        tokenizer, model = files.tokenizer(), files.load(device)
        published = model.generation_config.eos_token_id
        # A model's own list may lack the token by which its chat template ends a message, or the other way round.
        ends = {tokenizer.eos_token_id, *(published if isinstance(published, list) else [published])} - {None}
        model.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
        return _Loaded(model, tokenizer, device, files.context(), frozenset(ends))

    @contextmanager
    def _as_generator(self) -> Iterator[None]:
        """What is wrong with a model's files, said of a language model; it is wrong for every prompt."""
        try:
            yield
        except EncoderError as error:
            said = str(error)
            own = f"encoder {self.name!r}: "
            raise GenerationError(f"language model {self.name!r}: {said.removeprefix(own)}", is_general=True) from error


def _text(tokenizer: Any, numbers: list[int]) -> str:
    return str(tokenizer.decode(numbers, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _after(tokenizer: Any, numbers: list[int], text: str) -> list[int]:
    """The fewest last tokens that have all of the text at their end."""
    start = next((at for at in range(len(numbers), -1, -1) if _text(tokenizer, numbers[at:]).endswith(text)), 0)
    return numbers[start:]
