"""How images get their prefixes: what a job says of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from fpve.errors import JobError

Missing = Literal["skip", "error"]
# In `texts`, the template of every value that has none of its own.
OTHERWISE = "*"
# Families of language models, and what follows the colon in their names.
OPENAI, LOCAL = "openai", "hf"
_STRICT = ConfigDict(extra="forbid", strict=True)
_SOURCES = ("text", "column", "sidecar", "by")


@dataclass(frozen=True, slots=True)
class GenerateConfig:
    """The language model that answers the texts of a rule, and how it is asked. A bare string is its `model`.

    Attributes:
        model: `openai:MODEL` asks a server that speaks OpenAI's chat completions; `hf:PATH-OR-NAME` runs a causal
            language model of transformers here.
        base_url: of the server, such as `http://localhost:8000/v1`; None takes OPENAI_BASE_URL, else OpenAI's own.
        api_key_env: the environment variable that holds the key; the key itself is never stored.
        system: what the model is told before each prompt.
        with_image: send the picture along, so that the answer belongs to its content.
        image_side: the longer side, in pixels, to which a larger picture is reduced before it is sent.
        temperature: of sampling; None is greedy here, and the server's own setting there.
        top_p: of sampling; None as above.
        max_tokens: length of an answer at most.
        seed: of sampling.
        max_requests: how many prompts of this rule one run may ask; None for as many as it takes.
        concurrency: how many requests at once; None is 8 for a server, 1 for a model that runs here.
        retries: how often a request is made again that failed for a passing reason.
        timeout: seconds to wait for an answer.
        device: of a model that runs here, a torch device.
        folder: what a relative path of a model begins at; in a job file its own folder. A store does not know it: the
            model is called what the job calls it, wherever that lies.
    """

    __pydantic_config__ = _STRICT

    model: str
    base_url: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    system: str | None = None
    with_image: bool = False
    image_side: Annotated[int, Field(ge=32, le=4096)] = 512
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] = 100
    # As far as a table has room for it.
    seed: Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)] = 0
    max_requests: Annotated[int, Field(ge=0)] | None = None
    concurrency: Annotated[int, Field(ge=1, le=256)] | None = None
    retries: Annotated[int, Field(ge=0, le=20)] = 5
    timeout: Annotated[float, Field(gt=0)] = 60.0
    device: str | None = None
    folder: Path | None = field(default=None, compare=False)

    @property
    def source(self) -> str:
        """Of a model that runs here, the path of its directory if there is one, else its name on a hub."""
        name = self.model.partition(":")[2].strip()
        path = (self.folder or Path()) / Path(name).expanduser()
        return str(path) if path.is_dir() else name

    @property
    def is_local(self) -> bool:
        """Whether the model runs in this process."""
        return self.model.startswith(f"{LOCAL}:")

    def __post_init__(self) -> None:
        """Check what concerns several keys.

        Raises:
            JobError: naming the key and what to do.
        """
        family, _, name = self.model.partition(":")
        if family not in (OPENAI, LOCAL) or not name:
            raise JobError(f"model: expected 'openai:MODEL' or 'hf:PATH-OR-NAME', found {self.model!r}")
        if self.is_local and self.with_image:
            raise JobError(
                f"with_image: {self.model!r} takes no pictures here; serve a model that does (vLLM, llama.cpp, "
                "`transformers serve`), and name it as openai:MODEL with its base_url"
            )
        if self.is_local and self.base_url is not None:
            raise JobError(f"base_url: {self.model!r} runs here, without a server; leave it out, or name openai:MODEL")
        if not re.fullmatch(r"[A-Za-z_]\w*", self.api_key_env, re.ASCII):
            # Without what was found: it may be the key.
            raise JobError(
                "api_key_env: expected the name of an environment variable that holds the key, such as OPENAI_API_KEY, "
                "found something else; a key itself has no place in a job file"
            )
        if self.base_url is not None:
            _check_address(self.base_url)


def _check_address(address: str) -> None:
    if any(one in address for one in "@?#"):
        # Without the address, which may have the key in it.
        raise JobError(
            "base_url: holds a user, a password, or something behind a '?' or '#'; put the key into the environment "
            "(api_key_env), and leave out the rest"
        )
    if not is_address(address):
        raise JobError(
            f"base_url: expected an address such as http://localhost:8000/v1, found a malformed one: {address!r}"
        )


def is_address(text: str) -> bool:
    """Whether a text is the address of a server."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
        # As a socket does with it.
        return parts.scheme in ("http", "https") and bool(host.encode("idna")) and port != 0
    except ValueError:
        # The port is no number, brackets don't match, or there is nothing between two dots.
        return False


