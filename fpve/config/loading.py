"""Reading job files: TOML, checked, with an error that names the nearest key that is known."""

from __future__ import annotations

import json
import re
import tomllib
import types
import typing
from dataclasses import fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from fpve.config.encoders import EncoderConfig, Encoders
from fpve.config.job import Job
from fpve.config.prefixes import PrefixRule
from fpve.errors import JobError, nearest
from fpve.urls import any_path

# Families that take a model's directory for its name.
_DIRECTORIES = ("st", "open_clip", "lm")


def load_job(path: str | Path) -> Job:
    """Read and check a job file; its relative paths are taken from its own folder.

    Raises:
        JobError: the file is missing, is not TOML, or a key in it is unknown or has a wrong value.
    """
    path = Path(path)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise JobError(f"{path}: no such job file; `fpve init SOURCE` writes one") from None
    except IsADirectoryError:
        raise JobError(
            f"{path}: expected a job file, found a folder; `fpve init SOURCE` writes a job for a folder of pictures"
        ) from None
    except OSError as error:
        raise JobError(f"{path}: can't be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise JobError(f"{path}: not a TOML file: {error}") from error
    job = parse_job(data, where=str(path))
    return resolve_paths(replace(job, name=job.name or path.stem), path.resolve().parent)


def parse_job(data: dict[str, Any], *, where: str = "job") -> Job:
    """Check the content of a job file, and make a Job of it; `where` begins the text of an error.

    Raises:
        JobError: a key is unknown, missing or has a wrong value.
    """
    try:
        # As JSON, because pydantic's strict mode then takes arrays as tuples and strings as paths.
        return _reader().validate_json(json.dumps(data, default=str))
    except ValidationError as error:
        raise JobError(f"{where}: {_first_error(error)}") from None


@cache
def _reader() -> TypeAdapter[Job]:
    """What checks the settings of a job; making it takes longer than reading one."""
    return TypeAdapter(Job)


def resolve_paths(job: Job, base: Path) -> Job:
    """Take a job's relative paths from `base`; URLs of object stores stay what they are.

    Raises:
        BucketError: one of them names no bucket, or has credentials in it.
    """

    def resolve(encoder: EncoderConfig) -> EncoderConfig:
        family, _, argument = encoder.name.partition(":")
        # A model's directory, unless it is the name of one on a hub.
        is_directory = family in _DIRECTORIES and argument and (base / argument).is_dir()
        return replace(
            encoder,
            name=f"{family}:{base / argument}" if is_directory else encoder.name,
            weights=encoder.weights and base / encoder.weights.expanduser(),
            path=base / (encoder.path or Path()).expanduser() if family == "python" else encoder.path,
        )

    return replace(
        job,
        store=any_path(job.store, base),
        encoders=Encoders(image=resolve(job.encoders.image), text=resolve(job.encoders.text)),
        collections=tuple(
            replace(
                collection,
                source=any_path(collection.source, base),
                metadata=collection.metadata and any_path(collection.metadata, base),
                prefix=tuple(_in_folder(rule, base) for rule in collection.prefix),
            )
            for collection in job.collections
        ),
    )


def _in_folder(rule: PrefixRule, base: Path) -> PrefixRule:
    """A rule whose model's relative path begins at a folder."""
    if rule.generate is None or not rule.generate.is_local:
        return rule
    return replace(rule, generate=replace(rule.generate, folder=base))


def _first_error(error: ValidationError) -> str:
    # One mistake at a time: the unknown key before what it leaves missing.
    found = sorted(error.errors(), key=lambda one: one["type"] not in _UNKNOWN_KEY)[0]
    *parents, key = found["loc"] or ("",)
    name = _key_name(found)
    if found["type"] in _UNKNOWN_KEY:
        known = _keys(Job, parents)
        return f"unknown key {name!r}{nearest(str(key), known) or '; known here: ' + ', '.join(known)}"
    if found["type"] in ("missing", "missing_argument"):
        return f"missing key {name!r}"
    if found["type"] == "too_short":
        return "expected at least one [[collections]]"
    # A value that is none of several types has an error of each.
    messages = [one["msg"].removeprefix("Value error, ") for one in error.errors() if _key_name(one) == name]
    message = ", or: ".join(dict.fromkeys(messages))
    given = found["input"]
    if found["type"] == "tuple_type":
        # A table in single brackets, or one value where a list of them belongs.
        several = f"[[{name}]], in double brackets" if isinstance(given, dict) else f"a list: [{json.dumps(given)}]"
        message = f"expected {several}"
    shown = "" if isinstance(given, dict | list) or not name else f", found {given!r}"
    return f"{name}: {message}{shown}" if name else message


def _key_name(error: ErrorDetails) -> str:
    """The key that an error is of, as a job file has it: without what pydantic says of types."""
    return ".".join(str(part) for part in error["loc"] if not _OF_TYPES.fullmatch(str(part)))


_OF_TYPES = re.compile(r"function-(before|after)|float|int|literal\[.*\]")
_UNKNOWN_KEY = ("unexpected_keyword_argument", "extra_forbidden")


def _keys(kind: Any, path: list[Any]) -> list[str]:
    """Names of the keys that are known at a place in the job file."""
    for part in path:
        if isinstance(part, str) and is_dataclass(kind):
            kind = typing.get_type_hints(kind).get(part, kind)
        kind = next((one for one in _alternatives(kind) if is_dataclass(one)), kind)
    return [one.name for one in fields(kind)] if is_dataclass(kind) else []


def _alternatives(kind: Any) -> list[Any]:
    """The types that a field's annotation is made of."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType, Annotated, tuple):
        return [inner for one in typing.get_args(kind) for inner in _alternatives(one)]
    return [kind]
