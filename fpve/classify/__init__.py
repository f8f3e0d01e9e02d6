"""Classification: by the votes of the nearest labelled images, with probabilities that were fitted to held-out ones.

labels        label columns as classes
voting        how neighbours vote
knn           the classifier
held_out      images classified by the others
calibration   temperature and prior, fitted to these
predictions   what is told of it
"""

from fpve.classify.calibration import MIN_ROWS, Calibration, Fitted
from fpve.classify.knn import Classified, Kind, KnnClassifier
from fpve.classify.labels import Labels, LabelSets, as_text, read_label_sets, read_labels
from fpve.classify.predictions import Abstention, schema_of, told, told_of_head
from fpve.classify.voting import DEFAULT_K, DEFAULT_TEMPERATURE, DEFAULT_WEIGHTS, WEIGHTS, Voting, Weights, vote

__all__ = [
    "Labels",
    "LabelSets",
    "read_labels",
    "read_label_sets",
    "as_text",
    "Voting",
    "Weights",
    "WEIGHTS",
    "DEFAULT_K",
    "DEFAULT_WEIGHTS",
    "DEFAULT_TEMPERATURE",
    "vote",
    "KnnClassifier",
    "Classified",
    "Kind",
    "Calibration",
    "Fitted",
    "MIN_ROWS",
    "Abstention",
    "told",
    "told_of_head",
    "schema_of",
]
