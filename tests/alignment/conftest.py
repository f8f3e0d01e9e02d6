"""What all tests of the alignment share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Matrices are small here: on a busy machine, threads that wait for one another take ten times as long."""
    with threadpool_limits(1, "blas"):
        yield
