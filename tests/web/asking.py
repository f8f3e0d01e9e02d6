"""A gallery in this process, and what is asked of it again until it is done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from samples import KINDS, draw, make_job

import fpve
from fpve.web.app import create_app
from fpve.web.served import Served

# Seconds after which what is computed of a dozen pictures hangs.
_LONG = 60


def make_store(root: Path) -> Path:
    """A store of 12 pictures: number n is a cat, a dog or a bird in turn, its price is n.5, every other has a caption.

    Two more are copies: 12 of 0, and 13 of 1.
    """
    lines = ["path,caption,kind,price,taken"]
    for number in range(14):
        draw(root / "pictures" / f"{number:02d}.png", number % 12)
        kind = KINDS[number % 12 % 3]
        caption = f"{kind} number {number}" if number % 2 == 0 else ""
        taken = "" if number == 3 else f"2024-01-{number + 1:02d}T12:00:00Z"
        lines.append(f"{number:02d}.png,{caption},{kind},{number}.50,{taken}")
    (root / "pictures" / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    fpve.run(make_job(root / "store", root / "pictures", types={"taken": "timestamp"}))
    return root / "store"


@contextmanager
def gallery(store: Path) -> Iterator[TestClient]:
    """A client of a gallery over a store."""
    with TestClient(create_app(store), base_url="http://127.0.0.1:8000") as client:
        yield client


def served_by(client: TestClient) -> Served:
    """What a client's gallery has open."""
    found: Served = client.app.state.served  # type: ignore[attr-defined]
    return found


def computed(client: TestClient, path: str, **parameters: Any) -> dict[str, Any]:
    """What a request is answered with when it has been computed."""
    until = time.monotonic() + _LONG
    while time.monotonic() < until:
        response = client.get(path, params=parameters)
        if response.status_code != 202:
            assert response.status_code == 200, response.text
            found: dict[str, Any] = response.json()
            return found
        assert response.json()["state"] == "running"
    raise TimeoutError(path)
