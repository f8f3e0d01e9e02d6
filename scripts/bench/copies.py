"""Copies of pictures with changed pixels, so that each is encoded: collections of any size out of a small one."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from PIL import Image

from fpve.images import EXTENSIONS

_PER_FOLDER = 1_000
_JPEG_QUALITY = 90


def pictures_in(folder: Path) -> list[Path]:
    """The pictures below a folder."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS)


def make_copies(source: Path, folder: Path, count: int) -> list[Path]:
    """Write `count` changed copies of a folder's pictures, PNG and JPEG in turns, unless they are there already."""
    originals = pictures_in(source)
    if not originals:
        raise SystemExit(f"{source}: no pictures in it")
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(partial(_copy, originals, folder), range(count), chunksize=256))


def _copy(originals: list[Path], folder: Path, number: int) -> Path:
    kind = ".jpg" if number % 2 else ".png"
    path = folder / f"{number // _PER_FOLDER:04d}" / f"{number:07d}{kind}"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    # PNG and JPEG of each original in turns.
    with Image.open(originals[(number // 2) % len(originals)]) as image:
        picture = image.convert("RGBA" if kind == ".png" else "RGB")
    # A small square whose colour is the number: other bytes, and pixels that a lossy format keeps apart.
    side = max(min(picture.size) // 8, 1)
    colour = (number % 256, number // 256 % 256, number // 65_536)
    at = (number * 7 % max(picture.width - side, 1), number * 13 % max(picture.height - side, 1))
    picture.paste(colour, (*at, at[0] + side, at[1] + side))
    picture.save(path, quality=_JPEG_QUALITY)
    return path
