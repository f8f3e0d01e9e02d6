"""Servers and tiny models that generate."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from generators.generation_server import FakeServer, RealServer, fake_server, real_server
from generators.refusals import KEY, Open
from tiny_models import write_causal_lm, write_scripted_lm

from fpve.config import GenerateConfig
from fpve.generators import OpenAIGenerator


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Keep torch to one thread: where cores are busy, its threads wait for each other, a call for a second and more."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the user's: no keys, no addresses, no proxies."""
    for name in list(os.environ):
        if name.startswith("OPENAI_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that were waited between requests, by the client or by fpve; no time passes, and none is random."""
    found: list[float] = []
    monkeypatch.setattr(time, "sleep", found.append)
    # By which the client makes its waits shorter, by a quarter at most.
    monkeypatch.setattr("openai._base_client.random", lambda: 0.0)
    return found


@pytest.fixture
def server(waits: list[float]) -> Iterator[FakeServer]:
    """A server that answers as it is told; waiting takes no time."""
    with fake_server() as found:
        yield found


@pytest.fixture
def ask(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens generators that ask the server with a key, and closes them."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    opened: list[OpenAIGenerator] = []

    def open_one(model: str = "openai:tiny", **options: Any) -> OpenAIGenerator:
        opened.append(OpenAIGenerator(GenerateConfig(model, **{"base_url": server.url, **options})))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Directories of causal language models with random weights: `chat` and `other` have a chat template."""
    folder = tmp_path_factory.mktemp("models")
    return {
        "chat": write_causal_lm(folder / "chat", 0),
        "other": write_causal_lm(folder / "other", 1),
        "plain": write_causal_lm(folder / "plain", 0, chat=False),
    }


@pytest.fixture(scope="session")
def served(models: dict[str, Path]) -> Iterator[RealServer]:
    """`transformers serve` with the model `chat`."""
    with real_server(models["chat"]) as found:
        yield found


@pytest.fixture(scope="session")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes models that answer what a test says, each once."""
    folder = tmp_path_factory.mktemp("scripted")
    made: dict[Any, Path] = {}

    def write(*pieces: str, template: str | None = None) -> Path:
        if (pieces, template) not in made:
            path = folder / str(len(made))
            made[pieces, template] = write_scripted_lm(path, *pieces, template=template)
        return made[pieces, template]

    return write
