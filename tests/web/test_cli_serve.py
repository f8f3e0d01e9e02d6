"""`fpve serve`: one line that says where, an end that is quiet, and mistakes in one line."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from commands import command_here

TOKEN = "open sesame, open sesame"  # noqa: S105 (a test's)
# Seconds: what takes longer hangs.
_LONG = 60


@contextmanager
def served(store: Path, *options: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A gallery in a process of its own, and the line that it wrote."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fpve", "serve", str(store), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )
    with process:
        try:
            assert process.stderr is not None
            yield process, process.stderr.readline()
        finally:
            process.kill()


def failed(*words: object) -> tuple[int, str, str]:
    """What a gallery ends with that can't be served, in this process: it ends before anything is begun."""

    def run(*_: object) -> None:
        raise AssertionError("it is served")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fpve.web.serving._Server.run", run)
        done = command_here(["serve", *words])
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_says_where_it_is_and_ends_quietly(asked_store: Path, number: signal.Signals) -> None:
    """Port 0 is a free one, which is said; a signal ends it with 0 and no further word, whatever is being answered."""
    with served(asked_store, "--port", "0") as (process, line):
        found = re.fullmatch(
            rf"{re.escape(str(asked_store))} is at (http://127\.0\.0\.1:\d+/) \(Ctrl-C ends it\)\n", line
        )
        assert found, line
        address = found[1]
        assert httpx.get(f"{address}api/status").json()["images"] == 14
        # A connection that stays open, and one that is in the middle of a request.
        with httpx.Client() as client, socket.create_connection(("127.0.0.1", int(address[17:-1]))) as half:
            assert client.get(f"{address}api/search", params={"text": "cat"}).status_code == 200
            half.sendall(b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n")
            time.sleep(0.2)
            process.send_signal(number)
            out, err = process.communicate(timeout=_LONG)
    assert (process.returncode, out, err) == (0, "", "")


def test_a_signal_before_it_is_ready_ends_it_too(asked_store: Path) -> None:
    """Models are being loaded in the background then."""
    with served(asked_store, "--port", "0") as (process, _):
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=_LONG)
    assert (process.returncode, out, err) == (0, "", "")


def test_a_port_that_is_taken_is_told(asked_store: Path) -> None:
    """So is a host that is none of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = failed(asked_store, "--port", port)
    assert (code, out) == (1, "")
    assert err == f"fpve: port {port} of 127.0.0.1 is in use; give another --port, or 0 for any that is free\n"
    code, _, err = failed(asked_store, "--host", "192.0.2.1", "--token", TOKEN)
    assert code == 1
    assert err.startswith("fpve: --host 192.0.2.1: expected an address of this machine (")
    code, _, err = failed(asked_store, "--host", "no such host", "--token", TOKEN)
    assert code == 1
    assert err.startswith("fpve: --host no such host: expected a name or an address of this machine (")
    assert failed(asked_store, "--port", "70000")[0] == 2


def test_others_see_the_store_only_with_a_token(asked_store: Path) -> None:
    """Without one it is not served; a short one is refused; and which it is, stands in no line."""
    for host in ("0.0.0.0", "::", "192.0.2.1"):  # noqa: S104
        code, out, err = failed(asked_store, "--host", host)
        assert (code, out) == (1, "")
        assert err.startswith(f"fpve: --host {host}: others could see the store; give them a --token of 16 characters")
        assert err.count("\n") == 1
    for token in ("short", "", "é" * 16, "with\nline break in it"):
        code, _, err = failed(asked_store, "--token", token)
        assert code == 1
        assert err.startswith("fpve: --token: expected 16 letters and digits or more, found ")
        assert not token or token not in err
    with served(asked_store, "--host", "0.0.0.0", "--port", "0", FPVE_TOKEN=TOKEN) as (_, line):  # noqa: S104
        assert TOKEN not in line
        port = re.search(r":(\d+)/", line)
        assert port
        assert f"http://{socket.gethostname()}:" in line
        address = f"http://127.0.0.1:{port[1]}/api/status"
        assert httpx.get(address).status_code == 401
        assert httpx.get(address, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_a_store_that_is_none_is_told(tmp_path: Path, asked_store: Path) -> None:
    """So is a snapshot that there is not: nothing is served."""
    code, out, err = failed(tmp_path / "nowhere", "--port", "0")
    assert (code, out) == (1, "")
    assert err.startswith(f"fpve: {tmp_path / 'nowhere'}: no store here")
    code, _, err = failed(asked_store, "--port", "0", "--at", "7")
    assert (code, "no snapshot 7; it has 1" in err) == (1, True)


def test_other_names_can_be_allowed(asked_store: Path) -> None:
    """As a proxy needs them; what no client would call it by is refused."""
    options = ("--port", "0", "--allow-host", "one.example", "--allow-host", "two.example")
    with served(asked_store, *options) as (_, line):
        address = line.split(" is at ")[1].split()[0]
        for host, status in (("one.example", 200), ("two.example:80", 200), ("three.example", 403)):
            assert httpx.get(f"{address}api/status", headers={"Host": host}).status_code == status
    code, out, err = failed(asked_store, "--allow-host", "https://one.example")
    assert (code, out) == (1, "")
    assert err.startswith(
        "fpve: --allow-host https://one.example: expected a name such as gallery.example.org, without"
    )


def test_it_opens_a_browser(asked_store: Path, tmp_path: Path) -> None:
    """With the token, for the browser has to know it; what is printed has none."""
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    options = ("--port", "0", "--open", "--token", TOKEN)
    with served(asked_store, *options, BROWSER=f"{browser} %s") as (_, line):
        address = line.split(" is at ")[1].split()[0]
        until = time.monotonic() + _LONG
        while not (tmp_path / "opened").exists() or not (tmp_path / "opened").read_text():
            assert time.monotonic() < until
            time.sleep(0.05)
        opened = (tmp_path / "opened").read_text().strip()
        assert TOKEN not in line
        assert opened == f"{address}?token=open%20sesame%2C%20open%20sesame"
        with httpx.Client(follow_redirects=True) as client:
            assert client.get(opened).url == address
            assert client.get(f"{address}api/status").status_code == 200


def test_the_help_imports_no_server() -> None:
    """`fpve serve --help` needs neither fastapi nor uvicorn."""
    script = (
        "import sys; sys.argv = ['fpve', 'serve', '--help']; from fpve.cli import main\n"
        "try: main()\nfinally: print(sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "--allow-host" in done.stdout
    modules = done.stdout.splitlines()[-1]
    assert not [name for name in ("fastapi", "uvicorn", "starlette", "pyarrow", "numpy") if f"'{name}'" in modules]
