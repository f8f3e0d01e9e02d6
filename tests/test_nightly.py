"""What a night leaves behind: reports of every run, a log, metrics, and a store that a signal does not harm."""

from __future__ import annotations

import configparser
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from commands import Done, command_here
from prometheus_client.parser import text_string_to_metric_families
from samples import draw, make_job

import fpve
from fpve._version import __version__
from fpve.cli import cli
from fpve.cli.jobs import _print_report
from fpve.cli.log import JsonFormatter
from fpve.config import EncoderConfig, Encoders, Job, Limits
from fpve.errors import GuardError, JobError, SnapshotTaken, StoreCorrupt, StoreLocked
from fpve.events import Events
from fpve.pipeline.journal import LoggedProgress, one_line
from fpve.progress import SilentProgress
from fpve.store import lock
from fpve.store.lock import writer_lock

JOB = """
store = "store"
[encoders]
image = { name = "fake:24", batch_size = 2 }
text = "fake:16"
[[collections]]
name = "pets"
source = "pictures"
metadata = "pictures/metadata.csv"
prefix = "{caption}"
"""

# A small machine whose model needs a while, with shards of four; a file named stuck.png lies on a disk that hangs.
SLOW = """
import sys, time
import fpve.cli, fpve.encoders.fake as fake, fpve.engines.shards as shards, fpve.sources.inputs as inputs
shards.SHARD_ROWS = 4
encode, read = fake.FakeImageEncoder.encode, inputs.Files.read
def slow(self, batch):
    time.sleep(0.2)
    return encode(self, batch)
def hangs(self, number):
    time.sleep(600 if self.paths[number].endswith(b"stuck.png") else 0)
    return read(self, number)
fake.FakeImageEncoder.encode, inputs.Files.read = slow, hangs
fpve.cli.main()
"""


@pytest.fixture
def job_file(tmp_path: Path, pictures: Path) -> Path:
    """A job file over `pictures` with the fake encoders, in batches of two."""
    path = tmp_path / "pets.toml"
    path.write_text(JOB, encoding="utf-8")
    return path


def runs(store: Path) -> list[tuple[object, ...]]:
    """Job, snapshot and error of every report, in their order."""
    rows = fpve.open(store).sql("SELECT job, snapshot, error FROM runs").to_pylist()
    return [tuple(row.values()) for row in rows]


def events(log: Path) -> list[dict[str, object]]:
    """The events of a log."""
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


def figures(file: Path) -> dict[str, float]:
    """Samples of a metrics file by name and by the labels other than job and store."""
    found = {}
    for family in text_string_to_metric_families(file.read_text(encoding="utf-8")):
        for sample in family.samples:
            more = [value for name, value in sample.labels.items() if name not in ("job", "store")]
            found["/".join([sample.name, *more])] = sample.value
    return found


def command(*words: object, code: int = 0) -> Done:
    """Run the command line in this process."""
    done = command_here(words)
    assert done.returncode == code, done.stderr
    return done


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(28, "No space left on device", "x.parquet"), "x.parquet: No space left on device"),
        (KeyboardInterrupt(), "interrupted"),
        (RuntimeError("two\nlines"), "RuntimeError: two lines"),
    ],
)
def test_a_run_that_fails_leaves_its_report(
    job: Job, monkeypatch: pytest.MonkeyPatch, error: BaseException, text: str
) -> None:
    """A full disk, Ctrl-C and a bug are in `runs` in one line, with what the run had found until then."""
    fpve.run(job)
    draw(job.collections[0].source / "cat/new.png", 99)

    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("fpve.pipeline.run.commit", fails)
    with pytest.raises(type(error)):
        fpve.run(job)
    assert runs(job.store) == [("pets", 1, None), ("pets", 1, text)]
    report = json.loads(sorted((job.store / "runs").iterdir())[-1].read_text())
    assert (report["scanned"], report["encoded"], report["published"]) == (13, 1, False)
    assert set(report["seconds"]) == {"plan", "encode", "fuse", "commit", "total"}


