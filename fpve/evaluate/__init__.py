"""Honest evaluation of k-NN by leave-one-out, and the image weight that it speaks for."""

from fpve.evaluate.bootstrap import behind
from fpve.evaluate.evaluation import Outcome, Query, ablation, evaluate, evaluate_blocks
from fpve.evaluate.labelled import Labelled
from fpve.evaluate.pairs import Comparison
from fpve.evaluate.trial import SAMPLE
from fpve.evaluate.weights import fit_weight

__all__ = [
    "SAMPLE",
    "Comparison",
    "Labelled",
    "Outcome",
    "Query",
    "ablation",
    "behind",
    "evaluate",
    "evaluate_blocks",
    "fit_weight",
]
