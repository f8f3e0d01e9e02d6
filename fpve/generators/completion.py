"""What a server's chat completion says."""

from __future__ import annotations

import json
from typing import Any

from fpve.generators.protocol import Answer, without_thoughts


class Unusable(Exception):
    """What a server sent is no answer; another try may give one."""


def answer_of(content_type: str, content: bytes) -> Answer:
    """The answer in a response.

    Raises:
        Unusable: there is none; says what was found.
    """
    if "json" not in content_type.lower():
        raise Unusable(f"{content_type.partition(';')[0] or 'no content type'} instead of application/json")
    try:
        body = json.loads(content)
        choice = body["choices"][0]
        message, reason = choice["message"], choice.get("finish_reason")
        text = message.get("content")
    except (ValueError, RecursionError):
        raise Unusable(f"{len(content)} bytes that are no JSON") from None
    except (KeyError, IndexError, TypeError, AttributeError):
        # Some that pass requests on to others answer with 200 and say what was wrong.
        said = said_in(body.get("error")) if isinstance(body, dict) else ""
        raise Unusable("JSON without choices" + (f" that says: {said}" if said else "")) from None
    if reason == "content_filter":
        raise Unusable("one that was withheld (finish_reason content_filter)")
    if not isinstance(text, str | None):
        raise Unusable(f"a {type(text).__name__} instead of a text")
    kept = without_thoughts(text or "")
    if not kept.strip():
        # A model that thinks can use up all tokens for it, also where a server sets its thoughts apart.
        more = ": raise max_tokens" if reason == "length" else ""
        found = "nothing but thoughts" if text and text.strip() else "no text in it"
        raise Unusable(f"{found} (finish_reason {reason}){more}")
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    told = [body.get(name) for name in ("model", "system_fingerprint")]
    return Answer(
        kept,
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        finish_reason=reason if isinstance(reason, str) else None,
        revision="/".join(one for one in told if isinstance(one, str) and one) or None,
    )


def said_in(body: object) -> str:
    """What a server says of an error: in OpenAI's form, in FastAPI's, or in any; empty where it says nothing.

    Args:
        body: of the response: JSON, or the text where it is none.
    """
    try:
        while isinstance(body, dict):
            found = next((body[name] for name in ("message", "detail", "error") if body.get(name)), None)
            if found is None:
                break
            body = found
        return body.strip() if isinstance(body, str) else json.dumps(body, ensure_ascii=False) if body else ""
    except RecursionError:
        return ""


def _count(value: Any) -> int | None:
    # What has no room in a table is no count of tokens.
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63
    return value if is_count else None
