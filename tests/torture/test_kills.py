"""Writers that are killed at any moment: `scripts/torture/kills.py` does the same for longer."""

from __future__ import annotations

from pathlib import Path

import pytest
from torture.kills import Campaign


@pytest.mark.usefixtures("small_files")
def test_killed_writers_tear_nothing(tmp_path: Path) -> None:
    """A writer that is killed leaves what was before or what comes after it, and nothing finished is made again."""
    campaign = Campaign(tmp_path, seed=1)
    campaign.run(kills=20)
    assert not campaign.problems
    assert campaign.killed >= 20
