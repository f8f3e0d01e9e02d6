"""Answers of language models that wait in a bucket: each was paid for, whichever machine asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from buckets.machines import few_pictures, job_on, machine
from generators.generation_server import fake_server
from s3 import S3

import fpve
from fpve.config import as_rules
from fpve.generators import FakeGenerator, answer_row
from fpve.store.answers import AnswerLog

GENERATOR = FakeGenerator()
ROWS = [answer_row(GENERATOR, prompt, None, GENERATOR.generate(prompt)) for prompt in ("one", "two", "three")]


def _prompts(log: AnswerLog) -> list[str]:
    return sorted(log.read()["prompt"].to_pylist())


def _put(s3: S3) -> list[str]:
    names = s3.keys()
    return [one for one in names if "answers" in one]


def test_machines_that_ask_at_the_same_time_keep_all_answers(tmp_path: Path, s3: S3) -> None:
    """What one puts replaces nothing of the other's; who publishes removes what it has read, and no more."""
    source = few_pictures(tmp_path / "pets")
    here, there = (job_on(tmp_path / name, s3.url("store"), source).store for name in ("here", "there"))
    mine, theirs = AnswerLog(here), AnswerLog(there)
    mine.append(ROWS[0])
    theirs.append(ROWS[1])
    for log in (mine, theirs):
        log.keep()
    assert _prompts(mine) == _prompts(theirs) == _prompts(AnswerLog(there)) == ["one", "two"]
    # A log that was put is written to no more.
    theirs.append(ROWS[2])
    theirs.keep()
    mine.discard()
    assert _prompts(AnswerLog(here)) == _prompts(AnswerLog(there)) == ["three"]
    assert len(_put(s3)) == 1
    last = AnswerLog(here)
    last.read()
    last.discard()
    assert _put(s3) == []


def test_answers_that_one_machine_froze_are_published_by_another(
    tmp_path: Path, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `freeze` asked is in the bucket, and not asked again."""
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    source = few_pictures(tmp_path / "pets")
    with fake_server() as server:
        rule = {"text": "Say {kind}", "generate": {"model": "openai:tiny", "base_url": server.url, "retries": 0}}
        here, there = (
            job_on(tmp_path / name, s3.url("store"), source, prefix=as_rules(rule)) for name in ("here", "there")
        )
        assert fpve.freeze(here).requests == 2
        with machine(tmp_path / "there"):
            report = fpve.run(there)
        assert (report.language_model_requests, report.without_answer, len(server.requests)) == (0, 0, 2)
    assert _put(s3) == []
