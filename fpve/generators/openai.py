"""Servers that speak OpenAI's chat completions: `openai:MODEL`."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from fpve.encoders.once import Once
from fpve.errors import GenerationError, JobError
from fpve.generators.protocol import Answer, refuse_blank, without_thoughts

if TYPE_CHECKING:
    from openai import OpenAI, OpenAIError

    from fpve.config import GenerateConfig

# What the client asks where nobody says otherwise.
DEFAULT_SERVER = "https://api.openai.com/v1"
# Enough to keep a hosted model busy, and below the rate limits of the smallest accounts.
CONCURRENCY = 8
# Where a server needs no key the client sends one nevertheless.
_NO_KEY = "none"
# As the client itself waits after errors of the connection: the first time, doubled each time, and at most.
FIRST_WAIT, LONGEST_WAIT = 0.5, 8.0
# To tell a server that is down from one that fails at a prompt.
_PROBE_SECONDS = 5.0
# Of what a server says that an error repeats.
_SHOWN = 200
# What means the same in other servers, or can be left out where it is refused: it only makes answers more alike.
_INSTEAD = {"max_tokens": "max_completion_tokens", "seed": None}
# A server that says so is down, or is restarting; one that says 501 is up.
_DOWN = (500, 502, 503, 504)


class _Unusable(Exception):
    """What a server sent is no answer; another try may give one."""


class OpenAIGenerator:
    """A language model behind an address: OpenAI's own, or one of vLLM, llama.cpp, Ollama, `transformers serve`.

    The client repeats what failed for a passing reason, waits as long as a server asks it to, and gives up after
    `retries`; answers that are none are asked for again within the same number. Thread-safe.

    Args:
        config: how the model is asked.
    """

    def __init__(self, config: GenerateConfig) -> None:
        self.name = config.model
        self._config = config
        self._model = config.model.partition(":")[2].strip()
        self._refused: set[str] = set()
        self._client = Once(self._open)

    @property
    def server(self) -> str:
        """Address that is asked, without credentials and query."""
        parts = urlsplit(self._address)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))

    @property
    def parameters(self) -> dict[str, Any]:
        """What shapes an answer besides model, prompt and picture."""
        config = self._config
        found = {
            "system": config.system,
            "image_side": config.image_side if config.with_image else None,
            "temperature": config.temperature,
            "top_p": config.top_p,
            "max_tokens": config.max_tokens,
            "seed": config.seed,
        }
        return {name: value for name, value in found.items() if value is not None}

    @property
    def concurrency(self) -> int:
        """How many requests at once."""
        return self._config.concurrency or CONCURRENCY

    def check(self) -> None:
        """Find out whether there are a client and a key. Asks no server.

        Raises:
            JobError: the client is not installed, the key is not set, or the address is none.
        """
        if importlib.util.find_spec("openai") is None:
            raise JobError(f"model {self.name!r} needs the package openai: `pip install 'fpve[openai]'`")
        parts = urlsplit(self._address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise JobError(f"OPENAI_BASE_URL: expected an address such as {DEFAULT_SERVER}, found one of another form")
        if parts.username or parts.password:
            raise JobError(
                f"OPENAI_BASE_URL: holds a user or a password; put the key into {self._config.api_key_env} instead"
            )
        key = self._key
        if not key:
            raise JobError(
                f"model {self.name!r}: the environment variable {self._config.api_key_env}, which holds the key for "
                f"{self.server}, is not set: set it, or name another one with api_key_env, or another server with "
                "base_url"
            )
        if not (key.isascii() and key.isprintable()) or " " in key:
            # It would be sent in a header; the client's own error has it in its text.
            raise JobError(
                f"{self._config.api_key_env}: expected a key of printable ASCII characters without spaces, found others"
            )

    def generate(self, prompt: str, image: bytes | None = None) -> Answer:
        """Answer a prompt, of a picture (JPEG) where one is given.

        Raises:
            GenerationError: there is no usable answer.
            JobError: as of `check`.
        """
        refuse_blank(self.name, prompt)
        client = self._client()
        from openai import OpenAIError

        left, tries = self._config.retries, 0
        while True:
            body = self._body(prompt, image)
            tries += 1
            try:
                raw = client.with_options(max_retries=left).chat.completions.with_raw_response.create(**body)
                left -= raw.retries_taken
                return _answer(raw.http_response.headers.get("content-type", ""), raw.http_response.content)
            except OpenAIError as error:
                if self._adapts(error, body):
                    continue
                failure = self._judged(error)
            except _Unusable as error:
                if left > 0:
                    left -= 1
                    time.sleep(min(FIRST_WAIT * 2 ** (tries - 1), LONGEST_WAIT))
                    continue
                failure = self._error(f"expected an answer in a chat completion, found {error}")
            # Outside of the clause, so that the client's own error, which knows the request, is not passed on with it.
            break
        raise failure

    def keep_tokens(self, answer: Answer, count: int) -> str:  # noqa: ARG002
        """A server does not say which characters are a token.

        Raises:
            GenerationError: always.
        """
        raise GenerationError(
            f"language model {self.name!r}: the tokens of a server's answers are not known; use keep_chars",
            is_general=True,
        )

    def close(self) -> None:
        """Close the connections; the next call of `generate` opens others."""
        self._client().close() if self._client.is_made else None
        self._client.forget()

    @cached_property
    def _address(self) -> str:
        return self._config.base_url or os.environ.get("OPENAI_BASE_URL", "").strip() or DEFAULT_SERVER

    @property
    def _key(self) -> str:
        """The key, or something instead where none is needed; empty where one is and is not set."""
        found = os.environ.get(self._config.api_key_env, "").strip()
        host = urlsplit(self._address).hostname or ""
        is_openai = host == "api.openai.com" or host.endswith(".api.openai.com")
        return found or ("" if is_openai else _NO_KEY)

    def _open(self) -> OpenAI:
        self.check()
        from openai import OpenAI

        return OpenAI(api_key=self._key, base_url=self._address, timeout=self._config.timeout)

    def _body(self, prompt: str, image: bytes | None) -> dict[str, Any]:
        """What is asked, by the names under which this server takes it."""
        content: Any = prompt
        if image is not None:
            data = base64.b64encode(image).decode("ascii")
            picture = {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{data}"}}
            content = [{"type": "text", "text": prompt}, picture]
        messages = [{"role": "system", "content": self._config.system}] if self._config.system else []
        asked = {"model": self._model, "messages": [*messages, {"role": "user", "content": content}]}
        for name in ("max_tokens", "temperature", "top_p", "seed"):
            sent = _INSTEAD[name] if name in self._refused else name
            if sent is not None and name in self.parameters:
                asked[sent] = self.parameters[name]
        return asked

    def _adapts(self, error: OpenAIError, body: dict[str, Any]) -> bool:
        """Whether the server refuses a parameter that can be sent in another way, which is done from now on."""
        from openai import BadRequestError, UnprocessableEntityError

        if not isinstance(error, BadRequestError | UnprocessableEntityError):
            return False
        refused = {name for name in _INSTEAD if name in body and (error.param == name or name in error.message)}
        self._refused |= refused
        return bool(refused)

    def _judged(self, error: OpenAIError) -> GenerationError:
        """What the client raised, in one line without the key, and whether it is so for every prompt."""
        import openai

        if isinstance(error, openai.APIStatusError):
            status, said = error.status_code, self._clean(_said(error))
            if status in (401, 403):
                return self._error(
                    f"it refuses the key ({status}: {said}); see {self._config.api_key_env}", is_general=True
                )
            if status == 404 or error.code == "model_not_found":
                return self._error(f"no such model or address ({status}: {said})", is_general=True)
            if status == 429:
                return self._error(
                    f"it limits requests ({status}: {said}), also after {self._config.retries} retries; ask again "
                    "later, or lower concurrency",
                    is_general=True,
                )
            if status < 500:
                # A parameter is the same in every request; a prompt that is too long is not.
                return self._error(f"it refuses the request ({status}: {said})", is_general=error.param in self.parameters)
            return self._error(
                f"it fails ({status}: {said}), also after {self._config.retries} retries",
                is_general=not self._is_up(),
            )
        if isinstance(error, openai.APITimeoutError):
            return self._error(
                f"no answer within {self._config.timeout:g} s, also after {self._config.retries} retries; raise "
                "timeout, or see whether it is up",
                is_general=not self._is_up(),
            )
        cause = error.__cause__ or error
        return self._error(
            f"can't be reached, or breaks off ({self._clean(str(cause) or type(cause).__name__)})",
            is_general=not self._is_up(),
        )

    def _is_up(self) -> bool:
        """Whether the server answers anything at all."""
        import openai

        try:
            self._client().with_options(max_retries=0, timeout=min(self._config.timeout, _PROBE_SECONDS)).models.list()
        except openai.APIStatusError as error:
            return error.status_code not in _DOWN
        except openai.APIConnectionError:
            return False
        except (openai.OpenAIError, ValueError):
            # It answered something that is no list of models.
            return True
        return True

    def _clean(self, text: str) -> str:
        """One line of what a server or the client said, without the key."""
        line = " ".join(text.split()).replace(self._key, "***")
        return line if len(line) <= _SHOWN else line[:_SHOWN] + "…"

    def _error(self, what: str, *, is_general: bool = False) -> GenerationError:
        return GenerationError(f"language model {self.name!r} at {self.server}: {what}", is_general=is_general)


def _said(error: Any) -> str:
    """What a server says of an error: in OpenAI's form, in FastAPI's, or in any."""
    body = error.body if isinstance(error.body, dict) else {}
    for name in ("message", "detail", "error"):
        if isinstance(body.get(name), str) and body[name].strip():
            return str(body[name])
    return str(error.message)


def _answer(content_type: str, content: bytes) -> Answer:
    """The answer in a response.

    Raises:
        _Unusable: there is none; says what was found.
    """
    if "json" not in content_type.lower():
        raise _Unusable(f"{content_type.partition(';')[0] or 'no content type'} instead of application/json")
    try:
        body = json.loads(content)
        choice = body["choices"][0]
        message, reason = choice["message"], choice.get("finish_reason")
        text = message.get("content")
    except (ValueError, RecursionError):
        raise _Unusable(f"{len(content)} bytes that are no JSON") from None
    except (KeyError, IndexError, TypeError, AttributeError):
        raise _Unusable("JSON without choices") from None
    if reason == "content_filter":
        raise _Unusable("one that was withheld (finish_reason content_filter)")
    if not isinstance(text, str) or not text.strip():
        what = "text" if isinstance(text, str | None) else f"a {type(text).__name__} instead of a text"
        raise _Unusable(f"no text in it (finish_reason {reason})" if what == "text" else what)
    kept = without_thoughts(text)
    if not kept.strip():
        raise _Unusable(f"nothing but thoughts (finish_reason {reason}): raise max_tokens")
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


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
