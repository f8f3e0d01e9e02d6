"""What is made of a picture: the square that a model takes, and the thumbnail."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from fpve.config import Resize

THUMBNAIL_SIDE = 256
# Large enough to look at, small enough that a million thumbnails are about 8 GB.
THUMBNAIL_QUALITY = 80


def resize(image: Image.Image, side: int, how: Resize) -> NDArray[np.uint8]:
    """Make a square (side, side, 3) uint8 of a picture: squash it, pad it with white, or crop its centre.

    `crop` is the usual evaluation transform: shorter side to side * 256/224, then the centre.
    """
    if how == "squash":
        square = image.resize((side, side), Image.Resampling.BICUBIC)
    elif how == "pad":
        square = ImageOps.pad(image, (side, side), Image.Resampling.BICUBIC, color=(255, 255, 255))
    else:
        # Only the centre is resampled: the long side of a strip of 20,000 x 8 pixels would become 640,000.
        edge = min(image.size) * 224 / 256
        left, top = ((whole - edge) / 2 for whole in image.size)
        box = (left, top, left + edge, top + edge)
        square = image.resize((side, side), Image.Resampling.BICUBIC, box=box)
    return np.asarray(square)


def thumbnail(image: Image.Image) -> bytes:
    """Make a JPEG of at most THUMBNAIL_SIDE pixels a side."""
    scale = THUMBNAIL_SIDE / max(image.size)
    if scale < 1:
        width, height = (max(round(one * scale), 1) for one in image.size)
        # Pillow's own choice for thumbnails: more than twice too large is first reduced by whole numbers.
        image = image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=THUMBNAIL_QUALITY)
    return buffer.getvalue()
