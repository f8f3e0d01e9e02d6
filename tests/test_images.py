"""Decoding and resizing: every mode becomes upright RGB, or says why not."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from fpve import images
from fpve.errors import ImageError


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """A picture as a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_transparency_is_composited_on_white() -> None:
    """A fully transparent pixel is white, a half transparent black one is grey."""
    image = Image.fromarray(np.array([[[0, 0, 0, 0], [0, 0, 0, 128]]], np.uint8))
    assert np.asarray(images.decode(encoded(image)).image).tolist() == [[[255] * 3, [127] * 3]]


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    """65535 is white, and half of it is middle grey."""
    image = Image.fromarray(np.array([[0, 32768, 65535]], np.uint16))
    assert np.asarray(images.decode(encoded(image)).image)[0, :, 0].tolist() == [0, 127, 255]


def test_orientation_is_applied() -> None:
    """A photograph that EXIF says to turn comes out turned."""
    exif = Image.Exif()
    exif[0x0112] = 6
    assert images.decode(encoded(Image.new("RGB", (30, 10)), "JPEG", exif=exif)).image.size == (10, 30)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    """Whatever PNG holds, the result is RGB of the same size."""
    picture = images.decode(encoded(Image.new(mode, (7, 5)))).image
    assert (picture.mode, picture.size) == ("RGB", (7, 5))


def test_cmyk_and_animations() -> None:
    """A CMYK JPEG becomes RGB; of an animation the first frame is taken."""
    assert images.decode(encoded(Image.new("CMYK", (4, 4)), "JPEG")).image.mode == "RGB"
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert images.decode(data).image.getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty file"),
        (b"text", "not a picture of any known format"),
        (encoded(Image.new("RGB", (50, 50)))[:60], "a PNG that is cut off"),
    ],
)
def test_what_is_no_picture_says_why(data: bytes, message: str) -> None:
    """Empty, foreign and truncated bytes are told apart."""
    with pytest.raises(ImageError, match=message):
        images.decode(data)


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    """More pixels than allowed are refused by what the header says."""
    data = bytearray(encoded(Image.new("RGB", (10, 10))))
    data[16:24] = (50_000).to_bytes(4) * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4)
    with pytest.raises(ImageError, match=r"50000 x 50000 pixels are 2,500.0 megapixels, more than the 105 of a PNG"):
        images.decode(bytes(data))


def test_squash_pad_and_crop() -> None:
    """Squash keeps everything, pad adds white, crop keeps the centre: seen on a picture of three vertical stripes."""
    stripes = np.zeros((40, 120, 3), np.uint8)
    stripes[:, :40, 0] = stripes[:, 40:80, 1] = stripes[:, 80:, 2] = 200
    picture = Image.fromarray(stripes)
    squashed, padded, cropped = (images.resize(picture, 60, how) for how in ("squash", "pad", "crop"))
    assert squashed.shape == padded.shape == cropped.shape == (60, 60, 3)
    assert [squashed[30, x].argmax() for x in (5, 30, 55)] == [0, 1, 2]
    assert padded[5, 30].tolist() == [255, 255, 255]
    assert [padded[30, x].argmax() for x in (5, 30, 55)] == [0, 1, 2]
    assert cropped[:, :, 1].min() == 200
    assert images.resize(Image.new("RGB", (20_000, 8)), 224, "crop").shape == (224, 224, 3)


def test_thumbnails_are_small_jpegs() -> None:
    """The longer side is 256 pixels at most, and small pictures are not enlarged."""
    assert Image.open(io.BytesIO(images.thumbnail(Image.new("RGB", (1000, 500))))).size == (256, 128)
    assert Image.open(io.BytesIO(images.thumbnail(Image.new("RGB", (10, 5))))).size == (10, 5)
