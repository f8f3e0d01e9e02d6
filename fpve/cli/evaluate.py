"""The command `evaluate`: what a classifier is worth, and what fusing is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fpve.cli import output
from fpve.cli.options import (
    at_option,
    class_weight_option,
    given,
    head_option,
    html_option,
    neighbours,
    object_output,
    seed_option,
    store_argument,
)
from fpve.cli.progress import working

if TYPE_CHECKING:
    from fpve.api import Store
    from fpve.records import Evaluation, FittedWeight


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
@head_option
@class_weight_option
@seed_option
@click.option(
    "--split",
    metavar="COLUMN",
    help="Predict the images whose value in this column is `test`, by those with `train`.  [default: leave one out]",
)
@click.option(
    "--folds",
    type=int,
    metavar="N",
    help="Divide images into N parts, and predict each by the others.  [default: leave one out; 5 with a trained head]",
)
@click.option(
    "--sample",
    type=int,
    metavar="N",
    help="Evaluate N images at most, drawn at random; 0 evaluates all.  [default: 5000]",
)
@html_option("all figures and the surest mistakes")
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
    head: str | None,
    class_weight: str | None,
    seed: int | None,
    split: str | None,
    folds: int | None,
    sample: int | None,
    html: Path | None,
    k: int | None,
    weights: str | None,
    temperature: float | None,
    where: str | None,
    at: int | None,
    kind: str,
) -> None:
    """Measure a classifier on a label column of a STORE.

    Each image is predicted by all others, without copies of it and images with the same prefix; the naive accuracy,
    where these take part, stands beside. Confidence is calibrated as in classify, for each image on others than it.
    Intervals hold 95 % of bootstrap resamples.
    """
    import fpve

    learning = given(class_weight=class_weight, seed=seed)
    if learning and head in (None, "knn"):
        raise click.UsageError("--class-weight and --seed are of heads: give it --head logistic, or mlp")
    opened = fpve.open(store, at=at)
    protocol = given(split=split, folds=folds, weights=weights)
    if sample is not None:
        protocol["sample"] = sample or None
    shared = given(k=k, temperature=temperature, where=where)
    variant = given(mode=mode, centred=centred)
    if html is not None and image_weight == AUTO:
        raise click.UsageError("--html shows evaluations, and --image-weight auto chooses a weight")
    if ablation:
        if image_weight is not None or variant or query is not None or head not in (None, "knn"):
            raise click.UsageError("--ablation sets image weight, mode, centring and query itself, and is of k-NN")
        with working("evaluating"):
            found = opened.ablation(label=label, **shared, **protocol)
        if html is not None:
            name = next(one for one in ("balanced", *found) if one in found)
            _write_page(html, found[name], opened, {one: value for one, value in found.items() if one != name})
        warnings = _print_ablation(found, kind)
    elif image_weight == AUTO:
        if query is not None:
            raise click.UsageError("--image-weight auto weighs a query's prefix, so --query has nothing to say")
        if protocol or head not in (None, "knn"):
            raise click.UsageError("--image-weight auto is of k-NN that leaves one out, of softmax votes")
        with working("evaluating"):
            fitted = opened.fit_weight(label=label, **shared, **variant)
        warnings = _print_fitted(fitted, kind)
    else:
        asked = given(image_weight=image_weight, query=query, head=head)
        options = {**shared, **variant, **protocol, **learning, **asked}
        with working("evaluating"):
            result = opened.evaluate(label=label, **options)
        if html is not None:
            _write_page(html, result, opened, None)
        warnings = _print_evaluation(result, kind)
    for text in dict.fromkeys(warnings):
        output.note(f"note: {text}")


def _write_page(html: Path, result: Evaluation, opened: Store, others: dict[str, Evaluation] | None) -> None:
    """Write an evaluation as a page, beside others."""
    from fpve.report.evaluation import write_evaluation

    write_evaluation(html, result, opened, others=others)
    output.note(f"wrote {html}")


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
        facts = [(name, getattr(result, name)) for name in _EVALUATED]
        output.emit(output.facts_text((name, value) for name, value in facts if value is not None))
        points = [(one.coverage, one.accuracy, one.confidence) for one in result.risk_coverage]
        output.emit("\n" + output.rows_text(["share answered", "accuracy", "abstain below"], points))
        classes = [(one.label, one.precision, one.recall, one.f1, one.rows) for one in result.classes]
        output.emit("\n" + output.rows_text([result.label, "precision", "recall", "f1", "rows"], classes))
    return result.warnings


_EVALUATED = (
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "accuracy_without_prefix",
    "naive_accuracy",
    "naive_accuracy_without_prefix",
    "balanced_accuracy",
    "balanced_accuracy_low",
    "balanced_accuracy_high",
    "macro_f1",
    "calibration_error",
    "votes_calibration_error",
    "without_votes",
    "log_loss",
    "rows",
    "voters",
    "head",
    "protocol",
    "k",
    "weights",
    "temperature",
    "prior_score",
    "sharpness",
    "image_weight",
    "mode",
    "centred",
)


COMMANDS = (evaluate,)
