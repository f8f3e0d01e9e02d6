"""What ties images together, so that one must not vote for the other, and what that means for the figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from fpve.config import PrefixRule, as_rules
from fpve.neighbours import Mask, Rows
from fpve.prefixes import rule_fields
from fpve.search import Searcher
from fpve.selection import codes_of
from fpve.splits import components


class Groups(NamedTuple):
    """What ties n images together.

    Attributes:
        content: (n,) number of the content; equal for equal files.
        prefix: (n,) number of the prefix text; -1 where there is none, or where it is shared by so many that it
            identifies nothing.
    """

    content: Rows
    prefix: Rows

    def at(self, rows: Rows) -> Groups:
        """The groups of some of the images."""
        return Groups(self.content[rows], self.prefix[rows])

    def tied(self, one: Rows, other: Rows) -> Mask:
        """Which of images (m,) and images (n,) are of one group (m, n)."""
        prefix = self.prefix[one][:, None]
        same_prefix = (prefix == self.prefix[other]) & (prefix >= 0)
        same: Mask = (self.content[one][:, None] == self.content[other]) | same_prefix
        return same

    def clusters(self) -> Rows:
        """Number (n,) of each image's cluster, from 0: two images are of one if a chain of groups connects them."""
        return np.unique(components([self.content, self.prefix]), return_inverse=True)[1].astype(np.int64)


def groups_of(searcher: Searcher, label: str, codes: Rows, rows: Rows) -> tuple[Groups, tuple[str, ...]]:
    """The groups of all images, and what a reader of figures over the images `rows` should know of their prefixes."""
    rules = {one.name: as_rules(one.prefix) for one in searcher.snapshot.manifest.collections}
    return grouped(searcher.snapshot.images, rules, label, codes, rows)


def grouped(
    images: pa.Table, rules: Mapping[str, Iterable[PrefixRule]], label: str, codes: Rows, rows: Rows
) -> tuple[Groups, tuple[str, ...]]:
    """The groups of n images, and what a reader of figures over some of them should know of their prefixes.

    Args:
        images: (n rows) with the columns `collection`, `content_hash` and `prefix_id`, null where there is none.
        rules: by which each collection's images get their prefixes.
        label: the column of classes.
        codes: (n,) class numbers; -1 where an image has none.
        rows: (m,) which images the figures are over.
    """
    content = codes_of(images["content_hash"])
    # A row without content is a group of its own.
    content = np.where(content < 0, -2 - np.arange(len(content)), content)
    prefix = codes_of(images["prefix_id"])
    own, classes = prefix[rows], codes[rows]
    own_prefixes = np.unique(own[own >= 0])
    alone = np.full(len(prefix), -1)
    if len(own_prefixes) == 1 and np.all(own >= 0):
        return Groups(content, alone), ("all evaluated images have the same prefix: it ranks nothing",)
    # Each class has one prefix, shared by its images: leaving them out would leave no voter of the right class.
    one_each = _one_each(classes, own)
    reason = _leak(images["collection"].take(pa.array(rows)), rules, label, one_each=one_each)
    if reason is not None:
        warning = f"figures that use the prefix leak the label {label!r} ({reason}); evaluate with image weight 1"
        return Groups(content, alone if one_each else prefix), (warning,)
    return Groups(content, prefix), ()


def leak_of(searcher: Searcher, label: str, codes: Rows, rows: Rows) -> str | None:
    """How the prefixes of image rows (n,) tell the label of which `codes` (all,) are the classes; None: they don't."""
    snapshot = searcher.snapshot
    rules = {one.name: as_rules(one.prefix) for one in snapshot.manifest.collections}
    own = codes_of(snapshot.rows.column("prefix_id"))[rows]
    collections = snapshot.rows.column("collection").take(pa.array(rows))
    return _leak(collections, rules, label, one_each=_one_each(codes[rows], own))


def _leak(
    collections: pa.ChunkedArray, rules: Mapping[str, Iterable[PrefixRule]], label: str, *, one_each: bool
) -> str | None:
    names = collections.unique().to_pylist()
    leaks = [name for name, of_it in rules.items() if name in names and _fills_in(of_it, label)]
    if leaks:
        return f"collection {leaks[0]!r} fills it into its prefix"
    return "each class has a prefix of its own" if one_each else None


def _one_each(classes: Rows, prefix: Rows) -> bool:
    """Whether each class (n,) has one prefix (n,), which its images share."""
    prefixes = len(np.unique(prefix[prefix >= 0]))
    pairs = np.unique(np.stack([classes, prefix]), axis=1)
    return pairs.shape[1] == len(np.unique(classes)) and 1 < prefixes < len(prefix)


def _fills_in(rules: Iterable[PrefixRule], label: str) -> bool:
    """Whether prefix rules have the label column as a field."""
    fields = {"label", "folder"} if label == "label" else {label}
    return bool(fields & rule_fields(rules))
