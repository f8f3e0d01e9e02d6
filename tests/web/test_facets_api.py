"""GET /api/facets: how values spread, over HTTP."""

from __future__ import annotations

import json

from fastapi.testclient import TestClient


def test_facets_are_those_that_group_images(client: TestClient) -> None:
    """Values are counted, numbers and times in intervals; what only tells images apart is left out."""
    found = client.get("/api/facets").json()

    kind, price, taken = found["facets"]
    assert (found["snapshot"], found["total"], found["condition"]) == (1, 14, None)
    assert kind == {
        "column": "kind",
        "type": "string",
        "kind": "values",
        "values": [{"value": "cat", "count": 5}, {"value": "dog", "count": 5}, {"value": "bird", "count": 4}],
        "distinct": 3,
        "missing": 0,
    }
    assert (price["kind"], price["min"], price["max"], price["missing"]) == ("range", 0.5, 13.5, 0)
    assert price["bins"] == [{"from": float(one), "to": one + 1.0, "count": 1} for one in range(14)]
    assert (taken["type"], taken["min"], taken["missing"]) == ("timestamp", "2024-01-01T12:00:00Z", 1)
    assert taken["bins"][2:4] == [
        {"from": "2024-01-03T00:00:00Z", "to": "2024-01-04T00:00:00Z", "count": 1},
        {"from": "2024-01-04T00:00:00Z", "to": "2024-01-05T00:00:00Z", "count": 0},
    ]


def test_a_facet_is_counted_under_the_others(client: TestClient) -> None:
    """Of `kind` all values are there that could be chosen instead; the total is that of all filters."""
    chosen = json.dumps({"kind": ["dog"], "price": {"max": 2}})

    found = client.get("/api/facets", params={"filters": chosen, "columns": ["kind", "price"]}).json()

    assert found["total"] == 1
    assert [(one["value"], one["count"]) for one in found["facets"][0]["values"]] == [("cat", 1), ("dog", 1)]
    assert sum(one["count"] for one in found["facets"][1]["bins"]) == 5
    commas = client.get("/api/facets", params={"filters": chosen, "columns": "kind,price"}).json()
    assert commas == found


def test_a_column_that_is_not_there_is_named(client: TestClient) -> None:
    """The line says which column comes near."""
    response = client.get("/api/facets", params={"columns": "knid"})

    assert response.status_code == 400
    assert response.json()["error"] == "columns: no column 'knid'; did you mean 'kind'?"
