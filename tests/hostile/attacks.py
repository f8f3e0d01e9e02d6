"""Files that are to be refused: bombs, broken headers, what is no picture at all."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator

from hostile.kinds import Case, chunk, png, quarters, saved
from PIL import Image


def attacks() -> Iterator[Case]:
    """Every attack, once."""
    yield from _foreign()
    yield from _huge()
    yield from _headers()
    yield from _endless()


def heavy() -> Iterator[Case]:
    """As much as is decoded at all: what takes the most time and memory. Making them takes some seconds."""
    for name, bits, colour, row in (("rgb", 8, 2, 3), ("rgba", 8, 6, 4), ("grey", 8, 0, 1), ("deep", 16, 0, 2)):
        yield Case(
            "largest", f"largest-{name}.png", png(10_200, 10_200, bits, colour, _zeros(10_200, row)), encoded=True
        )
    flat = Image.new("RGB", (5800, 5800), "orange")
    yield Case("largest", "largest.webp", saved(flat, "WEBP", method=0), encoded=True)
    yield Case(
        "largest", "largest-lossless.webp", saved(flat, "WEBP", method=0, lossless=True, quality=0), encoded=True
    )
    for name, image in (("largest", flat), ("largest-alpha", flat.convert("RGBA"))):
        data = saved(image, "AVIF", speed=10, subsampling="4:4:4")
        yield Case("largest", f"{name}.avif", data, encoded=True)
    flat = Image.new("RGB", (10_200, 10_200), "orange")
    yield Case("largest", "largest-progressive.jpg", saved(flat, "JPEG", progressive=True), encoded=True)
    yield Case("largest", "largest.gif", saved(flat.convert("P"), "GIF"), encoded=True)
    yield Case("largest", "largest-lzw.tif", saved(flat, "TIFF", compression="tiff_lzw"), encoded=True)
    yield Case("largest", "largest.jpg", saved(Image.new("L", (17_000, 17_000), 90), "JPEG"), encoded=True)
    noise = Image.frombytes("RGB", (8000, 8000), random.Random(0).randbytes(8000 * 8000 * 3))
    yield Case("largest", "noise.jpg", saved(noise, "JPEG", quality=80), encoded=True)
    yield Case("largest", "noise.png", saved(noise, "PNG", compress_level=1), encoded=True)


def _zeros(side: int, channels: int) -> bytes:
    """The packed data of a black picture, without having it in memory."""
    packer = zlib.compressobj(1)
    row = bytes(1 + side * channels)
    return b"".join(packer.compress(row) for _ in range(side)) + packer.flush()


def _refused(kind: str, name: str, data: bytes, reason: str) -> Case:
    return Case(kind, name, data, reason=reason)


def _foreign() -> Iterator[Case]:
    for name, data, reason in (
        ("empty.jpg", b"", "^empty file$"),
        ("byte.png", b"\x89", "not a picture"),
        ("text.jpg", b"This is no picture.\n" * 50, "not a picture"),
        ("page.jpg", b"\n<!DOCTYPE html><html><title>404 Not Found</title></html>", "it is a web page"),
        ("drawing.png", b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"></svg>', "SVG drawings"),
        ("document.jpg", b"%PDF-1.7\n" + b"x" * 100, "PDF"),
        ("archive.jpg", b"PK\3\4" + b"x" * 100, "ZIP"),
        ("packed.jpg", b"\x1f\x8b\x08" + b"x" * 100, "gzip"),
        ("phone.jpg", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"x" * 100, "HEIC"),
        ("film.jpg", b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + b"x" * 100, "video"),
        ("layers.png", b"8BPS\0\1" + b"x" * 100, "Photoshop"),
        ("pointer.jpg", b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS"),
        ("script.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
        ("zeros.jpg", bytes(100_000), "nothing but zeros"),
        ("noise.jpg", random.Random(1).randbytes(50_000), "not a picture"),
        ("json.webp", b'{"error": "not found"}', "not a picture"),
        ("sound.webp", b"RIFF\0\0\0\0WAVEfmt " + b"x" * 100, "sound"),
        ("jxl.jpg", b"\xff\x0a" + b"x" * 100, "JPEG XL"),
    ):
        yield _refused("no picture", name, data, reason)


def _huge() -> Iterator[Case]:
    bomb = zlib.compress(bytes(1_000_000), 9)
    for side in (11_000, 50_000, 2**31 - 1):
        yield _refused("huge", f"bomb{side}.png", png(side, side, 8, 2, bomb), "megapixels, more than the 105 of a PNG")
    yield _refused("huge", "bits.png", png(40_000, 40_000, 1, 0, _zeros(40_000 // 8, 1)), "megapixels, more than")
    gif = bytearray(saved(quarters(), "GIF"))
    gif[6:10] = b"\xff\xff\xff\xff"
    yield _refused("huge", "canvas.gif", bytes(gif), "65535 x 65535 pixels are 4,294.8 megapixels")
    bmp = bytearray(saved(quarters(), "BMP"))
    bmp[18:26] = struct.pack("<ii", 60_000, -60_000)
    yield _refused("huge", "huge.bmp", bytes(bmp), "megapixels")
    for fields in ((30_000, 30_000), (100, 2**31 - 1)):
        data = _webp_canvas(*fields)
        yield _refused("huge", f"canvas{fields[0]}.webp", data, "megapixels, more than the 34 of a WebP")
    lossless = bytearray(saved(quarters(), "WEBP", lossless=True))
    lossless[21:25] = (16_382 | 16_382 << 14).to_bytes(4, "little")
    yield _refused("huge", "lossless.webp", bytes(lossless), "megapixels")
    avif = saved(quarters(), "AVIF")
    at = avif.index(b"ispe") + 8
    for side in (16_000, 2**31 - 1):
        data = avif[:at] + side.to_bytes(4) * 2 + avif[at + 8 :]
        yield _refused("huge", f"huge{side}.avif", data, "AVIF|megapixels")
    jpeg = saved(quarters(), "JPEG")
    at = jpeg.index(b"\xff\xc0")
    huge = jpeg[: at + 5] + b"\xff\xff\xff\xff" + jpeg[at + 9 :]
    yield _refused("huge", "huge.jpg", huge, "65535 x 65535 pixels .* more than the 300 of a JPEG")
    progressive = saved(quarters(), "JPEG", progressive=True)
    at = progressive.index(b"\xff\xc2")
    data = progressive[: at + 5] + (14_000).to_bytes(2) * 2 + progressive[at + 9 : -2] + bytes(9_000_000) + b"\xff\xd9"
    yield _refused("huge", "progressive.jpg", data, "more than the 105 of a JPEG with several scans")
    # More to come than there is: not decoded to its end, and yet large.
    data = jpeg.replace(jpeg[jpeg.index(b"\xff\xc0") + 5 :][:4], (16_000).to_bytes(2) * 2, 1)
    yield _refused("huge", "promises.jpg", data, "JPEG")
    yield _refused("huge", "huge.ppm", b"P6 100000 100000 255\n" + bytes(1000), "megapixels")
    yield _refused("huge", "huge.pgm", b"P5 999999 999999 65535\n" + bytes(1000), "megapixels")
    tga = bytearray(saved(quarters(), "TGA"))
    tga[12:16] = b"\xff\xff\xff\xff"
    yield _refused("huge", "huge.tga", bytes(tga), "megapixels")
    jp2 = saved(quarters(), "JPEG2000", no_jp2=True)
    yield _refused("huge", "huge.j2k", jp2[:8] + (60_000).to_bytes(4) * 2 + jp2[16:], "megapixels")
    yield _refused("huge", "whole.j2k", jp2[:8] + (10_000).to_bytes(4) * 2 + jp2[16:], "JPEG 2000")
    icon = saved(Image.new("RGB", (16, 16)), "ICO", sizes=[(16, 16)])
    inner = png(50_000, 50_000, 8, 2, bomb)
    icon = icon[:14] + struct.pack("<II", len(inner), 22) + inner
    yield _refused("huge", "inside.ico", icon, "50000 x 50000 pixels")
    dib = bytearray(saved(Image.new("RGB", (16, 16)), "ICO", sizes=[(16, 16)], bitmap_format="bmp"))
    dib[26:34] = struct.pack("<ii", 30_000, 60_000)
    yield _refused("huge", "inside-bmp.ico", bytes(dib), "megapixels")
    for name, size in (("strip", (65_000, 900)), ("tower", (900, 65_000))):
        body = zlib.compress((b"\0" + bytes(size[0] // 8 + 1)) * size[1])
        yield _refused("huge", f"{name}.png", png(*size, 1, 0, body), "too narrow")


def _webp_canvas(width: int, height: int) -> bytes:
    """An animated WebP whose canvas is larger than its frames."""
    frames = [quarters(), Image.new("RGB", quarters().size)]
    data = bytearray(saved(frames[0], "WEBP", save_all=True, append_images=frames[1:]))
    data[24:30] = (min(width, 2**24) - 1).to_bytes(3, "little") + (min(height, 2**24) - 1).to_bytes(3, "little")
    return bytes(data)


def tiff(tags: list[tuple[int, int, int, int]], after: bytes = b"") -> bytes:
    """A TIFF of tags: number, type, count, and value or offset."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4) + after


