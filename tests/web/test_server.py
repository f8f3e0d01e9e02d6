"""What is served: the newest snapshot, whole, and as long as nobody needs it no older one."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from samples import draw
from web.asking import served_by
from web.conftest import Gallery

import fpve
from fpve._version import __version__
from fpve.config import Job
from fpve.errors import ServerBusy, StoreNotFound
from fpve.store import manifest as manifests
from fpve.store.snapshot import Snapshot
from fpve.web.app import create_app
from fpve.web.refusals import REFUSALS
from fpve.web.served import Served
from fpve.web.settings import Settings
from fpve.web.turns import Turns

# Seconds: a snapshot is looked for more often than that.
_LONG = 30


def until(is_so: Callable[[], bool]) -> None:
    """Wait for what happens in another thread."""
    end = time.monotonic() + _LONG
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_store_is_told_in_figures(client: TestClient, asked_store: Path) -> None:
    """They are those of its status, with what a page needs to know of columns."""
    found = client.get("/api/status").json()
    status = fpve.open(asked_store).status()
    assert {name: found[name] for name in ("snapshot", "images", "vectors", "dim", "quarantined", "bytes")} == {
        "snapshot": 1,
        "images": 14,
        "vectors": status.vectors,
        "dim": 40,
        "quarantined": 0,
        "bytes": status.bytes,
    }
    assert (found["version"], found["store"], found["name"]) == (__version__, str(asked_store), "store")
    assert (found["has_prefixes"], found["shares_space"], found["image_weight"]) == (True, False, 0.5)
    assert (found["encoders"], found["fusion"], found["index"]) == (status.encoders, status.fusion, status.index)
    assert found["collections"] == [{"name": "pets", "images": 14}]
    assert found["columns"] == [
        {"name": "caption", "type": "string", "facet": "values", "is_label": True},
        {"name": "kind", "type": "string", "facet": "values", "is_label": True},
        {"name": "price", "type": "float64", "facet": "range", "is_label": False},
        {"name": "taken", "type": "timestamp", "facet": "range", "is_label": False},
    ]
    assert (found["refresh_error"], found["read_only"], found["max_upload"]) == (None, True, 32_000_000)
    assert found["created_at"] == status.created_at


def test_it_says_when_the_first_search_is_ready(gallery: Gallery, asked_store: Path) -> None:
    """Before its models are loaded it says that they are not; the page then says so to whoever searches."""
    client = gallery(asked_store)
    until(lambda: client.get("/api/status").json()["is_warm"])
    assert served_by(client).store.opened.encoders._text is not None
    cold = TestClient(create_app(asked_store), "http://127.0.0.1:8000")
    assert cold.get("/api/status").json()["is_warm"] is False


def test_what_the_first_search_needs_is_loaded_before(gallery: Gallery, asked_store: Path) -> None:
    """The text model, and the index, in the background."""
    opened = served_by(gallery(asked_store)).store.opened
    until(lambda: opened.encoders._text is not None and opened.searcher._opened is not None)


def test_a_newer_snapshot_is_served_by_itself(gallery: Gallery, own_store: Path, job: Job, pictures: Path) -> None:
    """A run beside the gallery is seen a moment later; a gallery that stays at a snapshot stays."""
    client = gallery(own_store, refresh_seconds=0.02)
    old = gallery(own_store, refresh_seconds=0.02, at=1)
    draw(pictures / "cat/new.png", 100)
    assert client.get("/api/thumbnails/pets/cat/new.png").status_code == 404
    fpve.run(job)
    until(lambda: client.get("/api/status").json()["snapshot"] == 2)
    assert client.get("/api/status").json()["images"] == 13
    assert client.get("/api/thumbnails/pets/cat/new.png").status_code == 200
    assert client.get("/api/search", params={"id": "pets/cat/new.png"}).json()["snapshot"] == 2
    assert old.get("/api/status").json()["snapshot"] == 1
    assert old.get("/api/thumbnails/pets/cat/new.png").status_code == 404


def test_requests_that_find_their_snapshot_gone_move_on_together(
    job: Job, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A screenful of pictures asks at once: one of them opens the newest snapshot for all."""
    fpve.run(job)
    served = Served(job.store, Settings())
    draw(pictures / "cat" / "new.png", 99)
    fpve.run(job)
    opened: list[int] = []
    real = Snapshot.open

    def slowly(*args: Any, **options: Any) -> Snapshot:
        opened.append(1)
        # Long enough for the others to come.
        time.sleep(0.1)
        return real(*args, **options)

    monkeypatch.setattr(Snapshot, "open", slowly)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(served.leave, [1] * 8)) == [True] * 8
    assert (len(opened), served.refreshes, served.store.snapshot) == (1, 1, 2)


