"""How bytes become pictures: decoding, the square that a model takes, and thumbnails."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from fpve.errors import ImageError

if TYPE_CHECKING:
    from fpve.config import Resize

# Extensions of the formats that Pillow decodes without plugins and that people keep pictures in.
EXTENSIONS = frozenset(
    f".{name}"
    for name in (
        *("jpg", "jpeg", "jpe", "jfif", "png", "apng", "gif", "bmp", "dib", "webp", "tif", "tiff"),
        *("avif", "avifs", "jp2", "j2k", "ppm", "pgm", "pbm", "pnm", "tga", "ico"),
    )
)
# 179 megapixels: above this a file is more likely an attack, or a map, than a picture; Pillow's own error threshold.
MAX_PIXELS = 2 * 89_478_485
THUMBNAIL_SIDE = 256
# Large enough to look at, small enough that a million thumbnails are about 8 GB.
THUMBNAIL_QUALITY = 80


@contextmanager
def without_warnings() -> Iterator[None]:
    """Silence Pillow, which warns of large pictures and odd tags: what can't be decoded raises, the rest is fine.

    For all threads at once, so it is to be entered by one of them, around the others.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def decode(data: bytes) -> Image.Image:
    """Decode a file's bytes into an upright RGB picture.

    Transparency is composited on white; of an animation the first frame is taken.

    Raises:
        ImageError: the bytes are empty, of no known format, broken, or of more than MAX_PIXELS pixels.
    """
    if not data:
        raise ImageError("empty file")
    try:
        with Image.open(io.BytesIO(data)) as image:
            _check_size(image)
            image.load()
            return to_rgb(ImageOps.exif_transpose(image))
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError("not a picture of any known format") from None
    # Pillow's plugins raise anything on broken files: struct.error, SyntaxError, ZeroDivisionError.
    except Exception as error:
        raise ImageError(f"can't be decoded: {error}" if str(error) else "can't be decoded") from error


def _check_size(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(f"{image.width} x {image.height} pixels, more than {MAX_PIXELS}")


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
    small = image.copy()
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=THUMBNAIL_QUALITY)
    return buffer.getvalue()


def to_rgb(image: Image.Image) -> Image.Image:
    """An RGB copy of a picture; transparency is composited on white, more than 8 bits are scaled down."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        # Pillow clips instead of scaling when it converts more than 8 bits.
        values = np.asarray(image, dtype=np.float64)
        top = 65535.0 if values.max(initial=0) > 255 else 255.0
        return Image.fromarray(np.clip(values / top * 255, 0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        opaque = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, opaque).convert("RGB")
    return image.convert("RGB")
