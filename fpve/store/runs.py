"""Run reports: one JSON file a run, append-only, outside snapshots."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from fpve.store import manifest as manifests
from fpve.store.files import at_hand, make_directory, our_files, push_written, write_durably


class Changes(NamedTuple):
    """Images by what became of them since the last snapshot; each is counted once.

    Reports, manifests' summaries, the history and the metrics have these names; `CHANGES` is a list of them.

    Attributes:
        new: under their name, and not moved.
        moved: new under their name, with the content of an image that is gone.
        changed: have another content.
        prefix_changed: have the same content and another prefix.
        metadata_changed: have only another metadata.
        unchanged: are as they were.
        removed: are gone and not moved, or can't be encoded any more.
    """

    new: int
    moved: int
    changed: int
    prefix_changed: int
    metadata_changed: int
    unchanged: int
    removed: int


CHANGES = Changes._fields
SCHEMA = pa.schema(
    [
        pa.field("started_at", pa.timestamp("us", tz="UTC")),
        pa.field("job", pa.string()),
        pa.field("snapshot", pa.int64()),
        pa.field("published", pa.bool_()),
        pa.field("scanned", pa.int64()),
        *(pa.field(name, pa.int64()) for name in CHANGES),
        pa.field("encoded", pa.int64()),
        pa.field("fused", pa.int64()),
        pa.field("predicted", pa.int64()),
        pa.field("quarantined", pa.int64()),
        pa.field("without_prefix", pa.int64()),
        pa.field("without_answer", pa.int64()),
        pa.field("language_model_requests", pa.int64()),
        pa.field("prompt_tokens", pa.int64()),
        pa.field("completion_tokens", pa.int64()),
        pa.field("images_per_second", pa.float64()),
        pa.field("total_seconds", pa.float64()),
        pa.field("error", pa.string()),
    ]
)


def is_store(root: Path) -> bool:
    """Whether a directory is a store, be it one of which nothing has been published yet."""
    # First what takes no request where the store is in a bucket.
    return (root / "state" / "lock").exists() or bool(manifests.numbers(root))


def append_run(root: Path, report: dict[str, Any]) -> None:
    """Keep a run's report."""
    folder = make_directory(root, "runs")
    # The time sorts the files; the random part keeps two runs apart that end together.
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(4)}.json"
    text = json.dumps(report, ensure_ascii=False, indent=1) + "\n"
    write_durably(folder / name, lambda out: out.write_text(text, encoding="utf-8"))
    # With those of runs before it that could not be put.
    push_written(root, "runs")


def read_runs(root: Path) -> pa.Table:
    """All reports, oldest first, as a table."""
    reports = [one for one in (_read(root, file) for file in _files(root)) if one is not None]
    return pa.Table.from_pylist([{name: one.get(name) for name in SCHEMA.names} for one in reports], schema=SCHEMA)


def last_success(root: Path, job: str) -> float | None:
    """When the last run of a job that succeeded ended, in seconds since the epoch; None if none has."""
    for file in reversed(_files(root)):
        report = _read(root, file)
        if report is not None and report.get("job") == job and report.get("error") is None:
            return float(report["started_at"].timestamp() + (report["total_seconds"] or 0.0))
    return None


def _files(root: Path) -> list[Path]:
    return [path for path in our_files(root, "runs") if path.suffix == ".json"]


def _read(root: Path, file: Path) -> dict[str, Any] | None:
    """One report; None for somebody else's file, or a damaged one: reports are no part of a snapshot."""
    try:
        report: dict[str, Any] = json.loads(at_hand(root, f"runs/{file.name}").read_text(encoding="utf-8"))
        report["started_at"] = datetime.fromisoformat(report["started_at"])
        report["total_seconds"] = report["seconds"].get("total")
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return report
