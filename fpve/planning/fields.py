"""Fields that every image has, for prefixes and ids, besides the columns of its metadata."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

# Of a relative path: the name without its extension, and the last folder's name.
_STEM = r"(?s)^(?:.*/)?([^/]+?)(?:\.[^./]*)?$"
_FOLDER = r"(?s)^(?:.*/)?([^/]*)/[^/]*$"
# In the table that is the source, from 0 on, as pandas and `datasets` count.
ROW = "row"


def built_in(name: str, collection: str, files: pa.Table) -> pa.Array:
    """A field of files, in their order; null where a picture lies in no folder."""
    if name == "collection":
        return pa.repeat(collection, len(files))
    if name == "path":
        return files["path"].combine_chunks()
    if name == ROW:
        return files["number"].combine_chunks()
    # The name of an archive is not that of a folder in it.
    inside = files["inside"].combine_chunks()
    if name == "stem":
        return pc.replace_substring_regex(inside, _STEM, r"\1")
    folder = pc.replace_substring_regex(inside, _FOLDER, r"\1")
    return pc.if_else(pc.match_substring(inside, "/"), folder, pa.scalar(None, pa.string()))
