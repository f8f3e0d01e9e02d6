"""Errors of generators, looked at closely."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fpve.config import GenerateConfig
from fpve.errors import FpveError, GenerationError
from fpve.generators import LocalGenerator, OpenAIGenerator

# What no error may show.
KEY = "sk-very-secret-0123456789"

Open = Callable[..., OpenAIGenerator]


def refusal(wanted: type[FpveError], call: Callable[[], Any]) -> FpveError:
    """The error that a call raises: of exactly this type, in one line, with the key nowhere in what is printed."""
    with pytest.raises(wanted) as caught:
        call()
    error = caught.value
    assert type(error) is wanted
    assert "\n" not in str(error)
    assert KEY not in "".join(traceback.format_exception(error)) + repr(error)
    # The client's own errors know the request, headers and all.
    assert error.__cause__ is None
    assert error.__context__ is None
    return error


def failed(call: Callable[[], Any]) -> tuple[str, bool]:
    """What a GenerationError says after naming model and server, and whether it is so for every prompt."""
    error = refusal(GenerationError, call)
    assert isinstance(error, GenerationError)
    found = re.fullmatch(r"language model 'openai:tiny' at http://127\.0\.0\.1:\d+/v1: (.*)", str(error))
    assert found, str(error)
    return found[1], error.is_general


def local(folder: Path | str, **options: Any) -> LocalGenerator:
    """A generator of a model's directory."""
    return LocalGenerator(GenerateConfig(f"hf:{folder}", **{"device": "cpu", "max_tokens": 24, **options}))


def refused(call: Callable[[], Any]) -> tuple[str, bool]:
    """The one line of the GenerationError that a call raises, and whether it is so for every prompt."""
    with pytest.raises(GenerationError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value), caught.value.is_general
