"""Who votes for whom, under many comparisons at once: each pair of images is multiplied once, whatever the weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fpve.evaluate.sides import Sides
from fpve.fusion import Blocks, Centre, Floats, Fusion, Mode
from fpve.groups import Groups
from fpve.neighbours import Mask, Panel, Rows
from fpve.splits import NEAR_DUPLICATE

# Floats of one matrix of scores: 64 MB, of which about eight are held.
_CHUNK_FLOATS = 16_000_000
# As in search: scores that agree to so many decimals are ties, broken by image_id, for float32 rounding differs
# between machines in the seventh.
_TIE_DECIMALS = 6
_TIE_WIDTH = 2 * 10**-_TIE_DECIMALS
# Fetched beyond k, so that most ties at the k-th place are settled at once.
_MARGIN = 16


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two images are compared.

    Attributes:
        mode: the fusion mode.
        image_weight: the weight A of the image block in the query. At 1 the query is that of a picture without a
            prefix, in either mode.
        centred: whether blocks are centred.
        bare_weight: the weight of queries that have no prefix; None: the same. A search that is given none takes 1.
    """

    mode: Mode
    image_weight: float
    centred: bool
    bare_weight: float | None = None


class Panels(NamedTuple):
    """Who votes for each of q images under one comparison.

    Attributes:
        grouped: images outside the image's own group.
        naive: all but the image itself; None where nobody asked.
    """

    grouped: Panel
    naive: Panel | None


class _Space(NamedTuple):
    """Unit blocks of n images, and the norms (n,) of what they were; zero where a block is missing."""

    image: Floats
    prefix: Floats
    image_norm: Floats
    prefix_norm: Floats

    def at(self, rows: Rows | slice) -> _Space:
        """Some of the images."""
        return _Space._make(one[rows] for one in self)


