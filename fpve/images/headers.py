"""What headers say that Pillow asks too late, or not at all, for a file to be safe to open."""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass

import numpy as np

from fpve.errors import ImageError
from fpve.images import formats
from fpve.images.formats import Format
from fpve.images.reasons import CUT_OFF, NO_END, too_large

# Files of cameras have some tens of parts in their header, those with large profiles or depth maps some hundreds.
_PARTS = 4096
# What is no marker is skipped, but not for as long as a file of zeros is.
_JUNK = 65_536
# Parts of a PNG: with 8 kB in each, as libpng makes them, 1 GB.
_CHUNKS = 131_072
# Progressive JPEGs have about ten scans; each costs a pass over the whole picture, even if it is empty.
_SCANS = 100
_SCANNED_MEGAPIXELS = 1200
# All of a JPEG's data are in memory when it has more than one scan.
_MULTIPLE_SCANS = 105
# These kinds are decoded by Python, or by a library that takes several times as long.
_SLOW = 34
_SLOW_BYTES = 8 * 10**6


@dataclass(frozen=True, slots=True)
class Opening:
    """A file whose header was looked at.

    Attributes:
        format: what it is to be opened as.
        data: its bytes, maybe without parts that are no pictures.
        overhead: bytes of memory that decoding takes in addition to the picture.
        at_once: bytes that are taken as soon as it is opened, and are all that it takes; 0 where that comes later.
        levels: how often its width and height can be halved while it is decoded (JPEG 2000).
        other: of a file without an end mark what it is with another end: whole pictures are the same with either.
    """

    format: Format
    data: bytes
    overhead: int = 0
    at_once: int = 0
    levels: int = 0
    other: bytes = b""


def examine(one: Format, data: bytes) -> Opening:
    """Look at the header of a file.

    Raises:
        ImageError: the file is cut off or broken, or its picture is too large.
    """
    look = _LOOKS.get(one)
    return look(data) if look else Opening(one, data)


def check_size(one: Format, width: int, height: int) -> None:
    """Refuse what is too large.

    Raises:
        ImageError: it has more megapixels than a picture of its format may have.
    """
    _check(one, width, height, one.megapixels)


def _check(one: Format, width: int, height: int, megapixels: int, what: str = "") -> None:
    if width * height > megapixels * 10**6:
        raise ImageError(too_large(one, width, height, megapixels, what))


def _broken(one: Format, what: str) -> ImageError:
    return ImageError(f"{one.article} that is damaged: {what}")


def _jpeg(data: bytes) -> Opening:
    """Walk to the first scan; a JPEG is whole if it has an end, or maybe if its only scan has all of its channels."""
    one = formats.JPEG
    at, overhead, frame, parts = 2, 0, None, 0
    while True:
        found = data.find(b"\xff", at, at + _JUNK)
        parts += 1
        if found < 0 or parts > _PARTS:
            raise ImageError(f"a JPEG that is {CUT_OFF}") if at >= len(data) else _broken(one, "it holds no picture")
        marker = data[found + 1 : found + 2]
        if marker == b"\xff":
            at = found + 1
            continue
        if marker in _STANDALONE:
            at = found + 2
            continue
        if len(data) < found + 4:
            raise ImageError(f"a JPEG that is {CUT_OFF}")
        segment = data[found + 4 : found + 2 + int.from_bytes(data[found + 2 : found + 4])]
        if marker in _FRAMES and len(segment) >= 6:
            frame = (marker, segment)
        at = found + 4 + len(segment)
        if marker == b"\xda":
            scanned = segment[:1]
            break
    if frame is None:
        raise _broken(one, "its picture has no size")
    marker, segment = frame
    bits, height, width, count = struct.unpack(">BHHB", segment[:6])
    if bits != 8:
        raise ImageError(f"a JPEG of {bits} bits a sample: only those of 8 bits can be decoded")
    if count not in (1, 3, 4):
        raise ImageError(f"a JPEG of {count} channels: only those of 1, 3 or 4 can be decoded")
    check_size(one, width, height)
    factors = [(byte >> 4) * (byte & 15) for byte in segment[7::3][:count]]
    samples = width * height * sum(factors) // max(*factors, 1)
    # In coded data the byte after 0xff is 0: what is found is the end, or at the worst a table between two scans.
    end = data.find(b"\xff\xd9", at)
    ended, end = end >= 0, end if end >= 0 else len(data)
    # A block takes a bit at the least. What is not there would be grey.
    if marker in _USUAL_FRAMES and samples // 64 > 8 * (end - at):
        raise ImageError(f"a JPEG that is {CUT_OFF}")
    scans = 1 + data.count(b"\xff\xda", at, end)
    if not ended and (scans > 1 or marker not in _SEQUENTIAL or scanned != bytes([count]) or data.endswith(_ZEROS)):
        # There may have been another scan, or a part of this one in place of zeros.
        raise ImageError(f"a JPEG that {NO_END}")
    if marker not in _USUAL_FRAMES:
        _check(one, width, height, _SLOW, " of a rare kind")
    if scans > 1 or marker == b"\xc2":
        _check(one, width, height, _MULTIPLE_SCANS, " with several scans")
        if scans > _SCANS or scans * width * height > _SCANNED_MEGAPIXELS * 10**6:
            raise ImageError(f"a JPEG of {scans} scans: more than are decoded of {width} x {height} pixels")
        # 2 bytes for each sample.
        overhead = 2 * samples
    return Opening(one, data, overhead) if ended else _without_end(data, at)


