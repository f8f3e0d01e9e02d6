"""Moved images: those that are new under their name, and whose like is gone under another."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc


def count_pairs(new: pa.Table, gone: pa.Table) -> int:
    """How many rows of two tables of the same columns pair up by equal values, each row once; null equals nothing."""
    new, gone = _counts(new), _counts(gone)
    if not len(new) or not len(gone):
        return 0
    keys = new.column_names[:-1]
    both = new.join(gone, keys=keys, join_type="inner", right_suffix=" gone")
    return int(pc.sum(pc.min_element_wise(both["count_all"], both["count_all gone"])).as_py() or 0)


def guess_moves(
    new: pa.Table, gone: pa.Table, seen: pa.Table, *, shared_times: bool = False, tagged: bool = False
) -> int:
    """How many files are likely to be gone images under another name, before any of them is opened.

    Args:
        new: `size`, `mtime_ns` and `origin` of the files whose names are new.
        gone: `image_id` and `bytes` of the images that are gone.
        seen: `image_id`, `size`, `mtime_ns` and `origin` of files that earlier runs saw.
        shared_times: whether the times are those of what holds the files, so that all of them have changed; a size
            that only reading tells may then be that of any image. What is guessed wrong is found out by reading.
        tagged: whether `origin` ends in a tag: moving an object is to copy it, which changes its time, and not that.
    """
    if not len(new) or not len(gone):
        return 0
    if shared_times:
        pairs = count_pairs(new.select(["size"]), pa.table({"size": gone["bytes"]}))
        return min(len(new), len(gone), pairs + int(new["size"].null_count))
    at = pc.index_in(gone["image_id"], seen["image_id"].combine_chunks())
    then = seen.take(at.drop_null())
    if tagged:
        pairs = count_pairs(_tags(new), _tags(then))
    else:
        pairs = count_pairs(new.select(["size", "mtime_ns"]), then.select(["size", "mtime_ns"]))
    # Of a file that had just been written when it was seen no time is remembered: there its size must do.
    untimed = pa.table({"size": gone["bytes"].filter(at.is_null())})
    return min(len(new), len(gone), pairs + count_pairs(new.select(["size"]), untimed))


def _tags(rows: pa.Table) -> pa.Table:
    # Of a table's object the path comes first.
    return pa.table({"size": rows["size"], "tag": pc.replace_substring_regex(rows["origin"], r"(?s)^.*\x00", "")})


def _counts(rows: pa.Table) -> pa.Table:
    rows = rows.drop_null()
    return rows.group_by(rows.column_names).aggregate([([], "count_all")])
