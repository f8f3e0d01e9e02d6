"""The tour, with fake encoders in place of the models: its page holds all that it did, and nothing from elsewhere."""

from __future__ import annotations

import html
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

import fpve
from fpve.cli import cli
from fpve.demo import tour


@pytest.fixture(scope="module")
def toured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the tour has been taken."""
    folder = tmp_path_factory.mktemp("tour")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tour, "_JOB", 'encoders = { image = "fake:24", text = "fake:16" }\n' + tour._JOB)
        tour.take_tour(folder)
    return folder


def test_the_page_is_self_contained(toured: Path) -> None:
    """The page has pictures and bars, runs no script, and asks no other address for anything."""
    page = (toured / tour.PAGE).read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") > 20
    assert "<script" not in page
    # The map is a page of its own, beside it.
    assert re.findall(r"""(?:src|href)=["'](?!data:)([^"']*)""", page) == [tour.MAP]
    assert (toured / tour.MAP).stat().st_size > 1_000_000
    assert all(name in page for name in ("image only", "prefix only", "balanced", "concat"))


def test_every_command_on_the_page_works(toured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands that the page shows can be run in the tour's folder."""
    page = (toured / tour.PAGE).read_text(encoding="utf-8")
    commands = [html.unescape(one) for one in re.findall(r'<pre class="command">(.*?)</pre>', page, re.DOTALL)]
    assert len(commands) > 8
    monkeypatch.chdir(toured)
    for command in commands:
        program, *words = shlex.split(command)
        assert program == "fpve"
        done = CliRunner().invoke(cli, words)
        assert done.exit_code == 0, (command, done.output, done.exception)


def test_a_second_tour_encodes_nothing(toured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier tour made is used again."""
    # It only reads, takes longer than all else, and has been shown by both tests above.
    monkeypatch.setattr(tour._Guide, "evaluate", lambda guide, store: None)
    monkeypatch.setattr(tour, "_JOB", (toured / tour.JOB_FILE).read_text(encoding="utf-8"))
    said: list[str] = []
    tour.take_tour(toured, say=said.append)
    assert sum("encoded 0 pictures" in line for line in said) == 2
    assert fpve.open(toured / tour.STORE).status().images == 3125