def _without_end(data: bytes, at: int) -> Opening:
    """A JPEG that some cameras and tools write: with an end, and with one before which there is something else.

    What is there in place of data that are missing changes the picture: coded data of nothing, and of the next part,
    where the picture is in parts that begin with a restart.
    """
    # Half a marker.
    data = data.rstrip(b"\xff")
    restarts = _RESTART.findall(data, at)
    restart = bytes([0xFF, 0xD0 + (restarts[-1][1] + 1) % 8 if restarts else 0xD0])
    return Opening(formats.JPEG, data + _END, other=data + _FILLER + restart + _FILLER + _END)


# Bytes that are no marker, and no picture of anything.
_FILLER = bytes((41 + 73 * number) % 255 for number in range(64))
_END = b"\xff\xd9"
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
# More than coded data end with: room that was made for what was not copied.
_ZEROS = bytes(8)
# Without a length: restarts, the beginning, and what is no marker.
_STANDALONE = frozenset(bytes([value]) for value in (0, 1, *range(0xD0, 0xD9)))
_FRAMES = frozenset(bytes([value]) for value in range(0xC0, 0xD0)) - {b"\xc4", b"\xc8", b"\xcc"}
_SEQUENTIAL = (b"\xc0", b"\xc1")
_USUAL_FRAMES = (*_SEQUENTIAL, b"\xc2")


def _png(data: bytes) -> Opening:
    """Leave out texts and profiles: nothing is made of them, and a kilobyte can unpack into a gigabyte."""
    at, start, count = 8, 0, 0
    kept: list[memoryview] = []
    view = memoryview(data)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        count += 1
        if count > _CHUNKS:
            raise _broken(formats.PNG, f"it is in more than {_CHUNKS:,} parts")
        end = at + 12 + length
        if kind in (b"tEXt", b"zTXt", b"iCCP") or (kind == b"iTXt" and not _is_xmp(data, at, length)):
            kept.append(view[start:at])
            start = end
        if kind == b"IEND":
            break
        at = end
    if not kept:
        return Opening(formats.PNG, data)
    kept.append(view[start:])
    shorter = b"".join(kept)
    return Opening(formats.PNG, shorter, len(shorter))


def _is_xmp(data: bytes, at: int, length: int) -> bool:
    """Whether a text is XMP, in which the orientation can be: as it is, and of a size that Pillow takes."""
    return length <= _JUNK and data.startswith(b"XML:com.adobe.xmp\0\0\0", at + 8)


