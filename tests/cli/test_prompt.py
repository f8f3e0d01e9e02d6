"""`fpve sql` on a terminal: lines that are edited, completed and remembered; Ctrl-C and Ctrl-D."""

from __future__ import annotations

import os
import pty
import re
import select
import sys
import time
from pathlib import Path

import pytest

import fpve
from fpve.config import Job

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
FOREVER = b"SELECT count(*) FROM range(9999999) a, range(9999999) b WHERE a.range*b.range%7=3;"


class Terminal:
    """`fpve sql STORE` on a terminal of its own."""

    def __init__(self, store: Path, state: Path) -> None:
        self._pid, self._handle = pty.fork()
        if self._pid == 0:
            environment = {**os.environ, "XDG_STATE_HOME": str(state), "TERM": "xterm", "COLUMNS": "200"}
            os.execve(sys.executable, [sys.executable, "-m", "fpve", "sql", str(store)], environment)  # noqa: S606 (there is no shell to do without)
        self._seen = ""

    def type(self, text: bytes) -> None:
        """Type something."""
        os.write(self._handle, text)

    def expect(self, text: str) -> None:
        """Read until something is there, and forget what came before."""
        last = time.monotonic() + 60
        while text not in self._seen:
            assert time.monotonic() < last, self._seen
            self._read()
        self._seen = self._seen.partition(text)[2]

    def ended(self) -> int:
        """Wait for the end; the exit code."""
        while self._read():
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])

    def _read(self) -> bool:
        if select.select([self._handle], [], [], 0.1)[0]:
            try:
                self._seen += _ESCAPES.sub("", os.read(self._handle, 65_536).decode(errors="replace"))
            except OSError:
                return False
        return True


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Where the history goes."""
    return tmp_path / "state"


@pytest.fixture
def terminal(job: Job, state: Path) -> Terminal:
    """A session over the twelve pictures."""
    fpve.run(job)
    return Terminal(job.store, state)


def test_a_session_on_a_terminal(terminal: Terminal, state: Path) -> None:
    """A query has several lines, a name is completed, a mistake and Ctrl-C are a line each, and Ctrl-D is the end."""
    terminal.expect(".quit or Ctrl-D ends.")
    terminal.expect("fpve>")
    terminal.type(b"SELECT count(*) AS n FROM quar")
    terminal.expect("quar")
    terminal.type(b"\t")
    terminal.expect("antine")
    terminal.type(b"\r")
    terminal.expect("->")
    terminal.type(b"WHERE true;\r")
    terminal.expect("1 row, ")
    terminal.expect("fpve>")
    terminal.type(b"SELECT nope;\r")
    terminal.expect('Referenced column "nope" was not found')
    terminal.expect("fpve>")
    terminal.type(b"SELECT 4 AS d; SELECT range FROM range(5);\r")
    terminal.expect("1 row, ")
    terminal.expect("5 rows, ")
    terminal.expect("fpve>")
    terminal.type(FOREVER + b" SELECT nope;\r")
    terminal.expect("asking")
    terminal.type(b"\x03")
    terminal.expect("fpve: interrupted")
    terminal.expect("fpve>")
    terminal.type(b"dropped\x03")
    terminal.expect("fpve>")
    terminal.type(b"SELECT range FROM range(3000);\r")
    terminal.expect("note: the first 1,000 of 3,000 rows; --output FILE writes all of them")
    terminal.expect("3,000 rows, ")
    terminal.expect("fpve>")
    terminal.type(b"\x04")
    assert terminal.ended() == 0
    history = state / "fpve/sql_history"
    assert "+SELECT count(*) AS n FROM quarantine\n+WHERE true;\n" in history.read_text()
    assert "dropped" not in history.read_text()
    assert history.stat().st_mode & 0o777 == 0o600
