"""All that can go wrong between a server and an answer: what is asked again, and what is said in the end."""

from __future__ import annotations

import re
import socket

import pytest
from generators.generation_server import HANG, NOTHING, FakeServer, Reply, as_json, chat, failure, half_of
from generators.refusals import KEY, Open, failed

GARBAGE = Reply(content=b"\x00\xff{{{ no JSON")
PAGE = Reply(content=b"<html><title>Log in</title></html>", kind="text/html; charset=utf-8")
NO_CHOICES = as_json({"id": "chat-1", "object": "chat.completion"})
WITHHELD = chat("", finish_reason="content_filter")


PASSING = {
    "limits": (failure(429), 0.5),
    "limits and says for how long": (failure(429, retry_after="3"), 3.0),
    "fails": (failure(500), 0.5),
    "is overloaded": (failure(503, retry_after="20"), 20.0),
    "page with an error": (Reply(502, b"<html>Bad Gateway</html>", "text/html"), 0.5),
    "garbage": (GARBAGE, 0.5),
    "garbage that is long": (Reply(content=b"[" * 100_000), 0.5),
    "page": (PAGE, 0.5),
    "no choices": (NO_CHOICES, 0.5),
    "empty choices": (as_json({"choices": []}), 0.5),
    "null": (as_json(None), 0.5),
    "list": (as_json([1, 2]), 0.5),
    "error with 200": (as_json({"error": {"message": "upstream"}}), 0.5),
    "empty": (chat(""), 0.5),
    "blank": (chat(" \n"), 0.5),
    "no content": (chat(None), 0.5),
    "content that is no text": (chat([{"type": "text", "text": "x"}]), 0.5),
    "withheld": (WITHHELD, 0.5),
    "half": (half_of(chat("a cat " * 1000)), 0.5),
    "half a failure": (half_of(failure(500, "x" * 100)), 0.5),
    "nothing": (NOTHING, 0.5),
    "no body": (Reply(), 0.5),
    "wrongly compressed": (Reply(content=b"no gzip", headers={"Content-Encoding": "gzip"}), 0.5),
}


@pytest.mark.parametrize(("reply", "wait"), PASSING.values(), ids=list(PASSING))
def test_what_may_pass_is_asked_again(
    server: FakeServer, ask: Open, waits: list[float], reply: Reply, wait: float
) -> None:
    """What fails for a passing reason, or is no answer, is asked again after a wait, as long as the server says."""
    server.replies(reply, chat("a cat"))
    assert ask().generate("Describe it.").text == "a cat"
    assert [request.body for request in server.requests] == [server.requests[0].body] * 2
    assert waits == [wait]


def test_no_answer_in_time_is_asked_again(server: FakeServer, ask: Open, waits: list[float]) -> None:
    """A server that is silent until the timeout is asked again."""
    server.replies(HANG)
    assert ask(timeout=0.3).generate("Describe it.").text == "An answer to: Describe it."
    # On a busy machine the second answer may come late as well.
    assert waits[0] == 0.5


@pytest.mark.parametrize("reply", [failure(500), GARBAGE], ids=["by the client", "by fpve"])
def test_waits_are_doubled_up_to_eight_seconds(server: FakeServer, ask: Open, waits: list[float], reply: Reply) -> None:
    """Each wait is twice as long as the one before, 8 seconds at most."""
    server.usually(reply)
    failed(lambda: ask(retries=6).generate("Describe it."))
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]
    assert len(server.requests) == 7


def test_retries_are_counted_over_all_reasons(server: FakeServer, ask: Open) -> None:
    """What the client repeats and what fpve repeats come out of the same number."""
    server.usually(lambda request: failure(503) if request.number % 2 else GARBAGE)
    text, _ = failed(lambda: ask(retries=4).generate("Describe it."))
    assert text.endswith(", also after 4 retries")
    assert len(server.requests) == 5


