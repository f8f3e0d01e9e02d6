"""The command line, as a shell has it: words in; stdout, stderr and an exit code out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from fpve.cli import main

Done = subprocess.CompletedProcess[str]


def command_here(words: Sequence[object], *, cwd: Path | None = None, stdin: str | None = None) -> Done:
    """Run `fpve` in this process, by the function that a process of its own runs, whose imports take a second."""
    with CliRunner().isolation(input=stdin) as (out, err, _), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["fpve", *map(str, words)])
        # Here others may hand pyarrow what is of pandas.
        patch.setattr("fpve.cli.arrow_alone", lambda: None)
        if cwd is not None:
            patch.chdir(cwd)
        try:
            main()
        except SystemExit as end:
            code = end.code
        sys.stdout.flush()
        sys.stderr.flush()
    assert isinstance(code, int)
    return Done(words, code, *(one.getvalue().decode() for one in (out, err)))


def command_alone(words: Sequence[object], *, cwd: Path | None = None, stdin: str | None = None) -> Done:
    """Run `fpve` in a process of its own; without a text, stdin is nothing."""
    return subprocess.run(
        [sys.executable, "-m", "fpve", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        check=False,
    )
