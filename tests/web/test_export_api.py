"""POST /api/export: images as a file to keep."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from web.asking import served_by
from web.conftest import Gallery

import fpve
from fpve.web.turns import Turns

COLUMNS = ["image_id", "collection", "path", "prefix", "caption", "kind", "price", "taken"]


def _rows(client: TestClient, **request: Any) -> list[dict[str, Any]]:
    response = client.post("/api/export", json={"format": "jsonl", **request})
    assert response.status_code == 200, response.text
    return [json.loads(line) for line in response.text.splitlines()]


def test_all_formats_hold_the_same(client: TestClient, asked_store: Path) -> None:
    """CSV, JSON, JSON Lines and Parquet have the same images and columns, and names that say what is in them."""
    files = {kind: client.post("/api/export", json={"format": kind}) for kind in ("csv", "json", "jsonl", "parquet")}

    table = pq.read_table(io.BytesIO(files["parquet"].content))
    assert table.equals(fpve.open(asked_store).images.select(COLUMNS))
    listed = list(csv.DictReader(io.StringIO(files["csv"].text)))
    assert list(listed[0]) == COLUMNS
    assert [row["image_id"] for row in listed] == table["image_id"].to_pylist()
    assert files["json"].json() == [json.loads(line) for line in files["jsonl"].text.splitlines()]
    assert [row["price"] for row in files["json"].json()] == table["price"].to_pylist()
    for kind, response in files.items():
        assert response.headers["content-disposition"] == f'attachment; filename="fpve-store-14.{kind}"'
        assert int(response.headers["content-length"]) == len(response.content)


def test_chosen_images_in_their_order(client: TestClient) -> None:
    """Images that are named come in that order, each once, or sorted; conditions are for those that are not named."""
    names = ["pets/09.png", "pets/02.png", "pets/09.png", "pets/11.png"]

    assert [row["image_id"][5:7] for row in _rows(client, ids=names, where="false")] == ["09", "02", "11"]
    assert [row["image_id"][5:7] for row in _rows(client, ids=names, sort="-price")] == ["11", "09", "02"]
    assert _rows(client, ids=[]) == []


def test_ids_that_are_none_are_told_once(client: TestClient) -> None:
    """However many are wrong, the first one is told: errors of a million would take gigabytes."""
    response = client.post("/api/export", json={"ids": ["pets/00.png", *range(100_000)]})

    assert (response.status_code, response.json()["error"]) == (400, "ids.1: Input should be a valid string")


def test_images_that_meet_a_condition(client: TestClient) -> None:
    """Filters are an object, or the same as JSON; the order is that of the list."""
    filters = {"kind": ["cat"], "price": {"min": 3}}
    expected = ["12", "09", "06", "03"]

    for one in (filters, json.dumps(filters)):
        found = _rows(client, filters=one, where="price < 13", sort="-price")
        assert [row["image_id"][5:7] for row in found] == expected


def test_a_search_ranks_what_is_chosen(client: TestClient, asked_store: Path) -> None:
    """Every chosen image is scored, the best comes first, and what the search does not rank comes last."""
    names = [f"pets/{number:02d}.png" for number in (3, 4, 5, 6)]
    chosen = "image_id IN ('pets/03.png', 'pets/05.png', 'pets/06.png')"
    hits = fpve.open(asked_store).search(id="pets/04.png", image_weight=1, k=14, where=chosen)

    found = _rows(client, ids=names, search={"id": "pets/04.png", "image_weight": 1})

    assert [(row["rank"], row["image_id"]) for row in found[:3]] == [
        (at, hit.image_id) for at, hit in enumerate(hits, 1)
    ]
    assert [row["score"] for row in found[:3]] == pytest.approx([hit.score for hit in hits])
    assert (found[3]["image_id"], found[3]["rank"], found[3]["score"], found[3]["kind"]) == (
        "pets/04.png",
        None,
        None,
        "dog",
    )


def test_a_search_by_an_uploaded_picture_ranks(client: TestClient, asked_store: Path) -> None:
    """The handle of a picture that was searched by ranks an export; the picture itself is the nearest."""
    picture = (asked_store.parent / "pictures" / "05.png").read_bytes()
    handle = client.post("/api/search", files={"image": ("p.png", picture)}).json()["query"]["picture"]

    found = _rows(client, search={"picture": handle})

    assert len(found) == 14
    assert found[0]["image_id"] == "pets/05.png"
    assert found[0]["score"] == pytest.approx(1, abs=1e-5)


def test_a_csv_of_no_images_has_its_columns(client: TestClient) -> None:
    """A table of nothing still says what its columns are, with scores or without."""
    bare = client.post("/api/export", json={"ids": []})
    scored = client.post("/api/export", json={"where": "false", "search": {"text": "a cat"}})

    assert bare.text == ",".join(f'"{name}"' for name in COLUMNS) + "\n"
    assert scored.text.startswith('"rank","image_id","collection","path","score","image_score","prefix_score"')


@pytest.mark.parametrize(
    ("request_", "status", "error"),
    [
        ({"ids": ["pets/00.png", "pets/77.png", "x"]}, 404, "no image 'pets/77.png' in "),
        ({"format": "xlsx"}, 400, "format: Input should be 'csv', 'json', 'jsonl' or 'parquet'"),
        ({"sort": "knid"}, 400, "sort: no column 'knid'; did you mean 'kind'?"),
        ({"where": "true) OR (true", "filters": {"kind": ["cat"]}}, 400, "where: Parser Error"),
        ({"filters": {"knid": []}}, 400, "filters: no column 'knid'"),
        ({"search": {}}, 400, "expected a picture, a text, both, an id or a vector, found none"),
        ({"search": {"picture": "0" * 64}}, 410, "this picture is no longer known; upload it again"),
    ],
)
def test_what_can_not_be_exported(client: TestClient, request_: dict[str, Any], status: int, error: str) -> None:
    """What is wrong is named in one line, and no file is sent."""
    response = client.post("/api/export", json=request_)

    assert response.status_code == status
    assert response.json()["error"].startswith(error)


def test_no_file_is_left(client: TestClient) -> None:
    """What was written for an export has no name any more when it is sent."""
    before = set(Path(tempfile.gettempdir()).glob("fpve-serve-*"))
    _rows(client)

    assert set(Path(tempfile.gettempdir()).glob("fpve-serve-*")) == before


def test_a_full_disk_is_told(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line, and the half that was written is gone."""
    before = set(Path(tempfile.gettempdir()).glob("fpve-serve-*"))

    def write(path: Path, *_: Any, **__: Any) -> None:
        path.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("fpve.web.routes.export.write_rows", write)
    response = client.post("/api/export", json={})

    assert response.status_code == 507
    assert response.json()["error"].startswith("the file can't be written: No space left on device; ask for fewer")
    assert set(Path(tempfile.gettempdir()).glob("fpve-serve-*")) == before


def test_what_is_being_written_is_gone_with_the_server(gallery: Gallery, asked_store: Path) -> None:
    """The thread that writes can't be ended, and nothing of it is cleaned up when the process ends."""
    served = served_by(gallery(asked_store))
    with served.folder() as folder:
        (folder / "half.csv").write_text("half")
        served.stop()
        assert not folder.exists()


def test_a_search_does_not_wait_for_an_export(gallery: Gallery, asked_store: Path) -> None:
    """Files are written one at a time, beside all else."""
    client = gallery(asked_store)
    served = served_by(client)
    served.exports = Turns(1, waiting=0)
    with served.exports.take():
        assert client.get("/api/search", params={"id": "pets/00.png"}).status_code == 200
        busy = client.post("/api/export", json={})
        assert (busy.status_code, busy.headers["retry-after"]) == (503, "2")
    assert client.post("/api/export", json={}).status_code == 200
