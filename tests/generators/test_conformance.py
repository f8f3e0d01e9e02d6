"""What every generator must do, whatever its family: one suite for all of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from generators.generation_server import fake_server

from fpve.config import GenerateConfig
from fpve.errors import GenerationError
from fpve.generators import (
    Answer,
    FakeGenerator,
    Generator,
    LocalGenerator,
    OpenAIGenerator,
    answer_row,
    open_generator,
)

PROMPTS = [
    "Describe a cat.",
    "x",
    "一只猫在屋顶上",
    "صورة قطة",
    "a\tb\nc\x00",
    "Describe a stamp of 1923 that shows two planes over the alps.",
]

Open = Callable[[], Generator]


@pytest.fixture(params=["fake", "server", "local", "local-sampling"])
def opened(request: pytest.FixtureRequest, models: dict[str, Path]) -> Iterator[Open]:
    """Opens new instances of one family, all alike, and closes them."""
    with ExitStack() as stack:

        def configured(model: str, **options: Any) -> Generator:
            return open_generator(GenerateConfig(model, **{"max_tokens": 16, "device": "cpu", **options}))

        if request.param == "server":
            url = stack.enter_context(fake_server()).url
        families: dict[str, Open] = {
            "fake": lambda: FakeGenerator(concurrency=4, parameters={"max_tokens": 16}),
            "server": lambda: configured("openai:tiny", base_url=url, system="Be brief."),
            "local": lambda: configured(f"hf:{models['chat']}"),
            "local-sampling": lambda: configured(f"hf:{models['chat']}", temperature=1.0),
        }

        def open_one() -> Generator:
            found = families[request.param]()
            stack.callback(found.close)
            return found

        yield open_one


def test_what_a_generator_says_of_itself(opened: Open) -> None:
    """Name, address and parameters are known without an answer, are JSON, and are those of every other instance."""
    generator, other = opened(), opened()
    generator.check()
    assert generator.name
    assert generator.concurrency >= 1
    assert generator.server is None or re.fullmatch(r"https?://[^@?#]+[^/]", generator.server)
    assert json.loads(json.dumps(generator.parameters)) == generator.parameters
    assert None not in generator.parameters.values()
    assert generator.parameters["max_tokens"] == 16
    before = (generator.name, generator.server, generator.parameters)
    generator.generate(PROMPTS[0])
    assert (generator.name, generator.server, generator.parameters) == before
    assert (other.name, other.server, other.parameters) == before


def test_parameters_are_a_copy(opened: Open) -> None:
    """What a caller does with the parameters changes nothing."""
    generator = opened()
    generator.parameters["max_tokens"] = 1
    assert generator.parameters["max_tokens"] == 16


def test_an_answer_is_complete(opened: Open) -> None:
    """An answer has text, numbers of tokens, a reason for its end and what exactly answered."""
    generator = opened()
    for prompt in PROMPTS:
        answer = generator.generate(prompt)
        assert isinstance(answer, Answer)
        assert answer.text.strip()
        assert answer.prompt_tokens is not None
        assert answer.prompt_tokens > 0
        assert answer.completion_tokens is not None
        assert answer.completion_tokens > 0
        assert answer.finish_reason in ("stop", "length")
        assert answer.revision


def test_the_same_prompt_gets_the_same_answer(opened: Open) -> None:
    """In another order, by another instance and after closing the same is said, to another prompt something else."""
    generator = opened()
    answers = [generator.generate(prompt) for prompt in PROMPTS]
    generator.close()
    assert [generator.generate(prompt) for prompt in PROMPTS] == answers
    assert [opened().generate(prompt) for prompt in reversed(PROMPTS)] == answers[::-1]
    assert answers[0].text != answers[1].text


def test_first_use_from_several_threads(opened: Open) -> None:
    """Four threads that make the first call at the same time get what one thread gets."""
    expected = [opened().generate(prompt) for prompt in PROMPTS[:4]]
    generator = opened()
    barrier = Barrier(4)

    def use(prompt: str) -> Answer:
        barrier.wait()
        return generator.generate(prompt)

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(use, PROMPTS[:4])) == expected


@pytest.mark.parametrize("prompt", ["", " \n\t", "\ud800"])
def test_a_prompt_that_is_none_is_refused(opened: Open, prompt: str) -> None:
    """A blank prompt, or one that UTF-8 does not have, is an error of this prompt alone that names the model."""
    generator = opened()
    with pytest.raises(GenerationError, match="expected a prompt") as caught:
        generator.generate(prompt)
    assert repr(generator.name) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not caught.value.is_general
    assert generator.generate(PROMPTS[0]).text


def test_kept_tokens_are_the_beginning_or_an_error(opened: Open) -> None:
    """More and more tokens are longer and longer beginnings of the text, up to all of it; or it is said what to do."""
    generator = opened()
    answer = generator.generate(PROMPTS[0])
    if answer.token_ids is None:
        with pytest.raises(GenerationError, match="use keep_chars") as caught:
            generator.keep_tokens(answer, 1)
        assert caught.value.is_general
        return
    kept = [generator.keep_tokens(answer, count) for count in range(1, len(answer.token_ids) + 2)]
    assert all(answer.text.startswith(one) for one in kept)
    assert [len(one) for one in kept] == sorted(len(one) for one in kept)
    assert kept[-1] == kept[-2] == answer.text


def test_tokens_of_another_generator_s_answer_are_refused(opened: Open) -> None:
    """An answer whose tokens are not known has none to be kept, for every answer of its kind."""
    with pytest.raises(GenerationError, match="use keep_chars") as caught:
        opened().keep_tokens(Answer("a cat"), 1)
    assert caught.value.is_general


def test_an_answer_can_be_stored(opened: Open) -> None:
    """The row that a store keeps of an answer can be made of any generator's."""
    generator = opened()
    row = answer_row(generator, PROMPTS[0], None, generator.generate(PROMPTS[0]))
    assert row["model"] == generator.name
    assert row["server"] == generator.server
    assert json.loads(row["parameters"]) == generator.parameters


def test_closing_is_always_possible(opened: Open) -> None:
    """A generator that was never used, or is closed already, can be closed."""
    generator = opened()
    generator.close()
    generator.close()
    assert generator.generate(PROMPTS[0]).text


def test_a_name_opens_its_family() -> None:
    """`hf:` is a model that runs here, `openai:` one behind an address; neither is looked for by opening it."""
    assert isinstance(open_generator(GenerateConfig("hf:/nowhere")), LocalGenerator)
    assert isinstance(open_generator(GenerateConfig("openai:gpt-5-mini")), OpenAIGenerator)


def test_the_fake_keeps_what_it_was_asked() -> None:
    """The fake generator answers by a function, whose errors are passed on, and notes prompts and pictures."""

    def answer(prompt: str, image: bytes | None) -> str:
        if prompt == "bad":
            raise GenerationError("no", is_general=True)
        return " " if prompt == "blank" else f"{prompt} {len(image or b'')}"

    generator = FakeGenerator(answer, name="ours")
    assert generator.generate("a cat", b"JPEG").text == "a cat 4"
    with pytest.raises(GenerationError, match=r"^no$") as caught:
        generator.generate("bad")
    assert caught.value.is_general
    with pytest.raises(GenerationError, match="language model 'ours': expected a text, found ' '"):
        generator.generate("blank")
    assert generator.asked == [("a cat", b"JPEG"), ("bad", None), ("blank", None)]
