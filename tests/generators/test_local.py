"""What a causal language model that runs here answers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from generators.refusals import local, refused
from tiny_models import LM_CONTEXT

PROMPTS = ["a cat", "Describe a stamp of 1923 in one line.", "x"]
# The tiny models' end of text, beginning of text and what is no character of theirs.
END, BEGINNING, UNKNOWN = 2, 1, 3


def likeliest(folder: Path, given: str, count: int) -> list[int]:
    """Tokens of a greedy answer, by the model alone: no cache, no settings, the whole text for each token."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    numbers = tokenizer(given, add_special_tokens=False)["input_ids"]
    made: list[int] = []
    while len(made) < count and END not in made:
        with torch.inference_mode():
            made.append(int(model(torch.tensor([numbers + made])).logits[0, -1].argmax()))
    return made


@pytest.mark.parametrize("name", ["chat", "plain"])
def test_the_default_is_the_likeliest_token_each_time(models: dict[str, Path], name: str) -> None:
    """An answer is what the model's own probabilities say, after its chat template, or the prompt alone."""
    generator = local(models[name], max_tokens=40)
    for prompt in PROMPTS:
        given = f"<s>user: {prompt}</s><s>assistant: " if name == "chat" else f"<s>{prompt}"
        made = likeliest(models[name], given, 40)
        ended = made[-1] == END
        answer = generator.generate(prompt)
        assert list(answer.token_ids or ()) == made[: len(made) - ended]
        assert answer.completion_tokens == len(made)
        assert answer.finish_reason == ("stop" if ended else "length")


def test_one_answer_is_read_as_it_stands(models: dict[str, Path]) -> None:
    """The chat model's answer to a prompt ends by itself: its text, tokens, counts, reason and revision."""
    generator = local(models["chat"], max_tokens=40)
    answer = generator.generate("a cat")
    # <s>user: a cat</s><s>assistant: (25 tokens)
    assert answer.prompt_tokens == 25
    assert answer.finish_reason == "stop"
    assert answer.token_ids is not None
    assert answer.completion_tokens == len(answer.token_ids) + 1
    assert answer.text == "".join(chr(28 + number) for number in answer.token_ids if number > UNKNOWN)
    other = local(models["other"]).generate("a cat")
    assert answer.revision != other.revision
    assert answer.text != other.text


@pytest.mark.parametrize("options", [{}, {"temperature": 0.0}, {"top_p": 0.5}, {"seed": 7}])
def test_greedy_answers_are_always_the_same(models: dict[str, Path], options: dict[str, Any]) -> None:
    """Asked again, in another order, by another instance or with another seed a model says the same; no seed counts."""
    generator = local(models["chat"])
    first = [generator.generate(prompt) for prompt in PROMPTS]
    other = local(models["chat"], **options)
    assert [other.generate(prompt) for prompt in reversed(PROMPTS)] == first[::-1]
    assert [generator.generate(prompt) for prompt in PROMPTS] == first
    assert other.parameters == {"max_tokens": 24}


def test_sampling_follows_its_seed_and_nothing_else(models: dict[str, Path]) -> None:
    """With a temperature the same seed says the same whatever was asked before; another seed says something else."""
    import torch

    settings = {"temperature": 1.5, "seed": 5}
    generator = local(models["chat"], **settings)
    texts = [generator.generate(prompt).text for prompt in PROMPTS]
    torch.manual_seed(123)
    state = torch.random.get_rng_state()
    again = local(models["chat"], **settings)
    assert [again.generate(prompt).text for prompt in reversed(PROMPTS)] == texts[::-1]
    # Nobody else's random numbers are changed by it.
    assert torch.equal(torch.random.get_rng_state(), state)
    assert texts[0] != local(models["chat"]).generate(PROMPTS[0]).text
    others = {local(models["chat"], temperature=1.5, seed=seed).generate(PROMPTS[0]).text for seed in range(4)}
    assert len(others) == 4
    assert generator.parameters == {"max_tokens": 24, **settings}


