"""Where only a file of this machine will do, the command line refuses the URL of an object before anything is done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from buckets.machines import few_pictures
from click.testing import CliRunner
from samples import make_job

import fpve
from fpve.cli import cli

_URL = "s3://museum/file"
# Each with the name of what is refused; STORE and PICTURE are there, and no server is.
_COMMANDS = {
    f"run job.toml --log {_URL}": "--log",
    f"run job.toml --metrics {_URL}": "--metrics",
    f"run {_URL}": "JOB",
    f"check {_URL}": "JOB",
    f"compare {_URL} --label kind": "JOB",
    f"prefix preview {_URL}": "JOB",
    f"prefix freeze {_URL}": "JOB",
    f"init pets --output {_URL}": "--output",
    f"demo {_URL}": "[DIR]",
    f"encode STORE pets --collection x --log {_URL}": "--log",
    f"encode STORE pets --collection x --metrics {_URL}": "--metrics",
    f"search STORE --text x --html {_URL}": "--html",
    f"search STORE --text x --output {_URL}": "--output",
    f"classify STORE PICTURE --label kind --output {_URL}": "--output",
    f"classify STORE PICTURE --label kind --metadata {_URL}": "--metadata",
    f"evaluate STORE --label kind --html {_URL}": "--html",
    f"duplicates STORE --html {_URL}": "--html",
    f"outliers STORE --output {_URL}": "--output",
    f"mislabeled STORE --label kind --html {_URL}": "--html",
    f"map STORE --html {_URL}": "--html",
    f"sql STORE X --output {_URL}": "--output",
    f"saved STORE --output {_URL}": "--output",
    f"history STORE --output {_URL}": "--output",
    f"export STORE --output {_URL}": "--output",
    f"label STORE {_URL}": "FILE",
    f"import STORE --vectors {_URL}": "--vectors",
    f"import STORE --vectors x.npy --ids {_URL}": "--ids",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of two pictures."""
    folder = tmp_path_factory.mktemp("local")
    fpve.run(make_job(folder / "store", few_pictures(folder / "pets", count=2)))
    return folder / "store"


@pytest.mark.parametrize("words", _COMMANDS)
def test_a_url_is_refused(
    store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tree: Callable[[Path], dict[str, bytes]],
    words: str,
) -> None:
    """In the same line everywhere, as wrong usage; nothing is made of it, here either."""
    monkeypatch.chdir(tmp_path)
    before = tree(store)
    given = [
        {"STORE": str(store), "PICTURE": str(store.parent / "pets" / "00.png")}.get(one, one) for one in words.split()
    ]
    done = CliRunner().invoke(cli, given)
    expected = f"{_URL}: expected a file of this machine, found a URL; copy the file there or here by itself"
    assert (done.exit_code, done.stdout) == (2, "")
    error = done.stderr.splitlines()[-1]
    assert error.startswith(f"Error: Invalid value for '{_COMMANDS[words]}'")
    assert error.endswith(f": {expected}")
    assert (list(tmp_path.iterdir()), tree(store)) == ([], before)


def test_a_log_goes_to_stderr_as_before(store: Path, tmp_path: Path) -> None:
    """A dash is no file."""
    (tmp_path / "job.toml").write_text(
        f'store = "{tmp_path / "new"}"\nencoders = {{ image = "fake:24", text = "fake:16" }}\n'
        '[[collections]]\nname = "pets"\n'
        f'source = "{store.parent / "pets"}"\nmetadata = "{store.parent / "pets" / "metadata.csv"}"\n'
        'prefix = "{caption}"\n',
        encoding="utf-8",
    )
    done = CliRunner().invoke(cli, ["run", str(tmp_path / "job.toml"), "--log", "-", "--dry-run", "--format", "json"])
    assert (done.exit_code, '"event": "run_started"' in done.stderr) == (0, True)
