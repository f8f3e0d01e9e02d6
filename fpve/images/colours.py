"""Colours: whatever a picture's pixels are, as opaque RGB of 8 bits, and smaller where that is enough."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

# Pixels that are converted at once: enough for the cost of the calls not to count, 8 MB where they become float64.
_STRIP = 1 << 20
_WHITE = 255

Flatten = Callable[[Image.Image], Image.Image]


def to_rgb(image: Image.Image, factor: int = 1) -> Image.Image:
    """A picture as RGB, 1/factor as wide and high, each block of pixels becoming its mean.

    Transparency is composited on white, more than 8 bits are scaled down. A picture that is RGB already is not copied.
    """
    if image.mode in ("RGB", "L") and not image.has_transparency_data:
        smaller = _reduce(image, factor)
        return smaller if smaller.mode == "RGB" else smaller.convert("RGB")
    flatten = _flatten(image)
    if image.width * image.height <= _STRIP:
        return _reduce(flatten(image), factor).convert("RGB")
    width, height = (-(-side // factor) for side in image.size)
    whole = Image.new("RGB", (width, height))
    for top, strip in _strips(image, factor):
        whole.paste(_reduce(flatten(strip), factor), (0, top // factor))
    return whole


def bytes_per_pixel(mode: str) -> int:
    """What a pixel takes in memory."""
    return {"1": 1, "L": 1, "P": 1}.get(mode, 2 if mode.startswith("I;16") else 4)


def _reduce(image: Image.Image, factor: int) -> Image.Image:
    # Of the class itself: JPEG 2000 pictures have something else by this name.
    return Image.Image.reduce(image, factor) if factor > 1 else image


def _strips(image: Image.Image, factor: int) -> Iterator[tuple[int, Image.Image]]:
    """Strips of a picture, of as many rows as are some whole rows when they are reduced, each with its first row."""
    rows = max(_STRIP // image.width // factor, 1) * factor
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _flatten(image: Image.Image) -> Flatten:
    """What makes L or RGB, without transparency, of a strip of this picture."""
    mode = image.mode
    if mode in ("I", "F") or mode.startswith("I;16"):
        return _scale_by(_white_level(image))
    if mode == "P":
        return _with_palette(image)
    if mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(lab, srgb, "LAB", "RGB")
        return lambda strip: ImageCms.applyTransform(strip, transform) or strip
    if mode == "1":
        return lambda strip: strip.convert("L")
    if image.has_transparency_data or mode == "RGBa":
        return _on_white
    return lambda strip: strip.convert("RGB")


def _white_level(image: Image.Image) -> float:
    """Which value is white: there is no telling but by the values themselves.

    16 bits are the rule; pictures of 8 bits, and those of floats up to 1, come in larger types as well.
    """
    top = 0.0
    for _, strip in _strips(image, 1):
        values = np.asarray(strip)
        if values.dtype.kind == "f":
            values = values[np.isfinite(values)]
        top = max(top, float(values.max(initial=0)))
    if top <= 1 and image.mode == "F":
        return 1.0
    return next((level for level in (255.0, 65535.0) if top <= level), top)


def _scale_by(white: float) -> Flatten:
    def scale(strip: Image.Image) -> Image.Image:
        # Pillow clips instead of scaling when it converts more than 8 bits.
        values: NDArray[np.float64] = np.nan_to_num(np.asarray(strip, dtype=np.float64), posinf=white)
        return Image.fromarray(np.clip(values / white * 255, 0, 255).astype(np.uint8))

    return scale


def _with_palette(image: Image.Image) -> Flatten:
    """The colours of the palette are composited, rather than those of the pixels."""
    colours = np.array(image.getpalette("RGBA"), np.uint8).reshape(1, -1, 4)
    clear = image.info.get("transparency")
    if isinstance(clear, bytes):
        alphas = np.frombuffer(clear, np.uint8)[: colours.shape[1]]
        colours[0, : len(alphas), 3] = alphas
    elif isinstance(clear, int) and clear < colours.shape[1]:
        colours[0, clear, 3] = 0
    opaque = _on_white(Image.fromarray(colours)).tobytes()

    def flatten(strip: Image.Image) -> Image.Image:
        plain = strip.copy()
        plain.info.pop("transparency", None)
        plain.putpalette(opaque)
        return plain.convert("RGB")

    return flatten


def _on_white(strip: Image.Image) -> Image.Image:
    if strip.mode == "LA":
        grey = Image.new("L", strip.size, _WHITE)
        grey.paste(strip.convert("L"), mask=strip.getchannel("A"))
        return grey
    opaque = strip if strip.mode == "RGBA" else strip.convert("RGBA")
    white = Image.new("RGB", strip.size, (_WHITE,) * 3)
    white.paste(opaque, mask=opaque)
    return white
