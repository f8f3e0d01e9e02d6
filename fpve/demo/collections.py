"""Three sample collections of real pictures, written from what installed libraries ship: nothing is downloaded.

Each writer fills one folder with pictures and a `metadata.csv` whose column `path` names them, and returns how many
pictures it wrote. Run again it writes the same bytes, as long as the libraries and Pillow are of the same versions.

Accuracies named here are those of `efficientnet-lite0` and `all-MiniLM-L6-v2`: k-NN with k = 20, leave-one-out, where
neighbours with the same caption or an image cosine of at least 0.97 are left out.
"""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fpve.errors import FpveError

METADATA_NAME = "metadata.csv"


@dataclass(frozen=True, slots=True)
class Photograph:
    """One picture that scikit-image ships.

    Attributes:
        name: its file in `skimage/data`.
        kind: what it is a picture of, in one word.
        caption: one sentence, written by a person who looked at it.
    """

    name: str
    kind: str
    caption: str


@dataclass(frozen=True, slots=True)
class Block:
    """A run of characters of one Unicode block.

    Attributes:
        name: the block's name, the label.
        first: its first code point that is taken.
        last: its last one, included; those that the fonts lack are skipped.
        cut: how all names in this block begin; cut off, because it is the label in other words.
    """

    name: str
    first: int
    last: int
    cut: str = ""


@dataclass(frozen=True, slots=True)
class Style:
    """How a symbol is drawn.

    Attributes:
        name: the value of the column `style`, and the folder of its pictures.
        font: a file in the fonts of matplotlib.
        ink: colour of the symbol, RGB.
        paper: colour of the background, RGB.
    """

    name: str
    font: str
    ink: tuple[int, int, int]
    paper: tuple[int, int, int]


# All photographs of the package; its drawings (horse, logo), charts, test patterns and 25-pixel faces are left out.
# The two motorcycles are a stereo pair: of image cosine .94, where no other two pictures have more than .54.
PHOTOGRAPHS = (
    Photograph(
        "astronaut.png", "person", "A smiling astronaut in an orange space suit, with a flag and a model space shuttle."
    ),
    Photograph("brick.png", "texture", "Rows of long bricks with pale mortar between them, in grey."),
    Photograph("camera.png", "person", "A man in a dark coat looks through a camera on a tripod, in black and white."),
    Photograph("cell.png", "microscopy", "A single round cell floating in saline, seen under a microscope."),
    Photograph("chelsea.png", "animal", "The face of a ginger tabby cat with green eyes."),
    Photograph("clock_motion.png", "object", "A round wall clock, blurred because the camera moved."),
    Photograph("coffee.png", "food", "A cup of espresso on a red saucer with a spoon, on a wooden table."),
    Photograph("coins.png", "object", "Rows of ancient Greek coins on a dark background."),
    Photograph("grass.png", "texture", "Grass and small leaves on the ground, seen from above, in grey."),
    Photograph("gravel.png", "texture", "Gravel of small angular stones, in grey."),
    Photograph(
        "hubble_deep_field.jpg", "space", "Countless distant galaxies in deep space, taken by the Hubble telescope."
    ),
    Photograph(
        "ihc.png", "microscopy", "Stained tissue of the colon under a microscope, brown glands and blue cell nuclei."
    ),
    Photograph(
        "microaneurysms.png",
        "medical",
        "A small part of a retina with thin blood vessels and two dark spots, microaneurysms.",
    ),
    Photograph("moon.png", "space", "Craters on the grey surface of the moon."),
    Photograph(
        "motorcycle_left.png", "vehicle", "A red motorcycle in a garage, from the left camera of a stereo pair."
    ),
    Photograph(
        "motorcycle_right.png", "vehicle", "A red motorcycle in a garage, from the right camera of a stereo pair."
    ),
    Photograph("page.png", "document", "A scanned page of printed text about segmentation, unevenly lit."),
    Photograph("retina.jpg", "medical", "The retina of a human eye with its blood vessels, orange on black."),
    Photograph("rocket.jpg", "space", "A white rocket on its launch pad at dusk, between lattice towers."),
    Photograph("text.png", "document", "Handwritten mathematical formulas on paper, seen at a slant."),
)

# Nine scripts, each in one letter case so that a letter is not its own neighbour, and six blocks of pictures and signs.
# The ranges are whole alphabets or the beginning of a block, in all about 50 characters each; Miscellaneous Symbols
# goes on up to the chessmen, the suits of cards and the notes, because these are what people search for.
# What fusion gains here, the scripts give: 6 to 13 points over the better of both in all mixtures tried with eight to
# ten of them, 2 to 4 with four, and from 3 less to 2 more with none, where a name is nearly all there is to know.
# Leaving out any one of these blocks leaves at least 4.
BLOCKS = (
    Block("Greek and Coptic", 0x03B1, 0x03C9, "greek "),
    Block("Cyrillic", 0x0430, 0x044F, "cyrillic "),
    Block("Armenian", 0x0561, 0x0586, "armenian "),
    Block("Georgian", 0x10D0, 0x10F0, "georgian "),
    Block("Hebrew", 0x05D0, 0x05EA, "hebrew "),
    Block("Arabic", 0x0621, 0x064A, "arabic "),
    Block("Unified Canadian Aboriginal Syllabics", 0x1401, 0x142B, "canadian syllabics "),
    Block("Tifinagh", 0x2D30, 0x2D56, "tifinagh "),
    Block("Lao", 0x0E81, 0x0EAE, "lao "),
    Block("Arrows", 0x2190, 0x21B7),
    Block("Mathematical Operators", 0x2200, 0x222F),
    Block("Geometric Shapes", 0x25A0, 0x25CF),
    Block("Miscellaneous Symbols", 0x2600, 0x266F),
    Block("Dingbats", 0x2701, 0x2730),
    Block("Emoticons", 0x1F600, 0x1F64F),
)
STYLES = (
    Style("plain", "DejaVuSans.ttf", ink=(0, 0, 0), paper=(255, 255, 255)),
    Style("night", "DejaVuSans-Bold.ttf", ink=(245, 240, 225), paper=(30, 45, 80)),
)
SYMBOL_SIDE = 128
# An em of 88 pixels lets all but the widest symbols fit into 128; those are drawn smaller.
SYMBOL_EM = 88
SYMBOL_MARGIN = 8
DIGIT_SIDE = 64


