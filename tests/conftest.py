"""Fixtures that all tests share."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from samples import KINDS, draw, make_job

from fpve.config import Job
from fpve.engines import shards
from fpve.store import means, pages

if TYPE_CHECKING:
    from s3 import S3


_MEMORY = Path("/dev/shm")  # noqa: S108 (below it pytest makes a folder that nobody else may open)
# Bytes: what all tests write is below 1 GB, and who else is here wants some.
_ENOUGH = 4 * 2**30
# Files that take longest, and folders of such: who begins with them does not end by waiting for one.
_LONGEST = (
    *("test_ray.py", "test_faults.py", "test_flips.py", "test_tour.py", "torture", "encoders", "browser", "buckets"),
    *("engines", "test_compare.py", "cli", "test_cli_serve.py"),
)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Let tests write to memory, if it has room, and their processes share the cores."""
    # Half the time of tests that write stores is waiting for a disk, which keeps what nobody wants a minute later.
    if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ENOUGH:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))
    # Where Python is told to write no bytecode, each process that a test starts would compile all of fpve again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    processes = len(getattr(config.option, "tx", None) or [])
    if processes:
        # Of more threads than cores each waits, in a loop, for those that have none.
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; all else stays as it was."""
    places = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: min(places.get(part, len(places)) for part in item.path.parts))


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for converted models, empty at first and shared by all tests, so that the user's own is not touched."""
    beside = tmp_path_factory.getbasetemp()
    with tempfile.TemporaryDirectory(prefix="cache-", dir=beside) as folder, pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "FPVE_CACHE", folder)
        yield Path(folder)


@pytest.fixture(scope="module", autouse=True)
def sizes() -> Iterator[None]:
    """What a test makes small for its pictures is as large as it was for the next one, of whatever file that is."""
    before = (shards.SHARD_ROWS, pages.PAGE_ROWS, means.MIN_BLOCKS)
    yield
    assert before == (shards.SHARD_ROWS, pages.PAGE_ROWS, means.MIN_BLOCKS)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of 12 pictures in three folders, with captions for half of them in metadata.csv."""
    folder = tmp_path / "pictures"
    lines = ["path,caption,kind,price"]
    for number in range(12):
        kind = KINDS[number % 3]
        draw(folder / kind / f"{number:02d}.png", number)
        caption = f"{kind} number {number}" if number % 2 == 0 else ""
        lines.append(f"{kind}/{number:02d}.png,{caption},{kind},{number}.50")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def job(tmp_path: Path, pictures: Path) -> Job:
    """A job over `pictures` with captions as prefixes."""
    return make_job(tmp_path / "store", pictures)


@pytest.fixture
def tree() -> Callable[[Path], dict[str, bytes]]:
    """Reads every file below a folder, to tell whether anything was written."""

    def read(folder: Path) -> dict[str, bytes]:
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    return read


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    """A server that speaks S3, started for the first test that needs one."""
    # Half a second and 60 MB, which most tests can do without.
    from s3 import serving_s3

    with serving_s3() as server:
        yield server


@pytest.fixture
def s3(s3_server: S3) -> Iterator[S3]:
    """A server that speaks S3 with an empty bucket, which is where fpve and its child processes look for `s3://`."""
    from s3 import fresh_bucket

    with fresh_bucket(s3_server, f"test-{uuid.uuid4().hex[:12]}") as server:
        yield server