def _headers() -> Iterator[Case]:
    base = [(258, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, 8), (277, 3, 1, 1), (279, 4, 1, 100)]
    size = [(256, 4, 1, 64), (257, 4, 1, 48)]
    for name, tags, reason in (
        ("huge", [(256, 4, 1, 100_000), (257, 4, 1, 100_000), (259, 3, 1, 1)], "megapixels"),
        ("claims", [*size, (700, 1, 2**32 - 1, 8)], "tags claim"),
        ("offsets", [*size, (700, 4, 2**28, 8)], "tags claim"),
        ("tiles", [*size, (259, 3, 1, 5), (322, 4, 1, 30_000), (323, 4, 1, 30_000)], "MB of memory"),
        ("slow", [(256, 4, 1, 8000), (257, 4, 1, 8000), (259, 3, 1, 34925)], "rare compression"),
        ("nothing", [], "TIFF"),
    ):
        yield _refused("broken headers", f"{name}.tif", tiff([*base, *tags] if tags else []), reason)
    overlap = [(40_000 + at, 7, 500_000, 100) for at in range(200)]
    yield _refused("broken headers", "overlap.tif", tiff([*base, *size, *overlap], bytes(600_000)), "tags claim")
    yield _refused("broken headers", "many.tif", tiff([(at, 3, 1, 0) for at in range(60_000)]), "60000 tags")
    ring = b"II*\0\x08\0\0\0\0\0\x08\0\0\0"
    yield _refused("broken headers", "ring.tif", ring, "TIFF")
    jpeg = saved(quarters(), "JPEG")
    at = jpeg.index(b"\xff\xc0")
    yield _refused("broken headers", "twelve.jpg", jpeg[: at + 4] + b"\x0c" + jpeg[at + 5 :], "JPEG of 12 bits")
    yield _refused("broken headers", "channels.jpg", jpeg[: at + 9] + b"\x02" + jpeg[at + 10 :], "JPEG of 2 channels")
    yield _refused("broken headers", "no-size.jpg", jpeg[: at + 5] + bytes(4) + jpeg[at + 9 :], "JPEG")
    yield _refused("broken headers", "no-frame.jpg", jpeg[:at] + jpeg[at + 19 :], "no size")
    yield _refused("broken headers", "no-size.png", png(0, 0, 8, 2, b""), "PNG")
    yield _refused("broken headers", "no-data.png", png(9, 9, 8, 2, b""), "PNG")
    yield _refused("broken headers", "depth.png", png(9, 9, 7, 5, zlib.compress(bytes(99))), "PNG")
    yield _refused("broken headers", "filter.png", png(9, 9, 8, 0, zlib.compress(b"\x09" * 90)), "PNG")
    yield _refused("broken headers", "short.png", png(900, 900, 8, 2, zlib.compress(bytes(99))), "cut off")
    yield _refused("broken headers", "none.ico", b"\0\0\1\0\0\0" + bytes(50), "ICO")
    yield _refused("broken headers", "many.ico", b"\0\0\1\0\xff\xff" + bytes(50), "ICO")
    yield _refused("broken headers", "far.ico", b"\0\0\1\0\1\0" + bytes(8) + b"\xff" * 8, "ICO")
    yield _refused("broken headers", "none.webp", b"RIFF\x20\0\0\0WEBPVP8 " + bytes(30), "WebP")
    yield _refused("broken headers", "none.avif", b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(30), "AVIF")
    yield _refused("broken headers", "letters.ppm", b"P3 9 9 255\n" + b"x " * 300, "PNM")
    yield _refused("broken headers", "none.bmp", b"BM" + bytes(60), "BMP")
    yield _refused("broken headers", "none.gif", b"GIF89a" + bytes(60), "GIF")
    yield _refused("broken headers", "none.jp2", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(60), "JPEG 2000")


