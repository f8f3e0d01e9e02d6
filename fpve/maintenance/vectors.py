"""Whether vectors are what they must be by themselves: rows, the means they are centred by, and predicted blocks."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fpve.fusion import FusedRows, Fusion
from fpve.store.means import Mean, centre_of

# A unit vector of a few thousand float32 numbers is one to within 1e-5; a flipped bit that matters is more.
_NORM_TOLERANCE = 1e-3


def check_rows(rows: FusedRows, fusion: Fusion) -> str | None:
    """Whether vectors are finite, and their blocks as long as the fusion mode makes them; None, or what is wrong."""
    if not all(np.isfinite(column).all() for column in rows):
        return "a vector or a norm is not finite"
    blocks = (
        (rows.image_norm, rows.vectors[:, : fusion.image_dim]),
        (rows.prefix_norm, rows.vectors[:, fusion.image_dim :]),
    )
    whole = np.zeros(len(rows.vectors))
    for norm, block in blocks:
        square = np.einsum("nd,nd->n", block, block, dtype=np.float64)
        whole += square
        # A missing block is zero; in the balanced mode the other keeps its 1/sqrt(2).
        expected = np.where(norm > 0, 0.5, 0) if fusion.mode == "balanced" else np.where(norm > 0, square, 0)
        wrong = np.abs(square - expected) > _NORM_TOLERANCE
        if wrong.any():
            return f"{wrong.sum():,} vectors are not of the length that {fusion.mode} fusion gives them"
    if fusion.mode == "concat" and (np.abs(whole - 1) > _NORM_TOLERANCE).any():
        return "a vector's length is not 1"
    return None


def check_means(rows: pa.Table, fusion: Fusion) -> str | None:
    """Whether means are finite, as long as means of unit blocks can be, and those that their version says."""
    found: dict[str, Mean] = {}
    dims = {"image": fusion.image_dim, "prefix": fusion.prefix_dim}
    for row in rows.to_pylist():
        block, values = row["block"], np.array(row["mean"], np.float32)
        if block not in dims or block in found:
            return f"expected one mean of image or prefix blocks each, found {', '.join(rows['block'].to_pylist())}"
        if len(values) != dims[block]:
            return f"expected a mean of {dims[block]} numbers of {block} blocks, found one of {len(values)}"
        if not np.isfinite(values).all():
            return f"the mean of {block} blocks is not finite"
        if np.linalg.norm(values) > 1 + _NORM_TOLERANCE:
            return f"the mean of {block} blocks is longer than 1"
        found[block] = Mean(row["rows"], values)
    centre = centre_of(found)
    if centre is None or set(rows["version"].to_pylist()) != {centre.version}:
        return "its means are not those that their version says"
    return None


def check_predictions(rows: pa.Table, fusion: Fusion) -> str | None:
    """Whether predicted prefix blocks are finite, at most of length 1, and one for each content."""
    if len(pc.unique(rows["content_hash"])) != len(rows):
        return "a content has two predictions"
    length = pc.fill_null(pc.list_value_length(rows["vector"]), -1)
    if pc.any(pc.not_equal(length, fusion.prefix_dim)).as_py():
        return f"expected predictions of {fusion.prefix_dim} numbers, found others"
    flat = pc.list_flatten(rows["vector"]).to_numpy()
    vectors: NDArray[np.float32] = flat.reshape(len(rows), fusion.prefix_dim)
    if not np.isfinite(vectors).all():
        return "a prediction is not finite"
    norm = np.linalg.norm(vectors, axis=1)
    wrong = (norm <= 0) | (norm > 1 + _NORM_TOLERANCE)
    return f"{wrong.sum():,} predictions are not longer than 0 and at most 1" if wrong.any() else None
