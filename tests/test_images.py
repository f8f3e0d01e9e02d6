"""Decoding and resizing: every mode becomes upright RGB, or says why not."""

from __future__ import annotations

import io
import threading
import zlib

import numpy as np
import pytest
from PIL import Image

from fpve import images
from fpve.errors import ImageError
from fpve.images.colours import to_rgb
from fpve.images.room import Room


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


@pytest.mark.parametrize(
    "options", [{}, {"subsampling": 2}, {"restart_marker_rows": 1}, {"restart_marker_blocks": 7}, {"optimize": True}]
)
@pytest.mark.parametrize("picture", ["noise", "flat"])
def test_a_jpeg_without_its_end_mark_is_decoded_if_it_is_whole(picture: str, options: dict[str, object]) -> None:
    """Some cameras and tools leave it out; one whose picture lacks anything, up to a whole restart, is cut off."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    image = Image.fromarray(pixels if picture == "noise" else np.full_like(pixels, 90)).resize((333, 280))
    whole = encoded(image, "JPEG", **options)
    wanted = np.asarray(images.decode(whole).image)
    for end in (2, 1):
        assert np.array_equal(np.asarray(images.decode(whole[:-end]).image), wanted)
    coded = whole.index(b"\xff\xda") + 14
    restarts = [at for at in range(coded, len(whole)) if whole[at] == 0xFF and 0xD0 <= whole[at + 1] <= 0xD7]
    for cut in {*range(coded, len(whole) - 8, max((len(whole) - coded) // 40, 1)), *restarts[::5], *restarts[-1:]}:
        for data in (whole[:cut], whole[:cut] + bytes(5000)):
            with pytest.raises(ImageError, match=r"a JPEG that (is cut off|has no end mark)"):
                images.decode(data)


def test_a_progressive_jpeg_without_its_end_mark_may_be_cut_off() -> None:
    """Its next scan may be missing, which can't be told."""
    whole = encoded(Image.new("RGB", (90, 90), "red"), "JPEG", progressive=True)
    with pytest.raises(ImageError, match="a JPEG that has no end mark: it may be cut off"):
        images.decode(whole[:-2])


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


def test_all_opaque_and_clear_colours_are_composited_as_pillow_does() -> None:
    """Every value with every alpha comes out as compositing it on a white picture gives it."""
    value, alpha = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    image = Image.fromarray(np.dstack([value, 255 - value, value, alpha]))
    white = Image.new("RGBA", image.size, "white")
    expected = np.asarray(Image.alpha_composite(white, image).convert("RGB"))
    assert np.array_equal(np.asarray(images.decode(encoded(image)).image), expected)
    grey = Image.fromarray(np.dstack([value, alpha]))
    expected = np.asarray(Image.alpha_composite(white, grey.convert("RGBA")).convert("RGB"))
    assert np.array_equal(np.asarray(images.decode(encoded(grey)).image), expected)


def landscape(width: int, height: int) -> Image.Image:
    """Something with coarse shapes, that no reduction should move."""
    pixels = np.random.default_rng(width).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_reduced_picture_gives_what_the_whole_one_gives(kind: str, turn: int) -> None:
    """The model's square hardly changes, whichever way the picture is turned, and its size is that of the whole."""
    exif = Image.Exif()
    exif[0x0112] = turn
    data = encoded(landscape(1203, 901), kind, exif=exif, compress_level=1)
    whole, reduced = images.decode(data, enough=10_000), images.decode(data, enough=200)
    assert max(reduced.image.size) < 400
    assert (reduced.width, reduced.height) == (whole.width, whole.height) == whole.image.size
    for how in ("squash", "pad", "crop"):
        squares = [images.resize(one.image, 64, how).astype(int) for one in (whole, reduced)]
        assert np.abs(squares[0] - squares[1]).mean() < 1
    sizes = [Image.open(io.BytesIO(images.thumbnail(one.image))).size for one in (whole, reduced)]
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"])
def test_strips_are_what_the_whole_is(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large picture, of which a part at a time is converted, becomes what it becomes at once."""
    image = landscape(301, 203).convert("L" if mode in ("I;16", "F") else mode)
    if mode in ("I;16", "F"):
        image = Image.fromarray(np.asarray(image).astype(np.uint16 if mode == "I;16" else np.float32) * 200)
    for factor in (1, 3):
        whole = to_rgb(image, factor)
        with monkeypatch.context() as patch:
            patch.setattr("fpve.images.colours._STRIP", 5000)
            assert np.array_equal(np.asarray(to_rgb(image, factor)), np.asarray(whole))
        assert whole.size == (-(-301 // factor), -(-203 // factor))


def test_only_as_much_of_a_jpeg_2000_is_decoded_as_is_enough() -> None:
    """Whatever its size, of which only some can be halved as Pillow halves them."""
    for size in ((1001, 777), (2999, 1003)):
        decoded = images.decode(encoded(landscape(*size), "JPEG2000"), enough=200)
        assert (decoded.width, decoded.height) == size
        assert 200 <= min(decoded.image.size) < 400


def test_a_picture_of_pillow_is_treated_like_a_file() -> None:
    """It is turned upright and reduced; the one that was given stays as it was."""
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(landscape(1600, 1200), exif=exif, compress_level=1)
    picture = Image.open(io.BytesIO(data))
    given, read = images.from_picture(picture, enough=300), images.decode(data, enough=300)
    assert np.array_equal(np.asarray(given.image), np.asarray(read.image))
    assert (given.width, given.height) == (1200, 1600)
    assert picture.size == (1600, 1200)
    with pytest.raises(ImageError, match="can't be decoded"):
        images.from_picture(Image.open(io.BytesIO(data[:300])))


def test_models_of_large_squares_get_more_of_a_picture() -> None:
    """What is enough grows with the model's square, and never leaves a thumbnail too little."""
    assert images.enough_for(16) == images.enough_for(224) == images.ENOUGH >= 2 * images.THUMBNAIL_SIDE
    assert images.enough_for(448) == 2 * images.ENOUGH


def test_memory_is_given_in_the_order_in_which_it_is_asked_for() -> None:
    """A large picture is not passed by for ever, and what is more than there is at all is refused."""
    room, order = Room(100), []

    def take(name: str, count: int) -> None:
        with room.hold(count):
            order.append(name)

    with room.hold(60):
        threads = [threading.Thread(target=take, args=one) for one in (("large", 90), ("small", 10))]
        for thread in threads:
            thread.start()
            # Until it waits: at the door, or for what is held here.
            while thread.is_alive() and not room._door.locked():
                pass
        assert order == []
    for thread in threads:
        thread.join()
    assert order == ["large", "small"]
    with pytest.raises(ImageError, match="more than the 0 MB"), room.hold(101):
        pass
