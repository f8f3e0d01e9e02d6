"""`fpve sql --interactive`: one query after the other over one snapshot."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fpve.cli import output
from fpve.cli.answers import print_answer
from fpve.cli.progress import working
from fpve.errors import FpveError

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import Completer
    from prompt_toolkit.history import History
    from prompt_toolkit.key_binding import KeyBindings

    from fpve.analytics import Session

_PROMPT, _MORE = "fpve> ", "   -> "
_HELP = """A query ends with ; and may have several lines, or a line several of them. Beside queries there is
  .tables   the views, and what is saved
  .help     this
  .quit     the end, as Ctrl-D
Ctrl-C drops what is written, or interrupts the query that runs."""
_WORDS = (  # noqa: SIM905 (as a list they would be as many lines)
    "SELECT DISTINCT FROM WHERE GROUP BY HAVING QUALIFY ORDER LIMIT OFFSET JOIN LEFT FULL CROSS SEMI ANTI ON USING AS "
    "WITH UNION ALL EXCEPT INTERSECT AND OR NOT IN IS NULL LIKE ILIKE BETWEEN CASE WHEN THEN ELSE END OVER PARTITION "
    "FILTER DESC ASC NULLS FIRST LAST DESCRIBE SUMMARIZE EXPLAIN ANALYZE UNNEST PIVOT UNPIVOT count sum avg min max "
    "median quantile_cont rank row_number cosine image_cosine prefix_cosine search neighbours hits"
).split()


def talk(session: Session, kind: str | None) -> None:
    """Answer the queries that are typed, or those on stdin, until they end; a mistake is a line, and not the end."""
    terminal = sys.stdin.isatty()
    with _keyboard_interrupts(wanted=terminal):
        for texts in _typed(session) if terminal else _lines(sys.stdin):
            try:
                for text in texts:
                    if text in (".quit", ".exit"):
                        return
                    _answer_or_tell(session, text, kind)
            except KeyboardInterrupt:
                # Whoever interrupts a query does not want those that were typed after it.
                output.note("fpve: interrupted")


def _answer_or_tell(session: Session, text: str, kind: str | None) -> None:
    try:
        _answer(session, text, kind)
    except FpveError as error:
        output.note(f"fpve: {' '.join(str(error).split())}")
    except click.ClickException as error:
        output.note(f"fpve: {error.format_message()}")


def _answer(session: Session, text: str, kind: str | None) -> None:
    if text == ".help":
        output.note(_HELP)
    elif text == ".tables":
        output.emit("\n".join(session.columns))
    elif text.startswith("."):
        output.note(f"fpve: no command {text.split()[0]!r}; .help tells which there are")
    else:
        start = time.monotonic()
        with working("asking"):
            answer = session.ask(text)
        count = print_answer(answer, kind)
        sys.stdout.flush()
        output.note(f"{count:,} row{'' if count == 1 else 's'}, {time.monotonic() - start:.2f} s")


def _lines(lines: Iterable[str]) -> Iterator[list[str]]:
    """The commands and queries that end in each line of a text; the last query may lack its end."""
    from fpve.analytics import split_statements

    written = ""
    for line in lines:
        if not written and line.startswith("."):
            yield [line.strip()]
            continue
        written += line
        # Looked through where it may have come to an end: a query can have very many lines.
        if ";" in line or not written.strip():
            queries, written = split_statements(written)
            yield queries
    if split_statements(f"{written}\n;")[0]:
        yield [written]


def _typed(session: Session) -> Iterator[list[str]]:
    """What is typed on a terminal, a command or queries at a time."""
    from fpve.analytics import split_statements

    prompts = _prompts(session)
    output.note("Queries end with ;. .help tells more, .tables what there is, .quit or Ctrl-D ends.")
    while True:
        try:
            text = prompts.prompt(_PROMPT).strip()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        yield [text] if text.startswith(".") else split_statements(text)[0]


def _prompts(session: Session) -> PromptSession[str]:
    from prompt_toolkit import PromptSession

    return PromptSession(
        history=_history(),
        completer=_completer(session),
        complete_while_typing=False,
        key_bindings=_keys(),
        multiline=True,
        prompt_continuation=_MORE,
    )


def _completer(session: Session) -> Completer:
    """Completes names of views and of their columns, and SQL's own words."""
    from prompt_toolkit.completion import WordCompleter

    columns = session.columns
    names = sorted({name for of_one in columns.values() for name in of_one})
    return WordCompleter([*columns, *names, *_WORDS], ignore_case=True, pattern=re.compile(r"([\w.]+)"), sentence=False)


def _keys() -> KeyBindings:
    """Enter ends what is whole, and begins a line of what is not."""
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()

    @keys.add("enter")
    def enter(event: Any) -> None:
        text = event.current_buffer.text
        if not text.strip() or text.lstrip().startswith(".") or _is_whole(text):
            event.current_buffer.validate_and_handle()
        else:
            event.current_buffer.insert_text("\n")

    return keys


def _history() -> History:
    """What was typed before, where the XDG base directories have it; forgotten where that can't be written."""
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    with suppress(OSError, RuntimeError):
        base = os.environ.get("XDG_STATE_HOME", "")
        folder = (Path(base) if Path(base).is_absolute() else Path.home() / ".local/state") / "fpve"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / "sql_history"
        path.touch(mode=0o600)
        return FileHistory(str(path))
    return InMemoryHistory()


def _is_whole(text: str) -> bool:
    """Whether queries, or comments, end where a text does."""
    from fpve.analytics import split_statements

    return not split_statements(text)[1]


@contextmanager
def _keyboard_interrupts(*, wanted: bool) -> Iterator[None]:
    """Have Ctrl-C end what is being done, and not the program."""
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
