"""GET /api/map: where images lie in a plane."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from web.asking import computed

import fpve


def test_places_are_those_of_the_map(client: TestClient, asked_store: Path) -> None:
    """Each image is where `Store.map` places it, in an order that is spread."""
    expected = {row.image_id: (row.x, row.y) for row in fpve.open(asked_store).map(image_weight=1.0)}

    found = computed(client, "/api/map", image_weight=1)

    assert (found["method"], found["image_weight"], found["color"]) == ("pca", 1.0, None)
    assert 0 < found["share"] <= 1
    assert sorted(found["image_id"]) == sorted(expected)
    places = np.array([expected[name] for name in found["image_id"]])
    # As many digits as can be seen.
    np.testing.assert_allclose(np.stack([found["x"], found["y"]], axis=1), places, atol=1e-4)


def test_points_are_coloured_by_classes(client: TestClient) -> None:
    """Each point has the number of its class, of which the largest is the first."""
    found = computed(client, "/api/map", color="kind", where="price < 13")

    colours = found["color"]
    assert (colours["kind"], colours["names"], colours["counts"]) == ("classes", ["cat", "bird", "dog"], [5, 4, 4])
    kinds = [colours["names"][code] for code in colours["codes"]]
    assert kinds == [["cat", "dog", "bird"][int(name[5:7]) % 12 % 3] for name in found["image_id"]]


@pytest.mark.parametrize(("color", "kind"), [("price", "numbers"), ("taken", "times")])
def test_points_are_coloured_by_numbers(client: TestClient, color: str, kind: str) -> None:
    """Each point has its number, null where there is none."""
    found = computed(client, "/api/map", color=color)

    assert found["color"]["kind"] == kind
    values = dict(zip(found["image_id"], found["color"]["values"], strict=True))
    if color == "price":
        assert values["pets/07.png"] == 7.5
    if color == "taken":
        assert values["pets/03.png"] is None
        assert values["pets/00.png"] == 1_704_110_400


def test_points_are_coloured_by_any_column(client: TestClient) -> None:
    """By that of their names, too, of which each is a class."""
    found = computed(client, "/api/map", color="image_id")

    assert len(found["color"]["codes"]) == len(found["image_id"]) == 14


def test_a_map_of_nothing(client: TestClient) -> None:
    """Where no image meets the condition the map is empty."""
    found = computed(client, "/api/map", where="false", color="kind")

    assert (found["image_id"], found["x"], found["y"]) == ([], [], [])
    assert found["color"]["names"] == []


def test_a_colour_that_is_no_column(client: TestClient) -> None:
    """It is refused before anything is computed."""
    response = client.get("/api/map", params={"color": "knid"})

    assert response.status_code == 400
    assert response.json()["error"] == "color: no column 'knid'; did you mean 'kind'?"