def test_a_run_that_stops_while_planning_leaves_its_report(job: Job, tmp_path: Path) -> None:
    """A missing source, an encoder that is not there, a guard and a second writer are in `runs` too."""
    fpve.run(job)
    resnet = replace(job, encoders=Encoders(image=EncoderConfig("resnet18")))
    for number, broken in enumerate((make_job(job.store, tmp_path / "missing"), resnet)):
        with pytest.raises(fpve.FpveError) as caught:
            fpve.run(broken)
        assert str(caught.value) in [row[2] for row in runs(job.store)]
        assert len(runs(job.store)) == 2 + number
    with writer_lock(job.store, "night"), pytest.raises(StoreLocked):
        fpve.run(job)
    for number in range(2):
        (job.collections[0].source / f"broken{number}.png").write_bytes(b"no")
    with pytest.raises(GuardError):
        fpve.run(replace(job, limits=Limits(max_quarantine=0)))
    errors = sorted(str(row[2]) for row in runs(job.store))
    assert [("is writing to this store" in one, "max_quarantine" in one) for one in errors].count((True, False)) == 1
    assert [("is writing to this store" in one, "max_quarantine" in one) for one in errors].count((False, True)) == 1
    assert len(errors) == 5


def test_a_run_can_wait_for_another_writer(job: Job, caplog: pytest.LogCaptureFixture) -> None:
    """It says for whom, takes up what was published and what changed meanwhile, and tells how long it waited."""
    fpve.run(job)
    other = replace(job, name="other", collections=(replace(job.collections[0], name="others"),))
    released = threading.Event()

    def hold() -> None:
        with writer_lock(job.store, "night"):
            held.set()
            released.wait(60)

    held = threading.Event()
    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(60)
    with caplog.at_level(logging.INFO, "fpve"), ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(fpve.run, other, wait=True)
        _wait_until(lambda: any(record.getMessage() == "waiting" for record in caplog.records))
        assert not waiting.done()
        draw(job.collections[0].source / "cat/late.png", 99)
        released.set()
        report = waiting.result(60)
    holder.join()
    assert (report.published, report.snapshot, report.scanned, report.new) == (True, 2, 13, 13)
    assert report.seconds["wait"] > 0
    told = next(record.fields for record in caplog.records if record.getMessage() == "waiting")  # type: ignore[attr-defined]
    assert str(told["holder"]).startswith(f"job 'night' (process {os.getpid()} on ")
    assert "wait" not in fpve.run(other, wait=True).seconds


