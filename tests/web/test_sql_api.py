"""POST /api/sql: what `Store.sql` answers, as JSON, and what it refuses in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

import fpve


def _ask(client: TestClient, query: str, **options: Any) -> dict[str, Any]:
    response = client.post("/api/sql", json={"query": query, **options})
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def test_rows_are_those_of_the_store(client: TestClient, asked_store: Path) -> None:
    """Columns have names and types, rows a value a column, and the whole result is counted."""
    query = "SELECT image_id, kind, width FROM images ORDER BY image_id"
    rows = fpve.open(asked_store).sql(query)

    found = _ask(client, query, limit=3)

    assert [one["name"] for one in found["columns"]] == ["image_id", "kind", "width"]
    assert [one["type"] for one in found["columns"]] == ["string", "string", "int32"]
    assert found["rows"] == [list(row.values()) for row in rows.slice(0, 3).to_pylist()]
    assert (found["total"], found["snapshot"]) == (len(rows), 1)


def test_an_error_is_no_longer_than_somebody_reads(client: TestClient) -> None:
    """DuckDB says again what it could not convert."""
    response = client.post("/api/sql", json={"query": "SELECT CAST(repeat('z', 1000000) AS INTEGER)"})
    assert response.status_code == 400
    assert response.json()["error"].startswith("SQL: Conversion Error: Could not convert string 'zzz")
    assert len(response.json()["error"]) == 2_001


def test_a_search_is_a_table(client: TestClient, asked_store: Path) -> None:
    """`search('…')` and `neighbours(…)` are those of the store."""
    store = fpve.open(asked_store)
    found = _ask(client, "SELECT image_id FROM search('cat', k := 3) ORDER BY rank")
    assert [row[0] for row in found["rows"]] == [hit.image_id for hit in store.search(text="cat", k=3)]
    found = _ask(client, "SELECT image_id FROM neighbours('pets/00.png', k := 2) ORDER BY rank")
    assert [row[0] for row in found["rows"]] == [hit.image_id for hit in store.search(id="pets/00.png", k=2)]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("'NaN'::DOUBLE", None),
        ("'-infinity'::DOUBLE", None),
        ("TIMESTAMP '2026-01-02 03:04:05'", "2026-01-02T03:04:05"),
        ("DATE '2026-01-02'", "2026-01-02"),
        ("'\\xFF\\x00'::BLOB", "/wA="),
        ("[1, NULL]", [1, None]),
        ("{'a': 1.5::DOUBLE}", {"a": 1.5}),
        ("NULL", None),
        ("'<b>\"'", '<b>"'),
        ("9223372036854775807", 9223372036854775807),
    ],
)
def test_values_are_told_as_json_has_them(client: TestClient, value: str, told: Any) -> None:
    """Times are ISO 8601, bytes base64, and what JSON has no number for is null."""
    assert _ask(client, f"SELECT {value} AS x")["rows"] == [[told]]


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("SELECT TIMESTAMP '20000-01-01' AS t", "SQL: column 't' can't be told: "),
        ("SELECT [DATE '12000-01-01'] AS days", "SQL: column 'days' can't be told: "),
        ("FROM nothing", "SQL: no view 'nothing'"),
        ("SELECT 1; SELECT 2", "SQL: expected one query"),
        ("COPY images TO '/tmp/stolen.csv'", "SQL: expected a SELECT query, found COPY"),
        ("ATTACH '/tmp/new.db'", "SQL: expected a SELECT query, found ATTACH"),
        ("FROM read_text('/etc/passwd')", "SQL: "),
        ("SELECT getenv('HOME')", "SQL: "),
        ("", "SQL: "),
        ("FROM search('')", "text: expected words, found an empty text"),
        ("FROM neighbours('nobody')", "no image 'nobody'"),
    ],
)
def test_a_wrong_query_is_refused_in_one_line(client: TestClient, query: str, error: str) -> None:
    """It is a 400 with DuckDB's reason, or the library's; of an image that is not there a 404."""
    response = client.post("/api/sql", json={"query": query})
    assert response.status_code == (404 if "nobody" in query else 400)
    said = response.json()["error"]
    assert error in said
    assert "\n" not in said


def test_only_a_question_is_taken(client: TestClient) -> None:
    """Limits are bounded, and nothing but a question in JSON is one."""
    for body in ({"query": "SELECT 1", "limit": 10_001}, {"query": "SELECT 1", "limit": 0}, {}, {"query": 7}, []):
        assert client.post("/api/sql", json=body).status_code == 400
    assert client.post("/api/sql", content=b"SELECT 1").status_code == 400
    response = client.get("/api/sql")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
