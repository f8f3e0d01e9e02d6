"""Flipped bits: `scripts/torture/flips.py` does the same for longer."""

from __future__ import annotations

from pathlib import Path

import pytest
from torture.flips import Flips


@pytest.mark.usefixtures("small_files")
def test_every_flipped_bit_is_found_and_repaired(tmp_path: Path) -> None:
    """Wherever a bit of a store is flipped, `verify` finds it, and `repair` and a run make the store what it was."""
    flips = Flips(tmp_path, seed=1)
    flips.run(60)
    assert not flips.problems
    # Each kind of file was hit.
    assert set(flips.counts) == {
        *("manifest", "page", "copy", "copy.sha256", "vectors", "index", "checksum"),
        *("prefixes", "quarantine", "thumbnails", "labels", "means", "predicted", "generated", "corrected"),
    }
