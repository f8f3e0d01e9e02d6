"""Readers of a snapshot that another machine has pruned: told so, and led on; nothing else is taken for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from buckets.machines import few_pictures, job_on, machine
from fastapi.testclient import TestClient
from s3 import S3
from samples import make_job
from web.asking import computed, served_by

import fpve
from fpve.config import Job
from fpve.engines import shards
from fpve.errors import BucketError, SnapshotPruned, StoreCorrupt, StoreNotFound
from fpve.replica import located
from fpve.store import manifest as manifests
from fpve.web.app import create_app
from fpve.web.settings import Settings

_TOLD = r"^{}: no snapshot 1; it has been pruned: open the store again, or `refresh\(\)` it$"


@pytest.fixture
def job(tmp_path: Path, s3: S3, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A job over six pictures in three segments, whose store has been made."""
    monkeypatch.setattr(shards, "SHARD_ROWS", 2)
    job = job_on(tmp_path / "here", s3.url("store"), few_pictures(tmp_path / "pets", count=6))
    fpve.run(job)
    return job


def _prune(job: Job) -> None:
    """Have nothing of the first snapshot left, not even its files, as another machine does."""
    fpve.set_prefix(job.store, where="true", text="another one")
    fpve.compact(job.store)
    assert fpve.prune(job.store, keep=1, grace=timedelta(0)).kept == (3,)


_ASKS: dict[str, Callable[[fpve.Store, Path], Any]] = {
    "search": lambda store, _: store.search(text="number 1", k=3),
    "by id": lambda store, _: store.search(id="pets/00.png", k=3),
    "with a condition": lambda store, _: store.search(text="number 1", k=3, where="kind = 'cat'"),
    "images": lambda store, _: store.images,
    "thumbnail": lambda store, _: store.thumbnail("pets/00.png"),
    "SQL of images": lambda store, _: store.sql("select count(*) from images"),
    "SQL of vectors": lambda store, _: store.sql("select vector from vectors"),
    "SQL of prefixes": lambda store, _: store.sql("select * from prefixes"),
    "classify": lambda store, folder: store.classify([folder / "pets" / "01.png"], label="kind"),
    "duplicates": lambda store, _: store.duplicates(),
    "status": lambda store, _: store.status(),
    "export": lambda store, folder: store.export(folder / "out.parquet"),
}


def _reader(folder: Path, s3: S3) -> fpve.Store:
    """The store as a machine has it open that has asked for nothing yet."""
    with machine(folder):
        return fpve.open(s3.url("store"))


def test_a_reader_is_told_that_its_snapshot_was_pruned(job: Job, s3: S3, tmp_path: Path) -> None:
    """Whatever it asks for, in one line that says what to do; having done it, it is answered."""
    readers = {name: _reader(tmp_path / name, s3) for name in _ASKS}
    _prune(job)
    for name, ask in _ASKS.items():
        with pytest.raises(SnapshotPruned, match=_TOLD.format(re.escape(s3.url("store")))):
            ask(readers[name], tmp_path)
        assert readers[name].refresh(), name
        ask(readers[name], tmp_path)


def test_vectors_that_are_gone_while_all_else_is_here_are_told_likewise(job: Job, s3: S3, tmp_path: Path) -> None:
    """SQL reads them in the bucket; a search that has its indexes goes on."""
    with machine(tmp_path / "reader"):
        store = fpve.open(s3.url("store"))
        found = store.search(text="number 1", k=3).to_arrow()
        assert len(store.sql("select image_id from images")) == 6
        _prune(job)
        with pytest.raises(SnapshotPruned, match="no snapshot 1; it has been pruned"):
            store.sql("select vector from vectors")
        assert store.search(text="number 1", k=3).to_arrow().equals(found)


def test_a_snapshot_that_was_pruned_before_is_told_from_one_that_never_was(job: Job, s3: S3, tmp_path: Path) -> None:
    """As in a directory, and the former is the kind of error that a reader gets."""
    _prune(job)
    folder = make_job(tmp_path / "store", job.collections[0].source)
    fpve.run(folder)
    _prune(folder)
    for store in (s3.url("store"), folder.store):
        with machine(tmp_path / "reader"):
            pruned = _error(lambda store=store: fpve.open(store, at=2))  # type: ignore[misc]
            never = _error(lambda store=store: fpve.open(store, at=4))  # type: ignore[misc]
        assert (type(pruned), str(pruned)) == (SnapshotPruned, f"{store}: no snapshot 2; it has 3")
        assert (type(never), str(never)) == (StoreNotFound, f"{store}: no snapshot 4; it has 3")


def _error(ask: Callable[[], Any]) -> StoreNotFound:
    with pytest.raises(StoreNotFound) as raised:
        ask()
    return raised.value


def test_what_is_missing_of_a_snapshot_that_is_there_is_damage(job: Job, s3: S3, tmp_path: Path) -> None:
    """Whatever it is, and though there is a newer snapshot."""
    readers = {name: _reader(tmp_path / name, s3) for name in _ASKS}
    sql = _reader(tmp_path / "sql", s3)
    assert len(sql.sql("select image_id from images")) == 6
    fpve.set_prefix(job.store, where="true", text="another one")
    for key in set(s3.keys()):
        if key.startswith(("store/vectors/", "store/images/", "store/tables/")):
            s3.remove(key)
    for name, store in [*readers.items(), ("SQL of vectors", sql)]:
        with pytest.raises(StoreCorrupt, match=rf"^{re.escape(s3.url('store'))}/\S+: a file of the store ") as error:
            _ASKS[name](store, tmp_path)
        assert "\n" not in str(error.value)


