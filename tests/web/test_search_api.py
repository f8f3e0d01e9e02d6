"""Searches over HTTP: they find what the library finds, by any query, and say what is wrong with others."""

from __future__ import annotations

import hashlib
import io
from math import inf, nan
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from httpx import Response
from PIL import Image
from samples import KINDS, make_job
from web.asking import served_by
from web.conftest import Gallery

import fpve
from fpve.config import Job
from fpve.errors import ServerBusy


def found(response: Response) -> list[str]:
    """The names of the hits."""
    assert response.status_code == 200, response.text
    return [one["image_id"] for one in response.json()["hits"]]


def test_a_text_finds_what_the_library_finds(client: TestClient, asked_store: Path) -> None:
    """Hits, ranks, scores, rows and what was done are those of `Store.search`; pages follow on one another."""
    response = client.get("/api/search", params={"text": "cat number 6", "k": 4})
    said = response.json()
    expected = fpve.open(asked_store).search(text="cat number 6", k=4).to_arrow().to_pylist()
    assert found(response) == [one["image_id"] for one in expected]
    first = said["hits"][0]
    assert (first["image_id"], first["rank"], first["prefix"]) == ("pets/06.png", 1, "cat number 6")
    assert first["score"] == pytest.approx(1, abs=1e-5)
    assert first["prefix_score"] == pytest.approx(1, abs=1e-5)
    assert (first["image_score"], first["cross_score"], first["prefix_predicted"]) == (None, None, None)
    assert (first["width"], first["height"]) == (40, 30)
    assert first["metadata"]["kind"] == "cat"
    assert (said["snapshot"], said["total"], said["image_weight"], said["exact"]) == (1, 14, 0.0, True)
    assert said["query"] == {"text": "cat number 6", "id": None, "picture": None}
    assert [(one["way"], one["segments"]) for one in said["explanation"]] == [("exact", 2)]
    second = client.get("/api/search", params={"text": "cat number 6", "k": 2, "offset": 2})
    assert found(second) == found(response)[2:]
    assert [one["rank"] for one in second.json()["hits"]] == [3, 4]


def test_an_image_finds_those_like_it_at_any_weight(client: TestClient, asked_store: Path) -> None:
    """By its picture its copy is first, by its text another; without a weight it is the store's own."""
    store = fpve.open(asked_store)
    for weight in (None, 0.0, 0.35, 1.0):
        options = {} if weight is None else {"image_weight": weight}
        response = client.get("/api/search", params={"id": "pets/00.png", **options})
        expected = store.search(id="pets/00.png", k=50, **options)
        assert found(response) == [one.image_id for one in expected]
        assert response.json()["image_weight"] == (0.5 if weight is None else weight)
    by_picture = client.get("/api/search", params={"id": "pets/00.png", "image_weight": 1})
    assert found(by_picture)[0] == "pets/12.png"


def test_conditions_and_selections_are_those_of_the_library(client: TestClient) -> None:
    """A condition and filters are joined, and told as one; groups, lowest scores and near pictures are left out."""
    params = {"id": "pets/00.png", "where": "price < 8", "filters": '{"kind": ["cat", "dog"]}'}
    response = client.get("/api/search", params=params)
    said = response.json()
    assert set(found(response)) == {f"pets/{one}.png" for one in ("01", "03", "04", "06", "07")}
    assert said["total"] == 5
    assert said["condition"]
    again = client.get("/api/search", params={"id": "pets/00.png", "where": said["condition"]})
    assert found(again) == found(response)
    grouped = client.get("/api/search", params={"id": "pets/00.png", "group_by": "kind"})
    assert sorted(one["metadata"]["kind"] for one in grouped.json()["hits"]) == ["bird", "cat", "dog"]
    near = client.get("/api/search", params={"text": "cat number 6", "min_score": 0.9})
    assert found(near) == ["pets/06.png"]
    once = client.get("/api/search", params={"id": "pets/03.png", "image_weight": 1, "dedup": 0.99})
    assert len({"pets/00.png", "pets/12.png"} & set(found(once))) == 1


def test_a_picture_is_uploaded_once(client: TestClient, asked_store: Path) -> None:
    """What it finds is what the library finds; its handle goes on with it: another weight, a text, a page, a look."""
    data = (asked_store.parent / "pictures/04.png").read_bytes()
    response = client.post("/api/search", files={"image": ("a.png", data)}, data={"k": "5", "text": ""})
    store = fpve.open(asked_store)
    assert found(response) == [one.image_id for one in store.search(image=data, k=5)]
    handle = response.json()["query"]["picture"]
    assert handle == hashlib.sha256(data).hexdigest()
    again = client.get("/api/search", params={"picture": handle, "k": 5})
    assert again.json()["hits"] == response.json()["hits"]
    both = client.get("/api/search", params={"picture": handle, "text": "bird number 2", "image_weight": 0.3, "k": 5})
    assert found(both) == [
        one.image_id for one in store.search(image=data, text="bird number 2", image_weight=0.3, k=5)
    ]
    assert both.json()["image_weight"] == 0.3
    small = client.get(f"/api/queries/{handle}")
    assert small.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(small.content)).size == (40, 30)


