"""Prefixes that language models write: asked for once, frozen, taken up by whoever comes after a killed run."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from generators.generation_server import (
    HANG,
    NOTHING,
    FakeServer,
    Reply,
    Request,
    as_json,
    chat,
    failure,
    fake_server,
    half_of,
)
from PIL import Image
from samples import draw, make_job
from tiny_models import write_causal_lm

import fpve
from fpve.config import Job, as_rules
from fpve.errors import FpveError, GenerationError, JobError
from fpve.generators import FakeGenerator, answer_row
from fpve.pipeline import generate as generate_module
from fpve.store.answers import AnswerLog

PROMPT = "Describe a {kind} in a few words."
KEY = "sk-very-secret-key"
GARBAGE = Reply(content=b"<html>busy</html>", kind="text/html")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    """A server that speaks chat completions, and a key for it in the environment."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with fake_server() as found:
        yield found


def generating(server: FakeServer | None, **options: Any) -> dict[str, Any]:
    """How a model behind the server is asked, without a retry."""
    base = {} if server is None else {"base_url": server.url}
    return {"model": "openai:tiny", **base, "retries": 0, **options}


def job_for(tmp_path: Path, pictures: Path, text: str = PROMPT, *, rule: Any = None, **options: Any) -> Job:
    """A job whose prefixes are the answers to a prompt."""
    return make_job(tmp_path / "store", pictures, prefix={"text": text, "generate": options, **(rule or {})})


def prefixes(store: Path) -> dict[str, str | None]:
    """The prefix of each image, by its path below the collection."""
    images = fpve.open(store).images
    names = [one.removeprefix("pets/") for one in images["image_id"].to_pylist()]
    return dict(zip(names, images["prefix"].to_pylist(), strict=True))


def test_each_distinct_prompt_is_answered_once(tmp_path: Path, pictures: Path, server: FakeServer) -> None:
    """Twelve pictures of three kinds cost three requests; the second run makes none, and publishes nothing."""
    job = job_for(tmp_path, pictures, **generating(server))
    report = fpve.run(job)
    assert sorted(server.prompts) == [f"Describe a {kind} in a few words." for kind in ("bird", "cat", "dog")]
    assert (report.language_model_requests, report.prompt_tokens, report.completion_tokens) == (3, 21, 9)
    assert (report.without_prefix, report.without_answer, report.generation_failed) == (0, 0, 0)
    assert prefixes(job.store)["cat/00.png"] == "An answer to: Describe a cat in a few words."
    again = fpve.run(job)
    assert (again.language_model_requests, again.published, len(server.requests)) == (0, False, 3)
    assert fpve.verify(job.store).ok


def test_all_that_is_known_of_an_answer_is_kept(tmp_path: Path, pictures: Path, server: FakeServer) -> None:
    """Text, hash, prompt, model, revision, server, parameters, seed, tokens and time are in SQL; the key is nowhere."""
    options = generating(server, temperature=0.7, seed=5, system="Be brief.", max_tokens=9)
    job = job_for(tmp_path, pictures, **options)
    fpve.run(job)
    row = fpve.open(job.store).sql("FROM prefixes WHERE text LIKE '%cat%'").to_pylist()[0]
    prompt = "Describe a cat in a few words."
    expected = {
        "text": f"An answer to: {prompt}",
        "answer": f"An answer to: {prompt}",
        "prefix_id": hashlib.sha256(f"An answer to: {prompt}".encode()).hexdigest()[:32],
        "origin": "generated",
        "template": PROMPT,
        "prompt": prompt,
        "prompt_hash": hashlib.sha256(prompt.encode()).hexdigest(),
        "model": "openai:tiny",
        "revision": "tiny-2025/fp_1",
        "server": server.url,
        "seed": 5,
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "finish_reason": "stop",
        "token_ids": None,
        "content_hash": None,
    }
    assert {name: row[name] for name in expected} == expected
    assert json.loads(row["parameters"]) == {"temperature": 0.7, "seed": 5, "system": "Be brief.", "max_tokens": 9}
    assert row["created_at"] >= row["generated_at"]
    listed = fpve.open(job.store).prefixes(where="model = 'openai:tiny'")
    assert sorted(listed["images"].to_pylist()) == [4, 4, 4]
    for file in job.store.rglob("*"):
        assert file.is_dir() or KEY.encode() not in file.read_bytes()


