"""A real server that speaks OpenAI's chat completions: `transformers serve`, with a tiny model."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from generators.generation_server import RealServer
from samples import make_job

import fpve
from fpve.config import GenerateConfig, Job
from fpve.errors import GenerationError
from fpve.generators import Answer, LocalGenerator, OpenAIGenerator

PROMPTS = [
    "a cat",
    "Describe a stamp of 1923 in one line.",
    "x",
    "Zürich 東京 🐈",
    "صورة",
    'He said "no".\n\tWhy?',
    "{{ 7 * 7 }}",
]


def opened(served: RealServer, **options: Any) -> OpenAIGenerator:
    """A generator that asks the server, with options besides the usual ones."""
    return OpenAIGenerator(GenerateConfig(served.model, **{"base_url": served.url, "max_tokens": 24, **options}))


def local(served: RealServer, **options: Any) -> LocalGenerator:
    """A generator that runs the model of the server here."""
    folder = served.model.partition(":")[2]
    return LocalGenerator(GenerateConfig(f"hf:{folder}", **{"device": "cpu", "max_tokens": 24, **options}))


def agree(there: Answer, here: Answer) -> bool:
    """Whether two answers say the same of all that both of them know."""
    return (there.text, there.prompt_tokens, there.completion_tokens, there.finish_reason) == (
        here.text,
        here.prompt_tokens,
        here.completion_tokens,
        here.finish_reason,
    )


def test_the_server_s_answers_are_those_of_the_model_here(served: RealServer) -> None:
    """Asked at once from four threads, the server says of each prompt what the model says in this process: greedily."""
    here = [local(served, max_tokens=40).generate(prompt) for prompt in PROMPTS]
    generator = opened(served, max_tokens=40)
    with ThreadPoolExecutor(4) as threads:
        there = list(threads.map(generator.generate, [*PROMPTS, *PROMPTS]))
    generator.close()
    assert [answer.text for answer in there] == [answer.text for answer in here] * 2
    assert all(agree(one, other) for one, other in zip(there, here * 2, strict=True))
    assert {answer.finish_reason for answer in there} == {"stop", "length"}
    assert len({answer.text for answer in there}) == len(PROMPTS)


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"system": "Be brief."}, {"max_tokens": 3}])
def test_the_server_takes_what_is_configured(served: RealServer, options: dict[str, Any]) -> None:
    """A temperature of 0, a system message and another length shape an answer there as here."""
    generator = opened(served, **options)
    assert agree(generator.generate("a cat"), local(served, **options).generate("a cat"))
    generator.close()


def test_an_unknown_model_is_an_error_in_one_line(served: RealServer) -> None:
    """A server that has another model says so, and is not asked again."""
    generator = OpenAIGenerator(GenerateConfig("openai:gpt-5-mini", base_url=served.url))
    said = r"^language model 'openai:gpt-5-mini' at http://\S+/v1: it refuses the request \(400: .*gpt-5-mini.*\)$"
    with pytest.raises(GenerationError, match=said):
        generator.generate("a cat")
    generator.close()


def test_an_address_without_its_path_is_an_error_in_one_line(served: RealServer) -> None:
    """An address that lacks /v1 is said to be none, for every prompt."""
    generator = opened(served, base_url=served.url.removesuffix("/v1"))
    with pytest.raises(GenerationError, match=r"no such model or address \(404: Not Found\)$") as caught:
        generator.generate("a cat")
    assert caught.value.is_general
    generator.close()


def test_a_run_has_it_write_prefixes_and_needs_it_no_more(
    served: RealServer, tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job over twelve pictures asks it three prompts; the next run asks none, though its address is gone."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    def job(url: str) -> Job:
        generate = {"model": served.model, "base_url": url, "max_tokens": 6, "concurrency": 2}
        return make_job(tmp_path / "store", pictures, prefix={"text": "a {kind}", "generate": generate})

    report = fpve.run(job(served.url))
    assert (report.language_model_requests, report.generation_failed, report.without_prefix) == (3, 0, 0)
    again = fpve.run(job("http://127.0.0.1:9/v1"))
    assert (again.language_model_requests, again.unchanged, again.encoded) == (0, 12, 0)
    rows = fpve.open(tmp_path / "store").prefixes(where="origin = 'generated'").to_pylist()
    here = local(served, max_tokens=6)
    assert {row["prompt"]: row["text"] for row in rows} == {
        f"a {kind}": here.generate(f"a {kind}").text.strip() for kind in ("cat", "dog", "bird")
    }
    assert {row["model"] for row in rows} == {served.model}
