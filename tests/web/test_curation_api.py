"""GET /api/duplicates, /api/outliers and /api/mislabeled: what the commands find, a page at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from web.asking import computed

import fpve


def _plain(row: Any, *names: str) -> dict[str, Any]:
    return {name: row[name] for name in names}


def test_duplicates_are_told_by_clusters(client: TestClient, asked_store: Path) -> None:
    """A page counts clusters, each of which is whole; beside it stands what could go."""
    rows = list(fpve.open(asked_store).duplicates())

    found = computed(client, "/api/duplicates", offset=1, limit=1)

    assert (found["total"], found["clusters"], found["removable"], found["offset"]) == (4, 2, 2, 1)
    assert found["removable_bytes"] == sum(row.bytes for row in rows if row.action == "remove")
    names = ("cluster", "action", "kind", "cosine", "mirrored", "pixels", "bytes")
    assert [_plain(one, *names) for one in found["rows"]] == [_plain(row, *names) for row in rows if row.cluster == 2]
    assert [one["image"]["image_id"] for one in found["rows"]] == ["pets/01.png", "pets/13.png"]
    assert [one["cluster_size"] for one in found["rows"]] == [2, 2]
    assert found["rows"][0]["image"]["metadata"]["kind"] == "dog"
    assert computed(client, "/api/duplicates", offset=2)["rows"] == []


def test_all_that_could_go_is_named(client: TestClient, asked_store: Path) -> None:
    """The names of the images of which others are kept: more than the pages tell of a large cluster."""
    rows = list(fpve.open(asked_store).duplicates())

    found = computed(client, "/api/duplicates/ids")

    assert found["ids"] == [row.image_id for row in rows if row.action == "remove"]
    assert (found["total"], found["condition"]) == (2, None)
    assert computed(client, "/api/duplicates/ids", where="kind = 'cat'")["ids"] == ["pets/12.png"]


def test_duplicates_of_some_images(client: TestClient) -> None:
    """Only images that meet the condition are looked at."""
    found = computed(client, "/api/duplicates", filters='{"kind": ["cat"]}')

    assert found["condition"] == "\"kind\" = 'cat'"
    assert [one["image"]["image_id"] for one in found["rows"]] == ["pets/00.png", "pets/12.png"]


def test_outliers_have_their_nearest(client: TestClient, asked_store: Path) -> None:
    """An outlier is told with the image that is most like it."""
    rows = list(fpve.open(asked_store).outliers(k=2, cut=0.5))
    assert rows

    found = computed(client, "/api/outliers", k=2, cut=0.5, limit=1)

    assert found["total"] == len(rows)
    told = found["rows"][0]
    assert _plain(told, "rank", "distance", "z", "nearest") == _plain(rows[0], "rank", "distance", "z", "nearest")
    assert told["image"]["image_id"] == rows[0].image_id
    assert told["nearest_image"]["image_id"] == rows[0].nearest
    assert computed(client, "/api/outliers", k=2, cut=0.5, offset=len(rows))["rows"] == []


def test_doubtful_labels_have_their_witnesses(client: TestClient, asked_store: Path) -> None:
    """A doubted label is told with what the neighbours say, and with these."""
    doubts = fpve.open(asked_store).mislabeled(label="kind", k=3)
    assert len(doubts)

    found = computed(client, "/api/mislabeled", label="kind", k=3, limit=2)

    assert (found["total"], found["label"], found["notes"]) == (len(doubts), "kind", list(doubts.notes))
    for told, row in zip(found["rows"], doubts, strict=False):
        names = ("rank", "label", "prediction", "confidence", "label_probability")
        assert _plain(told, *names) == pytest.approx(_plain(row, *names))
        assert [(one["image_id"], one["label"]) for one in told["neighbours"]] == [
            (one["image_id"], one["label"]) for one in row.neighbours
        ]
        assert told["neighbours"][0]["thumbnail"].startswith(f"/api/thumbnails/{row.neighbours[0]['image_id']}?v=")


@pytest.mark.parametrize(
    ("path", "parameters", "error"),
    [
        ("/api/mislabeled", {"label": "knid"}, "no label column 'knid'; "),
        ("/api/mislabeled", {}, "label: Field required"),
        ("/api/duplicates", {"threshold": 2}, "threshold: Input should be less than or equal to 1"),
        ("/api/outliers", {"where": "knid = 1"}, "where: Binder Error"),
    ],
)
def test_wrong_options_are_refused(client: TestClient, path: str, parameters: dict[str, Any], error: str) -> None:
    """What the library refuses is refused with status 400, be it found when it is computed or before, each time."""
    for _ in range(2):
        response = client.get(path, params=parameters)
        while response.status_code == 202:
            response = client.get(path, params=parameters)
        assert response.status_code == 400
        assert response.json()["error"].startswith(error)