def _endless() -> Iterator[Case]:
    """Parts without end, that a reader would go through for minutes."""
    jpeg = saved(quarters(), "JPEG")
    yield _refused("endless", "junk.jpg", jpeg[:2] + b"\xff\0" + bytes(30_000_000), "holds no picture")
    yield _refused("endless", "segments.jpg", jpeg[:2] + b"\xff\xfe\0\2" * 3_000_000 + jpeg[2:], "holds no picture")
    yield _refused("endless", "fill.jpg", jpeg[:2] + b"\xff" * 5_000_000 + jpeg[2:], "holds no picture")
    progressive = saved(quarters(size=(6000, 6000)), "JPEG", progressive=True)
    last = progressive.rindex(b"\xff\xda")
    yield _refused("endless", "scans.jpg", progressive[:-2] + progressive[last:-2] * 500 + b"\xff\xd9", "scans")
    small = saved(quarters(), "PNG")
    yield _refused("endless", "chunks.png", small[:33] + chunk(b"teST", b"") * 1_000_000 + small[33:], "parts")
    at = small.index(b"IDAT") - 4
    yield _refused("endless", "data.png", small[:at] + chunk(b"IDAT", b"") * 1_000_000 + small[at:], "parts")
    gif = saved(quarters(), "GIF")
    at = gif.index(b",", 13 + 3 * (2 << (gif[10] & 7)))
    comment = b"!\xfe" + (b"\xff" + b"x" * 255) * 100_000 + b"\0"
    yield _refused("endless", "comment.gif", gif[:at] + comment + gif[at:], "parts")
    boxes = b"\0\0\0\x08free" * 2_000_000
    jp2 = saved(quarters(), "JPEG2000")
    yield _refused("endless", "boxes.jp2", jp2[:12] + boxes + jp2[12:], "parts|JPEG 2000")
    stream = saved(quarters(), "JPEG2000", no_jp2=True)
    yield _refused("endless", "markers.j2k", stream[:4] + b"\xff\x30\0\2" * 2_000_000, "JPEG 2000|parts")
    runs = b"\x01\x05" * 5_000_000
    header = struct.pack("<IIiiHHIIiiII", 1078 - 14, 40, 3000, 3000, 1, 8, 1, len(runs), 0, 0, 256, 0)[4:]
    data = b"BM" + struct.pack("<IHHI", 1078 + len(runs), 0, 0, 1078) + header + bytes(1024) + runs
    yield _refused("endless", "runs.bmp", data, "run lengths")
    yield _refused("endless", "numbers.ppm", b"P3 3000 3000 255\n" + b"1 " * 9_000_000, "PNM of text")
    yield _refused("endless", "bare.tif", b"II*\0" + struct.pack("<I", 8) + b"\xff\xff" + bytes(800_000), "65535 tags")