def write_digits(folder: Path) -> int:
    """Write the 1,797 handwritten digits of scikit-learn: PNG pictures, and the columns `path` and `label`.

    They are drawn dark on white and enlarged smoothly from 8 to 64 pixels, because an encoder of photographs does best
    on that: accuracy .913, against .889 light on black, and .762 enlarged to squares. A digit has no caption.

    Raises:
        FpveError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise _missing("scikit-learn") from None
    digits = load_digits()
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, (values, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = f"{number:04d}.png"
        # The values are counts of dark pixels in a 4 x 4 cell of the scan, 0 to 16.
        grey = np.round(255 - values * (255 / 16)).astype(np.uint8)
        large = Image.fromarray(grey).resize((DIGIT_SIDE, DIGIT_SIDE), Image.Resampling.BICUBIC)
        large.save(folder / path)
        rows.append({"path": path, "label": int(label)})
    return _write_metadata(folder, rows)


def write_photographs(folder: Path) -> int:
    """Copy the photographs of scikit-image; the columns are `path`, `caption` and `kind`.

    Raises:
        FpveError: scikit-image is not installed, or no longer ships one of them.
    """
    try:
        shipped = files("skimage") / "data"
    except ImportError:
        raise _missing("scikit-image") from None
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for photograph in PHOTOGRAPHS:
        source = shipped / photograph.name
        if not source.is_file():
            raise FpveError(f"expected {source}, found nothing there: reinstall scikit-image")
        (folder / photograph.name).write_bytes(source.read_bytes())
        rows.append({"path": photograph.name, "caption": photograph.caption, "kind": photograph.kind})
    return _write_metadata(folder, rows)


def write_symbols(folder: Path) -> int:
    """Draw characters of 15 Unicode blocks, each in two styles: `path`, `caption`, `block`, `codepoint` and `style`.

    The collection shows what fusion is for, with `block` as the label. An Armenian letter looks like a Georgian one,
    and is called "small letter ben" where a Cyrillic one is "small letter be". Accuracy: image only .631, text only
    .768, fused .845 (Armenian: .62, .42 and .87).

    The caption is the character's Unicode name. Where all names of a block begin with the script, as in "georgian
    letter an", this beginning is cut off, for it is the label in other words: with it, text only is at .953 and
    fusion, at .946, adds nothing. "Arrow" stays in the names of arrows, as it is what one searches for. Both drawings
    of a character have the same caption; a leave-one-out that does not leave it out as well is at .963.

    Raises:
        FpveError: matplotlib, whose fonts are drawn, is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.ft2font import FT2Font
    except ImportError:
        raise _missing("matplotlib") from None
    fonts = Path(mpl.get_data_path(), "fonts", "ttf")
    known = [FT2Font(str(fonts / style.font)).get_charmap() for style in STYLES]
    symbols = [
        (block, character)
        for block, character in _characters()
        # A symbol without its counterpart in the other style would be the only one of its name.
        if all(ord(character) in characters for characters in known)
    ]
    rows = []
    for style in STYLES:
        (folder / style.name).mkdir(parents=True, exist_ok=True)
        for block, character in symbols:
            path = f"{style.name}/u{ord(character):04x}.png"
            _draw(character, fonts / style.font, style).save(folder / path)
            caption = unicodedata.name(character).lower().removeprefix(block.cut)
            codepoint = f"U+{ord(character):04X}"
            rows.append(
                {"path": path, "caption": caption, "block": block.name, "codepoint": codepoint, "style": style.name}
            )
    return _write_metadata(folder, rows)


def _characters() -> Iterator[tuple[Block, str]]:
    for block in BLOCKS:
        for code in range(block.first, block.last + 1):
            if unicodedata.name(chr(code), ""):
                yield block, chr(code)


def _draw(character: str, path: Path, style: Style) -> Image.Image:
    """Draw one character in the middle of a square, as large as its font makes it unless it would not fit."""
    # The basic layout, so that a Pillow with and one without Raqm draw the same.
    font = ImageFont.truetype(path, SYMBOL_EM, layout_engine=ImageFont.Layout.BASIC)
    left, top, right, bottom = font.getbbox(character)
    fit = (SYMBOL_SIDE - 2 * SYMBOL_MARGIN) / max(right - left, bottom - top)
    if fit < 1:
        font = font.font_variant(size=int(SYMBOL_EM * fit))
        left, top, right, bottom = font.getbbox(character)
    image = Image.new("RGB", (SYMBOL_SIDE, SYMBOL_SIDE), style.paper)
    corner = ((SYMBOL_SIDE - left - right) / 2, (SYMBOL_SIDE - top - bottom) / 2)
    ImageDraw.Draw(image).text(corner, character, style.ink, font)
    return image


def _write_metadata(folder: Path, rows: Sequence[Mapping[str, object]]) -> int:
    """Write the rows, one per picture, and count them."""
    with (folder / METADATA_NAME).open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, rows[0], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    return len(rows)


def _missing(library: str) -> FpveError:
    return FpveError(f"the sample collections need {library}, which is not installed: pip install 'fpve[demo]'")