@pytest.mark.parametrize(
    "words", [("run", "pets.toml"), ("encode", "store", "pictures", "--collection", "x"), ("label",)]
)
def test_commands_wait_for_the_store(job_file: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """`--wait` makes run, encode and label wait, which without it fail."""
    monkeypatch.chdir(job_file.parent)
    store = job_file.parent / "store"
    command("run", job_file)
    if words == ("label",):
        Path("labels.csv").write_text("image_id,kind\npets/cat/00.png,lynx\n")
        words = ("label", "store", "labels.csv")
    held, waits = threading.Event(), threading.Event()
    released = []

    def hold() -> None:
        with writer_lock(store, "night"):
            held.set()
            released.append(waits.wait(60))

    def holder(owner: Path) -> str:
        waits.set()
        return named(owner)

    named = lock._holder
    with writer_lock(store, "night"):
        assert "job 'night'" in command(*words, code=1).stderr
    # Whoever waits wants to know for whom.
    monkeypatch.setattr(lock, "_holder", holder)
    with ThreadPoolExecutor(1) as threads:
        holding = threads.submit(hold)
        held.wait(60)
        command(*words, "--wait")
        assert released == [True]
        holding.result()


def test_encode_takes_the_options_of_run(job_file: Path, pictures: Path) -> None:
    """`fpve encode` has a dry run, a log, metrics and another try for what is in quarantine, as `fpve run` has."""
    mine, theirs = (
        {option for parameter in cli.commands[name].params for option in parameter.opts if option.startswith("--")}
        for name in ("encode", "run")
    )
    assert theirs <= mine
    folder = job_file.parent
    (pictures / "cat/broken.png").write_bytes(b"no")
    for path in pictures.rglob("*.png"):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    command("run", job_file, code=3)
    words = ("encode", folder / "store", pictures, "--collection", "more", "--format", "json")
    report = json.loads(command(*words, "--dry-run").stdout)
    assert (report["dry_run"], report["new"], fpve.open(folder / "store").snapshot) == (True, 13, 1)
    rest = ("--log", folder / "log.jsonl", "--metrics", folder / "fpve.prom")
    report = json.loads(command(*words, *rest, code=3).stdout)
    assert (report["new"], report["encoded"], report["snapshot"]) == (12, 0, 2)
    assert events(folder / "log.jsonl")[-1]["event"] == "run_finished"
    assert figures(folder / "fpve.prom")["fpve_store_images/more"] == 12
    assert json.loads(command(*words, code=3).stdout)["bytes_to_read"] == 0
    assert json.loads(command(*words, "--retry-quarantined", code=3).stdout)["bytes_to_read"] == len(b"no")
    done = command(*words, "--log", folder / "missing/log.jsonl", code=1)
    assert runs(folder / "store")[-1] == ("fpve encode", None, done.stderr.removeprefix("fpve: ").rstrip())


def test_a_report_that_cannot_be_written_hides_no_error(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk the run's own error is raised; and a run that has published has succeeded."""
    fpve.run(job)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    draw(job.collections[0].source / "cat/new.png", 99)
    monkeypatch.setattr("fpve.pipeline.journal.append_run", full)
    assert fpve.run(job).snapshot == 2
    (job.collections[0].source / "metadata.csv").unlink()
    with pytest.raises(fpve.FpveError, match="no such metadata file"):
        fpve.run(job)
    assert len(runs(job.store)) == 1


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device", "rows.parquet"), StoreCorrupt("rows.parquet: expected 1, found 2")]
)
def test_a_compaction_that_fails_fails_no_run(
    job: Job,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
) -> None:
    """What the run was for is published: the report, the log and a line on stderr say what failed, no exit code."""

    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("fpve.pipeline.run.compact_if_due", fails)
    with caplog.at_level(logging.INFO, "fpve"):
        report = fpve.run(job)
    text = one_line(error)
    assert (report.published, report.snapshot, report.compacted, report.compact_error) == (True, 1, False, text)
    failed = next(record for record in caplog.records if record.getMessage() == "compact_failed")
    assert (failed.levelname, failed.fields) == ("ERROR", {"error": text})  # type: ignore[attr-defined]
    assert caplog.records[-1].getMessage() == "run_finished"
    assert runs(job.store) == [("pets", 1, None)]
    assert json.loads(next((job.store / "runs").iterdir()).read_text())["compact_error"] == text
    assert _print_report(report, "json") == 0
    assert capsys.readouterr().err.endswith(f"the next run tries again: {text}\n")


def test_a_compaction_that_is_overtaken_is_no_failure(
    job: Job, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where another machine has published since, it is left to whoever publishes next, and nobody is told."""

    def overtaken(*_: object, **__: object) -> None:
        raise SnapshotTaken("snapshot 2 was published by another writer")

    monkeypatch.setattr("fpve.pipeline.run.compact_if_due", overtaken)
    with caplog.at_level(logging.INFO, "fpve"):
        report = fpve.run(job)
    assert (report.published, report.snapshot, report.compacted, report.compact_error) == (True, 1, False, None)
    assert "compact_failed" not in [record.getMessage() for record in caplog.records]


def test_metrics_that_cannot_be_written_fail_no_run(
    job: Job, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder in the place of the file is an event and a line on stderr; the run has published all the same."""
    (tmp_path / "fpve.prom").mkdir()
    with caplog.at_level(logging.INFO, "fpve"):
        report = fpve.run(job, metrics=tmp_path / "fpve.prom")
    text = f"{tmp_path}/fpve.prom: the metrics can't be written: Is a directory"
    assert (report.published, report.metrics_error) == (True, text)
    assert [record.getMessage() for record in caplog.records][-2:] == ["metrics_failed", "run_finished"]
    assert runs(job.store) == [("pets", 1, None)]
    assert _print_report(report, "table") == 0
    first = "note: 6 pictures have no prefix: what their rules take it from is empty"
    assert capsys.readouterr().err == f"{first}\nnote: {text}\n"


def test_a_log_has_one_object_a_line(job_file: Path, pictures: Path) -> None:
    """Every event has time, level, job and store; those of a night tell it from start to finish."""
    (pictures / "cat/broken.png").write_bytes(b"not a picture")
    log = job_file.parent / "log.jsonl"
    command("run", job_file, "--log", log, code=3)
    lines = events(log)
    stages = [(line["event"], line["stage"]) for line in lines if str(line["event"]).startswith("stage_")]
    assert stages == [(f"stage_{what}", stage) for stage in _STAGES for what in _ENDS]
    assert [line["event"] for line in lines if not str(line["event"]).startswith("stage_")] == [
        "run_started",
        "planned",
        "quarantined",
        "published",
        "run_finished",
    ]
    by_name = {str(line["event"]): line for line in lines}
    for line in lines:
        assert list(line)[:5] == ["time", "level", "event", "job", "store"]
        assert (line["job"], line["store"]) == ("pets", str(job_file.parent / "store"))
        assert len(str(line["time"])) == len("2026-01-01T00:00:00.000+00:00")
    assert (by_name["run_started"]["version"], by_name["run_started"]["snapshot"]) == (__version__, None)
    assert by_name["planned"]["scanned"] == 13
    assert by_name["published"]["snapshot"] == 1
    assert by_name["published"]["bytes"] == fpve.open(job_file.parent / "store").status().bytes
    bad = by_name["quarantined"]
    assert (bad["level"], bad["image_id"], bad["path"], bad["reason"]) == (
        "warning",
        "pets/cat/broken.png",
        "cat/broken.png",
        "not a picture of any known format",
    )
    assert (by_name["run_finished"]["encoded"], by_name["run_finished"]["quarantined"]) == (12, 1)
    assert "cat number 0" not in log.read_text()
    command("run", job_file, "--log", log, code=3)
    again = [line["event"] for line in events(log)[len(lines) :]]
    assert (again[0], again[-1]) == ("run_started", "run_finished")
    assert not {"quarantined", "published"} & set(again)


_ENDS = ("started", "finished")
_STAGES = ("plan", "encode", "fuse", "commit", "compact")


def test_a_log_on_stderr(job_file: Path) -> None:
    """`--log -` writes the events to stderr, and the report stays alone on stdout."""
    done = command("run", job_file, "--log", "-", "--format", "json")
    assert json.loads(done.stdout)["snapshot"] == 1
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert (lines[0]["event"], lines[-1]["event"]) == ("run_started", "run_finished")


def test_a_log_on_a_full_disk_costs_one_line(job_file: Path) -> None:
    """The run goes on, publishes and succeeds."""
    done = command("run", job_file, "--log", "/dev/full")
    assert done.stderr.splitlines()[0] == "fpve: the log can't be written: [Errno 28] No space left on device"
    assert "Traceback" not in done.stderr
    assert fpve.open(job_file.parent / "store").snapshot == 1


def test_a_failed_run_is_in_the_log(job_file: Path) -> None:
    """A mistake is one line without a traceback, also where it is in the job file."""
    log = job_file.parent / "log.jsonl"
    (job_file.parent / "pictures/metadata.csv").unlink()
    command("run", job_file, "--log", log, code=1)
    last = events(log)[-1]
    assert (last["level"], last["event"], "traceback" in last) == ("error", "run_failed", False)
    assert str(last["error"]).endswith("metadata.csv: no such metadata file")
    assert [line["event"] for line in events(log)] == ["run_started", "stage_started", "run_failed"]
    job_file.write_text("[[[")
    command("run", job_file, "--log", log, code=1)
    last = events(log)[-1]
    assert (last["event"], last["job"], last["store"]) == ("run_failed", "pets", None)


def test_a_bug_is_in_the_log_with_its_traceback(
    job: Job, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception that fpve did not raise on purpose keeps its traceback, in the one line of its event."""

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("fpve.pipeline.run.commit", fails)
    with caplog.at_level(logging.INFO, "fpve"), pytest.raises(RuntimeError):
        fpve.run(job)
    line = json.loads(JsonFormatter().format(caplog.records[-1]))
    assert (line["event"], line["error"]) == ("run_failed", "RuntimeError: a bug")
    assert line["traceback"].splitlines()[-1] == "RuntimeError: a bug"


def test_the_library_is_silent(job: Job, capfd: pytest.CaptureFixture[str]) -> None:
    """Without a handler nothing is printed, though inputs are quarantined and a run fails."""
    (job.collections[0].source / "broken.png").write_bytes(b"no")
    script = (
        "import sys, fpve; from samples import make_job; from pathlib import Path\n"
        "job = make_job(Path(sys.argv[1]), Path(sys.argv[2])); fpve.run(job)\n"
        "Path(sys.argv[2], 'metadata.csv').unlink()\n"
        "try: fpve.run(job)\nexcept fpve.FpveError: pass"
    )
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(fpve.__file__).parents[1])])
    words = [sys.executable, "-c", script, str(job.store), str(job.collections[0].source)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": paths})
    assert (done.stdout, done.stderr) == ("", "")


def test_progress_is_logged_now_and_then(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage says how far it is, and what limits it, at most every so many seconds, and hands every step on."""
    now = [0.0]
    monkeypatch.setattr("fpve.pipeline.journal.time.monotonic", lambda: now[0])
    progress = LoggedProgress(SilentProgress(), Events("pets", None), every=30)
    with caplog.at_level(logging.INFO, "fpve"), progress.stage("encode", 100) as stage:
        for _ in range(10):
            now[0] += 7
            stage.advance(7)
            if now[0] > 40:
                stage.limited_by("decode")
    assert [record.fields for record in caplog.records] == [  # type: ignore[attr-defined]
        {"stage": "encode", "done": 35, "total": 100, "per_second": 1.0, "limited_by": None},
        {"stage": "encode", "done": 70, "total": 100, "per_second": 1.0, "limited_by": "decode"},
    ]


def test_metrics_of_a_run(job_file: Path, pictures: Path) -> None:
    """The file parses, is readable for all, and has the figures of report and store."""
    (pictures / "cat/broken.png").write_bytes(b"no")
    file = job_file.parent / "fpve.prom"
    start = time.time()
    command("run", job_file, "--metrics", file, code=3)
    found = figures(file)
    assert file.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in job_file.parent.iterdir() if "prom" in path.name] == ["fpve.prom"]
    status = fpve.open(job_file.parent / "store").status()
    expected = {
        "fpve_run_success": 1,
        "fpve_run_images/new": 12,
        "fpve_run_images/moved": 0,
        "fpve_run_images/changed": 0,
        "fpve_run_images/prefix_changed": 0,
        "fpve_run_images/metadata_changed": 0,
        "fpve_run_images/unchanged": 0,
        "fpve_run_images/removed": 0,
        "fpve_run_encoded": 12,
        "fpve_run_fused": 0,
        "fpve_run_predicted": 0,
        "fpve_run_quarantined": 1,
        "fpve_run_language_model_requests": 0,
        "fpve_run_without_answer": 0,
        "fpve_store_snapshot": 1,
        "fpve_store_images/pets": 12,
        "fpve_store_quarantined": 1,
        "fpve_store_bytes": status.bytes,
    }
    assert {name: found[name] for name in expected} == expected
    assert start <= found["fpve_run_timestamp_seconds"] == found["fpve_run_last_success_timestamp_seconds"]
    assert {name for name in found if name.startswith("fpve_run_seconds")} == {
        f"fpve_run_seconds/{stage}" for stage in _STAGES
    }
    labels = next(iter(text_string_to_metric_families(file.read_text()))).samples[0].labels
    assert labels == {"job": "pets", "store": str(job_file.parent / "store")}


def test_metrics_of_a_failed_run(job_file: Path, pictures: Path) -> None:
    """A failure says so, and still tells when the last run succeeded and what the store holds."""
    file = job_file.parent / "fpve.prom"
    command("run", job_file, "--metrics", file)
    before = figures(file)
    (pictures / "metadata.csv").rename(pictures / "gone.csv")
    command("run", job_file, "--metrics", file, code=1)
    after = figures(file)
    assert (after["fpve_run_success"], after["fpve_store_images/pets"]) == (0, 12)
    name = "fpve_run_last_success_timestamp_seconds"
    # From the report, whose times are whole seconds.
    assert after[name] == pytest.approx(before[name], abs=2)
    assert after["fpve_run_timestamp_seconds"] >= before["fpve_run_timestamp_seconds"]
    job_file.write_text("[[[")
    command("run", job_file, "--metrics", file, code=1)
    assert figures(file)["fpve_run_success"] == 0


def test_metrics_are_refused_before_the_work(job_file: Path) -> None:
    """A folder for the metrics that is not there is an error before anything is encoded."""
    done = command("run", job_file, "--metrics", job_file.parent / "missing/fpve.prom", code=1)
    assert done.stderr == f"fpve: {job_file.parent}/missing: no such folder for the metrics\n"
    assert not (job_file.parent / "store").exists()


@pytest.mark.parametrize("option", ["--log", "--metrics"])
def test_a_run_that_is_refused_leaves_its_report(job_file: Path, option: str) -> None:
    """A folder for log or metrics that is not there is a failed run in the store, and in the metrics if it can be."""
    file, store = job_file.parent / "fpve.prom", job_file.parent / "store"
    command("run", job_file, "--metrics", file)
    rest = [] if option == "--metrics" else ["--metrics", file]
    done = command("run", job_file, option, job_file.parent / "missing/file", *rest, code=1)
    (_, first), (snapshot, error) = [row[1:] for row in runs(store)]
    assert (first, snapshot, done.stderr) == (None, None, f"fpve: {error}\n")
    assert str(job_file.parent / "missing") in str(error)
    assert figures(file)["fpve_run_success"] == (0 if rest else 1)
    command("run", job_file, "--dry-run", option, job_file.parent / "missing/file", code=1 if rest else 0)
    assert len(runs(store)) == 2


def test_a_dry_run_writes_no_metrics(job: Job, tmp_path: Path) -> None:
    """A dry run leaves the figures of the last real run alone."""
    fpve.run(job, dry_run=True, metrics=tmp_path / "fpve.prom")
    assert not (tmp_path / "fpve.prom").exists()
    with pytest.raises(JobError):
        fpve.run(tmp_path / "missing.toml", dry_run=True, metrics=tmp_path / "fpve.prom")
    assert not (tmp_path / "fpve.prom").exists()


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_at_once_and_loses_no_finished_shard(
    job_file: Path, pictures: Path, signum: signal.Signals, code: int
) -> None:
    """In mid-encode: one line, no traceback, no wait for a disk that hangs; the next run encodes the rest."""
    for number in range(8):
        draw(pictures / f"more/{number}.png", 100 + number)
    draw(pictures / "zebra/stuck.png", 200)
    folder = job_file.parent
    words = ["run", str(job_file), "--log", str(folder / "log.jsonl"), "--metrics", str(folder / "fpve.prom")]
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        # Two shards of five; what is encoded beside them is lost.
        _wait_until(lambda: len(_shards(folder)) >= 2)
        process.send_signal(signum)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code
    assert (out, err) == (
        "",
        "fpve: interrupted; what was finished is kept, run the same command again to go on\n",
    )
    log = events(folder / "log.jsonl")
    assert (log[-1]["event"], log[-1]["error"], "traceback" in log[-1]) == ("run_failed", "interrupted", False)
    assert figures(folder / "fpve.prom")["fpve_run_success"] == 0
    report = json.loads(next((folder / "store/runs").iterdir()).read_text())
    assert (report["error"], report["published"]) == ("interrupted", False)
    finished = len(_shards(folder)) * 4
    assert 8 <= finished < 21
    (pictures / "zebra/stuck.png").rename(pictures / "zebra/free.png")
    done = json.loads(command("run", job_file, "--format", "json").stdout)
    assert (done["scanned"], done["encoded"], done["published"]) == (21, 21 - finished, True)


def test_a_run_that_fails_does_not_wait_for_a_disk_that_hangs(job_file: Path, pictures: Path) -> None:
    """Its error ends the process though a thread still reads."""
    draw(pictures / "zebra/stuck.png", 200)
    broken = SLOW.replace("return encode(self, batch)", "raise OSError(28, 'No space left on device')")
    done = subprocess.run([sys.executable, "-c", broken, "run", str(job_file)], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, b"fpve: No space left on device\n")


def test_a_signal_that_was_ignored_stays_ignored(job_file: Path) -> None:
    """A program that is started with SIGHUP ignored, as nohup does, goes on when the terminal is closed."""
    script = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + SLOW
    process = subprocess.Popen([sys.executable, "-c", script, "run", str(job_file)], stdout=subprocess.DEVNULL)
    try:
        _wait_until(lambda: len(_shards(job_file.parent)) >= 1)
        process.send_signal(signal.SIGHUP)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
    assert fpve.open(job_file.parent / "store").snapshot == 1


def test_the_examples_are_commands_that_work() -> None:
    """Service and crontab run `fpve run` with options that it has, and take quarantined inputs for success."""
    folder = Path(__file__).parents[1] / "scripts/nightly"
    service = configparser.ConfigParser(interpolation=None, strict=False)
    service.optionxform = str  # type: ignore[assignment,method-assign]
    service.read(folder / "fpve@.service")
    assert service["Service"]["SuccessExitStatus"] == "3 143"
    line = next(line for line in (folder / "crontab").read_text().splitlines() if "/fpve run " in line)
    assert line.endswith("|| [ $? -eq 3 ]")
    known = {option for parameter in cli.commands["run"].params for option in parameter.opts}
    for text in (service["Service"]["ExecStart"], line):
        words = text.split()
        assert words[words.index("/opt/fpve/bin/fpve") + 1] == "run"
        assert {word for word in words if word.startswith("--")} == {"--log", "--metrics"} <= known


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """Nothing is wrong with service and timer in the eyes of systemd itself."""
    for unit in (Path(__file__).parents[1] / "scripts/nightly").glob("fpve@.*"):
        # It wants the program to be there.
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/fpve/bin/fpve", "/bin/true"))
    words = ["systemd-analyze", "verify", "--man=no", *map(str, tmp_path.iterdir())]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def _shards(folder: Path) -> list[Path]:
    return list(folder.glob("store/pending/[!.]*/shard.json"))


def _wait_until(done: object) -> None:
    for _ in range(600):
        if done():  # type: ignore[operator]
            return
        time.sleep(0.05)
    pytest.fail("what was waited for did not happen within 30 s")