def test_sampling_takes_any_token_or_the_likeliest(models: dict[str, Path]) -> None:
    """A temperature reaches beyond the 50 likeliest tokens; a tiny top_p, or temperature, leaves the likeliest one."""
    greedy = local(models["chat"]).generate("a cat").text
    assert local(models["chat"], temperature=1.0, top_p=1e-6).generate("a cat").text == greedy
    assert local(models["chat"], temperature=1e-3).generate("a cat").text == greedy
    generator = local(models["chat"], temperature=2.0, max_tokens=400)
    letters = set().union(*(generator.generate(f"{number} cats").text for number in range(3)))
    assert len(letters) > 60


@pytest.mark.parametrize(
    "published", [{"repetition_penalty": 5.0}, {"do_sample": True, "top_k": 2}, {"max_length": 30}]
)
def test_a_model_s_own_settings_are_left_out(
    models: dict[str, Path], tmp_path: Path, published: dict[str, Any]
) -> None:
    """What is published with a model for chatting does not shape an answer."""
    copy = shutil.copytree(models["chat"], tmp_path / "copy")
    file = copy / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | published))
    assert local(copy).generate("x").token_ids == local(models["chat"]).generate("x").token_ids


@pytest.mark.parametrize("ends", [[END, 55], [55], 55])
def test_every_token_that_ends_an_answer_ends_it(models: dict[str, Path], tmp_path: Path, ends: Any) -> None:
    """The tokenizer's own end and all that are published with the model end an answer; they are no part of it."""
    whole = local(models["chat"], max_tokens=40).generate("a cat")
    assert whole.token_ids is not None
    at = whole.token_ids.index(55)
    copy = shutil.copytree(models["chat"], tmp_path / "copy")
    file = copy / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"eos_token_id": ends}))
    answer = local(copy, max_tokens=40).generate("a cat")
    assert answer.token_ids == whole.token_ids[:at]
    assert answer.completion_tokens == at + 1
    assert answer.finish_reason == "stop"


def test_max_tokens_is_the_longest_answer(models: dict[str, Path]) -> None:
    """An answer has as many tokens as are allowed, each a beginning of the longer one."""
    texts = []
    for count in (1, 5, 20):
        answer = local(models["chat"], max_tokens=count).generate("x")
        assert answer.completion_tokens == count
        assert answer.finish_reason == "length"
        texts.append(answer.text)
    assert texts[2].startswith(texts[1])
    assert texts[1].startswith(texts[0])


def test_a_system_message_is_part_of_what_is_given(models: dict[str, Path]) -> None:
    """It goes through the chat template, or stands before the prompt where there is none."""
    for name, given in (
        ("chat", "<s>system: Be brief.</s><s>user: x</s><s>assistant: "),
        ("plain", "<s>Be brief.\n\nx"),
    ):
        answer = local(models[name], system="Be brief.").generate("x")
        made = likeliest(models[name], given, 24)
        assert list(answer.token_ids or ()) == [number for number in made if number != END]
    assert local(models["chat"], system="Be brief.").parameters == {"system": "Be brief.", "max_tokens": 24}


@pytest.mark.parametrize("prompt", ["صورة قطة", "一只猫", "a\tb\x00\x1b", "🐈‍⬛"])
def test_any_text_can_be_asked(models: dict[str, Path], prompt: str) -> None:
    """Text that a model has no tokens for, and control characters, are answered as well."""
    answer = local(models["chat"]).generate(prompt)
    assert answer.text.strip()
    assert answer == local(models["chat"]).generate(prompt)


def test_the_context_limits_prompt_and_answer(models: dict[str, Path]) -> None:
    """An answer ends where the model's context does; a prompt that fills it is refused, the next is answered."""
    generator = local(models["plain"], max_tokens=40)
    # One token marks the beginning, and ten are left.
    answer = generator.generate("a" * (LM_CONTEXT - 11))
    assert answer.prompt_tokens == LM_CONTEXT - 10
    assert answer.completion_tokens == 10
    assert answer.finish_reason == "length"
    for characters in (LM_CONTEXT - 1, 100_000):
        text, is_general = refused(lambda: generator.generate("a" * characters))  # noqa: B023  called at once
        assert text == (
            f"language model 'hf:{models['plain']}': expected a prompt of fewer than {LM_CONTEXT} tokens, the model's "
            f"context, found one of {characters + 1}; shorten it"
        )
        assert not is_general
    assert generator.generate("a").text