def test_what_fails_to_warm_up_does_not_end_the_looking(
    gallery: Gallery, own_store: Path, job: Job, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Snapshots that come later are served, too."""
    client = gallery(own_store, refresh_seconds=0.02)
    monkeypatch.setattr(served_by(client).sql, "warm_up", lambda: 1 / 0)
    for number in (2, 3):
        draw(pictures / f"cat/new-{number}.png", 100 + number)
        assert fpve.run(job).snapshot == number
        until(lambda number=number: client.get("/api/status").json()["snapshot"] == number)


def test_a_snapshot_that_nobody_serves_can_be_pruned(
    gallery: Gallery, own_store: Path, job: Job, pictures: Path
) -> None:
    """Whatever was asked of it: it is let go of when there is a newer one, and kept for the gallery that stays."""
    client = gallery(own_store, refresh_seconds=0.02)
    handle = None
    for number in (2, 3):
        image_id = "pets/cat/00.png"
        first = client.post("/api/search", files={"image": ("a.png", (pictures / "cat/00.png").read_bytes())})
        handle = first.json()["query"]["picture"]
        for path in (
            f"/api/images/{image_id}",
            f"/api/thumbnails/{image_id}",
            f"/api/pictures/{image_id}",
            "/api/pictures/nowhere",
            "/api/search?text=cat&where=price>2",
            "/api/search?text=cat&where=nonsense",
            "/api/images?limit=5",
            "/api/facets",
            "/metrics",
        ):
            assert client.get(path).status_code in (200, 400, 404), path
        draw(pictures / "cat/new.png", 100 + number)
        newest = fpve.run(job).snapshot
        until(lambda newest=newest: client.get("/api/status").json()["snapshot"] == newest)
    # Uploads outlive a snapshot, as long as the encoder is the same.
    assert client.get("/api/search", params={"picture": handle}).json()["snapshot"] == newest

    def pruned() -> bool:
        fpve.prune(own_store, keep=1, grace=timedelta(0))
        return manifests.numbers(own_store) == [newest]

    until(pruned)
    assert client.get("/api/search", params={"text": "cat"}).json()["snapshot"] == newest


def test_a_damaged_newest_snapshot_is_told_and_not_served(gallery: Gallery, own_store: Path) -> None:
    """The one before it is served on, and the figures say why; when it is whole again it is served."""
    client = gallery(own_store, refresh_seconds=0.02)
    damaged = manifests.path_of(own_store, 2)
    damaged.write_text('{"format": "fpve-manifest"')
    until(lambda: client.get("/api/status").json()["refresh_error"] is not None)
    found = client.get("/api/status").json()
    assert found["snapshot"] == 1
    assert found["refresh_error"].startswith(f"{damaged}: damaged manifest")
    assert len(client.get("/api/search", params={"text": "cat"}).json()["hits"]) == 12
    metrics = client.get("/metrics").text
    assert "\nfpve_refresh_failing 1.0\n" in metrics
    damaged.unlink()
    until(lambda: client.get("/api/status").json()["refresh_error"] is None)
    assert "\nfpve_refresh_failing 0.0\n" in client.get("/metrics").text


def test_a_store_that_is_none_is_not_served(tmp_path: Path, own_store: Path) -> None:
    """That is said before anything listens."""
    with pytest.raises(StoreNotFound, match="no store here"):
        create_app(tmp_path / "nowhere")
    with pytest.raises(StoreNotFound, match="no snapshot 7"):
        create_app(own_store, at=7)


def test_whatever_goes_wrong_is_one_line(gallery: Gallery, own_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged store, a bug, a path or a method that there is not: each has its status, and an error in one line."""
    client = gallery(own_store)

    def asked(path: str) -> tuple[int, str]:
        response = client.get(path)
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.json().keys() == {"error"}
        return response.status_code, response.json()["error"]

    assert asked("/api/nothing") == (404, "nothing is at /api/nothing")
    assert asked("/nothing.js") == (404, "nothing is at /nothing.js")
    response = client.post("/api/status")
    assert (response.status_code, response.json()) == (405, {"error": "Method Not Allowed"})
    for table in (own_store / "tables/thumbnails").iterdir():
        table.write_bytes(b"x" * table.stat().st_size)
    status, reason = asked("/api/thumbnails/pets/cat/00.png")
    assert status == 500
    assert "a file of the store is missing or damaged" in reason
    monkeypatch.setattr(served_by(client), "queries", lambda *_, **__: 1 / 0)
    assert asked("/api/search?text=x") == (500, "an error of the server (ZeroDivisionError)")


def test_the_document_says_all(client: TestClient) -> None:
    """Every operation has a summary, a tag, its parameters described, and what it may be refused with."""
    document = client.get("/openapi.json").json()
    operations = {f"{method} {path}": one for path, each in document["paths"].items() for method, one in each.items()}
    assert {"get /api/status", "get /api/search", "post /api/search", "get /metrics"} <= operations.keys()
    for name, one in operations.items():
        assert one["summary"], name
        assert one["tags"], name
        assert one["description"], name
        for parameter in one.get("parameters", ()):
            if parameter["in"] == "query":
                assert parameter.get("description"), f"{name}: {parameter['name']}"
        for status in REFUSALS:
            schema = one["responses"][status]["content"]["application/json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/Refusal"}, name
        assert "422" not in one["responses"], name
    form = operations["post /api/search"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["required"] == ["image"]
    assert {"image", "text", "image_weight", "k", "where", "filters", "exact"} <= form["properties"].keys()


def test_turns_are_taken_in_turn() -> None:
    """As many as there may be at once; others wait a while, and are refused when too many wait, or for too long."""
    turns = Turns(1, waiting=1, patience=0.05)
    with turns.take():
        with pytest.raises(ServerBusy, match=r"no turn within 0.05 s"), turns.take():
            raise AssertionError
        patient = Turns(1, waiting=1, patience=_LONG)
    entered = threading.Event()

    def wait() -> None:
        with patient.take():
            entered.set()

    waiting = threading.Thread(target=wait)
    with patient.take():
        waiting.start()
        until(lambda: not patient._room._value)
        with pytest.raises(ServerBusy, match="too many"), patient.take():
            raise AssertionError
        assert not entered.is_set()
    waiting.join(_LONG)
    assert entered.is_set()
    with turns.take():
        pass


def test_json_is_what_the_page_can_read(client: TestClient) -> None:
    """No NaN, which is no JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    for path in ("/api/status", "/api/search?text=cat", "/api/images", "/api/images/pets/00.png"):
        json.loads(client.get(path).text, parse_constant=refuse)