def test_only_the_last_pictures_are_remembered(client: TestClient, asked_store: Path) -> None:
    """The one that was not asked for longest is forgotten first: of it, and of what never was one, the page is told."""
    data = (asked_store.parent / "pictures/04.png").read_bytes()
    handles = []
    for number in range(65):
        response = client.post("/api/search", files={"image": ("a.png", data + bytes(number))}, data={"k": "1"})
        handles.append(response.json()["query"]["picture"])
        # Asked for again and again.
        assert client.get(f"/api/queries/{handles[0]}").status_code == 200
    assert client.get(f"/api/queries/{handles[1]}").status_code == 410
    assert client.get(f"/api/queries/{handles[2]}").status_code == 200
    gone = client.get("/api/search", params={"picture": handles[1]})
    assert (gone.status_code, gone.json()) == (410, {"error": "this picture is no longer known; upload it again"})
    assert client.get("/api/search", params={"picture": "0" * 64}).status_code == 410


WRONG: list[tuple[dict[str, Any], int, str]] = [
    ({}, 400, "expected a picture, a text, both, an id or a vector, found none"),
    ({"text": "   "}, 400, "text: expected words, found an empty text"),
    ({"text": "x", "id": "pets/00.png"}, 400, "found ids and texts"),
    ({"text": "x", "image_weight": 1}, 400, "image weight 1 ranks by the picture alone"),
    ({"text": "x", "image_weight": 2}, 400, "image_weight: Input should be less than or equal to 1"),
    ({"text": "x", "image_weight": "nan"}, 400, "image_weight: "),
    ({"text": "x", "k": 1001}, 400, "k: Input should be less than or equal to 1000"),
    ({"text": "x", "offset": 99_001}, 400, "offset: "),
    ({"text": "x", "where": "kind ="}, 400, "where: "),
    ({"text": "x", "filters": "{"}, 400, "filters: "),
    ({"text": "x", "group_by": "knid"}, 400, "did you mean 'kind'?"),
    ({"text": "x" * 10_001}, 400, "text: String should have at most 10000 characters"),
    ({"picture": "../../etc/passwd"}, 400, "picture: String should match pattern"),
    ({"id": "pets/99.png"}, 404, "no image 'pets/99.png'"),
]


@pytest.mark.parametrize(("params", "status", "reason"), WRONG, ids=[str(one[0])[:40] for one in WRONG])
def test_a_wrong_search_is_refused_in_one_line(
    client: TestClient, params: dict[str, Any], status: int, reason: str
) -> None:
    """The reason is the library's, or says which parameter is wrong."""
    response = client.get("/api/search", params=params)
    assert response.status_code == status
    assert response.json().keys() == {"error"}
    assert reason in response.json()["error"]
    assert "\n" not in response.json()["error"]


def test_a_form_that_is_none_is_refused(client: TestClient) -> None:
    """What is no picture, no form, or wrong in it has its status, and a reason in one line."""

    def post(**options: Any) -> tuple[int, str]:
        response = client.post("/api/search", **options)
        return response.status_code, response.json()["error"]

    assert post(files={"image": ("a.png", b"no picture")})[0] == 415
    assert post(files={"image": ("a.png", b"")}) == (415, "empty file")
    assert post(files={"image": ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(100))})[0] == 415
    assert post(files={"picture": ("a.png", b"x")})[0] == 400
    assert post(data={"text": "x"})[0] == 415
    assert post(json={"text": "x"}) == (415, "expected multipart/form-data, found 'application/json'")
    assert post(content=b"x", headers={"Content-Type": "multipart/form-data"})[0] == 400
    assert post(content=b"x", headers={"Content-Type": "multipart/form-data; boundary=a"})[0] == 400
    assert post(files=[("image", ("a", b"x")), ("image", ("b", b"x"))])[0] == 400
    picture = io.BytesIO()
    Image.new("RGB", (9, 9), "red").save(picture, "PNG")
    status, reason = post(files={"image": ("a.png", picture.getvalue())}, data={"k": "many"})
    assert (status, reason) == (400, "k: Input should be a valid integer, unable to parse string as an integer")
    assert post(files={"image": ("a.png", picture.getvalue())}, data={"id": "pets/00.png"})[0] == 400


def test_a_text_is_encoded_once(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever tries weights, conditions and pages with the same text does not wait for the model again."""
    encoder = served_by(client).store.opened.encoders._open_text()
    texts: list[str] = []
    encode = type(encoder).encode
    monkeypatch.setattr(type(encoder), "encode", lambda self, some: (texts.extend(some), encode(self, some))[1])
    for offset in range(3):
        found(client.get("/api/search", params={"text": "never heard", "offset": offset}))
    assert texts.count("never heard") == 1


def test_a_busy_server_says_when_to_come_back(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that gets no turn is refused as 503, to be asked again."""

    def take() -> None:
        raise ServerBusy("no turn")

    monkeypatch.setattr(served_by(client).turns, "take", take)
    response = client.get("/api/search", params={"text": "x"})
    assert (response.status_code, response.json()) == (503, {"error": "no turn"})
    assert response.headers["retry-after"] == "2"


def test_numbers_that_are_none_are_null(gallery: Gallery, job: Job, pictures: Path) -> None:
    """NaN and infinity are no JSON, and metadata may hold them."""
    table = pa.table(
        {"path": [f"{kind}/{number:02d}.png" for number, kind in enumerate(KINDS)], "price": [nan, inf, 2.5]}
    )
    pq.write_table(table, pictures / "metadata.parquet")
    fpve.run(make_job(job.store, pictures, metadata=pictures / "metadata.parquet", prefix=None))
    response = gallery(job.store).get("/api/search", params={"id": "pets/cat/03.png"})
    prices = {one["image_id"]: one["metadata"]["price"] for one in response.json()["hits"]}
    assert (prices["pets/cat/00.png"], prices["pets/dog/01.png"], prices["pets/bird/02.png"]) == (None, None, 2.5)
