"""Small collections that tests share: real files, and jobs over them with the deterministic fake encoders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from fpve.config import CollectionConfig, EncoderConfig, Encoders, FusionConfig, Job

FAKE = Encoders(image=EncoderConfig("fake:24"), text=EncoderConfig("fake:16"))
KINDS = ("cat", "dog", "bird")


def draw(path: Path, seed: int) -> None:
    """Write a small picture that no other seed gives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((40, 30), Image.Resampling.NEAREST).save(path)


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
