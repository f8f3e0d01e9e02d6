"""Servers that speak OpenAI's chat completions: `openai:MODEL`."""

from __future__ import annotations

import base64
import importlib.util
import os
import re
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from fpve.config import is_address
from fpve.encoders.once import Once
from fpve.encoders.weights import first_line
from fpve.errors import GenerationError, JobError
from fpve.generators.completion import Unusable, answer_of, said_in
from fpve.generators.protocol import Answer, refuse_unusable

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
# An address that is not that of a server of this kind, whatever is asked of it.
_NOWHERE = (404, 405, 410)
# Of a request, what does not come from a prompt.
_SAME_FOR_ALL = ("model", "max_tokens", "max_completion_tokens", "temperature", "top_p", "seed")
# What the client notes in a request of how many it made before.
_RETRY_COUNT = "x-stainless-retry-count"


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
        self._refused: frozenset[str] = frozenset()
        self._opened: OpenAI | None = None
        self._client = Once(self._open)

    @property
    def server(self) -> str:
        """Address that is asked, without credentials and query."""
        parts = urlsplit(self._address)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))

    @property
    def parameters(self) -> dict[str, Any]:
        """What shapes an answer besides model, prompt and picture, also where a server refuses it."""
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
        where = "base_url" if self._config.base_url else "OPENAI_BASE_URL"
        if not is_address(self._address):
            # Without the address: a key can be in what is none.
            raise JobError(f"{where}: expected an address such as {DEFAULT_SERVER}, found one of another form")
        parts = urlsplit(self._address)
        if parts.username or parts.password:
            raise JobError(f"{where}: holds a user or a password; put the key into {self._config.api_key_env} instead")
        if parts.query or parts.fragment:
            # The client would put the path behind them.
            raise JobError(f"{where}: expected an address without ? and #, such as {DEFAULT_SERVER}; leave them out")
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
        refuse_unusable(self.name, prompt)
        client = self._client()
        from openai import OpenAIError

        left, tries, refused = self._config.retries, 0, self._refused
        while True:
            body = self._body(prompt, image, refused)
            tries += 1
            try:
                raw = client.with_options(max_retries=left).chat.completions.with_raw_response.create(**body)
                left -= raw.retries_taken
                answer = answer_of(raw.http_response.headers.get("content-type", ""), raw.http_response.content)
            except OpenAIError as error:
                left -= _retried(error)
                more = _refused_by(error, body)
                if more:
                    refused |= more
                    continue
                failure = self._judged(error, self._config.retries - left)
            except Unusable as error:
                if left > 0:
                    left -= 1
                    time.sleep(min(FIRST_WAIT * 2 ** (tries - 1), LONGEST_WAIT))
                    continue
                found = self._clean(str(error))
                failure = self._error(
                    f"expected an answer in a chat completion, found {found}{_also_after(self._config.retries)}"
                )
            else:
                # Only now: an error can name a parameter that is not what it is about.
                self._refused |= refused
                return answer
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
        opened, self._opened = self._opened, None
        self._client.forget()
        if opened is not None:
            opened.close()

    @cached_property
    def _address(self) -> str:
        return self._config.base_url or os.environ.get("OPENAI_BASE_URL", "").strip() or DEFAULT_SERVER

    @property
    def _own_key(self) -> str:
        """The key; empty where none is set."""
        return os.environ.get(self._config.api_key_env, "").strip()

    @property
    def _key(self) -> str:
        """The key, or something instead where none is needed; empty where one is and is not set."""
        host = urlsplit(self._address).hostname or ""
        is_openai = host == "api.openai.com" or host.endswith(".api.openai.com")
        return self._own_key or ("" if is_openai else _NO_KEY)

    def _open(self) -> OpenAI:
        self.check()
        from openai import OpenAI

        try:
            self._opened = OpenAI(api_key=self._key, base_url=self._address, timeout=self._config.timeout)
        except Exception as error:  # noqa: BLE001  proxies and headers from the environment: anything can be raised
            why = self._clean(first_line(error))
        else:
            return self._opened
        # Outside of the clause: what the client says can have the key in it.
        raise JobError(f"model {self.name!r}: the client for {self.server} can't be set up: {why}")

    def _body(self, prompt: str, image: bytes | None, refused: frozenset[str]) -> dict[str, Any]:
        """What is asked, by the names under which this server takes it."""
        content: Any = prompt
        if image is not None:
            data = base64.b64encode(image).decode("ascii")
            picture = {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{data}"}}
            content = [{"type": "text", "text": prompt}, picture]
        messages = [{"role": "system", "content": self._config.system}] if self._config.system else []
        asked = {"model": self._model, "messages": [*messages, {"role": "user", "content": content}]}
        for name in ("max_tokens", "temperature", "top_p", "seed"):
            sent = _INSTEAD[name] if name in refused else name
            if sent is not None and name in self.parameters:
                asked[sent] = self.parameters[name]
        return asked

    def _judged(self, error: OpenAIError, retries: int) -> GenerationError:
        """What the client raised, in one line without the key, and whether it is so for every prompt."""
        import openai

        after = _also_after(retries)
        if isinstance(error, openai.APIStatusError):
            status, said = error.status_code, self._clean(said_in(error.body) or str(error))
            if status in (401, 403):
                return self._error(
                    f"it refuses the key ({status}: {said}); see {self._config.api_key_env}", is_general=True
                )
            if status in _NOWHERE or error.code == "model_not_found":
                return self._error(f"no such model or address ({status}: {said})", is_general=True)
            if status == 429:
                return self._error(
                    f"it limits requests ({status}: {said}){after}; ask again later, or lower concurrency",
                    is_general=True,
                )
            if status < 500:
                # A parameter is the same in every request, as is who pays; a prompt that is too long is not.
                return self._error(
                    f"it refuses the request ({status}: {said}){after}",
                    is_general=status == 402 or error.param in _SAME_FOR_ALL,
                )
            return self._error(f"it fails ({status}: {said}){after}", is_general=not self._is_up())
        if isinstance(error, openai.APITimeoutError):
            return self._error(
                f"no answer within {self._config.timeout:g} s{after}; raise timeout, or see whether it is up",
                is_general=not self._is_up(),
            )
        cause = error.__cause__ or error
        return self._error(
            f"can't be reached, or breaks off ({self._clean(first_line(cause))}){after}",
            is_general=not self._is_up(),
        )

    def _is_up(self) -> bool:
        """Whether the server answers anything at all."""
        import openai

        try:
            self._client().with_options(max_retries=0, timeout=_PROBE_SECONDS).models.with_raw_response.list()
        except openai.APIStatusError as error:
            return error.status_code not in _DOWN
        except openai.APIConnectionError:
            return False
        # Whatever it is that it answered.
        return True

    def _clean(self, text: str) -> str:
        """One line of what a server or the client said, without the key."""
        line = " ".join(text.split())
        # A client that is open has the key that was set then.
        sent = self._opened.api_key if self._opened is not None else ""
        for key in {self._own_key, sent} - {"", _NO_KEY}:
            line = line.replace(key, "***")
        return line if len(line) <= _SHOWN else line[:_SHOWN] + "…"

    def _error(self, what: str, *, is_general: bool = False) -> GenerationError:
        return GenerationError(f"language model {self.name!r} at {self.server}: {what}", is_general=is_general)


def _refused_by(error: OpenAIError, body: dict[str, Any]) -> frozenset[str]:
    """Parameters that a server refuses and that can be sent in another way, or not at all."""
    from openai import BadRequestError, UnprocessableEntityError

    if not isinstance(error, BadRequestError | UnprocessableEntityError):
        return frozenset()
    known = [name for name in _INSTEAD if name in body]
    if error.param:
        return frozenset(name for name in known if name == error.param)
    said = said_in(error.body)
    return frozenset(name for name in known if re.search(rf"\b{name}\b", said))


def _retried(error: Any) -> int:
    """How many requests the client made before the one that failed."""
    count = error.request.headers.get(_RETRY_COUNT, "0") if hasattr(error, "request") else "0"
    return int(count) if count.isdigit() else 0


def _also_after(retries: int) -> str:
    return f", also after {retries} {'retry' if retries == 1 else 'retries'}" if retries else ""
