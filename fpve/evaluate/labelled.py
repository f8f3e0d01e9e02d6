"""Labelled images: what an evaluation predicts, and what it predicts by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fpve.errors import QueryError
from fpve.groups import Groups
from fpve.neighbours import Mask, Rows


@dataclass(frozen=True, slots=True)
class Labelled:
    """Images with a label, each of which can be predicted from the others.

    Attributes:
        label: the column of classes.
        names: the classes, sorted.
        codes: (n,) class numbers of the images.
        prefixed: (n,) which have a prefix.
        groups: what ties the n images together.
        warnings: what a reader of figures should know.

    Raises:
        QueryError: there are not two of different classes.
    """

    label: str
    names: tuple[str, ...]
    codes: Rows
    prefixed: Mask
    groups: Groups
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that there is something to tell apart."""
        if len(self.codes) < 2 or len(np.unique(self.codes)) < 2:
            raise QueryError(
                f"evaluating {self.label!r} needs two labelled images of different classes, found {len(self.codes)} "
                "images"
            )
