"""Commands that ask a store: classify, evaluate, sql."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fpve.cli import output
from fpve.cli.options import (
    PATH,
    at_option,
    given,
    neighbours,
    object_output,
    row_output,
    store_argument,
    votes,
)
from fpve.cli.progress import working

if TYPE_CHECKING:
    from fpve.records import Evaluation, FittedWeight


@click.command()
@store_argument
@click.argument("files", type=PATH, nargs=-1, required=True)
@click.option(
    "--text", metavar="TEXT", help="A caption of the pictures, to be fused with them as the store's prefixes are."
)
@votes
@at_option
@row_output
def classify(
    store: Path,
    files: tuple[Path, ...],
    label: str,
    text: str | None,
    image_weight: float | None,
    k: int | None,
    temperature: float | None,
    where: str | None,
    at: int | None,
    kind: str | None,
    output_file: Path | None,
) -> None:
    """Predict a label for picture FILES by the votes of their nearest labelled images (k-NN)."""
    import pyarrow as pa

    import fpve

    options = given(text=text, image_weight=image_weight, k=k, temperature=temperature, where=where)
    with working("classifying"):
        found = fpve.open(store, at=at).classify(list(files), label=label, **options)
    named = found.to_arrow().add_column(0, "path", pa.array([str(file) for file in files]))
    output.print_rows(named, kind, output_file, hide=("probabilities", "neighbours"))


class _WeightOrAuto(click.ParamType[float | str]):
    """A weight, or the word `auto`."""

    name = "weight"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        """Take a number or `auto`; the library says whether a number is a weight."""
        if value == AUTO:
            return AUTO
        try:
            return float(value)
        except ValueError:
            self.fail(f"expected a number from 0 to 1, or {AUTO}, found {value!r}", param, ctx)


AUTO = "auto"


@click.command()
@store_argument
@neighbours
@click.option(
    "--image-weight",
    "-A",
    type=_WeightOrAuto(),
    metavar="A|auto",
    help="Weight of the picture in the score, 1 (picture only) to 0 (text only); auto finds the best one.  "
    "[default: the store's]",
)
@click.option(
    "--mode", type=click.Choice(["balanced", "concat"]), help="Evaluate another fusion mode than the store's."
)
@click.option(
    "--centred/--uncentred", default=None, help="Compare centred blocks, or raw ones.  [default: as the store does]"
)
@click.option(
    "--query",
    type=click.Choice(["with", "without"]),
    help="Predict each picture with its own prefix, or as a new one that comes without.  [default: with]",
)
@click.option("--ablation", is_flag=True, help="Compare picture only, text only, concat and balanced, centred and not.")
@at_option
@object_output
def evaluate(
    store: Path,
    label: str,
    image_weight: float | str | None,
    mode: str | None,
    centred: bool | None,
    query: str | None,
    ablation: bool,
    k: int | None,
    temperature: float | None,
    where: str | None,
    at: int | None,
    kind: str,
) -> None:
    """Measure k-NN by leave-one-out on a label column of a STORE.

    Copies of a picture and images with the same prefix don't vote for one another; the naive accuracy, where they do,
    stands beside. Intervals hold 95 % of bootstrap resamples.
    """
    import fpve

    opened = fpve.open(store, at=at)
    shared = given(k=k, temperature=temperature, where=where)
    variant = given(mode=mode, centred=centred)
    if ablation:
        if image_weight is not None or variant or query is not None:
            raise click.UsageError("--ablation sets image weight, mode, centring and query itself")
        with working("evaluating"):
            found = opened.ablation(label=label, **shared)
        warnings = _print_ablation(found, kind)
    elif image_weight == AUTO:
        if query is not None:
            raise click.UsageError("--image-weight auto weighs a query's prefix, so --query has nothing to say")
        with working("evaluating"):
            fitted = opened.fit_weight(label=label, **shared, **variant)
        warnings = _print_fitted(fitted, kind)
    else:
        options = {**shared, **variant, **given(image_weight=image_weight, query=query)}
        with working("evaluating"):
            result = opened.evaluate(label=label, **options)
        warnings = _print_evaluation(result, kind)
    for text in dict.fromkeys(warnings):
        output.note(f"note: {text}")


def _print_ablation(found: dict[str, Evaluation], kind: str) -> tuple[str, ...]:
    """Print evaluations by name; returns what is to be noted."""
    import dataclasses

    if kind == "json":
        output.emit(output.to_json({name: dataclasses.asdict(one) for name, one in found.items()}))
    else:
        columns = [
            "image_weight",
            "accuracy",
            "accuracy_low",
            "accuracy_high",
            "balanced_accuracy",
            "macro_f1",
            "naive_accuracy",
        ]
        rows = [(name, *(getattr(one, column) for column in columns)) for name, one in found.items()]
        output.emit(output.rows_text(["what is compared", *columns], rows))
    warnings = [text for one in found.values() for text in one.warnings]
    if any(one.image_weight < 1 for one in found.values()):
        warnings.append("a query without a prefix has weight 1: in balanced it is at the figures of 'image only'")
    return tuple(warnings)


def _print_fitted(fitted: FittedWeight, kind: str) -> tuple[str, ...]:
    """Print a chosen weight and its curve; returns what is to be noted."""
    import dataclasses

    if kind == "json":
        output.emit(output.to_json(dataclasses.asdict(fitted)))
    else:
        facts = [(name, getattr(fitted, name)) for name in _FITTED]
        output.emit(output.facts_text(facts))
        output.emit("\n" + output.rows_text(["image_weight", "accuracy on the rows that chose"], fitted.curve))
    return fitted.warnings


_FITTED = ("image_weight", "low", "high", "accuracy", "accuracy_low", "accuracy_high", "rows", "label")


def _print_evaluation(result: Evaluation, kind: str) -> tuple[str, ...]:
    """Print one evaluation and its classes; returns what is to be noted."""
    import dataclasses

    if kind == "json":
        output.emit(output.to_json(dataclasses.asdict(result)))
    else:
        output.emit(output.facts_text((name, getattr(result, name)) for name in _EVALUATED))
        classes = [(one.label, one.precision, one.recall, one.f1, one.rows) for one in result.classes]
        output.emit("\n" + output.rows_text([result.label, "precision", "recall", "f1", "rows"], classes))
    return result.warnings


_EVALUATED = (
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "accuracy_without_prefix",
    "balanced_accuracy",
    "balanced_accuracy_low",
    "balanced_accuracy_high",
    "macro_f1",
    "naive_accuracy",
    "rows",
    "k",
    "temperature",
    "image_weight",
    "mode",
    "centred",
)


@click.command()
@store_argument
@click.argument("query")
@at_option
@row_output
def sql(store: Path, query: str, at: int | None, kind: str | None, output_file: Path | None) -> None:
    """Answer an SQL QUERY (DuckDB) over a STORE.

    Its views: images (one row an image), vectors (image_id, vector), prefixes, labels, quarantine, runs; and generated,
    corrections, means, predicted, where the store has such. It can read nothing else, and change nothing.
    """
    import fpve

    with working("asking"):
        rows = fpve.open(store, at=at).sql(query)
    output.print_rows(rows, kind, output_file)


COMMANDS = (classify, evaluate, sql)
