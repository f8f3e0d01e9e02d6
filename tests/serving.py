"""`fpve serve` in a process of its own, as people start it.

Nothing here needs pytest: benchmarks serve with it, too.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_ADDRESS = re.compile(r"http://\S+")
# Seconds: it ends requests that are under way for one.
_END = 20


@dataclass(frozen=True)
class Server:
    """A gallery that is served.

    Attributes:
        address: where, with a slash at the end.
        pid: of its process.
        said: the lines that it wrote, so far.
    """

    address: str
    pid: int
    said: list[str]

    def url(self, path: str) -> str:
        """The URL of a path, which begins with a slash."""
        return self.address + path[1:]


@contextmanager
def serving(store: Path, *options: str, **environment: str) -> Iterator[Server]:
    """Serve a store at a free port, until the block is left; with variables of the environment besides this one's.

    Raises:
        RuntimeError: it ended without saying where it is.
    """
    command = [sys.executable, "-m", "fpve", "serve", str(store), "--port", "0", *options]
    with started(command, **environment) as server:
        yield server


@contextmanager
def started(command: list[str], **environment: str) -> Iterator[Server]:
    """Run any command that serves, and says where.

    Raises:
        RuntimeError: it ended without saying where it is.
    """
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | environment
    )
    with process:
        said: list[str] = []
        try:
            address = _address(process, said)
            # A pipe that nobody reads would hold it up once it is full.
            threading.Thread(target=lambda: said.extend(process.stdout or ()), daemon=True).start()
            yield Server(address, process.pid, said)
        finally:
            process.terminate()
            try:
                process.wait(_END)
            except subprocess.TimeoutExpired:
                process.kill()


def _address(process: subprocess.Popen[str], said: list[str]) -> str:
    for line in process.stdout or ():
        said.append(line)
        found = _ADDRESS.search(line)
        if found:
            return f"{found.group().rstrip('/')}/"
    raise RuntimeError(f"the server ended with {process.wait()}: {''.join(said)}")
