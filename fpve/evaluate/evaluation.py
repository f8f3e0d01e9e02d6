"""The figures of verdicts, as they are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fpve.classify import Voting
from fpve.evaluate.bootstrap import intervals
from fpve.evaluate.figures import calibration_error, figures_of, log_loss, reliability, risk_coverage
from fpve.evaluate.labelled import Labelled
from fpve.evaluate.verdicts import Verdict
from fpve.neighbours import Rows
from fpve.records import Evaluation


@dataclass(frozen=True, slots=True)
class Setting:
    """What evaluations have in common.

    Attributes:
        images: all that take part.
        queries: (q,) which of them are predicted.
        protocol: who is predicted by whom.
        voters: how many images vote, or are learnt from.
    """

    images: Labelled
    queries: Rows
    protocol: str
    voters: int


@dataclass(frozen=True, slots=True)
class Found:
    """What q images were classified as, in one way.

    Attributes:
        head: the classifier.
        verdict: by images of other groups, calibrated.
        bare: the same before calibration.
        naive: by all other images.
        without, naive_without: the same of queries without their prefix; None where that was not asked.
        image_weight, mode, centred: how images are compared.
        voting: how neighbours vote; None of a head.
        note: what else is to be said.
    """

    head: str
    verdict: Verdict
    bare: Verdict
    naive: Verdict
    without: Verdict | None
    naive_without: Verdict | None
    image_weight: float
    mode: str
    centred: bool
    voting: Voting | None = None
    note: str | None = None


def evaluations(setting: Setting, found: Mapping[str, Found]) -> dict[str, Evaluation]:
    """The figures of all ways by their names; intervals are of the same resamples."""
    truth = setting.images.codes[setting.queries]
    clusters = setting.images.groups.at(setting.queries).clusters()
    spreads = intervals(truth, np.stack([one.verdict.predicted for one in found.values()]), clusters)
    told = {}
    for (name, one), spread in zip(found.items(), spreads, strict=True):
        figures = figures_of(setting.images.names, truth, one.verdict.predicted)
        right = one.verdict.right(truth)
        bins = reliability(one.verdict.confidence, right)
        voting = one.voting
        told[name] = Evaluation(
            label=setting.images.label,
            head=one.head,
            protocol=setting.protocol,
            accuracy=figures.accuracy,
            accuracy_low=spread.accuracy.low,
            accuracy_high=spread.accuracy.high,
            accuracy_without_prefix=_accuracy(one.without, truth),
            balanced_accuracy=figures.balanced_accuracy,
            balanced_accuracy_low=spread.balanced_accuracy.low,
            balanced_accuracy_high=spread.balanced_accuracy.high,
            macro_f1=figures.macro_f1,
            naive_accuracy=float(one.naive.right(truth).mean()),
            naive_accuracy_without_prefix=_accuracy(one.naive_without, truth),
            calibration_error=calibration_error(bins),
            votes_calibration_error=calibration_error(reliability(one.bare.confidence, one.bare.right(truth))),
            reliability=bins,
            log_loss=log_loss(one.verdict.probability),
            without_votes=float(np.mean(one.bare.probability == 0)),
            risk_coverage=risk_coverage(one.verdict.confidence, right),
            rows=len(truth),
            voters=setting.voters,
            clusters=int(clusters.max()) + 1,
            rows_without_neighbours=int(np.sum(one.verdict.predicted < 0)),
            k=None if voting is None else voting.k,
            weights=None if voting is None else voting.weights,
            temperature=None if voting is None or voting.weights != "softmax" else voting.temperature,
            prior_score=None if voting is None else voting.prior_score,
            sharpness=None if voting is None or voting.prior_score is None else voting.sharpness,
            image_weight=one.image_weight,
            mode=one.mode,
            centred=one.centred,
            classes=figures.classes,
            confusion=figures.confusion,
            mistakes=(),
            warnings=(*setting.images.warnings, *([] if one.note is None else [one.note])),
        )
    return told


def _accuracy(verdict: Verdict | None, truth: Rows) -> float | None:
    return None if verdict is None else float(verdict.right(truth).mean())