def test_token_ids_decode_to_the_text(models: dict[str, Path]) -> None:
    """The model's own tokenizer makes the text of the token ids, special tokens left out."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(models["chat"])
    generator = local(models["chat"], max_tokens=100)
    for prompt in PROMPTS:
        answer = generator.generate(prompt)
        assert tokenizer.decode(answer.token_ids, skip_special_tokens=True) == answer.text


def test_kept_tokens_are_the_beginning_of_the_text(scripted: Callable[..., Path]) -> None:
    """Of an answer the first tokens are kept as they are spelled in it, and all of it where there are fewer."""
    generator = local(scripted("A", " cat", ",", " asleep", "."))
    answer = generator.generate("Describe it")
    assert answer.text == "A cat, asleep."
    assert [generator.keep_tokens(answer, count) for count in range(1, 8)] == [
        "A",
        "A cat",
        "A cat,",
        "A cat, asleep",
        "A cat, asleep.",
        "A cat, asleep.",
        "A cat, asleep.",
    ]


def test_kept_tokens_have_no_part_of_a_character(scripted: Callable[..., Path]) -> None:
    """A character of which only some tokens are kept is left out, and the model need not be loaded to know."""
    answer = local(scripted("caf", "é ", "東")).generate("Describe it")
    assert answer.text == "café 東"
    generator = local(scripted("caf", "é ", "東"))
    kept = ["caf", "caf", "café", "café ", "café ", "café ", "café 東"]
    assert [generator.keep_tokens(answer, count) for count in range(1, 8)] == kept
    assert [generator.keep_tokens(answer, count) for count in range(1, 8)] == kept


@pytest.mark.parametrize(
    ("count", "text", "reason"),
    [(1, "caf", "length"), (2, "caf", "length"), (3, "café", "length"), (9, "café", "stop")],
)
def test_an_answer_does_not_end_within_a_character(
    scripted: Callable[..., Path], count: int, text: str, reason: str
) -> None:
    """Where max_tokens ends between the bytes of a character it is left out."""
    answer = local(scripted("caf", "é"), max_tokens=count).generate("Describe it")
    assert (answer.text, answer.finish_reason) == (text, reason)


OPENS = "{{ messages[0].content }}<think>\n"


@pytest.mark.parametrize(
    ("pieces", "template"),
    [
        (("<think>", "hm", "</think>", "\n\n", "A", " cat"), None),
        (("<think>", "hm", "</think>", "\n\nA", " cat"), None),
        (("hm", "</think>", "\n\n", "A", " cat"), OPENS),
    ],
    ids=["tokens", "within a token", "the template begins to think"],
)
def test_thoughts_are_no_part_of_an_answer(
    scripted: Callable[..., Path], pieces: tuple[str, ...], template: str | None
) -> None:
    """What a model thinks first is left out of text and token ids, and is counted."""
    generator = local(scripted(*pieces, template=template))
    answer = generator.generate("Describe it")
    assert answer.text == "A cat"
    assert len(answer.token_ids or ()) == 2
    assert answer.completion_tokens == len(pieces) + 1
    assert [generator.keep_tokens(answer, count) for count in (1, 2, 3)] == ["A", "A cat", "A cat"]


def test_threads_take_turns(models: dict[str, Path]) -> None:
    """Answers in many threads are those in one, and the model is loaded once."""
    expected = [local(models["chat"]).generate(f"cat {number}") for number in range(12)]
    generator = local(models["chat"])
    assert generator.concurrency == 1
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda number: generator.generate(f"cat {number}"), range(12))) == expected


def test_a_closed_generator_loads_again(models: dict[str, Path]) -> None:
    """Closing gives the model back, if it is loaded, and the next prompt loads it."""
    generator = local(models["chat"])
    generator.close()
    first = generator.generate("x")
    generator.close()
    assert generator.generate("x") == first


def test_nothing_is_printed(models: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    """Loading and asking a model say nothing, also where a prompt is longer than the model's context."""
    generator = local(models["plain"])
    generator.generate("x")
    refused(lambda: generator.generate("x" * 2000))
    assert capfd.readouterr() == ("", "")
