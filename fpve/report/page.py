"""Self-contained HTML pages: pictures are inside the file, nothing is fetched from anywhere."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import jinja2

from fpve.store.files import write_durably


def write_page(path: Path, template: str, **context: Any) -> None:
    """Render one of the templates beside this module, and write it."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = _cell
    html = environment.get_template(template).render(**context)
    write_durably(path, lambda out: out.write_text(html, encoding="utf-8"))


def data_uri(jpeg: bytes) -> str:
    """A JPEG as an address that holds it."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def _cell(value: Any) -> str:
    """A value as a table shows it."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.1f}" if value.is_integer() else f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
