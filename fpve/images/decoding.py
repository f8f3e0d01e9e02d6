"""Decoding: the bytes of a file into an upright RGB picture, no larger than is needed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from PIL import Image, ImageChops
from PIL.ImageFile import ImageFile

from fpve.errors import ImageError
from fpve.images import formats, headers, reasons
from fpve.images.colours import bytes_per_pixel, to_rgb
from fpve.images.headers import Metered, Opening
from fpve.images.room import ROOM, give_memory_back
from fpve.images.shapes import EXTENT, Box

# Version of the rules by which bytes become a model's square. Other pixels are other features: it is a part of what
# the fingerprints of encoders cover.
DECODING = 2
# More than twice the side of a thumbnail, and 20/7 of that of most models. On photographs of 1 to 24 megapixels
# features of EfficientNet-Lite0 have a mean cosine of .9998 to those of the whole picture and .9989 at the least, which
# is what saving it as JPEG once more does. With 448 that is .9978; with 1,024 decoding takes up to 1.7 times as long.
ENOUGH = 640
_MODEL_SIDE = 224
# Of a picture that is too narrow to be reduced: 800 x 40,000, a comic to be scrolled through.
_KEPT_MEGAPIXELS = 32
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_THEIR_SIDE = (5, 6, 7, 8)
_SIDEWAYS = [_TURNS[one] for one in _ON_THEIR_SIDE]


@dataclass(frozen=True, slots=True)
class Decoded:
    """A picture that was decoded.

    Attributes:
        image: RGB and upright; reduced by a whole number, if it was much larger than is needed. Its info then has
            the EXTENT that `resize` and `thumbnail` heed.
        width, height: pixels of the picture itself, upright.
    """

    image: Image.Image
    width: int
    height: int


@contextmanager
def without_warnings() -> Iterator[None]:
    """Silence Pillow, which warns of large pictures and odd tags: what can't be decoded raises, the rest is fine.

    For all threads at once, so it is to be entered by one of them, around the others.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def decode(data: bytes, *, enough: int = ENOUGH) -> Decoded:
    """Decode a file's bytes into an upright RGB picture.

    Transparency is composited on white; of an animation the first frame is taken, of several pages the first.

    Args:
        data: the whole file.
        enough: pixels, below which neither side of a picture is reduced; `enough_for` says what is, for a model.

    Raises:
        ImageError: the bytes are empty, of no known format, broken, or would take too much time or memory.
    """
    if not data:
        raise ImageError("empty file")
    found = formats.sniff(data)
    if found is None:
        raise ImageError(reasons.foreign(data))
    try:
        opening = headers.examine(found, data)
        return _decode_both(opening, enough) if opening.other else _decode(opening, enough)
    except ImageError:
        raise
    # Pillow's plugins raise anything on broken files: struct.error, SyntaxError, ZeroDivisionError.
    except Exception as error:
        # What may be a TGA may be anything.
        raise ImageError(reasons.UNKNOWN if found is formats.TGA else reasons.damaged(found, error)) from error