def test_a_changed_prompt_makes_new_prefixes_and_old_ones_stay(
    tmp_path: Path, pictures: Path, server: FakeServer
) -> None:
    """Another prompt, model or parameter is another answer; going back asks for nothing, nor does another server."""
    first, second = (job_for(tmp_path, pictures, f"{verb} {{kind}}", **generating(server)) for verb in ("Say", "Sing"))
    fpve.run(first)
    assert (fpve.run(second).language_model_requests, fpve.run(second).language_model_requests) == (3, 0)
    assert prefixes(first.store)["cat/00.png"] == "An answer to: Sing cat"
    back = fpve.run(first)
    assert (back.language_model_requests, back.encoded) == (0, 0)
    assert prefixes(first.store)["cat/00.png"] == "An answer to: Say cat"
    assert len(fpve.open(first.store).prefixes(where="origin = 'generated'")) == 6
    with fake_server() as moved:
        report = fpve.run(job_for(tmp_path, pictures, "Say {kind}", **generating(moved, retries=3, timeout=9.0)))
        assert (report.language_model_requests, moved.requests) == (0, [])
    hotter = fpve.run(job_for(tmp_path, pictures, "Say {kind}", **generating(server, temperature=1.0)))
    assert hotter.language_model_requests == 3


def test_what_is_kept_of_an_answer_can_change_without_asking(
    tmp_path: Path, pictures: Path, server: FakeServer
) -> None:
    """The whole answer is frozen, of which a rule keeps a part: another part costs no request."""
    server.usually(chat("A small animal. It lives in a house."))
    job = job_for(tmp_path, pictures, "Say {kind}", rule={"keep_chars": 16}, **generating(server))
    fpve.run(job)
    assert set(prefixes(job.store).values()) == {"A small animal."}
    longer = job_for(tmp_path, pictures, "Say {kind}", rule={"keep_chars": 24}, **generating(server))
    assert (fpve.run(longer).language_model_requests, len(server.requests)) == (0, 3)
    assert set(prefixes(job.store).values()) == {"A small animal. It lives"}


def test_pictures_go_along_and_answers_belong_to_their_content(
    tmp_path: Path, pictures: Path, server: FakeServer
) -> None:
    """Uncaptioned pictures get captions by content hash: a copy or a moved picture costs none, a changed one does."""
    sides = []

    def answer(request: Request) -> Reply:
        data = base64.b64decode(request.pictures[0].removeprefix("data:image/jpeg;base64,"))
        sides.append(Image.open(io.BytesIO(data)).size)
        return chat(f"a picture, {hashlib.sha256(data).hexdigest()[:8]}")

    server.usually(answer)
    (pictures / "cat/copy.png").write_bytes((pictures / "cat/00.png").read_bytes())
    caption = {"text": "Caption this picture.", "generate": generating(server, with_image=True, image_side=32)}
    job = make_job(tmp_path / "store", pictures, prefix=["{caption}", caption])
    report = fpve.run(job)
    # Six have captions of their own; the copy has none, and the content of one that has.
    assert (report.language_model_requests, len(server.requests), report.without_prefix) == (7, 7, 0)
    assert set(sides) == {(32, 24)}
    found = prefixes(job.store)
    assert found["cat/00.png"] == "cat number 0"
    assert found["dog/01.png"].startswith("a picture, ")
    (pictures / "dog/01.png").rename(pictures / "dog/moved.png")
    draw(pictures / "cat/03.png", 1000)
    report = fpve.run(job)
    assert (report.language_model_requests, report.moved, report.changed) == (1, 1, 1)
    now = prefixes(job.store)
    assert now["dog/moved.png"] == found["dog/01.png"]
    assert now["cat/03.png"] != found["cat/03.png"]
    assert fpve.run(job).language_model_requests == 0
    rows = fpve.open(job.store).sql("SELECT content_hash FROM generated").to_pylist()
    assert len({row["content_hash"] for row in rows}) == 8


