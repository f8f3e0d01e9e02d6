"""Labels that the neighbours disagree with: each image classified by the others, and its label against their votes."""

from __future__ import annotations

from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fpve.classify import DEFAULT_K, Labels, Voting, read_labels
from fpve.curation.contents import AT_ONCE, NAMED, told
from fpve.errors import QueryError
from fpve.evaluate import Subject, judge
from fpve.groups import Groups, groups_of, leak_of
from fpve.neighbours import Mask, Neighbours, Panel, Rows
from fpve.progress import Progress, SilentProgress
from fpve.records import Records
from fpve.search import Searcher, nearest_others

# Of those that voted, as many as are looked at.
_VOTERS = 8
_DECIMALS = 6
# Who has more copies is asked for by a search that leaves them all out: they would fill any list.
_MANY = 256

_NEIGHBOUR = pa.struct([("image_id", pa.string()), ("label", pa.string()), ("score", pa.float64())])
SCHEMA = pa.schema(
    [
        ("rank", pa.int64()),
        ("image_id", pa.string()),
        ("collection", pa.string()),
        ("path", pa.string()),
        ("label", pa.string()),
        ("prediction", pa.string()),
        ("confidence", pa.float64()),
        ("label_probability", pa.float64()),
        ("neighbours", pa.list_(_NEIGHBOUR)),
        ("prefix", pa.string()),
    ]
)


class Doubts(Records):
    """Images whose label is doubted, the most doubtful first.

    Attributes:
        notes: what a reader should know of how they were found.
    """

    def __init__(self, table: pa.Table, notes: tuple[str, ...] = ()) -> None:
        super().__init__(table)
        self.notes = notes

    def _of(self, table: pa.Table) -> Self:
        return type(self)(table, self.notes)


def mislabeled(
    searcher: Searcher,
    *,
    label: str,
    k: int = DEFAULT_K,
    image_weight: float | None = None,
    where: str | None = None,
    progress: Progress | None = None,
) -> Doubts:
    """Images whose label is not the class that the others would give them, the surest disagreement first.

    Each is classified by its k nearest images that are no copies of it, found through the index; near-duplicates vote,
    for one that has another label is the best witness there is. Probabilities are calibrated, for each image on others.
    The order is that of the difference between the probability of the predicted class and that of the label's: the
    normalised margin of confident learning (Northcutt, Jiang and Chuang 2021).

    Args:
        searcher: over the images.
        label: the column of classes.
        k: how many vote.
        image_weight: the weight A of the picture; by default the store's, or 1 where no image has a prefix or prefixes
            tell the label.
        where: an SQL condition on the images that are looked at, and vote.
        progress: is told of each image that is looked at.

    Returns:
        The columns of `SCHEMA`, of images whose label is doubted: `confidence` is the probability of the prediction,
        `label_probability` that of the label, and `neighbours` are the nearest of those that voted.

    Raises:
        QueryError: there is no such column, fewer than two classes, or an option is wrong.
    """
    voting = Voting(k=k)
    searcher = searcher.variant(predicted=False)
    labels = read_labels(searcher, label)
    allowed = labels.labelled if where is None else labels.labelled & searcher.matching(where)
    rows = np.flatnonzero(allowed)
    classes = len(np.unique(labels.codes[rows]))
    if classes < 2:
        found = f"{len(rows)} images of one" if classes else "no labelled image"
        raise QueryError(f"label {label!r}: expected images of two classes or more, found {found}")
    groups, _ = groups_of(searcher, label, labels.codes, rows)
    weight, notes = _weight(searcher, image_weight, leak_of(searcher, label, labels.codes, rows), rows)
    panel = _voters(searcher, rows, allowed, groups, min(k, len(rows)), weight, progress)
    # Copies are on one side when votes are calibrated, and so is what shares a prefix.
    clusters = groups.at(rows).clusters()
    subject = Subject(labels.codes[rows], clusters, np.zeros(len(rows), np.int64))
    verdict = judge(panel, labels, allowed, subject, voting).calibrated
    doubted = np.flatnonzero((verdict.predicted >= 0) & ~verdict.right(subject.truth))
    margin = verdict.confidence[doubted] - verdict.probability[doubted]
    doubted = doubted[np.lexsort((doubted, -np.round(margin, _DECIMALS)))]
    names = pa.array(labels.names, pa.string())
    columns = {
        **told(searcher, rows[doubted], NAMED),
        "rank": pa.array(np.arange(1, len(doubted) + 1)),
        "label": names.take(pa.array(subject.truth[doubted])),
        "prediction": names.take(pa.array(verdict.predicted[doubted])),
        "confidence": pa.array(verdict.confidence[doubted]),
        "label_probability": pa.array(verdict.probability[doubted]),
        "neighbours": _witnesses(searcher, labels, panel.at(doubted)),
    }
    return Doubts(pa.table([columns[field.name] for field in SCHEMA], schema=SCHEMA), notes)


