"""Fixtures of tests that look through a store."""

from __future__ import annotations

import pytest
from browsing.hard_values import make

import fpve


@pytest.fixture(scope="session")
def rich(tmp_path_factory: pytest.TempPathFactory) -> fpve.Store:
    """A store of 60 pictures with metadata of every type, one for all tests here: none changes it."""
    return fpve.open(make(tmp_path_factory.mktemp("rich")))
