"""The formats that are decoded: how each is known, and how large a picture of it may be."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import IO, TYPE_CHECKING, cast

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

# Extensions of the formats that Pillow decodes without plugins and that people keep pictures in.
EXTENSIONS = frozenset(
    f".{name}"
    for name in (
        *("jpg", "jpeg", "jpe", "jfif", "png", "apng", "gif", "bmp", "dib", "webp", "tif", "tiff"),
        *("avif", "avifs", "jp2", "j2k", "ppm", "pgm", "pbm", "pnm", "tga", "ico"),
    )
)


@dataclass(frozen=True, slots=True)
class Format:
    """A format of pictures.

    Attributes:
        name: what people call it.
        plugin: Pillow's class for it, with the module it is in.
        megapixels: how large a picture may be, for its decoding to take less than 2 s on one core of 2020.
        overhead: bytes a pixel that its decoder takes in addition to the picture.
    """

    name: str
    plugin: str
    megapixels: int
    overhead: int = 0

    @property
    def article(self) -> str:
        """Its name with `a` or `an`."""
        return f"{'an' if self.name in ('AVIF', 'ICO') else 'a'} {self.name}"


# Cameras of medium format have 102 megapixels. At 70 million pixels a second, which is what PNG and TIFF are decoded
# at, and at 4 bytes a pixel, that is also what 2 s and the memory allow.
_CAMERA = 105
# 7,680 x 4,320. These decoders hold several copies of the whole picture.
_EIGHT_K = 34

# Only a part of its data is decoded, where less than the whole is enough; phones make them of 200 megapixels.
JPEG = Format("JPEG", "JpegImagePlugin.JpegImageFile", 300)
PNG = Format("PNG", "PngImagePlugin.PngImageFile", _CAMERA)
GIF = Format("GIF", "GifImagePlugin.GifImageFile", _CAMERA)
BMP = Format("BMP", "BmpImagePlugin.BmpImageFile", _CAMERA)
DIB = Format("DIB", "BmpImagePlugin.DibImageFile", _CAMERA)
TIFF = Format("TIFF", "TiffImagePlugin.TiffImageFile", _CAMERA)
WEBP = Format("WebP", "WebPImagePlugin.WebPImageFile", _EIGHT_K)
# Planes of up to 16 bits, and the bytes of a frame.
AVIF = Format("AVIF", "AvifImagePlugin.AvifImageFile", _EIGHT_K, 10)
# 4 bytes for each of four channels; bounded by what is decoded of it, which is as little as is enough.
JPEG2000 = Format("JPEG 2000", "Jpeg2KImagePlugin.Jpeg2KImageFile", _CAMERA, 16)
PNM = Format("PNM", "PpmImagePlugin.PpmImageFile", _CAMERA)
TGA = Format("TGA", "TgaImagePlugin.TgaImageFile", _CAMERA)
ICO = Format("ICO", "IcoImagePlugin.IcoImageFile", 4)

_BEGINNINGS = (
    (b"\xff\xd8\xff", JPEG),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"BM", BMP),
    (b"II*\0", TIFF),
    (b"MM\0*", TIFF),
    (b"II+\0", TIFF),
    (b"MM\0+", TIFF),
    (b"\xff\x4f\xff\x51", JPEG2000),
    (b"\0\0\0\x0cjP  \r\n\x87\n", JPEG2000),
    (b"\0\0\1\0", ICO),
)
_DIB_HEADERS = (40, 52, 56, 64, 108, 124)
# One plane of so many bits.
_DIB_PLANES = tuple(b"\1\0" + bits.to_bytes(2, "little") for bits in (1, 4, 8, 16, 24, 32))


def sniff(data: bytes) -> Format | None:
    """The format of a file by its first bytes, or None if they are those of no picture."""
    for beginning, one in _BEGINNINGS:
        if data.startswith(beginning):
            return one
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WEBP
    if data[4:8] == b"ftyp" and any(brand in data[8 : data[3]] for brand in (b"avif", b"avis")):
        return AVIF
    if data[:1] == b"P" and data[1:2] in b"123456" and data[2:3].isspace():
        return PNM
    if int.from_bytes(data[:4], "little") in _DIB_HEADERS and data[12:16] in _DIB_PLANES:
        return DIB
    return TGA if _may_be_tga(data) else None


def _may_be_tga(data: bytes) -> bool:
    """Whether the header can be that of a TGA, which begins with nothing of its own."""
    if len(data) < 18 or data[1] > 1 or data[2] not in (1, 2, 3, 9, 10, 11):
        return False
    # Bits of a pixel, with those of an entry of the palette where there is one; and a size that is not 0.
    depths = data[16] in (8, 16, 24, 32) and (data[7] in (15, 16, 24, 32) if data[1] else data[5:7] == b"\0\0")
    return depths and data[12:14] != b"\0\0" and data[14:16] != b"\0\0"


@cache
def _plugin(path: str) -> Callable[[IO[bytes]], ImageFile]:
    # Imported here: a run that has nothing to do decodes nothing.
    module, _, name = path.partition(".")
    return cast("Callable[[IO[bytes]], ImageFile]", getattr(importlib.import_module(f"PIL.{module}"), name))


def open_as(one: Format, file: IO[bytes]) -> ImageFile:
    """Read the header of a file of a known format. Nothing is decoded yet."""
    # Not Image.open: that tries other formats too, some of which start programs, and has one bound for all of them.
    return _plugin(one.plugin)(file)