def test_a_store_that_is_gone_as_a_whole_was_not_pruned(job: Job, s3: S3, tmp_path: Path) -> None:
    """What is missing is said to be."""
    with machine(tmp_path / "reader"):
        store = fpve.open(s3.url("store"))
        for key in set(s3.keys()):
            s3.remove(key)
        with pytest.raises(StoreCorrupt, match="a file of the store"):
            store.thumbnail("pets/00.png")


def test_where_the_bucket_can_not_be_asked_nothing_is_said_to_be_pruned(job: Job, s3: S3, tmp_path: Path) -> None:
    """The error is the bucket's."""
    with machine(tmp_path / "reader"):
        store = fpve.open(s3.url("store"))
        _prune(job)
        s3.before = lambda asked: 403
        with pytest.raises(BucketError, match="the object store can't be asked, or refuses"):
            store.thumbnail("pets/00.png")


def test_a_reader_moves_on_though_the_one_after_its_own_is_pruned_as_well(job: Job, s3: S3, tmp_path: Path) -> None:
    """As after a weekend on which a laptop slept: it has asked for nothing meanwhile, and looks for what is newest."""
    with machine(tmp_path / "reader"):
        store = fpve.open(s3.url("store"))
        _prune(job)
        assert (store.refresh(), store.snapshot, store.refresh()) == (True, 3, False)


@pytest.fixture
def serve(tmp_path: Path, s3: S3) -> Iterator[Callable[..., TestClient]]:
    """Serves the store from machines of their own, which look for newer snapshots at no time that a test would see."""
    clients: list[TestClient] = []

    def begin(at: int | None = None) -> TestClient:
        with machine(tmp_path / f"server{len(clients)}"):
            app = create_app(s3.url("store"), Settings(refresh_seconds=3600), at=at)
        clients.append(TestClient(app, "http://127.0.0.1:8000", raise_server_exceptions=False))
        return clients[-1]

    yield begin
    for client in clients:
        served_by(client).sql.close()
        served_by(client).jobs.close()


_REQUESTS: dict[str, tuple[str, str, dict[str, Any] | None]] = {
    "thumbnail": ("GET", "/api/thumbnails/pets/00.png", None),
    "an image": ("GET", "/api/images/pets/00.png", None),
    "images": ("GET", "/api/images?limit=3", None),
    "search": ("GET", "/api/search?text=number+1&k=3", None),
    "with a condition": ("GET", "/api/search?text=number+1&k=3&where=kind%3D%27cat%27", None),
    "SQL": ("POST", "/api/sql", {"query": "SELECT count(*) AS n FROM vectors"}),
    "facets": ("GET", "/api/facets", None),
    "export": ("POST", "/api/export", {"format": "csv"}),
    "status": ("GET", "/api/status", None),
}


def test_a_gallery_answers_from_the_newest_snapshot(job: Job, serve: Callable[..., TestClient]) -> None:
    """A request that finds its snapshot pruned moves on, and is answered; nobody waits for the next look."""
    clients = {name: serve() for name in (*_REQUESTS, "duplicates")}
    _prune(job)
    for name, (method, path, body) in _REQUESTS.items():
        response = clients[name].request(method, path, json=body)
        assert response.status_code == 200, (name, response.text)
        assert served_by(clients[name]).store.snapshot == 3
    # What takes long is asked for several times.
    assert computed(clients["duplicates"], "/api/duplicates")["snapshot"] == 3


def test_a_gallery_that_stays_says_that_its_snapshot_is_gone(job: Job, serve: Callable[..., TestClient]) -> None:
    """As does one for which no newer one can be opened: in words, and no error of the server."""
    client = serve(at=1)
    _prune(job)
    response = client.get("/api/thumbnails/pets/00.png")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "2")
    assert response.json()["error"].endswith(
        ": no snapshot 1; it has been pruned: open the store again, or `refresh()` it"
    )


def test_a_newest_snapshot_that_is_damaged_is_no_way_on(job: Job, s3: S3, serve: Callable[..., TestClient]) -> None:
    """The request says what it lacks, and the server knows why nothing newer is served."""
    client = serve()
    _prune(job)
    s3.put(f"store/{manifests.name_of(3)}", b"{}")
    response = client.get("/api/thumbnails/pets/00.png")
    assert (response.status_code, "no snapshot 1; it has been pruned" in response.json()["error"]) == (503, True)
    assert "damaged manifest" in (served_by(client).refresh_error or "")


def test_in_a_directory_without_locks_a_reader_is_told_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There nothing keeps what is open from being pruned."""
    job = make_job(tmp_path / "store", few_pictures(tmp_path / "pets", count=2))
    fpve.run(job)
    store = fpve.open(job.store)
    monkeypatch.setattr("fpve.store.lease._lock", lambda *_: True)
    _prune(job)
    with pytest.raises(SnapshotPruned, match=_TOLD.format(re.escape(str(located(job.store))))):
        store.thumbnail("pets/00.png")
