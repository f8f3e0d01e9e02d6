"""Language models that generate prefixes, by name: what a job calls them, and the family that answers to it.

Opening one imports neither torch nor a client; that is left to the first answer.
"""

from __future__ import annotations

from fpve.config import GenerateConfig
from fpve.generators.fake import FakeGenerator
from fpve.generators.local import LocalGenerator
from fpve.generators.openai import OpenAIGenerator
from fpve.generators.protocol import Answer, Generator
from fpve.generators.provenance import answer_row, asked_of, generation_id, kept_of

__all__ = [
    "Answer",
    "FakeGenerator",
    "Generator",
    "LocalGenerator",
    "OpenAIGenerator",
    "answer_row",
    "asked_of",
    "generation_id",
    "kept_of",
    "open_generator",
]


def open_generator(config: GenerateConfig) -> Generator:
    """Open the language model that a configuration names, such as `openai:gpt-5-mini` or `hf:PATH`.

    Whether it can be used is left to its `check`.
    """
    return LocalGenerator(config) if config.is_local else OpenAIGenerator(config)
