"""Reasons: why bytes are not a picture that can be encoded, in words for the one whose file it is."""

from __future__ import annotations

import re

from fpve.images.formats import Format

UNKNOWN = "not a picture of any known format"
CUT_OFF = "cut off: it ends before its picture does"
NO_END = "has no end mark: it may be cut off"

_BEGINNINGS = (
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"%!PS", "a PostScript document"),
    (b"\x1aE\xdf\xa3", "a video"),
    (b"version https://git-lfs", "a pointer of Git LFS, whose picture was not fetched"),
)
# These are pictures, but none that can be decoded here.
_PICTURES = (
    (b"8BPS", "Photoshop"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"gimp xcf", "GIMP"),
    (b"FUJIFILMCCD-RAW", "raw"),
    (b"v/1\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"SIMPLE  =", "FITS"),
    (b"P7\n", "PAM"),
)
# The start of a file says as much as the whole.
_START = 4096

# What Pillow, and the libraries below it, say of files that end too early.
_ENDED = re.compile(
    r"truncated|not enough|unexpected end|end of file|buffer of|buffer is not large enough|too short",
    re.IGNORECASE,
)


def foreign(data: bytes) -> str:
    """Why a file is no picture, by its first bytes."""
    start = data[:_START]
    if not start.strip(b"\0"):
        return f"{UNKNOWN}: it begins with nothing but zeros, as what was not copied to its end does"
    for beginning, what in _BEGINNINGS:
        if start.startswith(beginning):
            return f"not a picture: it is {what}"
    for beginning, what in _PICTURES:
        if start.startswith(beginning):
            return f"{what} pictures can't be decoded: convert it to PNG or JPEG"
    if start[4:8] == b"ftyp":
        if start[8:11] in (b"hei", b"hev", b"mif", b"msf"):
            return "HEIC pictures can't be decoded: convert it to JPEG"
        return (
            "raw pictures can't be decoded: convert it to JPEG"
            if start[8:11] == b"crx"
            else "not a picture: it is a video"
        )
    if start.startswith(b"RIFF"):
        return "not a picture: it is a video or a sound"
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if b"<svg" in text:
        return "SVG drawings can't be decoded: convert it to PNG"
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<script", b"<!--")):
        return "not a picture: it is a web page, as what a server sends in place of a picture"
    return UNKNOWN


def damaged(one: Format, error: Exception) -> str:
    """What is wrong with a file whose beginning is that of a picture."""
    if isinstance(error, MemoryError):
        return f"{one.article} that takes more memory than there is"
    if isinstance(error, EOFError) or _ENDED.search(str(error)):
        return f"{one.article} that is {CUT_OFF}"
    return f"{one.article} that is damaged, or of a kind that can't be decoded"


def too_large(one: Format, width: int, height: int, megapixels: int, what: str = "") -> str:
    """How large a picture is, and how large it may be."""
    return (
        f"{width} x {height} pixels are {width * height / 1e6:,.1f} megapixels, "
        f"more than the {megapixels} of {one.article}{what} that are decoded"
    )