def test_a_picture_that_cannot_be_decoded_is_not_sent(tmp_path: Path, pictures: Path, server: FakeServer) -> None:
    """It is in quarantine, and costs no request, that night and the next."""
    (pictures / "cat/broken.png").write_bytes(b"no picture")
    job = job_for(tmp_path, pictures, "Caption this.", **generating(server, with_image=True))
    report = fpve.run(job)
    assert (report.language_model_requests, report.quarantined, report.without_answer) == (12, 1, 0)
    again = fpve.run(job)
    assert (again.language_model_requests, again.published, len(server.requests)) == (0, False, 12)


def test_max_requests_bounds_a_night(tmp_path: Path, pictures: Path, server: FakeServer) -> None:
    """What it does not allow waits: those pictures are searchable all the same, and the next nights go on."""
    job = job_for(tmp_path, pictures, **generating(server, max_requests=2, concurrency=1))
    report = fpve.run(job)
    assert (report.language_model_requests, report.without_answer, report.published) == (2, 4, True)
    assert (fpve.run(job, dry_run=True).language_model_requests, len(server.requests)) == (1, 2)
    report = fpve.run(job)
    assert (report.language_model_requests, report.without_answer, report.encoded, report.fused) == (1, 0, 0, 4)
    assert None not in prefixes(job.store).values()


def test_a_prefix_stays_while_its_new_prompt_waits(tmp_path: Path, pictures: Path, server: FakeServer) -> None:
    """A night with a new prompt and no allowance leaves the old prefixes where they were."""
    fpve.run(job_for(tmp_path, pictures, "Say {kind}", **generating(server)))
    waiting = job_for(tmp_path, pictures, "Sing {kind}", **generating(server, max_requests=0))
    report = fpve.run(waiting)
    assert (report.without_answer, report.without_prefix, report.prefix_changed) == (12, 0, 0)
    assert prefixes(waiting.store)["cat/00.png"] == "An answer to: Say cat"


