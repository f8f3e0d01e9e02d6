"""Answers of language models that a store has: what a job reads instead of asking again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fpve.config import GenerateConfig, PrefixRule
from fpve.generators import Generator, asked_of, generation_id, kept_of, open_generator
from fpve.prefixes import without_blanks
from fpve.store.answers import AnswerLog
from fpve.store.schema import conform
from fpve.store.snapshot import Snapshot
from fpve.store.tables import GENERATED, SCHEMAS

_COLUMNS = ["generation_id", "answer", "token_ends"]
_SCHEMA = pa.schema([SCHEMAS[GENERATED].field(name) for name in _COLUMNS])
# So many names are Python objects at once, that memory does not grow with the number of images.
_AT_ONCE = 65_536


class Frozen:
    """Answers by what names them. Safe to be read and added to from many threads.

    Those that are there at first stay in Arrow: a million of them are read in a second or two.
    """

    def __init__(self, answers: Iterable[pa.Table] = ()) -> None:
        """Take up answers, from rows of the table `generated`; of several of one name the first counts."""
        self._lock = Lock()
        # Null where a column was not read.
        parts = [conform(table, _SCHEMA) for table in answers]
        self._answers = pa.concat_tables([_SCHEMA.empty_table(), *parts]).combine_chunks()
        # What was added since.
        self._new: dict[str, dict[str, Any]] = {}
        self._generators: dict[GenerateConfig, tuple[Generator, str]] = {}

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

    @cached_property
    def _names(self) -> frozenset[str]:
        """The names of those that were there at first: asked for only where something has no answer."""
        return frozenset(self._answers["generation_id"].to_pylist())

    def __contains__(self, name: str) -> bool:
        return name in self._new or name in self._names

    def add(self, row: Mapping[str, Any]) -> None:
        """Add an answer; the first one of a name stays."""
        with self._lock:
            self._new.setdefault(row["generation_id"], {name: row.get(name) for name in _COLUMNS})

    def generator(self, config: GenerateConfig) -> Generator:
        """The language model of a rule, opened once; it is not loaded or asked by that."""
        return self._opened(config)[0]

    def name(self, rule: PrefixRule, prompt: str, content_hash: str | None) -> str:
        """What names the answer to a prompt, and where the picture goes along, to its content."""
        return generation_id(self._asked(rule), prompt, content_hash)

    def find(self, rule: PrefixRule, prompt: pa.Array, content_hash: pa.Array | None) -> tuple[pa.Array, pa.Array]:
        """Names and kept texts (m,) of the answers to prompts (m,); null where there is none.

        Args:
            rule: whose prompts they are.
            prompt: string, without nulls.
            content_hash: (m,) of the pictures that go along, null where it is not known; None where none does.
        """
        if content_hash is None:
            encoded = prompt.dictionary_encode()
            names, texts = self._find(rule, self._named(rule, encoded.dictionary, None))
            return names.take(encoded.indices), texts.take(encoded.indices)
        return self._find(rule, self._named(rule, prompt, content_hash))

    def _named(self, rule: PrefixRule, prompt: pa.Array, content_hash: pa.Array | None) -> pa.Array:
        """What names the answers (m,); null where the content of the picture that goes along is not known."""
        asked = self._asked(rule)
        parts = [pa.array([], pa.string())]
        for start in range(0, len(prompt), _AT_ONCE):
            prompts = prompt.slice(start, _AT_ONCE).to_pylist()
            if content_hash is None:
                found: list[str | None] = [generation_id(asked, one) for one in prompts]
            else:
                contents = content_hash.slice(start, _AT_ONCE).to_pylist()
                pairs = zip(prompts, contents, strict=True)
                found = [None if content is None else generation_id(asked, one, content) for one, content in pairs]
            parts.append(pa.array(found, pa.string()))
        return pa.concat_arrays(parts)

    def _find(self, rule: PrefixRule, names: pa.Array) -> tuple[pa.Array, pa.Array]:
        with self._lock:
            new = pa.Table.from_pylist(list(self._new.values()), _SCHEMA)
        answers = pa.concat_tables([self._answers, new]).combine_chunks() if len(new) else self._answers
        at = pc.index_in(names, answers["generation_id"].combine_chunks(), skip_nulls=True)
        found = pc.if_else(at.is_valid(), names, pa.scalar(None, pa.string()))
        return found, _kept(rule, answers, at)

    def _asked(self, rule: PrefixRule) -> str:
        if rule.generate is None:
            raise ValueError("expected a rule with a language model")
        return self._opened(rule.generate)[1]

    def _opened(self, config: GenerateConfig) -> tuple[Generator, str]:
        with self._lock:
            if config not in self._generators:
                generator = open_generator(config)
                self._generators[config] = (generator, asked_of(generator))
            return self._generators[config]


def _kept(rule: PrefixRule, answers: pa.Table, at: pa.Array) -> pa.Array:
    """What a rule keeps of the answers of these row numbers (m,); null where there is none."""
    if rule.keep_chars is None and rule.keep_tokens is None:
        return without_blanks(answers["answer"].combine_chunks().take(at))
    rows = pc.drop_null(at.unique())
    ends = answers["token_ends"].take(rows).to_pylist()
    texts = zip(answers["answer"].take(rows).to_pylist(), ends, strict=True)
    kept = without_blanks(pa.array([kept_of(rule, text, end) for text, end in texts], pa.string()))
    return kept.take(pc.index_in(at, rows))
