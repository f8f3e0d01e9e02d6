"""The mistakes that a classifier was surest of: what to look at first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fpve.evaluate.trial import Judgement, Trial
from fpve.records import Evaluation, Mistake

# As many as a person looks at on one page.
_MOST = 24
# Of those that voted.
_VOTERS = 8


def mistakes_of(evaluation: Evaluation, trial: Trial, judged: Judgement) -> Evaluation:
    """An evaluation with its most confident mistakes, the surest one first."""
    verdict = judged.grouped.calibrated
    wrong = np.flatnonzero((verdict.predicted >= 0) & ~verdict.right(trial.truth))
    wrong = wrong[np.argsort(-verdict.confidence[wrong], kind="stable")][:_MOST]
    panel = judged.voters.at(wrong)
    rows, scores = panel.row[:, :_VOTERS], panel.score[:, :_VOTERS]
    names = trial.images.names
    ids = iter(trial.image_ids(np.concatenate([trial.queries[wrong], rows[rows >= 0]])))
    own = [next(ids) for _ in wrong]
    found = []
    for number, query in enumerate(wrong):
        voters = [
            (next(ids), names[trial.codes[row]], round(float(score), 6))
            for row, score in zip(rows[number], scores[number], strict=True)
            if row >= 0
        ]
        found.append(
            Mistake(
                image_id=own[number],
                truth=names[trial.truth[query]],
                prediction=names[verdict.predicted[query]],
                confidence=float(verdict.confidence[query]),
                neighbours=tuple(voters),
            )
        )
    return replace(evaluation, mistakes=tuple(found))
