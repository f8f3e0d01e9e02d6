"""Answers of language models that a store has: what a job reads instead of asking again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import pyarrow as pa

from fpve.config import GenerateConfig, PrefixRule
from fpve.generators import Generator, asked_of, generation_id, kept_of, open_generator
from fpve.prefixes import without_blanks
from fpve.store.answers import AnswerLog
from fpve.store.snapshot import Snapshot
from fpve.store.tables import GENERATED

_COLUMNS = ["generation_id", "answer", "token_ends"]


class _Answer(NamedTuple):
    text: str
    token_ends: list[int] | None


class Frozen:
    """Answers by what names them. Safe to be read and added to from many threads."""

    def __init__(self, answers: Iterable[pa.Table] = ()) -> None:
        """Take up answers, from rows of the table `generated`."""
        self._lock = Lock()
        self._answers: dict[str, _Answer] = {}
        self._generators: dict[GenerateConfig, tuple[Generator, str]] = {}
        for table in answers:
            columns = [name for name in _COLUMNS if name in table.column_names]
            for row in table.select(columns).to_pylist():
                self.add(row)

    @classmethod
    def read(cls, root: Path, snapshot: Snapshot | None, *, tokens: bool = True) -> Frozen:
        """Those of a snapshot, and those that are waiting to be published.

        Args:
            root: the store.
            snapshot: its last snapshot.
            tokens: whether any rule keeps tokens; their ends are most of what there is to be read.
        """
        columns = _COLUMNS if tokens else _COLUMNS[:2]
        published = [] if snapshot is None else [snapshot.table(GENERATED, columns)]
        return cls([*published, AnswerLog(root).read()])

    def __contains__(self, name: str) -> bool:
        return name in self._answers

    def add(self, row: Mapping[str, Any]) -> None:
        """Add an answer; the first one of a name stays."""
        with self._lock:
            self._answers.setdefault(row["generation_id"], _Answer(row["answer"], row.get("token_ends")))

    def generator(self, config: GenerateConfig) -> Generator:
        """The language model of a rule, opened once; it is not loaded or asked by that."""
        return self._opened(config)[0]

    def name(self, rule: PrefixRule, prompt: str, content_hash: str | None) -> str:
        """What names the answer to a prompt, and where the picture goes along, to its content."""
        if rule.generate is None:
            raise ValueError("expected a rule with a language model")
        return generation_id(self._opened(rule.generate)[1], prompt, content_hash)

    def find(self, rule: PrefixRule, prompt: pa.Array, content_hash: pa.Array | None) -> tuple[pa.Array, pa.Array]:
        """Names and kept texts (m,) of the answers to prompts (m,); null where there is none.

        Args:
            rule: whose prompts they are.
            prompt: string, without nulls.
            content_hash: (m,) of the pictures that go along, null where it is not known; None where none does.
        """
        if content_hash is None:
            encoded = prompt.dictionary_encode()
            names, texts = self._find(rule, [(one, None) for one in encoded.dictionary.to_pylist()])
            return names.take(encoded.indices), texts.take(encoded.indices)
        return self._find(rule, zip(prompt.to_pylist(), content_hash.to_pylist(), strict=True), needs_content=True)

    def _find(
        self, rule: PrefixRule, asked: Iterable[tuple[str, str | None]], *, needs_content: bool = False
    ) -> tuple[pa.Array, pa.Array]:
        names: list[str | None] = []
        texts: list[str | None] = []
        kept: dict[str, str] = {}
        for prompt, content_hash in asked:
            name = None if needs_content and content_hash is None else self.name(rule, prompt, content_hash)
            answer = None if name is None else self._answers.get(name)
            if name is None or answer is None:
                names.append(None)
                texts.append(None)
                continue
            if name not in kept:
                kept[name] = kept_of(rule, answer.text, answer.token_ends)
            names.append(name)
            texts.append(kept[name])
        return pa.array(names, pa.string()), without_blanks(pa.array(texts, pa.string()))

    def _opened(self, config: GenerateConfig) -> tuple[Generator, str]:
        with self._lock:
            if config not in self._generators:
                generator = open_generator(config)
                self._generators[config] = (generator, asked_of(generator))
            return self._generators[config]
