"""How bytes become pictures: decoding, the square that a model takes, and thumbnails.

Whatever the bytes are, they become a picture or an `ImageError` that says why not, within bounds of time and memory
that are stated in `formats` and `room`.
"""

from fpve.images.decoding import DECODING, ENOUGH, Decoded, decode, enough_for, from_picture, without_warnings
from fpve.images.formats import EXTENSIONS
from fpve.images.room import MAX_FILE_BYTES, TOO_LARGE
from fpve.images.shapes import THUMBNAIL_QUALITY, THUMBNAIL_SIDE, resize, thumbnail

__all__ = [
    "decode",
    "enough_for",
    "from_picture",
    "Decoded",
    "ENOUGH",
    "DECODING",
    "without_warnings",
    "resize",
    "thumbnail",
    "THUMBNAIL_SIDE",
    "THUMBNAIL_QUALITY",
    "EXTENSIONS",
    "MAX_FILE_BYTES",
    "TOO_LARGE",
]
