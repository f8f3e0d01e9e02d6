"""Small collections and stores that tests share; pictures are real files, the encoder is the deterministic fake."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fpve.config import CollectionConfig, EncoderConfig, Encoders, FusionConfig, Job

FAKE = Encoders(image=EncoderConfig("fake:24"), text=EncoderConfig("fake:16"))
KINDS = ("cat", "dog", "bird")


def draw(path: Path, seed: int) -> None:
    """Write a small picture that no other seed gives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((40, 30), Image.Resampling.NEAREST).save(path)


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


def make_job(store: Path, source: Path, **options: object) -> Job:
    """A job of one collection `pets` with the fake encoders."""
    collection = {"metadata": source / "metadata.csv", "prefix": "{caption}", **options}
    return Job(
        name="pets",
        store=store,
        encoders=FAKE,
        fusion=FusionConfig(),
        collections=(CollectionConfig(name="pets", source=source, **collection),),
    )


@pytest.fixture
def tree() -> Callable[[Path], dict[str, bytes]]:
    """Reads every file below a folder, to tell whether anything was written."""

    def read(folder: Path) -> dict[str, bytes]:
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    return read
