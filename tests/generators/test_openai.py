"""What an OpenAI-compatible server is asked, and what becomes of its answers."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from generators.generation_server import FakeServer, Reply, Request, as_json, chat, failure
from generators.refusals import KEY, Open, failed, refusal

from fpve.errors import GenerationError
from fpve.generators import Answer


def test_an_answer_comes_with_what_the_server_says_of_it(server: FakeServer, ask: Open) -> None:
    """Text, tokens, the reason for the end and what answered are taken over; token ids are not known."""
    server.replies(chat("A cat.", finish_reason="length", prompt_tokens=12, completion_tokens=4))
    assert ask().generate("Describe a cat.") == Answer(
        "A cat.", None, prompt_tokens=12, completion_tokens=4, finish_reason="length", revision="tiny-2025/fp_1"
    )


def test_what_is_asked(server: FakeServer, ask: Open) -> None:
    """A request has the prompt, the longest length and the seed, and of sampling nothing that is not configured."""
    ask().generate("Describe a cat.")
    [request] = server.requests
    messages = [{"role": "user", "content": "Describe a cat."}]
    assert request.body == {"model": "tiny", "messages": messages, "max_tokens": 100, "seed": 0}
    assert request.headers["authorization"] == f"Bearer {KEY}"


def test_everything_that_is_configured_is_asked_for(server: FakeServer, ask: Open) -> None:
    """The system message comes first; temperature, top_p, max_tokens and seed go along, and are the parameters."""
    settings = {"temperature": 0.0, "top_p": 0.5, "max_tokens": 9, "seed": 3}
    generator = ask("openai:org/model:4b", system="Be brief.", **settings)
    generator.generate("A cat?")
    [request] = server.requests
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "A cat?"}]
    assert request.body == {"model": "org/model:4b", "messages": messages, **settings}
    assert generator.parameters == {"system": "Be brief.", **settings}


def test_a_picture_goes_along_as_it_is(server: FakeServer, ask: Open) -> None:
    """The bytes of a picture are sent after the prompt as a data: address of a JPEG."""
    picture = bytes(range(256))
    generator = ask(with_image=True, image_side=256)
    generator.generate("What is it?", picture)
    [request] = server.requests
    assert request.prompt == "What is it?"
    [address] = request.pictures
    assert base64.b64decode(address.removeprefix("data:image/jpeg;base64,"), validate=True) == picture
    assert generator.parameters == {"image_side": 256, "max_tokens": 100, "seed": 0}


@pytest.mark.parametrize(
    "text",
    [
        "صورة قطة على سطح",
        "תמונה של חתול",
        "一只猫在屋顶上",
        "🐈‍⬛ Zürich e\u0301",
        "a\tb\nc\x00\x1b[31m\u202e\u2028",
        "x" * 100_000,
    ],
    ids=["arabic", "hebrew", "chinese", "emoji", "controls", "long"],
)
def test_any_text_goes_to_and_fro_as_it_is(server: FakeServer, ask: Open, text: str) -> None:
    """Right-to-left and Chinese text, emoji, control characters and 100,000 characters are neither cut nor changed."""
    assert ask().generate(text).text == f"An answer to: {text}"
    assert server.prompts == [text]


@pytest.mark.parametrize("prompt", ["", "  \n\t", "half a \ud83d cat"])
def test_a_prompt_that_is_none_costs_no_request(server: FakeServer, ask: Open, prompt: str) -> None:
    """A blank prompt, or one with half a character, is refused for itself, before the server is asked."""
    error = refusal(GenerationError, lambda: ask().generate(prompt))
    assert str(error).startswith("language model 'openai:tiny': expected a prompt ")
    assert str(error).endswith("; check the columns that the template names")
    assert not getattr(error, "is_general", None)
    assert not server.requests


NEWER = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."


def refuses(name: str, reply: Reply) -> Callable[[Request], Reply]:
    """A server that refuses a parameter."""
    return lambda request: reply if name in request.body else chat("a cat")


@pytest.mark.parametrize(
    ("name", "reply", "sent"),
    [
        ("max_tokens", failure(400, NEWER, param="max_tokens", code="unsupported_parameter"), "max_completion_tokens"),
        ("max_tokens", failure(400, NEWER), "max_completion_tokens"),
        ("seed", failure(400, "Unrecognized request argument supplied: seed"), None),
        ("seed", as_json({"detail": "Unexpected fields in the request: {'seed'}"}, 422), None),
    ],
)
def test_a_server_that_refuses_a_parameter(
    server: FakeServer, ask: Open, waits: list[float], name: str, reply: Reply, sent: str | None
) -> None:
    """max_tokens is sent by its newer name, a seed is left out, at once and from then on; `parameters` stay."""
    server.usually(refuses(name, reply))
    generator = ask()
    before = generator.parameters
    assert [generator.generate(prompt).text for prompt in ("One.", "Two.")] == ["a cat"] * 2
    assert [name in request.body for request in server.requests] == [True, False, False]
    if sent is not None:
        assert [request.body.get(sent) for request in server.requests] == [None, 100, 100]
    assert generator.parameters == before
    assert not waits


def test_a_server_that_refuses_both(server: FakeServer, ask: Open) -> None:
    """A server that takes neither max_tokens nor a seed is asked with neither."""
    refusals = {"max_tokens": failure(400, NEWER), "seed": failure(400, "seed: extra inputs are not permitted")}
    server.usually(
        lambda request: next((reply for name, reply in refusals.items() if name in request.body), chat("a cat"))
    )
    assert ask().generate("Describe it.").text == "a cat"
    assert set(server.requests[-1].body) == {"model", "messages", "max_completion_tokens"}
    assert len(server.requests) == 3


def test_many_threads_meet_a_server_that_refuses_a_parameter(server: FakeServer, ask: Open) -> None:
    """Requests that are under way while another one is refused are asked again as well."""
    server.usually(refuses("max_tokens", failure(400, NEWER, param="max_tokens")))
    generator = ask()
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(lambda number: generator.generate(f"Prompt {number}.").text, range(40))) == {"a cat"}
    assert server.requests[-1].body["max_completion_tokens"] == 100


def test_a_refusal_that_only_names_a_parameter_changes_nothing(server: FakeServer, ask: Open) -> None:
    """What a server says of one prompt, quoting the request, is not taken for a refusal of its parameters for good."""
    quoting = failure(400, "prompt too long in {'messages': …, 'max_tokens': 100, 'seed': 0}")
    server.usually(lambda request: quoting if request.prompt == "too long" else chat("a cat"))
    generator = ask()
    failed(lambda: generator.generate("too long"))
    generator.generate("short")
    assert {"max_tokens", "seed"} < set(server.requests[-1].body)


def test_a_length_that_is_too_large_is_said_to_be(server: FakeServer, ask: Open) -> None:
    """Where max_tokens is refused for its value it is by its newer name, too, and for every prompt."""
    server.usually(
        lambda request: (
            failure(400, "at most 10", param="max_tokens")
            if "max_tokens" in request.body
            else failure(400, "at most 10", param="max_completion_tokens")
        )
    )
    assert failed(lambda: ask().generate("Describe it.")) == ("it refuses the request (400: at most 10)", True)
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("<think>It is\na cat.</think>\n\nA cat.", "A cat."),
        ("\n<think></think>A cat.", "A cat."),
        ("It is a cat.\n</think>\n\nA cat.", "A cat."),
        ("A cat that says <think>.", "A cat that says <think>."),
        ("A <think>small</think> cat.", "A <think>small</think> cat."),
        (" A cat.\n", " A cat.\n"),
    ],
)
def test_thoughts_are_no_part_of_an_answer(server: FakeServer, ask: Open, said: str, text: str) -> None:
    """What a model thinks before its answer is left out; everything else stays as it is, white space too."""
    server.replies(chat(said))
    assert ask().generate("Describe it.").text == text


@pytest.mark.parametrize(
    "usage", [None, [], {}, {"prompt_tokens": "7", "completion_tokens": -1}, {"prompt_tokens": True}]
)
def test_what_a_server_does_not_count_is_not_known(server: FakeServer, ask: Open, usage: Any) -> None:
    """Numbers of tokens that are missing, or none, are None, as are a reason and a name that are missing."""
    message = {"choices": [{"message": {"content": "a cat"}, "finish_reason": 3}], "usage": usage}
    server.replies(
        Reply(content=b"\xef\xbb\xbf" + json.dumps(message).encode(), kind="Application/JSON; charset=utf-8")
    )
    assert ask().generate("Describe it.") == Answer("a cat")


def test_requests_at_once_get_their_own_answers(server: FakeServer, ask: Open) -> None:
    """Eight threads that share a generator from its first call get what each asked for."""
    generator = ask()
    prompts = [f"Prompt {number}." for number in range(64)]
    with ThreadPoolExecutor(generator.concurrency) as threads:
        texts = [answer.text for answer in threads.map(generator.generate, prompts)]
    assert texts == [f"An answer to: {prompt}" for prompt in prompts]
    assert sorted(server.prompts) == sorted(prompts)


def test_concurrency_is_eight_unless_it_is_configured(ask: Open) -> None:
    """Eight requests at once, or as many as the job says."""
    assert ask().concurrency == 8
    assert ask(concurrency=3).concurrency == 3


def test_a_closed_generator_opens_again(server: FakeServer, ask: Open) -> None:
    """Closing needs no open connection, and the next prompt opens one."""
    generator = ask()
    generator.close()
    texts = [generator.generate("One.").text]
    generator.close()
    generator.close()
    texts.append(generator.generate("Two.").text)
    assert texts == ["An answer to: One.", "An answer to: Two."]


def test_tokens_of_an_answer_are_not_known(ask: Open) -> None:
    """A part by tokens can't be kept of what a server answers, and the error names what can."""
    error = refusal(GenerationError, lambda: ask().keep_tokens(Answer("a cat"), 1))
    assert str(error).endswith("the tokens of a server's answers are not known; use keep_chars")
    assert getattr(error, "is_general", None)


def test_opening_imports_no_client() -> None:
    """Neither opening nor checking a generator imports the client or torch: a run with nothing to do needs neither."""
    code = (
        "import sys; from fpve.config import GenerateConfig; from fpve.generators import open_generator\n"
        "open_generator(GenerateConfig('openai:x', base_url='http://localhost/v1')).check()\n"
        "open_generator(GenerateConfig('hf:someone/x')).parameters\n"
        "print([name for name in ('openai', 'torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
