"""A page that shows what was searched by, and the hits with their scores."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from fpve.api import Store
from fpve.batch import BatchReport, FailedQuery
from fpve.errors import ImageError
from fpve.records import Explanation, Record, Records
from fpve.report.arranging import Keys, Order, keys
from fpve.report.page import percent, plural, write_page
from fpve.report.pictures import Shown, asked, fitting
from fpve.report.scope import command
from fpve.sources.queries import QuerySource

# More searches, and more hits of one, than a person looks through.
_QUERIES = 500
_HITS = 500
# Queries without an answer that are named one by one.
_FAILED = 12
# Columns of metadata that hits can be sorted by: as many as a list shows without being scrolled.
_COLUMNS = 12
# Of a longer value the table tells the rest.
_LONGEST = 300

_COSINES = (
    ("image_score", "image", "image"),
    ("cross_score", "cross", "text to image"),
    ("prefix_score", "prefix", "prefix"),
)


@dataclass(frozen=True, slots=True)
class Question:
    """What was searched by, and what was found.

    Attributes:
        hits: the rows that were found, best first.
        picture: that of the query, if it searches by one; of an image of the store it is the store's.
        text: its text, if it has one.
        image_id: the image of the store that it is, if it is one.
        name: what it is called among others; None of a single one.
    """

    hits: Records
    picture: Shown | None = None
    text: str | None = None
    image_id: str | None = None
    name: str | None = None


class Cosine(NamedTuple):
    """A cosine as it is drawn: of what, and how long its bar is, in percent."""

    kind: str
    name: str
    value: float

    @property
    def width(self) -> float:
        """Nothing is drawn of a negative one."""
        return round(100 * min(1.0, max(0.0, self.value)), 1)


@dataclass(frozen=True, slots=True)
class Hit:
    """A hit.

    Attributes:
        picture: the picture.
        rank: from 1 on.
        row: its row.
        cosines: those that are known.
        metadata: names and values.
        keys: what orders compare.
    """

    picture: Shown
    rank: int
    row: Record
    cosines: tuple[Cosine, ...]
    metadata: tuple[tuple[str, str], ...]
    keys: Keys


@dataclass(frozen=True, slots=True)
class Answer:
    """A query as a page shows it, with as many of its hits as are shown, and how many there are."""

    question: Question
    picture: Shown | None
    hits: tuple[Hit, ...]
    found: int


def write_hits(
    path: str | os.PathLike[str],
    questions: Iterable[Question],
    store: Store,
    *,
    explanation: Explanation | None = None,
    queries: int = 1,
    hits: int | None = None,
    failed: Sequence[FailedQuery] = (),
    options: Mapping[str, Any] | None = None,
) -> None:
    """Write a self-contained page about a search, or several; of as many queries and hits as fit.

    Args:
        path: of the HTML file.
        questions: the queries with their hits.
        store: where the hits are; one that is no longer there, or has no thumbnail, is named only.
        explanation: what the search did.
        queries: how many queries were answered.
        hits: how many hits there are in all; None if they are those of the questions.
        failed: the queries that could not be.
        options: those that `fpve search` was given, so that the page can name the command.
    """
    shown = list(islice(questions, _QUERIES))
    cards = [[*_own(one), *(row.image_id for row in one.hits[:_HITS])] for one in shown]
    count, pictures = fitting(store, cards, more=[one.picture for one in shown])
    columns = _columns([one.hits.to_arrow() for one in shown])
    given = options or {}
    answers = [_answer(one, pictures, columns) for one in shown[:count]]
    total = sum(len(one.hits) for one in shown) if hits is None else hits
    weights = explanation.weights if explanation else None
    has_cross = any(cosine.kind == "cross" for one in answers for hit in one.hits for cosine in hit.cosines)
    write_page(
        Path(path),
        "hits.html",
        is_single=queries + len(failed) == 1 and len(answers) == 1,
        answers=answers,
        queries=queries,
        found=total,
        best=max((hit.row.score for one in answers for hit in one.hits), default=None),
        weight=None if weights is None else f"{weights[0]:g}" if weights[0] == weights[1] else "varies",
        meaning=_meaning(weights, has_cross),
        exactness=_exactness(explanation),
        failed=failed[:_FAILED],
        unanswered=len(failed),
        where=given.get("where"),
        orders=_orders(answers, columns),
        command=command("search", store, "hits.csv", **given) if given else None,
    )


def questions_of(rows: pa.Table, source: QuerySource) -> Iterator[Question]:
    """The queries of a source that have hits, with these.

    Args:
        rows: the hits of a batch, with the column `query`.
        source: whose queries they are; a picture that can't be read any more is left out.
    """
    numbers = {name: number for number, name in enumerate(source.names.to_pylist())}
    at = 0
    for name, group in groupby(rows["query"].to_pylist()):
        count = len(list(group))
        number = numbers[name]
        yield Question(
            hits=Records(rows.slice(at, count)),
            picture=asked(name, _read(source, number)) if source.pictured[number] else None,
            text=source.texts[number].as_py() if source.texts is not None else None,
            image_id=source.ids[number].as_py() if source.ids is not None else None,
            name=name,
        )
        at += count


def totals(report: BatchReport) -> dict[str, Any]:
    """What a batch's report says to a page."""
    return {
        "explanation": report.explanation,
        "queries": report.queries,
        "hits": report.rows,
        "failed": report.failed,
    }


