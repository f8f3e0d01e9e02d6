"""Votes by distance, where distances are so small that a score in float32 can't tell them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from samples import draw, make_job

import fpve
from fpve.config import Job


def test_votes_by_distance_are_exact_for_near_copies(job: Job, pictures: Path) -> None:
    """A score of 0.999999 has one digit left of its distance to 1; probabilities still have six."""
    for number in range(12, 40):
        draw(pictures / "cat" / f"{number}.png", number)
    fpve.run(make_job(job.store, pictures))
    store = fpve.open(job.store)
    rows = store.sql("SELECT vector, kind, image_id FROM vectors JOIN images USING (image_id) WHERE kind IS NOT NULL")
    vectors, kinds = np.array(rows["vector"].to_pylist()), np.array(rows["kind"].to_pylist())
    noise = np.random.default_rng(0).normal(size=vectors.shape)
    steps = np.geomspace(2e-3, 2e-2, len(vectors))[:, None]
    # A block that is missing stays so.
    asked = (vectors + noise * np.abs(np.sign(vectors)) * steps / np.linalg.norm(noise, axis=1, keepdims=True)).astype(
        np.float32
    )
    image, prefix = (unit(block[:, half]) for block in (asked,) for half in (slice(0, 24), slice(24, 40)))
    own_image, own_prefix = (unit(vectors[:, half]) for half in (slice(0, 24), slice(24, 40)))
    weight = np.where(prefix.any(axis=1), 0.5, 1.0)[:, None]
    squares = weight * square(image, own_image) + (1 - weight) * square(prefix, own_prefix)
    found = store.classify(label="kind", vectors=asked, k=100, weights="distance")
    for one, row in zip(found, squares, strict=True):
        votes = 1 / np.sqrt(row)
        assert votes.max() > 25
        for entry in one.probabilities:
            share = votes[kinds == entry["label"]].sum() / votes.sum()
            assert entry["probability"] == pytest.approx(share, abs=1e-6)


def unit(block: np.ndarray) -> np.ndarray:
    """Rows of length 1 in float64; zeros stay."""
    block = block.astype(np.float64)
    norm = np.linalg.norm(block, axis=1, keepdims=True)
    return np.divide(block, norm, out=np.zeros_like(block), where=norm > 0)


def square(queries: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """Squared distances (m, n) as scores have them: a missing block's cosine is 0."""
    both = queries.any(axis=1)[:, None] & blocks.any(axis=1)
    return np.where(both, np.square(queries[:, None] - blocks).sum(axis=2), 2.0)
