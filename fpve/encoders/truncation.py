"""What of a text a model does not see, because its context is shorter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# Texts that are tokenized at once: a tokenizer's answer takes some hundred bytes a token.
_BATCH = 256


def unseen(tokenizer: Any, texts: Sequence[str], *, limit: int, before: str = "") -> list[int]:
    """How many characters at the end of each text a model does not see; 0 where it sees all.

    Args:
        tokenizer: of transformers. One that tells no offsets cuts nothing off, as far as can be told.
        texts: as they are encoded, without `before`.
        limit: how many tokens the model sees, special ones included.
        before: what is put before each text.
    """
    found = [0] * len(texts)
    if not getattr(tokenizer, "is_fast", False):
        return found
    room = limit - tokenizer.num_special_tokens_to_add(pair=False)
    # A character of ASCII is a token at most, and some tokenizers begin with a space of their own. Others can be many:
    # bytes of their UTF-8, or letters of which a syllable is composed.
    long = [
        number
        for number, text in enumerate(texts)
        if not (text.isascii() and before.isascii() and len(before) + len(text) + 1 <= room)
    ]
    for at in range(0, len(long), _BATCH):
        numbers = long[at : at + _BATCH]
        made = tokenizer(
            [before + texts[number] for number in numbers],
            padding=False,
            truncation=False,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
            verbose=False,
        )
        for number, offsets, special in zip(numbers, made["offset_mapping"], made["special_tokens_mask"], strict=True):
            ends = [end for (_, end), is_special in zip(offsets, special, strict=True) if not is_special]
            if len(ends) > room:
                seen = ends[room - 1] if room > 0 else 0
                found[number] = len(texts[number]) - max(0, seen - len(before))
    return found