def test_a_wait_that_is_too_long_is_not_waited(server: FakeServer, ask: Open, waits: list[float]) -> None:
    """A server that asks to come back in an hour is not asked again, which is not called a retry."""
    server.usually(failure(429, "come back later", retry_after="3600"))
    assert failed(lambda: ask().generate("Describe it.")) == (
        "it limits requests (429: come back later); ask again later, or lower concurrency",
        True,
    )
    assert len(server.requests) == 1
    assert not waits


CAPITULATION = {
    "limits": (
        failure(429, "slow\ndown"),
        "it limits requests (429: slow down), also after 2 retries; ask again later, or lower concurrency",
        True,
    ),
    "fails": (failure(500, "oops"), "it fails (500: oops), also after 2 retries", False),
    "page": (
        Reply(503, b"<h1>\n Down</h1>", "text/html"),
        "it fails (503: <h1> Down</h1>), also after 2 retries",
        False,
    ),
    "garbage": (
        GARBAGE,
        "expected an answer in a chat completion, found 13 bytes that are no JSON, also after 2 retries",
        False,
    ),
    "html": (
        PAGE,
        "expected an answer in a chat completion, found text/html instead of application/json, also after 2 retries",
        False,
    ),
    "no choices": (
        NO_CHOICES,
        "expected an answer in a chat completion, found JSON without choices, also after 2 retries",
        False,
    ),
    "error with 200": (
        as_json({"error": {"message": f"upstream refuses\n{KEY}", "code": 502}}),
        "expected an answer in a chat completion, found JSON without choices that says: upstream refuses ***, also "
        "after 2 retries",
        False,
    ),
    "empty": (
        chat(""),
        "expected an answer in a chat completion, found no text in it (finish_reason stop), also after 2 retries",
        False,
    ),
    "thought apart": (
        chat("", finish_reason="length"),
        "expected an answer in a chat completion, found no text in it (finish_reason length): raise max_tokens, also "
        "after 2 retries",
        False,
    ),
    "list": (
        chat(["x"]),
        "expected an answer in a chat completion, found a list instead of a text, also after 2 retries",
        False,
    ),
    "withheld": (
        WITHHELD,
        "expected an answer in a chat completion, found one that was withheld (finish_reason content_filter), also "
        "after 2 retries",
        False,
    ),
    "half": (
        half_of(Reply(content=b"x" * 100)),
        "can't be reached, or breaks off (peer closed connection without sending complete message body (received 50 "
        "bytes, expected 100)), also after 2 retries",
        False,
    ),
    "nothing": (
        NOTHING,
        "can't be reached, or breaks off (Server disconnected without sending a response.), also after 2 retries",
        False,
    ),
}


@pytest.mark.parametrize(("reply", "text", "is_general"), CAPITULATION.values(), ids=list(CAPITULATION))
def test_what_does_not_pass_is_an_error_in_one_line(
    server: FakeServer, ask: Open, reply: Reply, text: str, is_general: bool
) -> None:
    """After the last retry it is said what was found; the server answers other questions, so another prompt may do."""
    server.usually(reply)
    assert failed(lambda: ask(retries=2).generate("Describe it.")) == (text, is_general)
    assert len(server.requests) == 3


@pytest.mark.parametrize("is_down", [True, None], ids=["says so", "says nothing"])
@pytest.mark.parametrize("reply", [failure(500), NOTHING, half_of(chat("x"))], ids=["fails", "nothing", "half"])
def test_a_server_that_is_down_is_down_for_every_prompt(
    server: FakeServer, ask: Open, reply: Reply, is_down: bool | None
) -> None:
    """Where a server that fails at a prompt does not answer another question either, no other prompt need be tried."""
    server.usually(reply)
    server.is_down = is_down
    _, is_general = failed(lambda: ask(retries=1).generate("Describe it."))
    assert is_general
    assert server.probes == 1


@pytest.mark.parametrize("listed", [GARBAGE, PAGE, NO_CHOICES, as_json([]), as_json("x"), as_json(None), failure(401)])
def test_a_server_without_a_list_of_models_is_up(server: FakeServer, ask: Open, listed: Reply) -> None:
    """Whatever a server answers when it is asked for its models, it is there, so that another prompt may do."""
    server.usually(failure(500, "oops"))
    server.models = listed
    assert failed(lambda: ask(retries=0).generate("Describe it.")) == ("it fails (500: oops)", False)
    assert server.probes == 1


