"""What every generator is: a language model that is given a prompt and answers with a text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Protocol

from fpve.errors import GenerationError

# What begins a thought.
THOUGHT = "<think>"
# What a model thinks before it answers. Some templates open the block themselves, so that an answer only closes it.
_THOUGHTS = re.compile(r"\A(?:\s*<think>)?(?:(?!<think>).)*?</think>\s*", re.DOTALL)
_UNFINISHED = re.compile(r"\A\s*<think>(?!.*</think>)", re.DOTALL)
# What JSON can name and UTF-8 has not: half of a character beyond the 65,536 first.
_HALF = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a language model said.

    Attributes:
        text: the whole answer, as the model gave it, without what it thought before; never blank.
        token_ids: of that text, where they are known: of a model that runs here.
        prompt_tokens: how many the model was given, as it counts them; None where it does not say.
        completion_tokens: how many it made, thoughts included; None where it does not say.
        finish_reason: why it ended: `stop`, `length`, or what else a server says; None where it says nothing.
        revision: what exactly answered: a server's own name for the model, and its fingerprint of what runs it, if
            any; of a model that runs here the fingerprint of its weights.
    """

    text: str
    token_ids: tuple[int, ...] | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    finish_reason: str | None = None
    revision: str | None = None


class Generator(Protocol):
    """A language model. Making one is cheap; it is loaded, or its server asked, by the first call of `generate`.

    Attributes:
        name: what a job calls it, such as `openai:gpt-5-mini`.
    """

    name: str

    @property
    def server(self) -> str | None:
        """Address that is asked, without credentials and query; None for a model that runs here."""
        ...

    @property
    def parameters(self) -> dict[str, Any]:
        """All that shapes an answer besides model, prompt and picture, as JSON values; only what is set."""
        ...

    @property
    def concurrency(self) -> int:
        """How many calls of `generate` at once pay."""
        ...

    def check(self) -> None:
        """Find out what can be known without a request.

        Raises:
            JobError: the job must be changed, or something be installed or set.
            GenerationError: the model can't be used.
        """
        ...

    def generate(self, prompt: str, image: bytes | None = None) -> Answer:
        """Answer a prompt, of a picture (JPEG) where one is given. Called from many threads.

        Raises:
            GenerationError: there is no usable answer, after as many retries as the configuration has.
        """
        ...

    def keep_tokens(self, answer: Answer, count: int) -> str:
        """Text of the first `count` tokens of an answer.

        Raises:
            GenerationError: its tokens are not known.
        """
        ...

    def close(self) -> None:
        """Give back memory and connections; the next call of `generate` takes them again."""
        ...


def without_thoughts(text: str) -> str:
    """An answer without the `<think>…</think>` at its beginning.

    That block is how a reasoning model came to its answer, in a serving program that does not set it apart; kept, the
    first words of every prefix would be about the task.
    """
    return "" if _UNFINISHED.match(text) else _THOUGHTS.sub("", text, count=1)


def refuse_unusable(name: str, prompt: str) -> None:
    """Check that there is something to answer, and that it can be sent.

    Raises:
        GenerationError: the prompt is empty, or white space, or has halves of characters.
    """
    if not prompt.strip():
        raise GenerationError(
            f"language model {name!r}: expected a prompt of at least 1 character, found one of {len(prompt)} that is "
            "blank; check the columns that the template names"
        )
    half = _HALF.search(prompt)
    if half:
        raise GenerationError(
            f"language model {name!r}: expected a prompt that is Unicode, found half a character "
            f"(\\u{ord(half[0]):04x}) at {half.start()}; check the columns that the template names"
        )