def enough_for(side: int) -> int:
    """Pixels below which neither side of a picture is to be reduced for a model that takes squares of this side."""
    return max(-(-side * ENOUGH // _MODEL_SIDE), ENOUGH)


def from_picture(picture: Image.Image, *, enough: int = ENOUGH) -> Decoded:
    """Treat a picture of Pillow's like that of a file.

    Raises:
        ImageError: its file is broken.
    """
    try:
        picture.load()
        return _finish(picture, picture.size, 1, enough)
    except Exception as error:
        raise ImageError("a picture that can't be decoded") from error


def _decode_both(opening: Opening, enough: int) -> Decoded:
    """A picture without an end mark, if it is the same whatever comes behind it: nothing of it is missing."""
    decoded = _decode(opening, enough)
    other = _decode(replace(opening, data=opening.other), enough)
    if ImageChops.difference(decoded.image, other.image).getbbox() is not None:
        raise ImageError(f"{opening.format.article} that is {reasons.CUT_OFF}")
    return decoded


def _decode(opening: Opening, enough: int) -> Decoded:
    give_memory_back()
    with ROOM.hold(opening.at_once):
        file = Metered(opening.data)
        image = formats.open_as(opening.format, file)
        try:
            size = image.size
            headers.check_size(opening.format, *size)
            scale = _decode_less(image, opening, enough)
            with ROOM.hold(0 if opening.at_once else _memory(image, opening, enough)):
                file.left = Metered.LOADING
                image.load()
                decoded = _finish(image, size, scale, enough)
                if decoded.image is not image:
                    # Before the next one begins.
                    image.close()
                return decoded
        except BaseException:
            # The error's traceback would hold it, for as long as that is looked at.
            image.close()
            raise


def _memory(image: ImageFile, opening: Opening, enough: int) -> int:
    """Bytes that decoding a picture takes.

    Raises:
        ImageError: too much of it would be left after it.
    """
    pixels = image.width * image.height
    kept = pixels // _factor(image.size, enough) ** 2
    if kept > _KEPT_MEGAPIXELS * 10**6:
        raise ImageError(
            f"{image.width} x {image.height} pixels can't be reduced to less than {kept / 1e6:,.0f} megapixels without "
            f"becoming too narrow, and {_KEPT_MEGAPIXELS} is the most that is kept"
        )
    # A TIFF is turned by Pillow, which makes a second one of it.
    copies = 2 if opening.format is formats.TIFF and _orientation(image) != 1 else 1
    decoding = pixels * (copies * bytes_per_pixel(image.mode) + opening.format.overhead)
    return decoding + opening.overhead + kept * bytes_per_pixel("RGB")


def _decode_less(image: ImageFile, opening: Opening, enough: int) -> int:
    """Have only as much decoded as is enough, in the formats that can; return by what it will be smaller."""
    if opening.format is formats.JPEG:
        # From 1/1 to 1/8.
        image.draft(None, (enough, enough))
        return int(image.decoderconfig[0])
    if opening.format is not formats.JPEG2000:
        return 1
    levels = min(opening.levels, _factor(image.size, enough).bit_length() - 1)
    # Not by Pillow's own attribute: its rounding and that of the decoder differ, and most sizes fail.
    width, height = (-(-side >> levels) for side in image.size)
    image._size = (width, height)
    image.tile = [
        tile._replace(extents=(0, 0, width, height), args=(tile.args[0], levels, *tile.args[2:]))
        for tile in image.tile
        if isinstance(tile.args, tuple)
    ]
    return 1 << levels


def _finish(image: Image.Image, size: tuple[int, int], scale: int, enough: int) -> Decoded:
    """Reduce a loaded picture, make it RGB and turn it upright.

    Args:
        image: the picture.
        size: what it was before it was decoded on a smaller scale.
        scale: by what it is smaller.
        enough: as in `decode`.
    """
    orientation = _orientation(image)
    factor = _factor(image.size, enough)
    rgb = to_rgb(image, factor)
    box: Box = (0, 0, size[0] / scale / factor, size[1] / scale / factor)
    turn = _TURNS.get(orientation)
    if turn is not None:
        box = _turned(box, rgb.size, turn)
        rgb = rgb.transpose(turn)
    # Nothing of the file's own is needed any more, and none of it is to be saved with a thumbnail.
    rgb.info = {EXTENT: box} if scale * factor > 1 else {}
    width, height = size[::-1] if orientation in _ON_THEIR_SIDE else size
    return Decoded(rgb, width, height)


def _turned(box: Box, size: tuple[int, int], turn: Image.Transpose) -> Box:
    """Where a box at the left and top of a picture of this size comes to lie; a gap is at its right and below."""
    _, _, width, height = box
    beside, below = size[0] - width, size[1] - height
    flip = Image.Transpose
    left = {flip.FLIP_LEFT_RIGHT: beside, flip.ROTATE_180: beside, flip.ROTATE_270: below, flip.TRANSVERSE: below}
    top = {flip.FLIP_TOP_BOTTOM: below, flip.ROTATE_180: below, flip.ROTATE_90: beside, flip.TRANSVERSE: beside}
    x, y = left.get(turn, 0.0), top.get(turn, 0.0)
    return (x, y, x + height, y + width) if turn in _SIDEWAYS else (x, y, x + width, y + height)


def _factor(size: tuple[int, int], enough: int) -> int:
    return max(min(size) // enough, 1)


def _orientation(image: Image.Image) -> int:
    """How a picture is to be turned; 1 where its metadata are broken, which its pixels need not be."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 (whatever broken metadata raise)
        return 1
