"""Fixtures that the torture tests share."""

from __future__ import annotations

import pytest
from torture.world import use_small_files


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small shards, pages and means in this process, as in child processes, for the time of one test."""
    monkeypatch.setattr("fpve.engines.shards.SHARD_ROWS", 0)
    monkeypatch.setattr("fpve.store.pages.PAGE_ROWS", 0)
    monkeypatch.setattr("fpve.store.means.MIN_BLOCKS", 0)
    use_small_files()
