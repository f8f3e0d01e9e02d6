"""A store of labelled pictures, half of them with captions, whose class shows in both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from samples import KINDS, make_job

import fpve
from fpve.config import Job

COUNT = 150


def draw_kind(path: Path, number: int) -> None:
    """Write a picture of a kind: the same 8 x 8 pixels for all of it, with as much noise again."""
    of_kind = np.random.default_rng(1_000 + number % 3).integers(0, 128, (8, 8, 3))
    own = np.random.default_rng(number).integers(0, 128, (8, 8, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((of_kind + own).astype(np.uint8)).resize((40, 30), Image.Resampling.NEAREST).save(path)


@pytest.fixture
def labelled(tmp_path: Path) -> Job:
    """The job of a store of 150 pictures of three kinds, of which two thirds have a caption."""
    folder = tmp_path / "kinds"
    lines = ["path,caption,kind,colour"]
    for number in range(COUNT):
        kind = KINDS[number % 3]
        draw_kind(folder / f"{number:03d}.png", number)
        caption = f"{kind} number {number}" if number % 5 > 1 else ""
        lines.append(f"{number:03d}.png,{caption},{kind},{'red' if number % 2 else 'blue'}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    job = make_job(tmp_path / "store", folder)
    fpve.run(job)
    return job


@pytest.fixture
def trained(labelled: Job) -> Job:
    """The same with a head in its second snapshot."""
    fpve.train(labelled.store, label="kind")
    return labelled


@pytest.fixture
def flip() -> Callable[[Path], None]:
    """Flips one bit in the middle of a file, in place."""

    def damage(file: Path) -> None:
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 4
        file.write_bytes(data)

    return damage
