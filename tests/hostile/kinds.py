"""Pictures that are to be encoded: one picture of four colours, in every kind of file that people have."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageCms

WIDTH, HEIGHT = 64, 48
# Of the quarters: top left, top right, bottom left, bottom right.
COLOURS = ((220, 30, 30), (30, 160, 60), (40, 60, 200), (255, 255, 255))
GREYS = tuple((value,) * 3 for value in (20, 90, 160, 255))
Colours = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Case:
    """A file, and what is to become of it.

    Attributes:
        kind: the row of the table that it is counted in.
        name: of the file.
        data: its bytes.
        colours: that its quarters must have once it is decoded; None where anything will do.
        off: by how much they may differ.
        reason: a pattern that its reason must match, where it must be quarantined.
        encoded: whether it must be encoded; with neither, it may be either.
        size: width and height that it must have.
    """

    kind: str
    name: str
    data: bytes = field(repr=False)
    colours: Colours | None = None
    off: int = 2
    reason: str | None = None
    encoded: bool = False
    size: tuple[int, int] = (WIDTH, HEIGHT)


def quarters(colours: Colours = COLOURS, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    """A picture of four colours."""
    image = Image.new("RGB", size)
    width, height = size[0] // 2, size[1] // 2
    for at, colour in enumerate(colours):
        image.paste(colour, (at % 2 * width, at // 2 * height, (at % 2 + 1) * width, (at // 2 + 1) * height))
    return image


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """A picture as a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(
    width: int, height: int, bits: int, colour: int, body: bytes, *, before: bytes = b"", interlace: int = 0
) -> bytes:
    """A PNG of packed data and parts that Pillow would not write."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlace)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    """A part of a PNG."""
    return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)


def interlaced(pixels: np.ndarray, bits: int = 8) -> bytes:
    """The packed data of an interlaced PNG (Adam7), of pixels (height, width, channels)."""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    rows = b"".join(
        b"\0" + row.tobytes() for x, y, across, down in passes for row in pixels[y::down, x::across] if row.size
    )
    return zlib.compress(rows)


def kinds() -> Iterator[Case]:
    """Every kind of file, once."""
    yield from _jpegs()
    yield from _pngs()
    yield from _animations()
    yield from _tiffs()
    yield from _others()


def _case(kind: str, name: str, data: bytes, colours: Colours | None = COLOURS, off: int = 2, **more: object) -> Case:
    return Case(kind, name, data, colours, off, encoded=True, **more)


def _jpegs() -> Iterator[Case]:
    rgb, grey = quarters(), quarters(GREYS).convert("L")
    lossy = {"off": 12, "quality": 95}
    for name, image, options in (
        ("baseline", rgb, {}),
        ("progressive", rgb, {"progressive": True}),
        ("444", rgb, {"subsampling": 0}),
        ("optimised", rgb, {"optimize": True}),
        ("restarts", rgb, {"restart_marker_blocks": 1}),
        ("comment", rgb, {"comment": b"\xff" * 60_000}),
        ("cmyk", rgb.convert("CMYK"), {}),
        ("grey", grey, {}),
    ):
        data = saved(image, "JPEG", quality=lossy["quality"], **options)
        yield _case("JPEG", f"{name}.jpg", data, GREYS if image is grey else COLOURS, 12)
    # Adobe's CMYK is inverted, as Pillow writes it; YCCK is the same behind another transformation.
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}.get(turn)
        image = rgb if back is None else rgb.transpose(Image.Transpose(back))
        yield _case("orientation", f"turned{turn}.jpg", saved(image, "JPEG", quality=95, exif=exif), off=12)
        yield _case("orientation", f"turned{turn}.png", saved(image, "PNG", exif=exif))
        yield _case("orientation", f"turned{turn}.tif", saved(image, "TIFF", tiffinfo={0x0112: turn}))
        yield _case("orientation", f"turned{turn}.webp", saved(image, "WEBP", lossless=True, exif=exif))
    plain = saved(rgb, "JPEG", quality=95)
    yield _case(
        "JPEG", "broken-exif.jpg", plain[:2] + b"\xff\xe1\0\x10Exif\0\0II*\0\xff\xff\xff\xff" + plain[2:], off=12
    )
    yield _case("JPEG", "trailing.jpg", plain + b"\0" * 5000, off=12)
    yield _case("JPEG", "two-pictures.jpg", saved(rgb, "MPO", save_all=True, append_images=[grey], quality=95), off=12)
    yield _case("JPEG", "wrong-name.png", plain, off=12)
    large = quarters(size=(4001, 3003))
    yield _case("large", "large.jpg", saved(large, "JPEG"), off=12, size=(4001, 3003))
    yield _case("large", "large-progressive.jpg", saved(large, "JPEG", progressive=True), off=12, size=(4001, 3003))
    yield _case("large", "large.png", saved(large, "PNG", compress_level=1), size=(4001, 3003))
    yield _case("large", "large-palette.png", saved(large.quantize(8), "PNG"), size=(4001, 3003))
    yield _case("large", "large.jp2", saved(large.resize((1501, 1403)), "JPEG2000"), off=12, size=(1501, 1403))


def _pngs() -> Iterator[Case]:
    rgb, grey = quarters(), quarters(GREYS).convert("L")
    opaque = Image.new("L", rgb.size, 255)
    clear = opaque.copy()
    clear.paste(0, (WIDTH // 2, 0, WIDTH, HEIGHT // 2))
    clear.paste(128, (0, HEIGHT // 2, WIDTH // 2, HEIGHT))
    shown = (COLOURS[0], (255,) * 3, tuple(round((255 * 127 + one * 128) / 255) for one in COLOURS[2]), COLOURS[3])
    grey_shown = (GREYS[0], (255,) * 3, tuple(round((255 * 127 + one * 128) / 255) for one in GREYS[2]), GREYS[3])
    rgba, la = rgb.copy(), Image.merge("LA", (grey, clear))
    rgba.putalpha(clear)
    palette = rgb.quantize(8, dither=Image.Dither.NONE)
    of_green = palette.getpixel((WIDTH - 2, 2))
    yield _case("PNG", "rgb.png", saved(rgb, "PNG"))
    yield _case("PNG", "grey.png", saved(grey, "PNG"), GREYS)
    yield _case("transparency", "rgba.png", saved(rgba, "PNG"), shown)
    yield _case("transparency", "grey-alpha.png", saved(la, "PNG"), grey_shown)
    yield _case("PNG", "palette.png", saved(palette, "PNG"))
    hidden = (COLOURS[0], (255,) * 3, *COLOURS[2:])
    yield _case("transparency", "palette-index.png", saved(palette, "PNG", transparency=of_green), hidden)
    alphas = bytes(0 if one == of_green else 255 for one in range(8))
    yield _case("transparency", "palette-alphas.png", saved(palette, "PNG", transparency=alphas), hidden)
    yield _case("transparency", "colour-key.png", saved(rgb, "PNG", transparency=COLOURS[1]), hidden)
    bits = ((0,) * 3, (255,) * 3, (255,) * 3, (0,) * 3)
    yield _case("PNG", "one-bit.png", saved(quarters(bits).convert("1"), "PNG"), bits)
    deep = np.asarray(grey).astype(np.uint16) * 257
    yield _case("16 bits", "deep-grey.png", saved(Image.fromarray(deep), "PNG"), GREYS)
    rows = np.zeros((HEIGHT, 1 + WIDTH * 6), np.uint8)
    rows[:, 1:] = (np.asarray(rgb).astype(np.uint16) * 257).astype(">u2").view(np.uint8).reshape(HEIGHT, -1)
    yield _case("16 bits", "deep-rgb.png", png(WIDTH, HEIGHT, 16, 2, zlib.compress(rows.tobytes())))
    yield _case("PNG", "interlaced.png", png(WIDTH, HEIGHT, 8, 2, interlaced(np.asarray(rgb)), interlace=1))
    # Texts and profiles that unpack into hundreds of megabytes, beside a sound picture.
    bomb = zlib.compress(b"a" * 50_000_000, 9)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in np.asarray(rgb)))
    for name, parts in (
        ("text-bomb", chunk(b"zTXt", b"Comment\0\0" + bomb) * 3),
        ("profile-bomb", chunk(b"iCCP", b"icc\0\0" + bomb)),
        ("international-bomb", chunk(b"iTXt", b"Comment\0\1\0\0\0" + bomb)),
        ("long-text", chunk(b"tEXt", b"workflow\0" + b"x" * 3_000_000)),
    ):
        yield _case("bombs in metadata", f"{name}.png", png(WIDTH, HEIGHT, 8, 2, body, before=parts))
    yield _case("large", "strip.png", saved(quarters(size=(20_000, 8)), "PNG"), size=(20_000, 8))
    yield _case("large", "tower.png", saved(quarters(size=(8, 20_000)), "PNG"), size=(8, 20_000))
    yield _case("PNG", "pixel.png", saved(Image.new("RGB", (1, 1)), "PNG"), None, size=(1, 1))


def _animations() -> Iterator[Case]:
    rgb = quarters()
    others = {"save_all": True, "append_images": [Image.new("RGB", rgb.size, "black")] * 3, "duration": 50}
    yield _case("animation", "animated.gif", saved(rgb, "GIF", **others), off=8)
    yield _case("animation", "animated.png", saved(rgb, "PNG", **others))
    yield _case("animation", "animated.webp", saved(rgb, "WEBP", lossless=True, **others))
    yield _case("animation", "animated.avif", saved(rgb, "AVIF", quality=95, **others), off=12)
    yield _case("animation", "pages.tif", saved(rgb, "TIFF", **others))
    yield _case("GIF", "plain.gif", saved(rgb, "GIF"), off=8)
    yield _case("GIF", "interlaced.gif", saved(rgb, "GIF", interlace=True), off=8)


def _tiffs() -> Iterator[Case]:
    rgb, grey = quarters(), quarters(GREYS).convert("L")
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd", "lzma", None):
        off = 12 if compression == "jpeg" else 2
        yield _case("TIFF", f"{compression or 'plain'}.tif", saved(rgb, "TIFF", compression=compression), off=off)
    yield _case("TIFF", "big.tif", saved(rgb, "TIFF", big_tiff=True))
    yield _case("TIFF", "cmyk.tif", saved(rgb.convert("CMYK"), "TIFF"))
    lab = ImageCms.profileToProfile(
        rgb, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    yield _case("TIFF", "lab.tif", saved(lab, "TIFF"), off=10)
    values = np.asarray(grey)
    yield _case("16 bits", "deep.tif", saved(Image.fromarray(values.astype(np.uint16) * 257), "TIFF"), GREYS)
    yield _case("16 bits", "unit.tif", saved(Image.fromarray(values.astype(np.float32) / 255), "TIFF"), GREYS)
    broken = values.astype(np.float32) * 257
    broken[HEIGHT // 2] = np.nan
    yield _case("16 bits", "float.tif", saved(Image.fromarray(broken), "TIFF"), GREYS)
    yield _case("16 bits", "integers.tif", saved(Image.fromarray(values.astype(np.int32) * 257), "TIFF"), GREYS)
    yield _case("TIFF", "one-bit.tif", saved(grey.convert("1"), "TIFF", compression="group4"), None)


def _others() -> Iterator[Case]:
    rgb, grey = quarters(), quarters(GREYS).convert("L")
    yield _case("others", "plain.bmp", saved(rgb, "BMP"))
    yield _case("others", "palette.bmp", saved(rgb.quantize(8), "BMP"))
    yield _case("others", "lossy.webp", saved(rgb, "WEBP", quality=95), off=14)
    yield _case("others", "lossless.webp", saved(rgb, "WEBP", lossless=True))
    yield _case("others", "plain.avif", saved(rgb, "AVIF", quality=95), off=12)
    yield _case("others", "plain.jp2", saved(rgb, "JPEG2000"), off=8)
    yield _case("others", "stream.j2k", saved(rgb, "JPEG2000", no_jp2=True), off=8)
    yield _case("others", "icon.ico", saved(rgb.resize((64, 64)), "ICO", sizes=[(16, 16), (64, 64)]), size=(64, 64))
    icon = saved(rgb.resize((64, 64)), "ICO", sizes=[(64, 64)], bitmap_format="bmp")
    yield _case("others", "old-icon.ico", icon, size=(64, 64))
    yield _case("others", "plain.tga", saved(rgb, "TGA"))
    yield _case("others", "packed.tga", saved(rgb, "TGA", compression="tga_rle"))
    yield _case("others", "plain.ppm", saved(rgb, "PPM"))
    yield _case("others", "plain.pgm", saved(grey, "PPM"), GREYS)
    yield _case("others", "text.ppm", b"P3 # a comment\n64 48\n255\n" + b" ".join(b"%d" % one for one in rgb.tobytes()))
    deep = (np.asarray(rgb).astype(np.uint16) * 257).astype(">u2").tobytes()
    yield _case("16 bits", "deep.ppm", b"P6\n64 48\n65535\n" + deep)
    twelve = (np.asarray(grey).astype(np.uint16) * 16).astype(">u2").tobytes()
    yield _case("16 bits", "twelve.pgm", b"P5\n# 12 bits\n64 48\n4080\n" + twelve, GREYS)
