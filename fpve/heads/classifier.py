"""What is learnt, whole: one network for queries with a prefix, and one for those that come without."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fpve.fusion import Floats
from fpve.heads.network import Network


@dataclass(frozen=True, slots=True, eq=False)
class Classifier:
    """Classifies queries (m, dim), as `Fusion.query` makes them at the weight that it was learnt at.

    One network for both must trade one for the other. Logistic regression that saw each picture a second time without
    its prefix lost 3 points with the prefix, on drawings and on symbols; one that did not lost 8 points without it on
    drawings, and was at .22 instead of .64 on symbols. Two lose neither.

    Attributes:
        dim: length of a query.
        image_dim: length of its image block, which comes first.
        full: takes queries whole; None where nothing had a prefix to learn from.
        bare: takes image blocks, of queries whose prefix block is zero; None where no picture counted.

    Raises:
        ValueError: there is neither, or they take inputs of other lengths, or differ in the number of classes.
    """

    dim: int
    image_dim: int
    full: Network | None
    bare: Network | None

    def __post_init__(self) -> None:
        """Check that both fit."""
        if self.full is None and self.bare is None:
            raise ValueError("expected a network, found none")
        for network, dim in ((self.full, self.dim), (self.bare, self.image_dim)):
            if network is not None and network.dim != dim:
                raise ValueError(f"expected a network that takes {dim} numbers, found one that takes {network.dim}")
        if len({one.classes for one in self.networks.values()}) > 1:
            raise ValueError("expected two networks of the same classes")

    @property
    def networks(self) -> dict[str, Network]:
        """Those that there are, by name."""
        both = {"full": self.full, "bare": self.bare}
        return {name: one for name, one in both.items() if one is not None}

    @property
    def classes(self) -> int:
        """Number of classes."""
        return next(iter(self.networks.values())).classes

    def probabilities(self, queries: Floats) -> NDArray[np.float64]:
        """The probabilities (m, classes) of queries (m, dim); each row adds up to 1.

        Raises:
            ValueError: queries of another length.
        """
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise ValueError(f"expected queries of {self.dim} numbers, found an array of shape {queries.shape}")
        if self.full is None or self.bare is None:
            # Where there is one only, it has learnt from all there was.
            [only] = self.networks.values()
            return only.probabilities(queries[:, : only.dim])
        prefixed = np.any(queries[:, self.image_dim :], axis=1)
        found = np.empty((len(queries), self.classes))
        found[prefixed] = self.full.probabilities(queries[prefixed])
        found[~prefixed] = self.bare.probabilities(queries[~prefixed, : self.image_dim])
        return found
