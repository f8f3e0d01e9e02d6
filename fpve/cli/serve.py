"""The command `serve`: a store in the browser."""

from __future__ import annotations

import threading
import webbrowser
from pathlib import Path
from urllib.parse import quote

import click

from fpve.cli import output
from fpve.cli.options import at_option, given, store_argument
from fpve.cli.signals import end_at_once


@click.command()
@store_argument
@click.option(
    "--host", metavar="HOST", help="Where to listen; any but this machine needs --token.  [default: 127.0.0.1]"
)
@click.option("--port", type=click.IntRange(0, 65535), metavar="N", help="0 takes a free one.  [default: 8000]")
@click.option("--token", envvar="FPVE_TOKEN", metavar="TEXT", help="What clients have to know; or set FPVE_TOKEN.")
@click.option(
    "--allow-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME",
    help="Another name by which clients call it, such as that of a proxy. Can be repeated.",
)
@click.option("--open", "opens", is_flag=True, help="Open it in the browser.")
@at_option
def serve(
    store: Path,
    host: str | None,
    port: int | None,
    token: str | None,
    allowed_hosts: tuple[str, ...],
    opens: bool,
    at: int | None,
) -> None:
    """Show a STORE in the browser: look, search, filter, curate. Nothing is changed.

    It ends with Ctrl-C.
    """
    from fpve.web.serving import serve as serve_store
    from fpve.web.settings import Settings

    settings = Settings(**given(host=host, port=port, token=token), allowed_hosts=allowed_hosts)

    def announce(address: str) -> None:
        output.note(f"{store} is at {address} (Ctrl-C ends it)")
        if opens:
            url = address if token is None else f"{address}?token={quote(token)}"
            # A browser of the terminal's returns when it ends, and asks before.
            threading.Thread(target=webbrowser.open, args=[url], daemon=True).start()

    serve_store(store, settings, at=at, announce=announce)
    # What was asked for is no longer wanted, and nothing is written.
    end_at_once(0)


COMMANDS = (serve,)
