"""Self-contained HTML pages: pictures are inside the file, nothing is fetched from anywhere."""

from __future__ import annotations

import base64
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2

from fpve._version import __version__
from fpve.rowfiles import check_target
from fpve.store.files import write_durably

_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def write_page(path: Path, template: str, **context: Any) -> None:
    """Render one of the templates beside this module, and write it.

    Raises:
        QueryError: no file can be there.
    """
    check_target(path)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"cell": _cell, "percent": percent, "floored": floored, "size": size, "plural": plural}
    made = {"version": __version__, "created_at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")}
    html = environment.get_template(template).render({**made, **context})
    # Names of files can hold what is no character: half of a pair, which stands for an undecodable byte.
    write_durably(path, lambda out: out.write_text(html, encoding="utf-8", errors="backslashreplace"))


def data_uri(jpeg: bytes) -> str:
    """A JPEG as an address that holds it."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def percent(share: float) -> str:
    """A share in [0, 1] as a page shows it: 0.8932 is 89.3 %, and only 1 is 100 %."""
    if 0.9995 <= share < 1:
        text = ">\u202f99.9"
    elif 0 < share < 0.0005:
        text = "<\u202f0.1"
    else:
        text = f"{100 * share:.1f}" if 0 < share < 1 else f"{100 * share:.0f}"
    # Not to be broken into two lines.
    return f"{text}\u00a0%"


def floored(value: float) -> str:
    """A number with three digits, not rounded up: what is to be compared with it is not to fall below."""
    return f"{math.floor(round(value * 1000, 6)) / 1000:.3f}"


def size(count: float) -> str:
    """A number of bytes as people read it: 4,096 are 4.1 kB."""
    unit = 0
    # What would be rounded to a thousand is one of the next unit.
    while count >= 999.5 and unit < len(_UNITS) - 1:
        count /= 1000
        unit += 1
    digits = 1 if unit and count < 9.95 else 0
    return f"{count:,.{digits}f}\u00a0{_UNITS[unit]}"


def plural(count: int, noun: str, more: str | None = None) -> str:
    """How many there are of something: 1 image, 2,000 images."""
    return f"{count:,} {noun if count == 1 else more or noun + 's'}"


def _cell(value: Any) -> str:
    """A value as a table shows it."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.1f}" if value.is_integer() else f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
