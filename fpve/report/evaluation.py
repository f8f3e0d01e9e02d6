"""A page that shows an evaluation: what was found, how far it is to be believed, and where it went wrong."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from fpve.api import Store
from fpve.records import Evaluation
from fpve.report.charts import coverage_chart, reliability_chart, spread_scale
from fpve.report.confusion import largest, matrix_of
from fpve.report.page import write_page
from fpve.report.pictures import stored
from fpve.report.wording import advice, calibration, facts, figures, summary, terms, verdict

# What an evaluation is called among those that it is compared with.
THIS = "this one"


def write_evaluation(
    path: str | os.PathLike[str],
    evaluation: Evaluation,
    store: Store,
    *,
    others: Mapping[str, Evaluation] | None = None,
) -> None:
    """Write a self-contained page about an evaluation.

    Args:
        path: of the HTML file.
        evaluation: what is shown.
        store: where its images are; one that is no longer there, or has no thumbnail, is named only.
        others: by their names, what it is compared with: an ablation, or other heads.
    """
    ids = [one.image_id for one in evaluation.mistakes]
    ids += [image_id for one in evaluation.mistakes for image_id, _, _ in one.neighbours]
    compared = {THIS: evaluation, **(others or {})}
    notes = [note for one in compared.values() for note in one.warnings if note not in evaluation.warnings]
    write_page(
        Path(path),
        "evaluation.html",
        evaluation=evaluation,
        summary=summary(evaluation),
        figures=figures(evaluation),
        verdict=verdict(evaluation),
        terms=terms(evaluation),
        calibration=calibration(evaluation),
        advice=advice(evaluation),
        facts=facts(evaluation),
        compared=compared,
        notes=list(dict.fromkeys(notes)),
        best=max(one.accuracy for one in compared.values()),
        spread=spread_scale(list(compared.values())),
        reliability=reliability_chart(evaluation.reliability),
        coverage=coverage_chart(evaluation.risk_coverage),
        matrix=matrix_of(evaluation),
        confusions=largest(evaluation),
        pictures=stored(store, ids),
    )