@pytest.mark.parametrize("is_down", [False, None], ids=["up", "down"])
def test_a_server_that_never_answers(server: FakeServer, ask: Open, is_down: bool | None) -> None:
    """After the timeout it is said how long it was; whether that is so for every prompt depends on the server."""
    server.usually(HANG)
    server.is_down = is_down
    assert failed(lambda: ask(timeout=0.1, retries=1).generate("Describe it.")) == (
        "no answer within 0.1 s, also after 1 retry; raise timeout, or see whether it is up",
        is_down is None,
    )


def test_a_server_that_is_not_there(ask: Open, waits: list[float]) -> None:
    """An address where nobody listens is an error for every prompt, after as many tries as for everything else."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        # Bound, but not listening: nobody else can take the port.
        text, is_general = failed(lambda: ask(base_url=address, retries=2).generate("Describe it."))
    assert re.fullmatch(
        r"can't be reached, or breaks off \(\[Errno \d+\] Connection refused\), also after 2 retries", text
    )
    assert is_general
    assert waits == [0.5, 1.0]


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (
            failure(401, f"Incorrect API key: {KEY}."),
            "it refuses the key (401: Incorrect API key: ***.); see OPENAI_API_KEY",
        ),
        (failure(403, "no access"), "it refuses the key (403: no access); see OPENAI_API_KEY"),
        (as_json({"detail": "Not Found"}, 404), "no such model or address (404: Not Found)"),
        (as_json({"error": "model 'tiny' not found"}, 404), "no such model or address (404: model 'tiny' not found)"),
        (Reply(404, b"<h1>nowhere</h1>", "text/html"), "no such model or address (404: <h1>nowhere</h1>)"),
        (Reply(405, b"", "text/html"), "no such model or address (405: Error code: 405)"),
        (failure(400, "no tiny", code="model_not_found"), "no such model or address (400: no tiny)"),
        (failure(402, "credits are used up"), "it refuses the request (402: credits are used up)"),
        (failure(400, "only 1", param="temperature"), "it refuses the request (400: only 1)"),
    ],
)
def test_what_is_refused_for_every_prompt(
    server: FakeServer, ask: Open, waits: list[float], reply: Reply, text: str
) -> None:
    """A wrong key, model, address or parameter is not asked again, and no other prompt need be tried."""
    server.usually(reply)
    assert failed(lambda: ask(temperature=0.5).generate("Describe it.")) == (text, True)
    assert len(server.requests) == 1
    assert not waits


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (failure(400, "too long", code="context_length_exceeded"), "it refuses the request (400: too long)"),
        (failure(400, "unsafe", param="messages"), "it refuses the request (400: unsafe)"),
        (failure(413, "too large"), "it refuses the request (413: too large)"),
        (as_json({"detail": [{"msg": "x" * 500}]}, 422), 'it refuses the request (422: [{"msg": "xxx'),
    ],
)
def test_what_is_refused_for_one_prompt(server: FakeServer, ask: Open, reply: Reply, text: str) -> None:
    """A prompt that a server does not take is not asked again; another one may do. What it says is cut where long."""
    server.replies(reply)
    generator = ask()
    found, is_general = failed(lambda: generator.generate("Describe it."))
    assert found.startswith(text)
    assert len(found) < 250
    assert not is_general
    assert generator.generate("Another.").text == "An answer to: Another."
    assert len(server.requests) == 2


@pytest.mark.parametrize("said", ["<think>It is", "<think>It is.</think>\n"])
def test_nothing_but_thoughts_is_no_answer(server: FakeServer, ask: Open, said: str) -> None:
    """A model that thinks until max_tokens is reached has not answered, and it is said what to raise."""
    server.usually(chat(said, finish_reason="length"))
    text, is_general = failed(lambda: ask(retries=1).generate("Describe it."))
    assert text == (
        "expected an answer in a chat completion, found nothing but thoughts (finish_reason length): raise max_tokens, "
        "also after 1 retry"
    )
    assert not is_general
