"""Where an answer comes from: what names it, what is kept of it, and the row that says how it came about."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from fpve.config import PrefixRule
from fpve.generators.protocol import Answer, Generator
from fpve.prefixes import keep_chars

# As of a prefix: 128 bits of SHA-256.
_ID_DIGITS = 32


def asked_of(generator: Generator) -> str:
    """Digest of what shapes an answer besides prompt and picture: the model and its parameters.

    Where it is asked, how often and how long it is waited for are not in it: a server may move.
    """
    said = {"model": generator.name, "parameters": generator.parameters}
    return hashlib.sha256(json.dumps(said, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def generation_id(asked: str, prompt: str, content_hash: str | None = None) -> str:
    """What names an answer: a digest of `asked_of`, the prompt, and the content of the picture that goes along."""
    text = "\0".join((asked, content_hash or "", prompt))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_ID_DIGITS]


def kept_of(rule: PrefixRule, answer: str, token_ends: Sequence[int] | None) -> str:
    """The part of an answer that a rule keeps, trimmed.

    Args:
        rule: with `keep_tokens`, `keep_chars`, both or neither.
        answer: the whole text.
        token_ends: where each of its tokens ends, in characters; None where that is not known.
    """
    if rule.keep_tokens is not None and token_ends is not None and len(token_ends) > rule.keep_tokens:
        answer = answer[: token_ends[rule.keep_tokens - 1]]
    return answer.strip() if rule.keep_chars is None else keep_chars(answer, rule.keep_chars)


def answer_row(generator: Generator, prompt: str, content_hash: str | None, answer: Answer) -> dict[str, Any]:
    """An answer as a row of the table `generated`: the text, and all that is known of how it came about."""
    parameters = generator.parameters
    return {
        "generation_id": generation_id(asked_of(generator), prompt, content_hash),
        "prompt": prompt,
        "prompt_hash": hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest(),
        "content_hash": content_hash,
        "answer": _whole(answer.text),
        "model": generator.name,
        "revision": _whole(answer.revision),
        "server": generator.server,
        "parameters": json.dumps(parameters, sort_keys=True, ensure_ascii=False),
        "seed": parameters.get("seed"),
        "token_ids": None if answer.token_ids is None else list(answer.token_ids),
        "token_ends": _token_ends(generator, answer),
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "finish_reason": _whole(answer.finish_reason),
        "created_at": datetime.now(UTC),
    }


def _whole(text: str | None) -> str | None:
    """A text without half characters, which JSON can name and UTF-8 has not."""
    return None if text is None else text.encode("utf-8", "replace").decode()


def _token_ends(generator: Generator, answer: Answer) -> list[int] | None:
    if answer.token_ids is None:
        return None
    return [len(generator.keep_tokens(answer, count)) for count in range(1, len(answer.token_ids) + 1)]
