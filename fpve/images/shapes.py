"""What is made of a picture: the square that a model takes, and the thumbnail."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from fpve.config import Resize

THUMBNAIL_SIDE = 256
# Large enough to look at, small enough that a million thumbnails are about 8 GB.
THUMBNAIL_QUALITY = 80


# Where in a reduced picture the picture itself is: 4,001 columns are 500.125 times 8, and the last of 501 is not to be
# stretched to the width of the others, which would move all that the model sees.
EXTENT = "fpve-extent"
Box = tuple[float, float, float, float]


def extent(image: Image.Image) -> Box:
    """Left, top, right and bottom of what is the picture; of most the whole."""
    whole: Box = (0, 0, *image.size)
    box: Box = image.info.get(EXTENT, whole)
    # What was cut out of a reduced picture still has its info.
    return box if box[2] <= image.width and box[3] <= image.height else whole


def resize(image: Image.Image, side: int, how: Resize) -> NDArray[np.uint8]:
    """Make a square (side, side, 3) uint8 of a picture: squash it, pad it with white, or crop its centre.

    `crop` is the usual evaluation transform: shorter side to side * 256/224, then the centre.
    """
    left, top, right, bottom = box = extent(image)
    width, height = right - left, bottom - top
    bicubic = Image.Resampling.BICUBIC
    if how == "squash":
        square = image.resize((side, side), bicubic, box=box)
    elif how == "pad":
        size = _fit(width, height, side)
        square = Image.new("RGB", (side, side), (255, 255, 255))
        square.paste(image.resize(size, bicubic, box=box), (round((side - size[0]) / 2), round((side - size[1]) / 2)))
    else:
        # Only the centre is resampled: the long side of a strip of 20,000 x 8 pixels would become 640,000.
        edge = min(width, height) * 224 / 256
        left, top = left + (width - edge) / 2, top + (height - edge) / 2
        square = image.resize((side, side), bicubic, box=(left, top, left + edge, top + edge))
    return np.asarray(square)


def thumbnail(image: Image.Image, side: int = THUMBNAIL_SIDE) -> bytes:
    """Make a JPEG of at most so many pixels a side."""
    if max(image.size) > side:
        left, top, right, bottom = box = extent(image)
        size = _fit(right - left, bottom - top, side)
        # Pillow's own choice for thumbnails: what is more than twice too large is first reduced by whole numbers.
        image = image.resize(size, Image.Resampling.LANCZOS, box=box, reducing_gap=2.0)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=THUMBNAIL_QUALITY)
    return buffer.getvalue()


def _fit(width: float, height: float, side: int) -> tuple[int, int]:
    """Width and height of a picture whose longer one is `side`."""
    longer = max(width, height)
    return max(round(width / longer * side), 1), max(round(height / longer * side), 1)
