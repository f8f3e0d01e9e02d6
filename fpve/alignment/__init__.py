"""From features of pictures to embeddings of their prefixes, so that a text finds pictures that nobody captioned."""

from fpve.alignment.fit import MIN_PREFIXES, Fitted, fit_alignment
from fpve.alignment.model import MAX_LANDMARKS, Alignment, Settings, plain_ridge
from fpve.alignment.recall import RECALL_AT, Question

__all__ = [
    "Alignment",
    "Fitted",
    "fit_alignment",
    "Settings",
    "Question",
    "plain_ridge",
    "MAX_LANDMARKS",
    "MIN_PREFIXES",
    "RECALL_AT",
]
