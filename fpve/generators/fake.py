"""A generator without a model: deterministic and instant, for tests."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from fpve.errors import GenerationError
from fpve.generators.protocol import Answer, refuse_unusable

_WORD = re.compile(r"\s*\S+")


class FakeGenerator:
    """Answers by a function, and keeps what it was asked. Its tokens are words.

    Args:
        answer: makes the text of a prompt and a picture; may raise GenerationError. None repeats the prompt.
        name: what it is called.
        parameters: what it says of itself.
        concurrency: how many calls at once it says to pay.
    """

    def __init__(
        self,
        answer: Callable[[str, bytes | None], str] | None = None,
        *,
        name: str = "fake",
        parameters: dict[str, Any] | None = None,
        concurrency: int = 1,
    ) -> None:
        self.name = name
        self.asked: list[tuple[str, bytes | None]] = []
        self._answer = answer or (lambda prompt, _: f"An answer to: {prompt}")
        self._parameters = dict(parameters or {})
        self._concurrency = concurrency

    @property
    def server(self) -> str | None:
        """There is none."""
        return None

    @property
    def parameters(self) -> dict[str, Any]:
        """What it was made with."""
        return dict(self._parameters)

    @property
    def concurrency(self) -> int:
        """What it was made with."""
        return self._concurrency

    def check(self) -> None:
        """Nothing can be wrong."""

    def generate(self, prompt: str, image: bytes | None = None) -> Answer:
        """Answer a prompt by the function.

        Raises:
            GenerationError: the function raised it, or its answer or the prompt is blank.
        """
        self.asked.append((prompt, image))
        refuse_unusable(self.name, prompt)
        text = self._answer(prompt, image)
        if not text.strip():
            raise GenerationError(f"language model {self.name!r}: expected a text, found {text!r}")
        words = len(_WORD.findall(text))
        return Answer(
            text,
            token_ids=tuple(range(words)),
            prompt_tokens=len(prompt.split()),
            completion_tokens=words,
            finish_reason="stop",
            revision="fake",
        )

    def keep_tokens(self, answer: Answer, count: int) -> str:
        """The first `count` words.

        Raises:
            GenerationError: the answer is another generator's.
        """
        if answer.token_ids is None:
            raise GenerationError(
                f"language model {self.name!r}: the tokens of this answer are not known; use keep_chars",
                is_general=True,
            )
        return "".join(_WORD.findall(answer.text)[:count])

    def close(self) -> None:
        """Nothing is held."""
