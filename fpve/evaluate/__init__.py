"""Honest evaluation of classifiers, and the image weight that a label column speaks for.

trial         the labelled images, those that are predicted, and what ties them together
sides         protocols: who is predicted by whom
pairs         who votes for whom, under many comparisons at once
verdicts      from votes to predictions, with a fitted temperature and prior
figures       how often they are right, and whether they know when
evaluation    all figures of some verdicts
knn, heads    what evaluates these classifiers
weights       the image weight of the best accuracy
"""

from fpve.evaluate.bootstrap import behind
from fpve.evaluate.heads import DEFAULT_FOLDS, Lesson, evaluate_head, evaluate_lesson
from fpve.evaluate.knn import Outcome, Query, ablation, evaluate, evaluate_blocks, voting_of
from fpve.evaluate.labelled import Labelled
from fpve.evaluate.pairs import Comparison
from fpve.evaluate.trial import SAMPLE
from fpve.evaluate.verdicts import Subject, Verdict, judge
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
    "evaluate_head",
    "evaluate_lesson",
    "Lesson",
    "DEFAULT_FOLDS",
    "fit_weight",
    "judge",
    "Subject",
    "Verdict",
    "voting_of",
]