def _weight(
    searcher: Searcher, image_weight: float | None, leak: str | None, rows: Rows
) -> tuple[float, tuple[str, ...]]:
    """The weight of all queries, and what is to be said of it."""
    if image_weight is None and leak is not None:
        return 1.0, (f"prefixes tell the label ({leak}), so pictures are compared alone; --image-weight counts both",)
    has_prefix = pc.is_valid(searcher.snapshot.rows.column("prefix_id")).to_numpy()[rows]
    if image_weight is None and not has_prefix.any():
        return 1.0, ()
    if image_weight is None:
        return searcher.snapshot.manifest.fusion.image_weight, ()
    return searcher.checked_weight(image_weight), ()


def _voters(
    searcher: Searcher, rows: Rows, allowed: Mask, groups: Groups, k: int, weight: float, progress: Progress | None
) -> Panel:
    """The k nearest of the images for each of them, without its copies."""
    reach = searcher.only(rows)

    def tied(own: Rows, found: Neighbours) -> Mask:
        same: Mask = groups.content[own[found.query]] == groups.content[found.row]
        return same

    panel = Panel(np.full((len(rows), k), -1), np.full((len(rows), k), -np.inf))
    _, content, counts = np.unique(groups.content[rows], return_inverse=True, return_counts=True)
    has_many = counts[content] > _MANY
    with (progress or SilentProgress()).stage("classify", len(rows)) as stage:
        few = np.flatnonzero(~has_many)
        for start in range(0, len(few), AT_ONCE):
            part = few[start : start + AT_ONCE]
            mine = rows[part]
            blocks = searcher.blocks_of(mine)
            found = nearest_others(searcher, mine, blocks, tied=tied, image_weight=weight, k=k, allowed=reach)
            panel.row[part], panel.score[part] = found
            stage.advance(len(part))
        for one in np.flatnonzero(counts > _MANY).tolist():
            copies = np.flatnonzero(content == one)
            others = allowed.copy()
            others[rows[copies]] = False
            for start in range(0, len(copies), AT_ONCE):
                part = copies[start : start + AT_ONCE]
                blocks = searcher.blocks_of(rows[part])
                nearest = searcher.nearest(blocks, image_weight=weight, k=k, allowed=others)
                panel.row[part], panel.score[part] = nearest.panel(len(part), k)
                stage.advance(len(part))
    return panel


def _witnesses(searcher: Searcher, labels: Labels, panel: Panel) -> pa.Array:
    """The nearest of those that voted for each of n images."""
    row, score = panel.row[:, :_VOTERS], panel.score[:, :_VOTERS]
    known = row >= 0
    found = row[known]
    structs = pa.StructArray.from_arrays(
        [
            searcher.snapshot.rows.take(found, ["image_id"])["image_id"].combine_chunks(),
            pa.array(labels.names, pa.string()).take(pa.array(labels.codes[found])),
            pa.array(np.round(score[known], _DECIMALS)),
        ],
        fields=list(_NEIGHBOUR),
    )
    offsets = np.concatenate([[0], np.cumsum(known.sum(axis=1))])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), structs)
