"""GET /api/images and /api/ids: a store looked through over HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

import fpve

KIND = json.dumps({"kind": ["cat"]})


def test_a_page_of_images(client: TestClient, asked_store: Path) -> None:
    """Images come in the order of their names, each with its metadata and the address of its thumbnail."""
    store = fpve.open(asked_store)

    found = client.get("/api/images", params={"limit": 2, "offset": 1}).json()

    content = store.images["content_hash"][1].as_py()
    assert {name: value for name, value in found.items() if name != "images"} == {
        "snapshot": 1,
        "total": 14,
        "offset": 1,
        "condition": None,
    }
    assert [one["image_id"] for one in found["images"]] == ["pets/01.png", "pets/02.png"]
    assert found["images"][0] == {
        "image_id": "pets/01.png",
        "collection": "pets",
        "path": str(asked_store.parent / "pictures" / "01.png"),
        "prefix": None,
        "width": 40,
        "height": 30,
        "metadata": {"caption": None, "kind": "dog", "price": 1.5, "taken": "2024-01-02T12:00:00Z"},
        "thumbnail": f"/api/thumbnails/pets/01.png?v={content[:16]}",
    }


@pytest.mark.parametrize(
    ("parameters", "condition", "numbers"),
    [
        ({"sort": "-price", "limit": 2}, None, [13, 12]),
        ({"sort": "taken", "offset": 12}, None, [13, 3]),
        ({"where": "price > 11"}, "price > 11", [11, 12, 13]),
        ({"where": " ", "filters": "", "sort": "", "limit": 1}, None, [0]),
        ({"filters": KIND, "where": "price > 1"}, "(\"kind\" = 'cat') AND (price > 1)", [3, 6, 9, 12]),
        (
            {"filters": '{"taken": {"max": "2024-01-02"}}'},
            "\"taken\" < TIMESTAMPTZ '2024-01-03 00:00:00+00:00'",
            [0, 1],
        ),
        ({"filters": '{"taken": [null]}'}, '"taken" IS NULL', [3]),
        ({"where": "false"}, "false", []),
    ],
)
def test_conditions_and_orders(
    client: TestClient, parameters: dict[str, Any], condition: str | None, numbers: list[int]
) -> None:
    """The condition that is told is that of `where` and `filters`; what is empty counts as not given."""
    found = client.get("/api/images", params=parameters).json()
    names = client.get("/api/ids", params=parameters).json()

    assert found["condition"] == names["condition"] == condition
    assert [int(one["image_id"][5:7]) for one in found["images"]] == numbers
    offset, limit = parameters.get("offset", 0), parameters.get("limit", 100)
    assert [one["image_id"] for one in found["images"]] == names["ids"][offset : offset + limit]
    assert found["total"] == names["total"] == len(names["ids"])


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"limit": 1_001}, "limit: Input should be less than or equal to 1000"),
        ({"offset": -1}, "offset: Input should be greater than or equal to 0"),
        ({"sort": "prise"}, "sort: no column 'prise'; did you mean 'price'?; there is "),
        ({"filters": "{"}, 'filters: expected JSON such as {"kind": ["cat"]}'),
        ({"filters": '{"knid": []}'}, "filters: no column 'knid'; did you mean 'kind'?; there is "),
        ({"where": "true) OR (true", "filters": KIND}, "where: Parser Error"),
    ],
)
def test_wrong_parameters_are_refused(client: TestClient, parameters: dict[str, Any], error: str) -> None:
    """A parameter that is wrong is named, in one line, with status 400."""
    response = client.get("/api/images", params=parameters)

    assert response.status_code == 400
    assert response.json()["error"].startswith(error)
    assert "\n" not in response.json()["error"]
