"""The command line: every command parses, calls one function of the library, and renders what it returns."""

from __future__ import annotations

import os
import signal
import sys

import click

from fpve._version import __version__
from fpve.arrow import arrow_alone
from fpve.cli import (
    classify,
    compare,
    curation,
    demo,
    evaluate,
    exchange,
    jobs,
    labels,
    map,
    prefixes,
    saved,
    search,
    serve,
    sql,
    stores,
    train,
)
from fpve.cli.signals import Interrupted, end_without_waiting, interruptible, leave
from fpve.errors import FpveError

# Answered without any data.
_HELP = frozenset({"-h", "--help", "--version"})


# Lines after a backspace click leaves as they are.
_ABOUT = """Encode image collections and their text prefixes once; then search, classify and query them.

\b
Start with:
  fpve demo                       a tour on pictures that come along
  fpve init SOURCE                write a job file for your own pictures
  fpve run JOB.toml               encode them; again every night for what changed
  fpve search STORE --text "…"    find them
"""


@click.group(help=_ABOUT, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="fpve")
def cli() -> None:
    """All commands."""


for _commands in (
    jobs,
    labels,
    prefixes,
    search,
    classify,
    curation,
    evaluate,
    train,
    compare,
    sql,
    saved,
    map,
    serve,
    exchange,
    stores,
    demo,
):
    for _command in _commands.COMMANDS:
        cli.add_command(_command)


def main() -> None:
    """Run the command line: 0 done, 1 an error, 2 wrong usage, 3 done with some inputs in quarantine.

    A signal ends it with 128 and the signal's number: 130 for Ctrl-C, 143 for SIGTERM.
    """
    try:
        with interruptible():
            if _is_for_data():
                arrow_alone()
            code = cli.main(standalone_mode=False, prog_name="fpve")
            # Now, not at exit, where Python could only print a warning.
            sys.stdout.flush()
    except Interrupted as error:
        leave(error.signum)
    except FpveError as error:
        _fail(str(error), 1)
    except click.exceptions.NoArgsIsHelpError as error:
        # Of a group without a command; it is many lines.
        click.echo(error.format_message(), err=True)
        sys.exit(2)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "fpve"
        _fail(f"{error.format_message()} (see `{command} --help`)", 2)
    except click.ClickException as error:
        _fail(error.format_message(), 1)
    except (KeyboardInterrupt, click.Abort):
        leave(signal.SIGINT)
    except BrokenPipeError:
        # The reader (`head`, say) has what it wanted. Python would complain again when it flushes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except UnicodeError:
        _fail("expected arguments and files in UTF-8, found other bytes", 2)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _fail(f"{place}{error.strerror or error}", 1)
    sys.exit(code if isinstance(code, int) else 0)


def _is_for_data() -> bool:
    """Whether more is asked for than help, or what a shell may complete a word to."""
    return len(sys.argv) > 1 and not _HELP.intersection(sys.argv) and "_FPVE_COMPLETE" not in os.environ


def _fail(message: str, code: int) -> None:
    click.echo("fpve: " + " ".join(message.split()), err=True)
    end_without_waiting(code)
