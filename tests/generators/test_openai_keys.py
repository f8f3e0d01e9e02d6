"""Keys and addresses: where they come from, and that no key is shown."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from generators.generation_server import FakeServer, Reply, as_json, chat, failure
from generators.refusals import KEY, Open, failed, refusal

from fpve.config import GenerateConfig
from fpve.errors import GenerationError, JobError
from fpve.generators import OpenAIGenerator


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was to be connected to; nothing is."""
    asked: list[Any] = []

    def refuse(*args: Any, **_: Any) -> None:
        asked.append(args)
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return asked


@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_missing_key_is_said_before_a_request(
    monkeypatch: pytest.MonkeyPatch, no_network: list[Any], value: str | None
) -> None:
    """OpenAI's own server is not asked without a key; the error names the variable of the environment."""
    if value is not None:
        monkeypatch.setenv("OUR_KEY", value)
    generator = OpenAIGenerator(GenerateConfig("openai:gpt-5-mini", api_key_env="OUR_KEY"))
    wanted = (
        "model 'openai:gpt-5-mini': the environment variable OUR_KEY, which holds the key for "
        "https://api.openai.com/v1, is not set: set it, or name another one with api_key_env, or another server with "
        "base_url"
    )
    assert str(refusal(JobError, generator.check)) == wanted
    assert str(refusal(JobError, lambda: generator.generate("Describe it."))) == wanted
    assert not no_network


@pytest.mark.parametrize("key", [f"{KEY}\nX-Header: 1", f"{KEY} {KEY}", f"{KEY}\u2014", f"{KEY}\x1b"])
def test_a_key_that_is_none_is_not_shown(
    server: FakeServer, ask: Open, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """A key that can't be sent is refused before a request, in words that don't repeat it."""
    monkeypatch.setenv("OPENAI_API_KEY", key)
    generator = ask()
    wanted = "OPENAI_API_KEY: expected a key of printable ASCII characters without spaces, found others"
    assert str(refusal(JobError, generator.check)) == wanted
    assert str(refusal(JobError, lambda: generator.generate("Describe it."))) == wanted
    assert not server.requests


def test_a_key_is_trimmed_and_named_by_the_job(server: FakeServer, ask: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable that the job names holds the key; a line end after it does not matter."""
    monkeypatch.setenv("OUR_KEY", "sk-ours\n")
    generator = ask(api_key_env="OUR_KEY")
    generator.check()
    generator.generate("Describe it.")
    assert server.requests[0].headers["authorization"] == "Bearer sk-ours"
    server.usually(failure(401, "no"))
    assert failed(lambda: generator.generate("Describe it.")) == ("it refuses the key (401: no); see OUR_KEY", True)


def test_a_server_of_ones_own_needs_no_key(server: FakeServer, ask: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key something is sent in its place, which is no secret: the same word is left in what a server says."""
    monkeypatch.delenv("OPENAI_API_KEY")
    generator = ask()
    generator.check()
    generator.generate("Describe it.")
    assert server.requests[0].headers["authorization"] == "Bearer none"
    server.usually(failure(400, "none of the models"))
    assert failed(lambda: generator.generate("x")) == ("it refuses the request (400: none of the models)", False)


def test_a_key_that_was_changed_is_not_shown(server: FakeServer, ask: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key that was sent is not repeated, also where the environment has another one by now."""
    generator = ask()
    generator.generate("Describe it.")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-new")
    server.usually(failure(400, f"{KEY} sk-new"))
    assert failed(lambda: generator.generate("x")) == ("it refuses the request (400: *** ***)", False)


@pytest.mark.parametrize(
    "reply",
    [
        failure(400, f"key {KEY}"),
        failure(401, "x" * 190 + KEY),
        failure(500, KEY),
        Reply(404, KEY.encode(), "text/plain"),
        as_json({KEY: [KEY]}, 422),
        Reply(content=b"{}", kind=f"text/{KEY}"),
        chat("", finish_reason=KEY),
        Reply(302, headers={"Location": f"nowhere://{KEY}/"}),
    ],
)
def test_a_server_that_repeats_the_key(server: FakeServer, ask: Open, reply: Reply) -> None:
    """Wherever a server puts the key that it was sent, errors have three stars instead."""
    server.usually(reply)
    refusal(GenerationError, lambda: ask(retries=1).generate("Describe it."))


def test_nothing_that_is_stored_has_the_key(server: FakeServer, ask: Open) -> None:
    """Address and parameters, which go into the store, and what Python shows of a generator have no key."""
    generator = ask()
    answer = generator.generate("Describe it.")
    assert KEY not in repr((generator, generator.server, generator.parameters, answer, vars(generator)))
    with pytest.raises(JobError, match="leave out the rest") as caught:
        ask(base_url=f"{server.url}/?key={KEY}")
    assert KEY not in str(caught.value)


def test_the_address_can_come_from_the_environment(
    server: FakeServer, ask: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OPENAI_BASE_URL is asked where a job says nothing, without the slash at its end."""
    monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/")
    generator = ask(base_url=None)
    assert generator.server == server.url
    assert generator.generate("Describe it.").text == "An answer to: Describe it."


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        (
            f"http://localhost/v1?key={KEY}",
            "expected an address without ? and #, such as https://api.openai.com/v1; leave them out",
        ),
        (f"localhost/{KEY}", "expected an address such as https://api.openai.com/v1, found one of another form"),
        (f"ftp://{KEY}.example/v1", "expected an address such as https://api.openai.com/v1, found one of another form"),
        (
            "http://localhost:http/v1",
            "expected an address such as https://api.openai.com/v1, found one of another form",
        ),
        (
            "http://localhost:99999/v1",
            "expected an address such as https://api.openai.com/v1, found one of another form",
        ),
        ("http://[::1/v1", "expected an address such as https://api.openai.com/v1, found one of another form"),
        ("http://a..b/v1", "expected an address such as https://api.openai.com/v1, found one of another form"),
        (f"https://us:{KEY}@host/v1", "holds a user or a password; put the key into OPENAI_API_KEY instead"),
    ],
)
def test_an_address_that_is_none(
    ask: Open, no_network: list[Any], monkeypatch: pytest.MonkeyPatch, address: str, wanted: str
) -> None:
    """An address of another form, or one with a password, is refused before a request and not repeated."""
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    generator = ask(base_url=None)
    assert str(refusal(JobError, generator.check)) == f"OPENAI_BASE_URL: {wanted}"
    assert str(refusal(JobError, lambda: generator.generate("Describe it."))) == f"OPENAI_BASE_URL: {wanted}"
    assert not no_network


def test_an_environment_that_the_client_refuses(ask: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of a form that the client does not know is an error in one line, without the key in its address."""
    monkeypatch.setenv("HTTP_PROXY", f"nowhere://us:{KEY}@proxy")
    generator = ask()
    text = str(refusal(JobError, lambda: generator.generate("Describe it.")))
    assert text.startswith(f"model 'openai:tiny': the client for {generator.server} can't be set up: ")
