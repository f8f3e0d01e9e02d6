"""The files of the page, among them the script of the map, which reports have as well; held in memory."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fpve.report.plot import plot_module

STATIC = Path(__file__).parent / "static"
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_PLOT = "plot.js"


class PageFiles:
    """The files of the page, by their names.

    Attributes:
        version: what they are called by as they are; another one as soon as any of them is another.
    """

    def __init__(self) -> None:
        self.version = ""
        self._content: dict[str, bytes] = {}
        self._seen: list[tuple[Path, int, int]] = []
        self.look()

    def get(self, name: str) -> bytes | None:
        """What is in a file; None where there is none."""
        return self._content.get(name)

    def look(self) -> None:
        """See whether any has changed, as it does for whoever works on the page. Takes a millisecond."""
        found = [file for file in sorted(STATIC.rglob("*")) if file.suffix in TYPES]
        seen = [(file, (stat := file.stat()).st_mtime_ns, stat.st_size) for file in found]
        if seen == self._seen:
            return
        content = {file.relative_to(STATIC).as_posix(): file.read_bytes() for file in found}
        content[_PLOT] = plot_module().encode()
        digest = hashlib.sha256()
        for name, one in content.items():
            digest.update(f"{name}\0{len(one)}\0".encode() + one)
        self._content, self._seen, self.version = content, seen, digest.hexdigest()[:16]
