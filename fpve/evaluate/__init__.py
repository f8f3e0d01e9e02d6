"""Honest evaluation of k-NN by leave-one-out, and the image weight that it speaks for."""

from fpve.alignment.splits import NEAR_DUPLICATE
from fpve.evaluate.bootstrap import behind
from fpve.evaluate.evaluation import Outcome, Query, ablation, evaluate, evaluate_blocks
from fpve.evaluate.groups import Groups, grouped
from fpve.evaluate.labelled import Labelled
from fpve.evaluate.pairs import Comparison
from fpve.evaluate.trial import SAMPLE
from fpve.evaluate.weights import fit_weight
from fpve.selection import codes_of

__all__ = [
    "NEAR_DUPLICATE",
    "SAMPLE",
    "Comparison",
    "Groups",
    "Labelled",
    "Outcome",
    "Query",
    "ablation",
    "behind",
    "codes_of",
    "evaluate",
    "evaluate_blocks",
    "fit_weight",
    "grouped",
]
