"""Honest evaluation of k-NN by leave-one-out, and the image weight that it speaks for."""

from fpve.evaluate.evaluation import Query, ablation, evaluate
from fpve.evaluate.pairs import NEAR_DUPLICATE
from fpve.evaluate.weights import fit_weight

__all__ = ["NEAR_DUPLICATE", "Query", "ablation", "evaluate", "fit_weight"]
