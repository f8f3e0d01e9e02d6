"""Pictures to measure runtimes with, and to check them: drawn by chance, the same on each machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from fpve.encoders.runtimes.protocol import Pixels

_SEED = 1711
# Spectra of photographs fall with the frequency f like f^-a, a around 1 for amplitudes (Field, 1987).
_FALL = (0.7, 1.5)


def probe_pictures(side: int, count: int) -> Pixels:
    """Make (count, side, side, 3) uint8: clouds with the spectrum of photographs, flat shapes over them, drawings.

    Shapes that hide one another, of sizes without a scale, have the statistics of natural scenes: Lee, Mumford and
    Huang, *Occlusion models for natural images*, IJCV 41, 2001.
    """
    random = np.random.Generator(np.random.PCG64(_SEED))
    makers = (_clouds, _shapes, _shapes, _drawing)
    return np.stack([makers[number % len(makers)](side, random) for number in range(count)])


def _clouds(side: int, random: np.random.Generator) -> Pixels:
    frequencies = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
    fall = np.where(frequencies > 0, frequencies, np.inf) ** -random.uniform(*_FALL)
    grey, *tints = (
        np.fft.irfft2(np.fft.rfft2(random.standard_normal((side, side))) * fall, (side, side)) for _ in range(4)
    )
    # The channels of a photograph go together.
    channels = np.stack([grey + random.uniform(0.1, 0.6) * tint for tint in tints], axis=-1)
    channels = (channels - channels.mean()) / channels.std()
    level, contrast = random.uniform(70, 180), random.uniform(20, 70)
    pixels: Pixels = np.clip(level + contrast * channels, 0, 255).astype(np.uint8)
    return pixels


def _shapes(side: int, random: np.random.Generator) -> Pixels:
    image = Image.fromarray(_clouds(side, random))
    _scatter(image, random, int(random.integers(3, 120)), outlined=False)
    grain = random.normal(0, random.uniform(0, 8), (side, side, 1))
    return np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8)


def _drawing(side: int, random: np.random.Generator) -> Pixels:
    image = Image.new("RGB", (side, side), (255, 255, 255))
    _scatter(image, random, int(random.integers(2, 25)), outlined=True)
    return np.asarray(image)


def _scatter(image: Image.Image, random: np.random.Generator, count: int, *, outlined: bool) -> None:
    canvas, side = ImageDraw.Draw(image), image.width
    for _ in range(count):
        # Areas whose density falls with the cube of the radius look alike at every scale.
        radius = min(side / 2, 0.02 * side / np.sqrt(random.random() + 1e-4))
        width, height = radius * random.uniform(0.3, 1, 2)
        x, y = random.random(2) * side
        grey = random.uniform(0, 255)
        colour = tuple(int(value) for value in np.clip(grey + random.normal(0, 30, 3), 0, 255))
        edge = (0, 0, 0) if outlined and random.random() < 0.7 else None
        draw = canvas.ellipse if random.random() < 0.5 else canvas.rectangle
        draw([x - width, y - height, x + width, y + height], fill=colour, outline=edge, width=max(1, side // 100))
