"""A store of drawings that people can tell apart, with everything in it that a page has to show: see `make_store`.

The encoders are the packaged ones, so that a search for words means something. Nothing here needs pytest: scripts draw
with it, too.
"""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw, ImageOps

ROOT = Path(__file__).parents[1]
KINDS = ("disc", "square", "triangle")
COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 160, 60),
    "blue": (40, 80, 220),
    "yellow": (235, 200, 40),
    "black": (20, 20, 20),
}
# A class that ends a script, and a file that is an element, where they are not escaped.
NASTY_KIND = "</script><script>alert(1)</script>"
NASTY_FILE = "\"'><img src=x onerror=alert(2)>.png"
TURNED_FILE = "שלום \u202eolleh.png"
LONG = "a very long caption that does not end where it should, " * 12
BROKEN_FILE = "broken.png"
# Exit code of a run that has published, and put some inputs into quarantine.
_SOME_QUARANTINED = 3
_JOB = """
store = "store"
[[collections]]
name = "drawings"
source = "pictures"
metadata = "pictures/metadata.parquet"
prefix = "{caption}"
"""


class Row(NamedTuple):
    """What metadata says of a drawing."""

    path: str
    caption: str
    kind: str
    colour: str | None = None
    price: float | None = None
    drawn: date | None = None
    tags: list[str] | None = None


def make_store(scratch: Path, **environment: str) -> Path:
    """Make a store of 60 drawings and one file that is none; returns its path. The run has more in its environment.

    Three kinds in five colours; copies of four sorts, one of them without a caption; one picture that is like no other;
    two wrong labels; names and captions that want to be more than text; metadata of every type, with holes.
    """
    pictures = scratch / "pictures"
    pictures.mkdir()
    rows = []

    def put(image: Image.Image, row: Row, **how: Any) -> None:
        image.save(pictures / row.path, **how)
        rows.append(row)

    for number in range(52):
        kind, colour = KINDS[number % 3], list(COLOURS)[number % 5]
        # The last ones are called what they are not.
        called = KINDS[(number + 1) % 3] if number >= 50 else kind
        row = Row(
            f"{number:02d}.png",
            f"a {colour} {kind}, number {number}",
            called,
            colour,
            number / 4,
            date(2024, 1, 1) + timedelta(days=7 * number),
            [colour, "even" if number % 2 == 0 else "odd"],
        )
        put(drawing(kind, number, COLOURS[colour]), row)
    first = drawing("triangle", 2, COLOURS["blue"])
    put(first, Row("copy.png", "a triangle once more", "triangle"))
    put(first.resize((120, 120)), Row("small.png", "a small triangle", "triangle"))
    put(ImageOps.mirror(first), Row("mirrored.png", "a mirrored triangle", "triangle"))
    put(first, Row("compressed.jpg", "", "triangle"), quality=60)
    put(drawing("disc", 90), Row(NASTY_FILE, NASTY_KIND, NASTY_KIND))
    put(drawing("disc", 91), Row(TURNED_FILE, "{{ 7 * 7 }} & <b>bold</b>", NASTY_KIND))
    put(drawing("square", 92), Row(f"{'long' * 50}.png", LONG, "an_unbroken_name_" * 8))
    noise = np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    put(Image.fromarray(noise), Row("noise.png", "nothing at all", "square"))
    (pictures / BROKEN_FILE).write_bytes(b"no picture")
    columns = dict(zip(Row._fields, zip(*rows, strict=True), strict=True))
    types = {"price": pa.float64(), "drawn": pa.date32(), "tags": pa.list_(pa.string())}
    table = {name: pa.array(values, types.get(name, pa.string())) for name, values in columns.items()}
    pq.write_table(pa.table(table), pictures / "metadata.parquet")
    job = scratch / "job.toml"
    job.write_text(_JOB, encoding="utf-8")
    command = [sys.executable, "-m", "fpve", "run", str(job)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, check=False)
    if done.returncode != _SOME_QUARANTINED:
        raise RuntimeError(done.stderr.decode())
    return scratch / "store"


def drawing(kind: str, seed: int, colour: tuple[int, int, int] | None = None) -> Image.Image:
    """A shape of a colour, somewhere; of any colour, if none is given."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (200, 200), "white")
    draw = ImageDraw.Draw(image)
    some = tuple(int(value) for value in rng.integers(0, 200, 3))
    x, y, r = (int(value) for value in (*rng.integers(70, 130, 2), rng.integers(30, 65)))
    fill = colour or some
    if kind == "disc":
        draw.ellipse((x - r, y - r, x + r, y + r), fill=fill)
    elif kind == "square":
        draw.rectangle((x - r, y - r, x + r, y + r), fill=fill)
    else:
        draw.polygon([(x, y - r), (x + r, y + r), (x - r // 2, y + r)], fill=fill)
    return image
