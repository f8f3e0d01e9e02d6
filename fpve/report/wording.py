"""What the page of an evaluation says in words."""

from __future__ import annotations

from typing import NamedTuple

from fpve.records import Evaluation, RiskPoint
from fpve.report.page import floored, percent

_HEADS = {"knn": "k-NN", "logistic": "logistic regression", "mlp": "a network with one hidden layer"}
_PROTOCOLS = {
    "leave-one-out": "All other images",
    "split": "The images that the split sets apart for it",
    "folds": "The images of the other folds",
}


class Pair(NamedTuple):
    """The accuracy of one kind of query, in which its group has no part, and the naive one.

    Attributes:
        name: the kind of query.
        grouped: the accuracy.
        interval: of it, where that is known.
        naive: the accuracy when duplicates and shared prefixes have a part.
    """

    name: str
    grouped: float
    interval: tuple[float, float] | None
    naive: float


class Fact(NamedTuple):
    """Something about how an evaluation was made."""

    name: str
    value: str


class Advice(NamedTuple):
    """Where to abstain, and what that brings."""

    point: RiskPoint
    text: str


def summary(evaluation: Evaluation) -> str:
    """What was done, in two sentences."""
    voted = evaluation.k is not None
    how = (
        f"by the votes of its {evaluation.k:,} nearest neighbours"
        if voted
        else f"by {_HEADS.get(evaluation.head, evaluation.head)}"
    )
    part = "vote" if voted else "are learnt from"
    who = _PROTOCOLS.get(evaluation.protocol, evaluation.protocol)
    return (
        f"{evaluation.rows:,} images, each predicted {how}. {who} {part}, except copies of the picture "
        "and images with the same prefix."
    )


def figures(evaluation: Evaluation) -> list[Pair]:
    """The accuracies, of queries with their prefix and without."""
    interval = (evaluation.accuracy_low, evaluation.accuracy_high)
    without, naive_without = evaluation.accuracy_without_prefix, evaluation.naive_accuracy_without_prefix
    first = Pair("query with its prefix", evaluation.accuracy, interval, evaluation.naive_accuracy)
    if _came_without(evaluation):
        return [first._replace(name="query without a prefix")]
    if without is None or naive_without is None:
        return [first]
    return [first, Pair("query without its prefix", without, None, naive_without)]


def verdict(evaluation: Evaluation) -> str:
    """Which of the accuracies is to be believed, and why."""
    pairs = figures(evaluation)
    first = pairs[0]
    if len(pairs) > 1:
        believed = (
            f"Expect {percent(first.grouped)} for new pictures that come with a prefix as these do, and "
            f"{percent(pairs[1].grouped)} for those that come without one."
        )
    elif _came_without(evaluation):
        believed = f"Expect {percent(first.grouped)} for new pictures; a prefix had no part in predicting these."
    else:
        believed = f"Expect {percent(first.grouped)} for new pictures that come with a prefix as these do."
    gain = first.naive - first.grouped
    if gain > 0:
        naive = (
            f"The naive figure is {100 * gain:.1f} points higher because copies and images with the same prefix take "
            "part in predicting one another: a new picture has none."
        )
    elif gain < 0:
        naive = (
            f"The naive figure, in which copies and images with the same prefix take part, is {-100 * gain:.1f} points "
            "lower: these did not help."
        )
    else:
        naive = "The naive figure is the same: no row was right only because of a copy, or of a shared prefix."
    return f"{believed} {naive}"


def terms(evaluation: Evaluation) -> str:
    """What grouped and naive mean in its protocol."""
    naive = "copies and images with the same prefix are not kept apart"
    if evaluation.protocol == "leave-one-out":
        naive = "only the image itself is left out"
    return (
        "Grouped: nothing that shares its picture or its prefix with an image takes part in predicting it. "
        f"Naive: {naive}."
    )


def calibration(evaluation: Evaluation) -> str:
    """Whether the confidence is what it says, all in all."""
    rows = sum(one.rows for one in evaluation.reliability)
    if not rows:
        return "Nothing was predicted."
    claimed = sum(one.confidence * one.rows for one in evaluation.reliability) / rows
    right = sum(one.accuracy * one.rows for one in evaluation.reliability) / rows
    return (
        f"All in all it claims to be right in {percent(claimed)}, and is in {percent(right)}. Bin by bin the two "
        f"differ by {percent(evaluation.calibration_error)} on average; before calibration by "
        f"{percent(evaluation.votes_calibration_error)}."
    )


def advice(evaluation: Evaluation) -> Advice | None:
    """What the least abstention brings; None where all or nothing is answered."""
    point = next((one for one in evaluation.risk_coverage if one.coverage < 1), None)
    if point is None:
        return None
    if point.accuracy > evaluation.accuracy:
        text = (
            f"Abstain below {floored(point.confidence)} and {percent(point.coverage)} are answered, "
            f"{percent(point.accuracy)} of them right."
        )
    else:
        text = f"Answering only the surest {percent(point.coverage)} gains nothing here."
    return Advice(point, text)


def facts(evaluation: Evaluation) -> list[Fact]:
    """How it was made, with what the headline leaves out; what does not apply to its classifier is left out."""
    voted = evaluation.k is not None
    told = [
        ("label", evaluation.label),
        ("classifier", _HEADS.get(evaluation.head, evaluation.head)),
        ("protocol", evaluation.protocol),
        ("rows that were predicted", _count(evaluation.rows)),
        ("images that vote" if voted else "images to learn from", _count(evaluation.voters)),
        ("clusters of tied rows", _count(evaluation.clusters)),
        ("neighbours that vote, k", _count(evaluation.k)),
        ("weight of a vote", evaluation.weights),
        ("temperature", _number(evaluation.temperature)),
        ("score of the prior", _number(evaluation.prior_score)),
        ("sharpness", _number(evaluation.sharpness)),
        ("image weight A", _number(evaluation.image_weight)),
        ("fusion", evaluation.mode),
        ("centred", "yes" if evaluation.centred else "no"),
        ("rows without a neighbour", _count(evaluation.rows_without_neighbours)),
        (
            "rows without a vote for their class" if voted else "rows of classes not learnt",
            percent(evaluation.without_votes),
        ),
        ("calibration error", percent(evaluation.calibration_error)),
        ("… before calibration", percent(evaluation.votes_calibration_error)),
        ("log loss", "infinite" if evaluation.log_loss is None else _number(evaluation.log_loss)),
    ]
    return [Fact(name, value) for name, value in told if value is not None]


def _came_without(evaluation: Evaluation) -> bool:
    """Whether no query had a prefix: it had no weight, or figures without one are the only ones there are."""
    without = (evaluation.accuracy_without_prefix, evaluation.naive_accuracy_without_prefix)
    return evaluation.image_weight == 1 or without == (evaluation.accuracy, evaluation.naive_accuracy)


def _count(value: int | None) -> str | None:
    return None if value is None else f"{value:,}"


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.3g}"