def test_one_prompt_that_fails_does_not_stop_the_others(
    tmp_path: Path, pictures: Path, server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted and logged, its pictures have no prefix, and the next run asks for it alone."""
    server.usually(lambda request: failure(400, "no dogs") if "dog" in request.prompt else chat("fine"))
    job = job_for(tmp_path, pictures, **generating(server))
    report = fpve.run(job)
    assert (report.language_model_requests, report.generation_failed, report.without_answer) == (3, 1, 4)
    assert prefixes(job.store)["dog/01.png"] is None
    (event,) = (record for record in caplog.records if record.message == "generation_failed")
    assert (event.fields["count"], "no dogs" in event.fields["error"]) == (1, True)  # type: ignore[attr-defined]
    server.usually(chat("good dog"))
    report = fpve.run(job)
    assert (report.language_model_requests, report.fused, len(server.requests)) == (1, 4, 4)
    assert prefixes(job.store)["dog/01.png"] == "good dog"
    asked = fpve.open(job.store).sql("SELECT language_model_requests, without_answer FROM runs ORDER BY started_at")
    assert [tuple(row.values()) for row in asked.to_pylist()] == [(3, 4), (1, 0)]


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        pytest.param(failure(429, "slow down"), "it limits requests (429: slow down)", id="429"),
        pytest.param(failure(500, "oops"), "it fails (500: oops)", id="500"),
        pytest.param(failure(401, "bad key"), "it refuses the key (401: bad key); see OPENAI_API_KEY", id="401"),
        pytest.param(failure(404, "no tiny"), "no such model or address (404: no tiny)", id="404"),
        pytest.param(GARBAGE, "expected an answer in a chat completion, found text/html", id="html"),
        pytest.param(as_json({"x": 1}), "found JSON without choices", id="no choices"),
        pytest.param(chat(""), "found no text in it", id="empty"),
        pytest.param(half_of(chat("half an answer")), "can't be reached, or breaks off", id="half"),
        pytest.param(NOTHING, "can't be reached, or breaks off", id="nothing"),
    ],
)
def test_a_server_that_gives_no_answer_at_all_ends_the_run(
    tmp_path: Path, pictures: Path, server: FakeServer, reply: Reply, message: str
) -> None:
    """One line that says what was found, without the key; nothing is published, and nothing was encoded."""
    server.usually(reply)
    job = job_for(tmp_path, pictures, **generating(server))
    with pytest.raises(GenerationError) as caught:
        fpve.run(job)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert KEY not in str(caught.value)
    assert not list((job.store / "snapshots").glob("*.json"))
    server.usually(chat("better"))
    assert fpve.run(job).language_model_requests == 3


def test_an_unreachable_server_is_told_in_one_line(tmp_path: Path, pictures: Path) -> None:
    """The run ends; one whose prompts are all answered needs no server."""
    with fake_server() as server:
        job = job_for(tmp_path, pictures, **generating(server))
        url = server.url
    with pytest.raises(GenerationError, match="can't be reached") as caught:
        fpve.run(job)
    assert url in str(caught.value)


def test_a_missing_key_is_known_before_anything_is_asked(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable is named; where nothing has to be asked no key is needed."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    job = job_for(tmp_path, pictures, **generating(None))
    with pytest.raises(JobError, match="OPENAI_API_KEY, which holds the key for"):
        fpve.run(job)
    with pytest.raises(JobError, match="OPENAI_API_KEY"):
        fpve.check(job)
    waits = job_for(tmp_path, pictures, **generating(None, max_requests=0))
    assert fpve.run(waits).without_answer == 12


def test_a_killed_run_keeps_every_answer(tmp_path: Path, pictures: Path, server: FakeServer) -> None:
    """SIGKILL in the midst of the questions: the next run asks those that had no answer, and the one after it none."""
    server.usually(lambda request: HANG if request.number >= 5 else chat(f"about {request.prompt}"))
    generate = json.dumps(generating(server, concurrency=1))
    toml = tmp_path / "pets.toml"
    toml.write_text(
        f'store = "store"\nencoders = {{ image = "fake:24", text = "fake:16" }}\n'
        f'[[collections]]\nname = "pets"\nsource = "{pictures}"\n'
        f'prefix = {{ text = "{{stem}}", generate = {generate.replace(": ", " = ")} }}\n',
        encoding="utf-8",
    )
    with subprocess.Popen([sys.executable, "-m", "fpve", "run", str(toml)], env=os.environ) as process:
        _wait_for(lambda: len(server.requests) == 6)
        process.send_signal(signal.SIGKILL)
    store = tmp_path / "store"
    assert (len(AnswerLog(store).read()), list((store / "snapshots").glob("*"))) == (5, [])
    server.usually(chat("the rest"))
    report = fpve.run(toml)
    assert (report.language_model_requests, len(server.requests)) == (7, 13)
    assert len({*server.prompts}) == 12
    assert sorted(prefixes(store).values()) == sorted(
        [f"about {text}" for text in server.prompts[:5]] + ["the rest"] * 7
    )
    again = fpve.run(toml)
    assert (again.language_model_requests, again.published, len(server.requests)) == (0, False, 13)
    assert len(AnswerLog(store).read()) == 0


def _wait_for(condition: Any) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_a_torn_or_flipped_line_is_an_answer_that_was_not_given(
    tmp_path: Path, pictures: Path, server: FakeServer
) -> None:
    """What a killed writer left half-written is asked again, and the whole lines around it are not."""
    job = job_for(tmp_path, pictures, **generating(server))
    fpve.freeze(job)
    log = AnswerLog(job.store).path
    lines = log.read_bytes().strip().split(b"\n")
    assert len(lines) == 3
    log.write_bytes(lines[0] + b"\n" + lines[1].replace(b"few", b"fwe") + b"\n" + lines[2][:100])
    report = fpve.freeze(job)
    assert (report.requests, report.kept) == (2, 3)
    assert fpve.run(job).language_model_requests == 0


def test_prefixes_are_frozen_without_encoding(tmp_path: Path, pictures: Path, server: FakeServer) -> None:
    """`freeze` asks and keeps; a run without a server takes the answers up."""
    job = job_for(tmp_path, pictures, **generating(server))
    report = fpve.freeze(job)
    assert (report.waiting, report.requests, report.failed, report.left, report.kept) == (12, 3, 0, 0, 3)
    assert fpve.freeze(job).requests == 0
    server.usually(failure(500))
    done = fpve.run(job)
    assert (done.language_model_requests, done.without_prefix, len(server.requests)) == (0, 0, 3)


def test_a_preview_touches_no_store(tmp_path: Path, pictures: Path, server: FakeServer) -> None:
    """A few images spread over the collection, with prompts and answers; nothing is written, nothing kept."""
    rules = ["{caption}", {"text": "Say {kind}", "generate": generating(server)}]
    job = make_job(tmp_path / "store", pictures, prefix=rules)
    rows = fpve.preview(job, images=4).to_pylist()
    assert [(row["image_id"], row["prefix"], row["origin"], row["prompt"]) for row in rows] == [
        ("pets/bird/02.png", "bird number 2", "template", None),
        ("pets/cat/00.png", "cat number 0", "template", None),
        ("pets/cat/09.png", "An answer to: Say cat", "generated", "Say cat"),
        ("pets/dog/10.png", "dog number 10", "template", None),
    ]
    assert (len(server.requests), (tmp_path / "store").exists()) == (1, False)
    rows = fpve.preview(job, images=12, ask=False).to_pylist()
    assert sum(row["prefix"] is None for row in rows) == 6
    assert len(server.requests) == 1
    with pytest.raises(JobError, match="no collection 'pts'; did you mean 'pets'"):
        fpve.preview(job, collection="pts")


def test_a_job_with_new_rules_says_what_it_would_ask(tmp_path: Path, pictures: Path, server: FakeServer) -> None:
    """A dry run and a check count requests, and make none."""
    job = job_for(tmp_path, pictures, **generating(server))
    assert fpve.run(job, dry_run=True).language_model_requests == 3
    found = fpve.check(job)
    assert [(one.model, one.server, one.requests) for one in found.language_models] == [("openai:tiny", server.url, 3)]
    assert server.requests == []


def test_a_local_model_writes_prefixes(tmp_path: Path, pictures: Path) -> None:
    """A causal language model of transformers, greedy: tokens are kept, and a part of them can be the prefix."""
    model = write_causal_lm(tmp_path / "models" / "lm", 0)
    config = {"model": f"hf:{model}", "max_tokens": 8}
    job = job_for(tmp_path, pictures, "a {kind}", rule={"keep_tokens": 3}, **config)
    report = fpve.run(job)
    assert (report.language_model_requests, report.without_prefix) == (3, 0)
    rows = fpve.open(job.store).sql("FROM prefixes").to_pylist()
    for row in rows:
        assert len(row["token_ids"]) == len(row["token_ends"]) <= 8
        assert row["text"] == row["answer"][: row["token_ends"][min(2, len(row["token_ends"]) - 1)]].strip()
        assert (row["server"], len(row["revision"])) == (None, 16)
    whole = replace(job, collections=job_for(tmp_path, pictures, "a {kind}", **config).collections)
    report = fpve.run(whole)
    assert report.language_model_requests == 0
    assert {row["text"] for row in fpve.open(job.store).prefixes(where="images > 0").to_pylist()} == {
        row["answer"].strip() for row in rows
    }


def test_a_local_model_is_called_as_the_job_calls_it(tmp_path: Path, pictures: Path) -> None:
    """A job that is moved with its model asks nothing again, though the paths are others."""
    write_causal_lm(tmp_path / "here" / "lm", 0)
    text = (
        f'store = "{tmp_path}/store"\nencoders = {{ image = "fake:24", text = "fake:16" }}\n'
        f'[[collections]]\nname = "pets"\nsource = "{pictures}"\n'
        'prefix = { text = "a {folder}", generate = { model = "hf:lm", max_tokens = 4 } }\n'
    )
    (tmp_path / "here" / "pets.toml").write_text(text, encoding="utf-8")
    assert fpve.run(tmp_path / "here" / "pets.toml").language_model_requests == 3
    (tmp_path / "here").rename(tmp_path / "there")
    report = fpve.run(tmp_path / "there" / "pets.toml")
    assert (report.language_model_requests, report.published) == (0, False)


def test_a_model_that_is_not_there_is_told(tmp_path: Path, pictures: Path) -> None:
    """One line, before anything is encoded."""
    with pytest.raises(FpveError, match="no directory of a model at"):
        fpve.run(job_for(tmp_path, pictures, model=f"hf:{tmp_path}/nothing"))


def test_a_prompt_that_always_fails_stops_no_night(tmp_path: Path, pictures: Path, server: FakeServer) -> None:
    """Where others were answered some night, pictures go on being encoded, and the reason is in the report."""
    server.usually(lambda request: failure(400, "no dogs") if "dog" in request.prompt else chat("fine"))
    job = job_for(tmp_path, pictures, **generating(server))
    fpve.run(job)
    draw(pictures / "bird/new.png", 77)
    report = fpve.run(job)
    assert (report.language_model_requests, report.generation_failed, report.encoded) == (1, 1, 1)
    assert "no dogs" in report.generation_error
    assert (report.without_answer, report.without_prefix, report.published) == (4, 1, True)


def test_after_many_failures_in_a_row_no_more_are_asked(
    tmp_path: Path, pictures: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that fails at every prompt is not asked all of them; one answer in between starts the count again."""
    monkeypatch.setattr(generate_module, "GIVE_UP", 3)
    server.usually(lambda request: chat("fine") if request.number == 0 else failure(400, "no"))
    job = job_for(tmp_path, pictures, "{stem}", **generating(server, concurrency=1))
    report = fpve.run(job)
    assert (report.language_model_requests, report.generation_failed, report.without_answer) == (4, 3, 11)
    server.usually(lambda request: failure(400, "no") if request.number % 3 else chat("fine"))
    assert fpve.run(job).language_model_requests == 11


def test_failing_prompts_do_not_keep_others_from_being_asked(
    tmp_path: Path, pictures: Path, server: FakeServer
) -> None:
    """Under max_requests each night begins somewhere else, so that sooner or later every prompt has its turn."""
    server.usually(lambda request: failure(400, "no") if request.prompt < "04" else chat("fine"))
    job = job_for(tmp_path, pictures, "{stem}", **generating(server, max_requests=2, concurrency=1))
    for _ in range(200):
        with contextlib.suppress(GenerationError):
            report = fpve.run(job)
            if report.without_answer == 4:
                break
    assert report.without_answer == 4
    assert sum(one is not None for one in prefixes(job.store).values()) == 8


def test_two_rules_share_an_answer_and_each_has_its_limit(tmp_path: Path, pictures: Path, server: FakeServer) -> None:
    """The same prompt under two rules is one request, also in a dry run; max_requests is of a rule."""
    server.usually(chat("a long answer of some words"))
    first = {"text": "Say {kind}", "generate": generating(server), "keep_chars": 6}
    second = {"text": "Say {folder}", "generate": generating(server), "keep_chars": 13}
    job = make_job(tmp_path / "store", pictures, prefix=first)
    other = replace(job.collections[0], name="more", prefix=as_rules(second))
    both = replace(job, collections=(job.collections[0], other))
    assert fpve.run(both, dry_run=True).language_model_requests == 3
    assert (fpve.run(both).language_model_requests, len(server.requests)) == (3, 3)
    found = fpve.open(job.store).sql("SELECT DISTINCT collection, prefix FROM images ORDER BY ALL").to_pylist()
    assert [tuple(row.values()) for row in found] == [("more", "a long answer"), ("pets", "a long")]


def test_touched_pictures_need_no_key(
    tmp_path: Path, pictures: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where reading a picture shows that it is answered, neither a key nor a server is needed: after freeze, too."""
    job = job_for(tmp_path, pictures, "Caption.", **generating(server, with_image=True))
    fpve.freeze(job)
    monkeypatch.delenv("OPENAI_API_KEY")
    server.usually(failure(500))
    assert (fpve.run(job).language_model_requests, len(server.requests)) == (0, 12)
    for file in pictures.rglob("*.png"):
        os.utime(file, (1, 1))
    report = fpve.run(job)
    assert (report.language_model_requests, report.unchanged, report.without_answer) == (0, 12, 0)


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(chat("fine", prompt_tokens=10**30), id="number"),
        pytest.param(chat("fine", finish_reason="\ud800"), id="half a character"),
        pytest.param(chat("fi\ud800ne\x00"), id="half a character in the text"),
    ],
)
def test_odd_values_beside_an_answer_do_no_harm(
    tmp_path: Path, pictures: Path, server: FakeServer, reply: Reply
) -> None:
    """What a table has no room for is left out; the store can be run and read afterwards."""
    server.usually(reply)
    job = job_for(tmp_path, pictures, **generating(server))
    assert fpve.run(job).language_model_requests == 3
    assert fpve.run(job).language_model_requests == 0
    assert len(fpve.open(job.store).sql("FROM generated")) == 3
    assert fpve.verify(job.store).ok


def test_pending_answers_survive_prune_and_compaction(tmp_path: Path, pictures: Path, server: FakeServer) -> None:
    """However old they are: what was paid for waits until a run takes it up."""
    fpve.run(job_for(tmp_path, pictures, "Say {kind}", **generating(server)))
    job = job_for(tmp_path, pictures, "Sing {kind}", **generating(server))
    assert fpve.freeze(job).kept == 3
    log = AnswerLog(job.store).path
    for path in (log, log.parent):
        os.utime(path, (1, 1))
    fpve.compact(job.store)
    fpve.prune(job.store, keep=1, grace=timedelta())
    assert len(AnswerLog(job.store).read()) == 3
    assert fpve.run(job).language_model_requests == 0


def test_a_line_that_could_not_be_written_spoils_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a full disk, the next answer begins on a line of its own."""
    generator = FakeGenerator()
    rows = [answer_row(generator, prompt, None, generator.generate(prompt)) for prompt in ("one", "two")]
    log = AnswerLog(tmp_path)
    log.append(rows[0])
    with log.path.open("ab") as file:
        file.write(b"torn")
    monkeypatch.setattr("fpve.store.answers.os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        log.append(rows[1])
    monkeypatch.undo()
    log.append(rows[1])
    assert log.read()["prompt"].to_pylist() == ["one", "two"]


def test_constant_answers_are_told_in_the_run_that_makes_them(
    tmp_path: Path, pictures: Path, server: FakeServer
) -> None:
    """A prompt without a field gives all images one prefix: the run that asks it says so."""
    report = fpve.run(job_for(tmp_path, pictures, "Describe.", **generating(server)))
    assert report.warnings == (
        "collection 'pets': all its 12 images have the same prefix, which ranks nothing among them",
    )


def test_a_preview_shows_no_old_prefix_for_a_new_prompt(tmp_path: Path, pictures: Path, server: FakeServer) -> None:
    """Without asking, a prompt has no answer beside it; where it fails, the reason."""
    fpve.run(job_for(tmp_path, pictures, "Say {kind}", **generating(server)))
    job = job_for(tmp_path, pictures, "Sing {kind}", **generating(server))
    assert set(fpve.preview(job, ask=False)["prefix"].to_pylist()) == {None}
    server.usually(lambda request: failure(400, "no dogs") if "dog" in request.prompt else chat("fine"))
    rows = fpve.preview(job, images=12).to_pylist()
    assert {(row["prefix"], "no dogs" in (row["problem"] or "")) for row in rows} == {("fine", False), (None, True)}


def test_nothing_to_freeze_makes_no_store(tmp_path: Path, pictures: Path) -> None:
    """A job without prompts leaves no directory behind."""
    job = make_job(tmp_path / "store", pictures)
    assert fpve.freeze(job).requests == 0
    assert not job.store.exists()
