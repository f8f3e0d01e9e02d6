"""Collections in which it is known what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from samples import make_job

import fpve
from fpve.search import Searcher
from fpve.store.snapshot import Snapshot


def save(path: Path, pixels: np.ndarray, side: tuple[int, int] = (40, 40)) -> None:
    """Write small pixels (8, 8, 3) as a picture of a size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).resize(side, Image.Resampling.NEAREST).save(path)


def pixels(seed: int) -> np.ndarray:
    """Pixels (8, 8, 3) that no other seed gives."""
    return np.random.default_rng(seed).integers(20, 236, (8, 8, 3))


@pytest.fixture(scope="session")
def repeated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 90 pictures: 40 different ones, a clump of 31 that are nearly one, pairs, and copies."""
    root = tmp_path_factory.mktemp("repeated")
    folder = root / "pictures"
    rng = np.random.default_rng(0)
    for number in range(40):
        save(folder / f"single/{number:02d}.png", pixels(number))
    for number in range(31):
        save(folder / f"clump/{number:02d}.png", pixels(100) + rng.integers(-6, 7, (8, 8, 3)))
    for number in range(5):
        save(folder / f"pair/{number}-a.png", pixels(200 + number))
        # The larger of the two is the better one.
        save(folder / f"pair/{number}-b.png", pixels(200 + number) + rng.integers(-9, 10, (8, 8, 3)), (48, 48))
    for number in range(9):
        source = folder / f"single/{number // 3:02d}.png"
        target = folder / f"copy/{number}.png"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(source.read_bytes())
    job = make_job(root / "store", folder, metadata=None, prefix=None)
    fpve.run(job)
    return root / "store"


@pytest.fixture
def searcher(repeated: Path) -> Searcher:
    """Over the store of repeated pictures."""
    return Searcher(Snapshot.open(repeated))
