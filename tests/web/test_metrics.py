"""Figures for Prometheus: what was asked by the routes that there are, and what is served."""

from __future__ import annotations

from pathlib import Path

from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from web.conftest import Gallery


def figures(client: TestClient) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """All figures by their names and labels."""
    response = client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(response.text)
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for family in families for one in family.samples}


def requests(client: TestClient) -> dict[tuple[str, str, str], float]:
    """Requests by route, method and status."""
    return {
        (said["route"], said["method"], said["status"]): value
        for (name, labels), value in figures(client).items()
        if name == "fpve_http_requests_total" and (said := dict(labels))
    }


def test_requests_are_counted_by_what_they_were_about(gallery: Gallery, asked_store: Path) -> None:
    """By the route's template, not its path; refused ones, and paths and methods that there are not, as others."""
    client = gallery(asked_store)
    for number in (0, 1, 99):
        client.get(f"/api/thumbnails/pets/{number:02d}.png")
    client.get("/api/search", params={"text": "cat"})
    client.head("/api/status")
    client.get("/api/status", headers={"Host": "evil.example"})
    for number in range(5):
        client.get(f"/nothing/{number}")
        client.request(f"METHOD{number}", "/api/status")
    assert requests(client) == {
        ("/api/thumbnails/{image_id}", "GET", "200"): 2,
        ("/api/thumbnails/{image_id}", "GET", "404"): 1,
        ("/api/search", "GET", "200"): 1,
        ("/api/status", "HEAD", "200"): 1,
        ("other", "GET", "403"): 1,
        ("other", "GET", "404"): 5,
        ("other", "other", "405"): 5,
    }
    found = figures(client)
    assert found["fpve_http_request_seconds_count", (("route", "/api/search"),)] == 1
    assert found["fpve_http_request_seconds_bucket", (("le", "+Inf"), ("route", "other"))] == 11


def test_what_is_served_is_told(gallery: Gallery, asked_store: Path) -> None:
    """The snapshot, its images, pictures that are held, and the process."""
    client = gallery(asked_store)
    picture = (asked_store.parent / "pictures/00.png").read_bytes()
    client.post("/api/search", files={"image": ("a.png", picture)})
    found = {name: value for (name, labels), value in figures(client).items() if not labels}
    assert (found["fpve_snapshot"], found["fpve_images"], found["fpve_uploads_held"]) == (1, 14, 1)
    for name in ("refreshes", "refresh_errors", "sql_killed"):
        assert found[f"fpve_{name}_total"] == 0
    assert found["process_resident_memory_bytes"] > 10_000_000


def test_two_galleries_of_one_process_count_by_themselves(gallery: Gallery, asked_store: Path) -> None:
    """Each has a registry of its own."""
    first, second = gallery(asked_store), gallery(asked_store)
    first.get("/api/status")
    assert requests(second) == {}
    assert requests(first) == {("/api/status", "GET", "200"): 1}
