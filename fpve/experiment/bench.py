"""Where all ways are evaluated on the same pictures, and become the rows of one table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa

from fpve.config import HeadName
from fpve.evaluate import Comparison, Labelled, Lesson, Outcome, behind, evaluate_blocks, evaluate_lesson
from fpve.evaluate.sides import Sides, clusters_of, folds_of
from fpve.experiment.texts import Texts
from fpve.experiment.ways import Way
from fpve.fusion import Blocks, Floats, Fusion, Mode
from fpve.heads.settings import HeadSettings
from fpve.progress import Stage
from fpve.records import Evaluation

FusionName = Literal["image only", "prefix only", "balanced", "concat"]
FUSIONS: tuple[FusionName, ...] = get_args(FusionName)
# What the prefix of a picture that is predicted is good for: whether it pools, and whether it is fused.
_QUERY_PREFIX = {
    (False, False): "unused",
    (False, True): "fused",
    (True, False): "pools",
    (True, True): "pools, fused",
}
_FIGURES = (
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "behind",
    "behind_low",
    "behind_high",
    "accuracy_without_prefix",
    "naive_accuracy",
    "balanced_accuracy",
    "macro_f1",
    "calibration_error",
    "image_weight",
    "ms_per_image",
)
_UNKNOWN = ("accuracy_without_prefix", "naive_accuracy")
SCHEMA = pa.schema(
    [
        pa.field("image_encoder", pa.string()),
        pa.field("pooling", pa.string()),
        pa.field("text_encoder", pa.string()),
        pa.field("prefix", pa.string()),
        pa.field("fusion", pa.string(), nullable=False),
        pa.field("head", pa.string(), nullable=False),
        pa.field("query_prefix", pa.string(), nullable=False),
        *(pa.field(name, pa.float64(), nullable=name in _UNKNOWN) for name in _FIGURES),
        *(pa.field(name, pa.int64(), nullable=False) for name in ("bytes_per_row", "rows")),
    ]
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What of each way is evaluated.

    Attributes:
        fusions: how pictures are compared; what needs a prefix is left out where there is none.
        heads: by what they are classified.
        folds: into how many parts pictures are divided; None: each is predicted by all others, which heads can't be.
        weight: of the image block where both are fused.
    """

    fusions: tuple[FusionName, ...]
    heads: tuple[HeadName, ...]
    folds: int | None
    weight: float

    def comparisons(self, *, prefixed: bool, pictured: bool) -> dict[FusionName, Comparison]:
        """How pictures are compared, by name, where there are prefixes or not, pictures or not."""
        every: dict[FusionName, tuple[Mode, float]] = {
            "image only": ("balanced", 1.0),
            "prefix only": ("balanced", 0.0),
            "balanced": ("balanced", self.weight),
            "concat": ("concat", self.weight),
        }
        return {
            name: Comparison(mode, weight, centred=False, bare_weight=1.0 if name == "balanced" else None)
            for name, (mode, weight) in every.items()
            if name in self.fusions and (prefixed if name != "image only" else pictured)
        }


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of the table."""

    way: Way | None
    texts: Texts | None
    fusion: FusionName
    head: HeadName
    query_prefix: str
    bytes_per_row: int
    outcome: Outcome


class Bench:
    """Evaluates ways to encode pictures.

    Args:
        plan: what of each is evaluated.
        texts: the prefixes; the first are those by which pictures without any are grouped as well.
        copies: (n, d) features by which copies are told.
        stage: is told of each way and head.
    """

    def __init__(self, plan: Plan, texts: Sequence[Texts], copies: Floats, stage: Stage) -> None:
        self._plan = plan
        self._texts = tuple(texts)
        self._images = texts[0].images
        self._copies = copies
        self._stage = stage
        self._rows: list[_Row] = []
        self._sides: Sides | None = None
        if plan.folds is not None:
            ties, self.notes = clusters_of(self._images.groups, copies)
            self._sides = folds_of(self._images.codes, ties, plan.folds)
        else:
            self.notes = ()

    def add(self, way: Way) -> None:
        """Evaluate a way to encode pictures, alone and with each kind of prefixes."""
        first = self._texts[0]
        # The prefix that pools is the one that is fused.
        fused = [first] if way.asked is not None or way.pools else [*self._texts]
        alone = self._plan.comparisons(prefixed=False, pictured=True)
        if alone:
            self._evaluate(way, first, alone, fuses=False)
        for one in fused:
            both = self._plan.comparisons(prefixed=bool(one.embeddings.any()), pictured=False)
            both.pop("prefix only", None)
            if both:
                self._evaluate(way, one, both, fuses=True)

    def add_prefixes(self) -> None:
        """Evaluate the prefixes without pictures."""
        for one in self._texts:
            comparisons = self._plan.comparisons(prefixed=bool(one.embeddings.any()), pictured=False)
            found = comparisons.get("prefix only")
            if found is not None:
                self._evaluate(None, one, {"prefix only": found}, fuses=True)

    def _evaluate(
        self, way: Way | None, texts: Texts, comparisons: dict[FusionName, Comparison], *, fuses: bool
    ) -> None:
        count = len(texts.images.codes)
        image = np.zeros((count, 0), np.float32) if way is None else way.image
        prefix = texts.embeddings if fuses else np.zeros((count, 0), np.float32)
        blocks = Blocks(image, prefix)
        asked = None if way is None or way.asked is None else Blocks(way.asked, prefix)
        for head in self._plan.heads:
            found = self._outcomes(head, texts.images, blocks, asked, comparisons)
            for name, outcome in found:
                used = _QUERY_PREFIX[way is not None and way.pools, fuses]
                dim = 4 * (image.shape[1] + prefix.shape[1])
                self._rows.append(_Row(way, texts if fuses else None, name, head, used, dim, outcome))
            self._stage.advance()

    def _outcomes(
        self,
        head: HeadName,
        images: Labelled,
        blocks: Blocks,
        asked: Blocks | None,
        comparisons: dict[FusionName, Comparison],
    ) -> Iterator[tuple[FusionName, Outcome]]:
        if head == "knn":
            # Queries without their prefix are compared by pictures alone.
            modes = {one.mode for one in comparisons.values() if one.image_weight}
            asking: dict[str, Comparison] = dict(comparisons.items())
            asking |= {f"{mode}, alone": Comparison(mode, 1.0, centred=False) for mode in sorted(modes)}
            found = evaluate_blocks(images, blocks, asking, asked=asked, pictures=self._copies, sides=self._sides)
            yield from ((name, found[name]) for name in comparisons)
            return
        if self._sides is None:
            raise ValueError("expected folds")
        ties, _ = clusters_of(images.groups, self._copies)
        for name, one in comparisons.items():
            fusion = Fusion(blocks.image.shape[1], blocks.prefix.shape[1], one.mode)
            lesson = Lesson(blocks, images.codes, ties, len(images.names), fusion, one.image_weight, asked)
            yield name, evaluate_lesson(images, lesson, self._sides, HeadSettings(kind=head))

    def table(self) -> pa.Table:
        """All rows, best first; of equal ones the cheaper."""
        right = np.stack([one.outcome.predicted for one in self._rows]) == self._images.codes
        clusters = self._images.groups.clusters()
        knows = np.array([one.query_prefix != "unused" for one in self._rows])
        found = [_values(one) for one in self._rows]
        for group in (np.flatnonzero(knows), np.flatnonzero(~knows)):
            if not len(group):
                continue
            mine = right[group]
            for number, gap in zip(group, behind(mine, int(mine.sum(axis=1).argmax()), clusters), strict=True):
                low, high = gap.interval
                found[number] |= {"behind": gap.value, "behind_low": low, "behind_high": high}
        found.sort(key=lambda row: (-row["accuracy"], row["bytes_per_row"], row["ms_per_image"]))
        return pa.Table.from_pylist(found, SCHEMA)


def _values(row: _Row) -> dict[str, Any]:
    told: Evaluation = row.outcome.evaluation
    figures = {name: getattr(told, name, None) for name in (*_FIGURES, "rows")}
    if row.texts is None or row.way is None:
        figures["accuracy_without_prefix"] = None
    return {
        **figures,
        # Heads are not learnt again for it: that takes as long as all the rest.
        "naive_accuracy": told.naive_accuracy if row.head == "knn" else None,
        "image_encoder": None if row.way is None else row.way.encoder,
        "pooling": None if row.way is None else row.way.pooling,
        "text_encoder": None if row.texts is None else row.texts.encoder,
        "prefix": None if row.texts is None else row.texts.prefix,
        "fusion": row.fusion,
        "head": row.head,
        "query_prefix": row.query_prefix,
        "ms_per_image": 0.0 if row.way is None else row.way.ms_per_image,
        "bytes_per_row": row.bytes_per_row,
    }