class Pairs:
    """Images that vote, and those of them that are predicted.

    The scores are those of `Fusion.scores`: in `balanced` A cos_image + (1-A) cos_prefix, in `concat` q·v.
    """

    def __init__(
        self,
        blocks: Blocks,
        queries: Rows,
        groups: Groups,
        *,
        centre: Centre | None = None,
        asked: Blocks | None = None,
        pictures: Floats | None = None,
        sides: Sides | None = None,
    ) -> None:
        """Take up blocks.

        Args:
            blocks: raw blocks of the n images that may vote; a zero row is a missing block.
            queries: (q,) which of these are predicted.
            groups: what ties the n images together.
            centre: the means of centred comparisons, where there are any.
            asked: raw blocks of the q queries, where they are others than those by which these images vote.
            pictures: (n, d) features by which near-duplicates are told; by default the image blocks.
            sides: on which the n images are; None lets all vote for each.
        """
        self._queries = queries
        self._sides = sides
        self._groups = groups
        self._voters = _spaces(blocks, centre)
        self._asked = None if asked is None else _spaces(asked, centre)
        own = asked is None and pictures is None
        self._pictures = None if own else _units(blocks.image if pictures is None else pictures)[0]

    def panels(self, comparisons: Sequence[Comparison], k: int, *, naive: bool = True) -> list[Panels]:
        """The k nearest voters of each query, under each comparison.

        Args:
            comparisons: how images are compared.
            k: how many vote.
            naive: whether those are wanted as well that would vote if groups were let alone.
        """
        grouped: list[list[Panel]] = [[] for _ in comparisons]
        plain: list[list[Panel]] = [[] for _ in comparisons]
        count = len(self._groups.content)
        step = max(1, _CHUNK_FLOATS // max(1, count))
        for start in range(0, len(self._queries), step):
            mine = self._queries[start : start + step]
            asking = {
                centred: space.at(mine) if self._asked is None else self._asked[centred].at(slice(start, start + step))
                for centred, space in self._voters.items()
            }
            cosines = {
                centred: (asking[centred].image @ space.image.T, asking[centred].prefix @ space.prefix.T)
                for centred, space in self._voters.items()
            }
            near = cosines[False][0] if self._pictures is None else self._pictures[mine] @ self._pictures.T
            tied = self._groups.tied(mine, np.arange(count)) | (near >= NEAR_DUPLICATE)
            for number, one in enumerate(comparisons):
                scores = _scores(one, asking[one.centred], self._voters[one.centred], *cosines[one.centred])
                scores[np.arange(len(mine)), mine] = -np.inf
                if naive:
                    plain[number].append(_panel(_silenced(scores, self._sides and self._sides.naive, mine), k))
                scores[tied] = -np.inf
                grouped[number].append(_panel(_silenced(scores, self._sides and self._sides.grouped, mine), k))
        return [
            Panels(_joined(one), _joined(other) if naive else None) for one, other in zip(grouped, plain, strict=True)
        ]


def _scores(one: Comparison, asking: _Space, voters: _Space, image: Floats, prefix: Floats) -> Floats:
    """Scores (m, n) of queries with all voters, of the cosines (m, n) of their blocks."""
    weight = np.full((len(image), 1), one.image_weight, np.float32)
    if one.bare_weight is not None:
        weight[asking.prefix_norm == 0] = one.bare_weight
    if one.mode == "balanced":
        scores: Floats = image * weight
        scores += prefix * (1 - weight)
        # What is compared with nothing is like nothing.
        scores[(asking.image_norm * weight[:, 0] == 0) & (asking.prefix_norm * (1 - weight[:, 0]) == 0)] = -np.inf
        return scores
    weight = weight[:, 0]
    own_image, own_prefix = weight * asking.image_norm, (1 - weight) * asking.prefix_norm
    length = np.hypot(own_image, own_prefix)
    own = np.stack([own_image, own_prefix])
    share = np.divide(own, length, out=np.zeros_like(own), where=length > 0)
    theirs = np.hypot(voters.image_norm, voters.prefix_norm)
    # Centred, a block of which nothing is left is zero: maybe both.
    shown = np.divide(1, theirs, out=np.zeros_like(theirs), where=theirs > 0)
    scores = image * (share[0][:, None] * (voters.image_norm * shown))
    scores += prefix * (share[1][:, None] * (voters.prefix_norm * shown))
    return scores


def _spaces(blocks: Blocks, centre: Centre | None) -> dict[bool, _Space]:
    """Blocks raw, and if there are means centred as well, by whether they are centred."""
    spaces = {False: _space(blocks)}
    if centre is not None:
        fusion = Fusion(blocks.image.shape[1], blocks.prefix.shape[1], centre=centre)
        spaces[True] = _space(fusion.centred(blocks))
    return spaces


def _space(blocks: Blocks) -> _Space:
    (image, image_norm), (prefix, prefix_norm) = map(_units, blocks)
    return _Space(image, prefix, image_norm, prefix_norm)


def _units(block: Floats) -> tuple[Floats, Floats]:
    """Rows (n, d) at length 1, zero rows as they are, and their lengths (n,)."""
    norm = np.linalg.norm(block, axis=1).astype(np.float32)
    column = norm[:, None]
    return np.divide(block, column, out=np.zeros(block.shape, np.float32), where=column > 0), norm


def _silenced(scores: Floats, side: Rows | None, mine: Rows) -> Floats:
    """Scores (m, n) without those of images that are on the side of the image (m,) that is predicted."""
    return scores if side is None else np.where(side[mine][:, None] == side, np.float32(-np.inf), scores)


def _joined(parts: list[Panel]) -> Panel:
    return Panel(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _panel(scores: Floats, k: int) -> Panel:
    """The k best columns of scores (m, n), without those that are -inf."""
    found = nearest_columns(scores, min(k, scores.shape[1]))
    score = np.take_along_axis(scores, found, axis=1).astype(np.float64)
    missing = ((0, 0), (0, max(0, k - found.shape[1])))
    row = np.pad(np.where(np.isfinite(score), found, -1), missing, constant_values=-1)
    return Panel(row, np.pad(score, missing, constant_values=-np.inf))


def nearest_columns(scores: NDArray[np.floating], k: int) -> Rows:
    """The k best columns (m, k) of scores (m, n), best first; of equal ones the first."""
    count = scores.shape[1]
    fetch = min(count, k + _MARGIN)
    if fetch == count:
        columns = np.tile(np.arange(count), (len(scores), 1))
    else:
        columns = np.argpartition(scores, count - fetch, axis=1)[:, count - fetch :]
    rounded = np.take_along_axis(scores, columns, axis=1).astype(np.float64).round(_TIE_DECIMALS)
    order = np.lexsort((columns, -rounded), axis=1)
    columns, rounded = np.take_along_axis(columns, order, axis=1), np.take_along_axis(rounded, order, axis=1)
    worst = rounded[:, -1]
    unsettled: Mask = np.isfinite(worst) & (rounded[:, k - 1] <= worst + _TIE_WIDTH) & (fetch < count)
    columns = columns[:, :k]
    for row in np.flatnonzero(unsettled):
        # Wide ties, as of a prefix that many share.
        values = scores[row].astype(np.float64).round(_TIE_DECIMALS)
        bound = np.partition(values, count - k)[count - k]
        above = np.flatnonzero(values > bound)
        above = above[np.argsort(-values[above], kind="stable")]
        columns[row] = np.concatenate([above, np.flatnonzero(values == bound)[: k - len(above)]])
    return columns