def _read(source: QuerySource, number: int) -> bytes | None:
    try:
        return None if source.inputs is None else source.inputs.read(number).data
    except (OSError, ImageError):
        return None


def _own(question: Question) -> list[str]:
    return [] if question.image_id is None else [question.image_id]


def _answer(question: Question, pictures: Mapping[str, Shown], columns: Mapping[str, pa.Field]) -> Answer:
    picture = question.picture if question.image_id is None else pictures[question.image_id]
    hits = [_hit(rank, row, pictures, columns) for rank, row in enumerate(question.hits[:_HITS], 1)]
    return Answer(question, picture, tuple(hits), len(question.hits))


def _hit(rank: int, row: Record, pictures: Mapping[str, Shown], columns: Mapping[str, pa.Field]) -> Hit:
    cosines = [(kind, name, row.get(column)) for column, kind, name in _COSINES]
    sorted_by = {key: row[field.name] for key, field in columns.items() if _is_sortable(field.type)}
    values = [(field.name, row[field.name]) for field in columns.values()]
    return Hit(
        picture=pictures[row.image_id],
        rank=rank,
        row=row,
        cosines=tuple(Cosine(kind, name, value) for kind, name, value in cosines if value is not None),
        metadata=tuple((name, _short(value)) for name, value in values if value is not None),
        keys=keys(
            rank=rank,
            score=row.score,
            id=row.image_id,
            **{kind: value for kind, _, value in cosines},
            **sorted_by,
        ),
    )


def _columns(tables: Sequence[pa.Table]) -> dict[str, pa.Field]:
    """The metadata columns of hits, by the keys that stand for them in a page; the prefix once more is none."""
    if not tables:
        return {}
    schema = tables[0].schema
    metadata = [field for field in list(schema)[schema.get_field_index("prefix") + 1 :] if field.name != "cross_score"]
    told = [one for one in metadata if not all(table[one.name].equals(table["prefix"]) for table in tables)]
    return {f"column-{number}": field for number, field in enumerate(told)}


def _orders(answers: Sequence[Answer], columns: Mapping[str, pa.Field]) -> tuple[Order, ...]:
    """The orders in which hits differ."""
    orders = [
        Order("rank", "rank, best first", falls=False),
        Order("score", "score"),
        *(Order(kind, f"{name} cosine") for _, kind, name in _COSINES),
        Order("id", "image_id", is_text=True, falls=False),
    ]
    for key, field in columns.items():
        is_number = (
            pa.types.is_integer(field.type) or pa.types.is_floating(field.type) or pa.types.is_decimal(field.type)
        )
        orders.append(Order(key, field.name, is_text=not is_number, falls=is_number))
    known = {key for one in answers for hit in one.hits for key in hit.keys}
    return tuple(order for order in orders if order.key in known)[: _COLUMNS + 6]


def _is_sortable(kind: pa.DataType) -> bool:
    return not (pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _short(value: Any) -> str:
    text = value.isoformat(" ") if hasattr(value, "hour") else str(value)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def _meaning(weights: tuple[float, float] | None, has_cross: bool) -> str:
    """What the score is."""
    image = "of the text with the picture" if has_cross else "of the pictures"
    if weights == (1, 1):
        return f"The score is the cosine {image} alone."
    if weights == (0, 0):
        return "The score is the cosine of the prefixes alone."
    if weights is None or weights[0] != weights[1]:
        return f"The score is A times the cosine {image} and 1 - A times that of the prefixes; A differs by query."
    share = weights[0]
    return f"The score is {share:g} times the cosine {image}, and {1 - share:g} times that of the prefixes."


def _exactness(explanation: Explanation | None) -> str | None:
    if explanation is None:
        return None
    recall = explanation.target_recall
    looked_at = plural(explanation.images, "image")
    return f"of {looked_at}, exact" if recall is None else f"of {looked_at}, {percent(recall)} of the true ones"
