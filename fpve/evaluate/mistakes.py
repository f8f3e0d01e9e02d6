"""The mistakes that a classifier was surest of: what to look at first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fpve.evaluate.trial import Trial
from fpve.evaluate.verdicts import Verdict
from fpve.neighbours import Panel
from fpve.records import Evaluation, Mistake

# As many as a person looks at on one page.
_MOST = 24
# Of those that voted.
_VOTERS = 8


def mistakes_of(evaluation: Evaluation, trial: Trial, verdict: Verdict, voters: Panel | None) -> Evaluation:
    """An evaluation with its most confident mistakes, the surest one first, and who voted for them."""
    wrong = np.flatnonzero((verdict.predicted >= 0) & ~verdict.right(trial.truth))
    wrong = wrong[np.argsort(-verdict.confidence[wrong], kind="stable")][:_MOST]
    panel = Panel(*np.full((2, len(wrong), 0), -1)) if voters is None else voters.at(wrong)
    rows, scores = panel.row[:, :_VOTERS], panel.score[:, :_VOTERS]
    names = trial.images.names
    ids = iter(trial.image_ids(np.concatenate([trial.queries[wrong], rows[rows >= 0]])))
    own = [next(ids) for _ in wrong]
    found = []
    for number, query in enumerate(wrong):
        who = [
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
                neighbours=tuple(who),
            )
        )
    return replace(evaluation, mistakes=tuple(found))