def _named_model(value: Any) -> Any:
    return {"model": value} if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class PrefixRule:
    """One way to give images a prefix. In a job file a bare string stands for `{ text = … }`.

    Exactly one of `text`, `column`, `sidecar` and `by` says where the text comes from.

    Attributes:
        text: a text, or a template with `{column}` fields to be filled in from each image's metadata.
        column: the metadata column that holds it.
        sidecar: the extension of a file beside each picture that holds it, such as `.txt`.
        by: the column by whose value one of `texts` is chosen.
        texts: templates by that value; `*` stands for every value that has none of its own.
        defaults: texts for fields that are empty, by their names.
        missing: what becomes of an image with an empty field that has no default: it is left without a prefix by this
            rule (`skip`), or the run is an error (`error`).
        keep_chars: how many characters are kept of the text, up to the end of a word.
        keep_tokens: how many tokens are kept of what a local language model generates.
        generate: the language model for which the text is a prompt; its answer is the prefix.
    """

    __pydantic_config__ = _STRICT

    text: str | None = None
    column: str | None = None
    sidecar: str | None = None
    by: str | None = None
    texts: dict[str, str] = field(default_factory=dict)
    defaults: dict[str, str] = field(default_factory=dict)
    missing: Missing = "skip"
    keep_chars: Annotated[int, Field(ge=1)] | None = None
    keep_tokens: Annotated[int, Field(ge=1)] | None = None
    generate: Annotated[GenerateConfig | None, BeforeValidator(_named_model)] = None

    def __post_init__(self) -> None:
        """Check what concerns several keys.

        Raises:
            JobError: naming the keys and what to do.
        """
        given = [name for name in _SOURCES if getattr(self, name) is not None]
        if len(given) != 1:
            raise JobError(f"prefix: expected one of {', '.join(_SOURCES)}, found {' and '.join(given) or 'none'}")
        if (self.by is None) != (not self.texts):
            raise JobError(
                "prefix: `by` names a column, and `texts` the templates by its values: give both, or neither"
            )
        for name, value in ((name, getattr(self, name)) for name in given):
            if not value.strip():
                raise JobError(f"prefix: expected a text in {name}, found {value!r}; leave prefix out for none")
        if self.sidecar is not None and not re.fullmatch(r"\.[^/\0]+", self.sidecar):
            raise JobError(f"prefix: sidecar: expected an extension such as '.txt', found {self.sidecar!r}")
        if self.keep_tokens is not None and (self.generate is None or not self.generate.is_local):
            raise JobError(
                "prefix: keep_tokens counts the tokens of a language model that runs here (generate = 'hf:…'); "
                "use keep_chars"
            )

    @property
    def settings(self) -> dict[str, Any]:
        """What a job file would say of it: the keys that differ from their defaults."""
        return _settings(self)

    def __str__(self) -> str:
        """The rule as messages and provenance name it: its template, column, sidecar or templates."""
        if self.text is not None:
            return self.text
        if self.column is not None:
            return f"{{{self.column}}}"
        return f"sidecar {self.sidecar}" if self.sidecar is not None else f"texts by {{{self.by}}}"


def as_rules(value: Any) -> tuple[PrefixRule, ...]:
    """Rules of what a caller gives for them: None, a template, a rule, settings as a job file has them, or several.

    Raises:
        JobError: a key is unknown, or has a wrong value.
    """
    return tuple(one if isinstance(one, PrefixRule) else _parsed(one) for one in written_rules(value))


def rule_settings(rules: Iterable[PrefixRule]) -> tuple[dict[str, Any], ...]:
    """Rules as a manifest has them."""
    return tuple(rule.settings for rule in rules)


def written_rules(value: Any) -> tuple[Any, ...]:
    """What is written for a prefix, as rules or their settings."""
    several = value if isinstance(value, list | tuple) else [] if value is None else [value]
    return tuple({"text": one} if isinstance(one, str) else one for one in several)


def _parsed(settings: Any) -> PrefixRule:
    try:
        return _reader().validate_json(json.dumps(settings))
    except ValidationError as error:
        found = error.errors()[0]
        raise JobError(f"prefix: {'.'.join(map(str, found['loc']))}: {found['msg']}") from None


@cache
def _reader() -> TypeAdapter[PrefixRule]:
    """What checks the settings of a rule; making it takes longer than reading a thousand."""
    return TypeAdapter(PrefixRule)


def _settings(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in fields(value):
        if not one.compare:
            continue
        own = getattr(value, one.name)
        default = one.default_factory() if callable(one.default_factory) else one.default
        if own != default:
            found[one.name] = _settings(own) if isinstance(own, GenerateConfig) else own
    return found
