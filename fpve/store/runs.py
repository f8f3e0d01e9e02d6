"""Run reports: one JSON file a run, append-only, outside snapshots."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from fpve.store.files import make_directory, write_durably

SCHEMA = pa.schema(
    [
        pa.field("started_at", pa.timestamp("us", tz="UTC")),
        pa.field("job", pa.string()),
        pa.field("snapshot", pa.int64()),
        pa.field("scanned", pa.int64()),
        pa.field("unchanged", pa.int64()),
        pa.field("encoded", pa.int64()),
        pa.field("fused", pa.int64()),
        pa.field("removed", pa.int64()),
        pa.field("quarantined", pa.int64()),
        pa.field("images_per_second", pa.float64()),
        pa.field("total_seconds", pa.float64()),
        pa.field("error", pa.string()),
    ]
)


def append_run(root: Path, report: dict[str, Any]) -> None:
    """Keep a run's report."""
    folder = make_directory(root, "runs")
    # The time sorts the files; the random part keeps two runs of one second apart.
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}.json"
    text = json.dumps(report, ensure_ascii=False, indent=1) + "\n"
    write_durably(folder / name, lambda out: out.write_text(text, encoding="utf-8"))


def read_runs(root: Path) -> pa.Table:
    """All reports, oldest first, as a table."""
    rows = []
    for file in sorted((root / "runs").glob("*.json")):
        try:
            report = json.loads(file.read_text(encoding="utf-8"))
            report["started_at"] = datetime.fromisoformat(report["started_at"])
            report["total_seconds"] = report["seconds"].get("total")
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            # Somebody else's file, or a damaged one: reports are no part of a snapshot.
            continue
        rows.append({name: report.get(name) for name in SCHEMA.names})
    return pa.Table.from_pylist(rows, schema=SCHEMA)
