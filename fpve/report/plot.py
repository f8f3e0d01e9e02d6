"""The scripts that draw a map as one module, for pages that fetch theirs."""

from __future__ import annotations

import json
from pathlib import Path

from fpve.report.colouring import DARK, LIGHT

_TEMPLATES = Path(__file__).parent / "templates"
# The page of a map includes the same files.
_PARTS = ("map-plot.js", "map-camera.js", "map-legend.js")


def plot_module() -> str:
    """A module of JavaScript with the classes `Plot`, `Camera` and `Legend`, and `TONES`, the colours of classes.

    `TONES` has `light` and `dark`, a list of colours as #rrggbb for either paper.
    """
    tones = {"light": LIGHT, "dark": DARK}
    parts = [(_TEMPLATES / name).read_text(encoding="utf-8") for name in _PARTS]
    return "\n".join([*parts, f"const TONES = {json.dumps(tones)};", "export { Plot, Camera, Legend, TONES };", ""])