def _webp(data: bytes) -> Opening:
    """Pillow makes room for the canvas before it says how large that is."""
    kind = data[12:16]
    if len(data) < 30:
        raise ImageError(f"a WebP that is {CUT_OFF}")
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
    elif kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    check_size(formats.WEBP, width, height)
    # Two canvases of an animation, the bytes of a frame, and the picture.
    return Opening(formats.WEBP, data, at_once=16 * width * height)


def _jpeg2000(data: bytes) -> Opening:
    """How many times smaller it can be decoded: the number of its wavelet's levels."""
    start = data.find(b"\xff\x4f\xff\x51", 0, _JUNK)
    try:
        right, bottom, _, _, width, height, left, top = struct.unpack_from(">8I", data, start + 8)
        tiles = -(-(right - left) // width) * -(-(bottom - top) // height)
    except (struct.error, ZeroDivisionError):
        raise _broken(formats.JPEG2000, "its picture has no size") from None
    check_size(formats.JPEG2000, right, bottom)
    # No coded data hold these two: the end, and one for each tile; what is not there would be black.
    if start < 0 or data.rfind(b"\xff\xd9") < start or data.count(b"\xff\x90", start) < tiles:
        raise ImageError(f"a JPEG 2000 that is {CUT_OFF}")
    at = data.find(b"\xff\x52", start, start + _JUNK)
    levels = data[at + 9] if 0 <= at < len(data) - 9 else 0
    return Opening(formats.JPEG2000, data, levels=min(levels, 32))


def _bmp(data: bytes) -> Opening:
    """Pillow unpacks run lengths in Python."""
    if data[30:34] in (b"\1\0\0\0", b"\2\0\0\0") and int.from_bytes(data[14:18], "little") >= 40:
        if len(data) > _SLOW_BYTES:
            raise ImageError(f"a BMP of run lengths in {len(data) / 1e6:,.0f} MB: only up to 8 MB are decoded")
        width, height = struct.unpack_from("<ii", data, 18)
        _check(formats.BMP, width, abs(height), _SLOW, " of run lengths")
    return Opening(formats.BMP, data)


def _ico(data: bytes) -> Opening:
    """The largest picture of an icon: a PNG, or a BMP, of a size that the icon's list need not tell."""
    count = int.from_bytes(data[4:6], "little")
    entries = [data[at : at + 16] for at in range(6, 6 + 16 * min(count, _PARTS), 16)]
    if not entries or len(entries[-1]) < 16:
        raise ImageError(f"an ICO that is {CUT_OFF}")
    best = max(entries, key=lambda one: ((one[0] or 256) * (one[1] or 256), int.from_bytes(one[6:8], "little")))
    size, offset = struct.unpack_from("<II", best, 8)
    picture = data[offset : offset + size]
    if len(picture) < min(size, 40):
        raise ImageError(f"an ICO that is {CUT_OFF}")
    if picture.startswith(b"\x89PNG"):
        return _png(picture)
    width, height = struct.unpack_from("<ii", picture, 4)
    check_size(formats.ICO, abs(width), abs(height))
    return Opening(formats.ICO, b"\0\0\1\0\1\0" + best[:12] + (22).to_bytes(4, "little") + picture)


def _pnm(data: bytes) -> Opening:
    """What Pillow would decode in Python becomes 8 bits here, unless it is text."""
    one = formats.PNM
    kind = data[1:2]
    if kind in b"123":
        if len(data) > _SLOW_BYTES:
            raise ImageError(f"a PNM of text in {len(data) / 1e6:,.0f} MB: only up to 8 MB are decoded")
        return Opening(one, data)
    found = _PNM_HEADER.match(data)
    if kind == b"4" or not found:
        return Opening(one, data)
    width, height, top = map(int, found.groups())
    if top == 255 or not 0 < top < 65536:
        return Opening(one, data)
    _check(one, width, height, _SLOW, f" with {top} as white")
    samples = width * height * (3 if kind == b"6" else 1)
    kind_of = np.dtype(np.uint8 if top < 256 else ">u2")
    if len(data) - found.end() < samples * kind_of.itemsize:
        raise ImageError(f"a PNM that is {CUT_OFF}")
    # A table, and not arithmetic: it takes no copies in larger types.
    table = np.minimum(np.arange(65536) * 255 // top, 255).astype(np.uint8)
    eight = table[np.frombuffer(data, kind_of, samples, found.end())].tobytes()
    return Opening(one, b"P%b %d %d 255\n" % (kind, width, height) + eight, samples)


_GAP = rb"(?:\s|#[^\n]{0,1000}\n)+"
_PNM_HEADER = re.compile(rb"P[56]" + _GAP.join((b"", rb"(\d{1,6})", rb"(\d{1,6})", rb"(\d{1,6})")) + rb"\s")


def _tiff(data: bytes) -> Opening:
    """Tags that claim more than the file holds, and blocks larger than the picture, take gigabytes."""
    one = formats.TIFF
    order = "<" if data[:1] == b"I" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    number, entry, inline = ("Q", "HHQ", 8) if big else ("I", "HHI", 4)
    try:
        (at,) = struct.unpack_from(order + number, data, 8 if big else 4)
        counted = order + ("Q" if big else "H")
        (count,) = struct.unpack_from(counted, data, at)
        at += struct.calcsize(counted)
        if count > _PARTS:
            raise _broken(one, f"it has {count} tags")
        values: dict[int, int] = {}
        claimed = 0
        for _ in range(count):
            tag, kind, amount = struct.unpack_from(order + entry, data, at)
            size = amount * _TIFF_SIZES.get(kind, 0)
            claimed += size if size > inline else 0
            # Each number becomes an object of Python's; texts and bytes do not.
            if claimed > len(data) or (amount > _CHUNKS and kind not in _TIFF_BYTES):
                raise _broken(one, f"its tags claim {amount} values")
            place = at + struct.calcsize(order + entry)
            if size > inline:
                (place,) = struct.unpack_from(order + number, data, place)
            if kind in _TIFF_INTEGERS and amount:
                (values[tag],) = struct.unpack_from(order + _TIFF_INTEGERS[kind], data, place)
            at += struct.calcsize(order + entry) + inline
    except struct.error:
        raise ImageError(f"a TIFF that is {CUT_OFF}") from None
    width, height, compression = values.get(256, 0), values.get(257, 0), values.get(259, 1)
    check_size(one, width, height)
    if compression not in _TIFF_FAST:
        _check(one, width, height, _SLOW, " with a rare compression")
    overhead = 0
    if compression != 1:
        # A strip or a tile is unpacked whole.
        block = values.get(322, width) * values.get(323, min(values.get(278, height), height))
        overhead = block * max(values.get(277, 1) * values.get(258, 1) // 8, 4 if compression in (6, 7) else 1)
    return Opening(one, data, overhead)


_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_TIFF_BYTES = (1, 2, 7)
_TIFF_INTEGERS = {3: "H", 4: "I", 13: "I", 16: "Q"}
# None, CCITT, LZW, JPEG, deflate, PackBits.
_TIFF_FAST = (1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946)

_LOOKS = {
    formats.JPEG: _jpeg,
    formats.PNG: _png,
    formats.WEBP: _webp,
    formats.JPEG2000: _jpeg2000,
    formats.BMP: _bmp,
    formats.ICO: _ico,
    formats.PNM: _pnm,
    formats.TIFF: _tiff,
}


class Metered(io.BytesIO):
    """The bytes of a file, that can be read so many times: some parts can be empty, and make Pillow turn for hours."""

    # Enough for some thousands of parts before the picture, few enough for Pillow to join them one by one.
    OPENING = 8192
    # Of a picture, 64 kB or a part at a time.
    LOADING = 500_000

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.left = self.OPENING

    def read(self, size: int | None = -1, /) -> bytes:
        """Read, as long as there is anything left to be read."""
        self.left -= 1
        if self.left < 0:
            raise ImageError("in more parts than a picture has")
        return super().read(size)
