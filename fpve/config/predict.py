"""Which labels are predicted for images that have none, and how: what a job says of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from pydantic import ConfigDict

from fpve.errors import JobError

HeadName = Literal["knn", "logistic", "mlp"]
HEADS: tuple[HeadName, ...] = get_args(HeadName)
VoteWeights = Literal["softmax", "distance", "uniform"]
_STRICT = ConfigDict(extra="forbid", strict=True)
# A saved head has settings of its own, and no neighbours that could be far.
_OF_VOTES = ("k", "weights", "temperature", "image_weight", "abstain_novel")


@dataclass(frozen=True, slots=True)
class PredictRule:
    """A label column that is predicted for the images without a value in it, in every run, as far as that changed.

    Attributes:
        label: the metadata column of classes.
        where: an SQL condition over the columns of `images`: for which of the images without a value; None for all.
        head: `knn` votes, or the saved head of that label: `logistic` or `mlp`.
        k: how many neighbours vote; None takes the default of `classify`, and so do the next two.
        weights: what a vote weighs.
        temperature: of softmax votes, above 0; None calibrates them.
        image_weight: the weight A of the picture in [0, 1]; None takes what fits each image.
        abstain_below: predict nothing where the confidence is lower, from 0 to 1.
        abstain_novel: predict nothing where the novelty is higher, from 0 to 1.

    Raises:
        JobError: naming the key and what to do.
    """

    __pydantic_config__ = _STRICT

    label: str
    where: str | None = None
    head: HeadName = "knn"
    k: int | None = None
    weights: VoteWeights | None = None
    temperature: float | None = None
    image_weight: float | None = None
    abstain_below: float | None = None
    abstain_novel: float | None = None

    def __post_init__(self) -> None:
        """Check the numbers, and what is needless."""
        if not self.label.strip():
            raise JobError("label: expected the name of a metadata column, found an empty text")
        if self.where is not None and not self.where.strip():
            raise JobError("where: expected an SQL condition, found an empty text; leave it out for all images")
        for name in ("image_weight", "abstain_below", "abstain_novel"):
            share = getattr(self, name)
            if share is not None and not 0 <= share <= 1:
                raise JobError(f"{name}: expected a number from 0 to 1, found {share:g}")
        if self.k is not None and self.k < 1:
            raise JobError(f"k: expected at least 1, found {self.k}")
        if self.temperature is not None and not 0 < self.temperature < math.inf:
            raise JobError(f"temperature: expected more than 0, found {self.temperature:g}")
        self._check_needless()

    def _check_needless(self) -> None:
        given = [name for name in _OF_VOTES if getattr(self, name) is not None]
        if self.head != "knn" and given:
            raise JobError(f'{given[0]}: belongs to head = "knn"; the {self.head} head has what it learnt with')
        if self.temperature is not None and self.weights not in (None, "softmax"):
            raise JobError(f"temperature: belongs to softmax votes, found weights = {self.weights!r}; leave one out")
        if self.abstain_novel is not None and not self.is_calibrated:
            raise JobError(
                "abstain_novel: novelty is measured while softmax votes are calibrated; leave it out, or weights and "
                "temperature"
            )

    @property
    def is_calibrated(self) -> bool:
        """Whether votes are to be calibrated."""
        return self.head == "knn" and self.weights in (None, "softmax") and self.temperature is None
