"""Answers of SQL, printed: of one query, or of those that are typed one after the other."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from fpve.cli import output
from fpve.cli.progress import working

if TYPE_CHECKING:
    from fpve.analytics import Answer

# More than anybody looks through on a terminal.
_SHOWN = 1_000


def print_answer(answer: Answer, kind: str | None) -> int:
    """Print an answer, as a table on a terminal its first rows; how many it has."""
    shown = _SHOWN if sys.stdout.isatty() and kind in (None, "table") else None
    with working("asking"):
        rows, count = answer.first(shown)
    output.print_rows(rows, kind)
    if count > len(rows):
        output.note(f"note: the first {len(rows):,} of {count:,} rows; --output FILE writes all of them")
    return count
