"""The queries of a source as a search takes them: of one kind each, without those that can't be asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fpve.errors import ImageError, QueryError
from fpve.fusion import Floats
from fpve.neighbours import Rows
from fpve.opened import Opened
from fpve.queries import Queries, check_weight, find_rows
from fpve.sources.queries import QuerySource

_NOTHING = "it names nothing to search by"


class Group(NamedTuple):
    """Queries of one kind, and their numbers (m,) in the source."""

    numbers: Rows
    queries: Queries


class Asking(NamedTuple):
    """Some queries of a source: in groups, and by their numbers why some can't be asked."""

    groups: list[Group]
    failed: dict[int, str]


def prepare(
    source: QuerySource,
    numbers: Rows,
    vectors: pa.Array | None,
    opened: Opened,
    *,
    image_weight: float | None,
    advance: Callable[[int], object],
) -> Asking:
    """Make queries of some of those of a source; their pictures are encoded.

    Args:
        source: the source.
        numbers: (n,) which of its queries.
        vectors: (n,) their lists of numbers; None if they are no queries by vector.
        opened: the store.
        image_weight: the weight that all of them get, if any.
        advance: is told how many more are done, while there are pictures to encode.
    """
    failed: dict[int, str] = {}
    if vectors is not None:
        found = _by_vector(numbers, vectors, (opened.searcher.fusion.dim, opened.searcher.fusion.image_dim), failed)
    elif source.ids is not None:
        found = _by_id(numbers, source.ids.take(pa.array(numbers)).to_pylist(), opened, failed)
    else:
        found = _by_content(source, numbers, opened, failed, advance)
    groups = []
    for group in found:
        if not len(group.numbers):
            continue
        try:
            check_weight(image_weight, given=set(group.queries.kinds), snapshot=opened.searcher.snapshot)
        except QueryError as error:
            # It leaves nothing of those that lack what others have.
            failed.update(dict.fromkeys(group.numbers.tolist(), str(error)))
        else:
            groups.append(group)
    return Asking(groups, failed)


def _by_vector(numbers: Rows, vectors: pa.Array, dims: tuple[int, int], failed: dict[int, str]) -> Iterator[Group]:
    """Fused vectors, and image blocks."""
    lengths = pc.list_value_length(vectors).fill_null(0).to_numpy(zero_copy_only=False)
    for number, length in zip(numbers.tolist(), lengths.tolist(), strict=True):
        if length not in dims:
            failed[number] = f"expected a vector of {dims[0]} numbers, or {dims[1]} of an image, found {length}"
    for dim in set(dims):
        at = np.flatnonzero(lengths == dim)
        flat = vectors.take(pa.array(at)).flatten().cast(pa.float32(), safe=False)
        rows: Floats = flat.to_numpy(zero_copy_only=False).reshape(-1, dim)
        good = np.isfinite(rows).all(axis=1) & rows.any(axis=1)
        failed.update(dict.fromkeys(numbers[at[~good]].tolist(), "expected finite numbers that are not all zero"))
        yield Group(numbers[at[good]], Queries(vectors=rows[good]))


def _by_id(numbers: Rows, ids: list[str | None], opened: Opened, failed: dict[int, str]) -> Iterator[Group]:
    known = find_rows(ids, opened.searcher) >= 0
    for at in np.flatnonzero(~known).tolist():
        failed[int(numbers[at])] = _NOTHING if ids[at] is None else f"no image {ids[at]!r} in the store"
    asked = [one for one, is_known in zip(ids, known, strict=True) if is_known and one is not None]
    yield Group(numbers[known], Queries(ids=asked))


def _by_content(
    source: QuerySource, numbers: Rows, opened: Opened, failed: dict[int, str], advance: Callable[[int], object]
) -> Iterator[Group]:
    """Pictures with a text, pictures without, and texts without a picture."""
    texts = np.full(len(numbers), None)
    if source.texts is not None:
        texts[:] = source.texts.take(pa.array(numbers)).to_pylist()
    worded = np.array([one is not None for one in texts], bool)
    pictured = source.pictured[numbers]
    failed.update(dict.fromkeys(numbers[~worded & ~pictured].tolist(), _NOTHING))
    yield Group(numbers[worded & ~pictured], Queries(texts=texts[worded & ~pictured].tolist()))
    if source.inputs is None or not pictured.any():
        return
    mine, read = numbers[pictured], source.inputs.read

    def picture(at: int) -> bytes:
        try:
            return read(int(mine[at])).data
        except FileNotFoundError:
            raise ImageError("no such file") from None
        except OSError as error:
            raise ImageError(f"can't be read: {error.strerror}") from None

    encoded = opened.encoders.encode_each(len(mine), picture, advance=advance)
    failed.update({int(mine[at]): reason for at, reason in encoded.failed.items()})
    good = np.ones(len(mine), bool)
    good[list(encoded.failed)] = False
    both = good & worded[pictured]
    yield Group(mine[both], Queries(features=encoded.features[both], texts=texts[pictured][both].tolist()))
    alone = good & ~worded[pictured]
    yield Group(mine[alone], Queries(features=encoded.features[alone]))
