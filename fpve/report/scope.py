"""What a page is about: which images were looked at, and the command that gives the same as a table."""

from __future__ import annotations

import shlex
from typing import Any

from fpve.api import Store
from fpve.replica import shown


def images(store: Store, where: str | None, *, having: str | None = None) -> int:
    """How many images of a store there are.

    Args:
        store: the store.
        where: an SQL condition on them.
        having: a column that is not null.
    """
    counted = "*" if having is None else '"' + having.replace('"', '""') + '"'
    # On a line of its own, what follows it is no part of a comment in the condition.
    chosen = "" if where is None else f"WHERE (\n{where}\n)"
    return int(store.sql(f"SELECT count({counted}) FROM images {chosen}").column(0)[0].as_py())


def command(name: str, store: Store, output: str, **options: Any) -> str:
    """The line of a shell that writes the rows of a page as CSV; an option that is None or False is left out."""
    words = ["fpve", name, shown(store.path)]
    for option, value in options.items():
        if value is None or value is False:
            continue
        words.append(f"-{option}" if len(option) == 1 else f"--{option.replace('_', '-')}")
        if value is not True:
            words.append(f"{value:g}" if isinstance(value, float) else str(value))
    return " ".join(map(quoted, [*words, "--format", "csv", "--output", output]))


def quoted(word: str) -> str:
    """A word as a person would quote it for a shell: double quotes where it has single ones, as SQL does."""
    return f'"{word}"' if "'" in word and not set(word) & set('"$`\\!') else shlex.quote(word)
