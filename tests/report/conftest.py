"""A store that pages show, with captions that want to be more than text."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from report.parsed import NASTY
from samples import KINDS, draw, make_job

import fpve


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of 24 pictures of three kinds in `store`; the captions of five are nasty."""
    root = tmp_path_factory.mktemp("report")
    (root / "pictures").mkdir()
    with (root / "pictures/metadata.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "caption", "kind"])
        for number in range(24):
            draw(root / "pictures" / f"{number:02d}.png", number)
            caption = NASTY[number] if number < len(NASTY) else f"{KINDS[number % 3]} {number}"
            writer.writerow([f"{number:02d}.png", caption, KINDS[number % 3]])
    fpve.run(make_job(root / "store", root / "pictures"))
    return root


@pytest.fixture(scope="session")
def store(shop: Path) -> fpve.Store:
    """The store, open."""
    return fpve.open(shop / "store")
