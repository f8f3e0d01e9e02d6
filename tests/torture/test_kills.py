"""Writers that are killed at any moment: `scripts/torture/kills.py` does the same for longer."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from torture.children import Operation
from torture.flips import make_master
from torture.kills import Campaign, sweep


@pytest.mark.usefixtures("small_files")
def test_killed_writers_tear_nothing(tmp_path: Path) -> None:
    """A writer that is killed leaves what was before or what comes after it, and nothing finished is made again."""
    campaign = Campaign(tmp_path, seed=1)
    campaign.run(kills=15)
    assert not campaign.problems
    assert campaign.killed >= 15


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("name", ["compact", "label", "prune", "rollback", "set_prefix"])
def test_maintenance_that_is_killed_is_done_again(tmp_path: Path, name: str) -> None:
    """At whichever event it dies: the newest snapshot is as before or as after, and doing it again ends well."""
    world = make_master(tmp_path)
    arguments: dict[str, dict[str, object]] = {
        "prune": {"keep": 1, "grace": timedelta(0)},
        "rollback": {"to": 2},
        "label": {"file": tmp_path / "labels.csv", "undo": True},
        "set_prefix": {"where": "true", "text": "written by hand"},
    }
    assert sweep(world, Operation(name, world.job(), arguments.get(name, {})), events=12).total() >= 10
