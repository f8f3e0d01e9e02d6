"""Commands that look after a store: status."""

from __future__ import annotations

from pathlib import Path

import click

from fpve.cli import output
from fpve.cli.options import object_output, store_argument


@click.command()
@store_argument
@click.option("--at", type=int, metavar="SNAPSHOT", help="Of an older snapshot.")
@object_output
def status(store: Path, at: int | None, kind: str) -> None:
    """Say what a STORE holds."""
    import fpve

    found = fpve.open(store, at=at).status()
    if kind == "json":
        output.emit(output.to_json(found.to_dict()))
        return
    facts: list[tuple[str, object]] = [
        ("store", found.store),
        ("snapshot", f"{found.snapshot} of {found.created_at}"),
        ("images", f"{found.images:,}"),
        ("vectors", f"{found.vectors:,} of {found.dim:,} numbers"),
        ("prefixes", f"{found.prefixes:,}"),
        ("quarantined", f"{found.quarantined:,}"),
        ("size", f"{found.bytes / 1e6:,.1f} MB"),
        *((f"{block} encoder", name) for block, name in found.encoders.items()),
        ("fusion", ", ".join(f"{name} {value}" for name, value in found.fusion.items())),
        ("columns", ", ".join(f"{name} ({kind})" for name, kind in found.columns.items()) or "none"),
    ]
    output.emit(output.facts_text(facts))
    columns = ["collection", "images", "with prefix", "job", "source"]
    rows = [(one.name, one.images, one.with_prefix, one.job, one.source) for one in found.collections]
    output.emit("\n" + output.rows_text(columns, rows))


COMMANDS = (status,)
