"""The command that trains a head."""

from __future__ import annotations

from pathlib import Path

import click

from fpve.cli import output
from fpve.cli.options import (
    class_weight_option,
    given,
    image_weight,
    object_output,
    seed_option,
    store_argument,
    wait_option,
)
from fpve.cli.progress import terminal_progress


@click.command()
@store_argument
@click.option("--label", required=True, metavar="COLUMN", help="The metadata column of classes.")
@click.option(
    "--head",
    type=click.Choice(["logistic", "mlp"]),
    help="Logistic regression, or a network with one hidden layer of 64.  [default: logistic]",
)
@image_weight
@click.option("--where", metavar="SQL", help="Only learn from images for which this condition holds.")
@class_weight_option
@seed_option
@click.option("--device", metavar="NAME", help="Where torch computes, such as cuda.  [default: cpu]")
@wait_option
@object_output
def train(
    store: Path,
    label: str,
    head: str | None,
    image_weight: float | None,
    where: str | None,
    class_weight: str | None,
    seed: int | None,
    device: str | None,
    wait: bool,
    kind: str,
) -> None:
    """Learn the classes of a STORE's labelled images; `fpve classify --head` predicts by what was learnt.

    A fifth of the images is held out at first, by whole groups of copies, near-duplicates and images with one prefix:
    the figures are over these. Then the head learns from all. It is saved in the store, one of each kind for a label
    column, until other encoders, another fusion mode or other means take the place of those it learnt from.
    """
    import fpve

    options = given(
        head=head, image_weight=image_weight, where=where, class_weight=class_weight, seed=seed, device=device
    )
    found = fpve.train(store, label=label, wait=wait, progress=terminal_progress(), **options)
    if kind == "json":
        output.emit(output.to_json(found.to_dict()))
        return
    drawn = f" of {found.labelled:,}" if found.rows < found.labelled else ""
    output.emit(
        output.facts_text(
            [
                ("head", f"{found.kind} for {found.label!r}, {found.classes:,} classes"),
                ("learnt from", f"{found.rows:,}{drawn} images, image weight {found.image_weight:g}"),
                ("snapshot", f"{found.snapshot} ({'published' if found.published else 'nothing to do'})"),
            ]
        )
    )
    columns = ["on held-out images", *_SHOWN]
    rows = [
        (name, int(found.metrics[f"held_out{suffix}"]), *(found.metrics[f"{one}{suffix}"] for one in _SHOWN[1:]))
        for name, suffix in (("as they are", ""), ("without their prefix", "_without"))
        if f"held_out{suffix}" in found.metrics
    ]
    if rows:
        output.emit("\n" + output.rows_text(columns, rows))
    else:
        output.note("note: too few images to hold some out: how good it is was not measured, nor is it calibrated")
    for text in found.warnings:
        output.note(f"note: {text}")


_SHOWN = ("held_out", "accuracy", "balanced_accuracy", "log_loss", "temperature")
COMMANDS = (train,)
