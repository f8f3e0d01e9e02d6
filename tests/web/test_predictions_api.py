"""GET /api/predictions: what the neighbours of an image say of its label."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from fastapi.testclient import TestClient
from web.asking import computed

import fpve
from fpve.web.routes.predictions import _truth


def test_a_prediction_with_its_neighbours(client: TestClient, asked_store: Path) -> None:
    """The answer is that of `Store.classify`, with the image's own label beside it."""
    expected = fpve.open(asked_store).classify(ids=["pets/07.png"], label="kind", k=4)[0]

    found = computed(client, "/api/predictions/pets/07.png", label="kind", k=4)

    assert (found["image_id"], found["label"], found["truth"]) == ("pets/07.png", "kind", "dog")
    assert found["prediction"] == expected.prediction
    assert found["confidence"] == pytest.approx(expected.confidence)
    assert found["novelty"] == pytest.approx(expected.novelty)
    assert [one["label"] for one in found["probabilities"]] == [one["label"] for one in expected.probabilities]
    assert [(one["image_id"], one["label"]) for one in found["neighbours"]] == [
        (one["image_id"], one["label"]) for one in expected.neighbours
    ]
    assert found["neighbours"][0]["metadata"]["kind"] == found["neighbours"][0]["label"]


@pytest.mark.parametrize(
    ("values", "truth"),
    [
        (pa.array([True]), "true"),
        (pa.array([16]), "16"),
        (pa.array([float("nan")]), None),
        (pa.array([["b", None, "a"]]), ["b", "a"]),
        (pa.array([None], pa.list_(pa.string())), None),
    ],
)
def test_the_truth_is_called_as_predictions_are(values: pa.Array, truth: str | list[str] | None) -> None:
    """What an image is and what it is said to be are compared by name."""
    assert _truth(values) == truth


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("/api/predictions/pets/77.png?label=kind", 404, "no image 'pets/77.png' in "),
        ("/api/predictions/pets/07.png?label=knid", 400, "no label column 'knid'; "),
        ("/api/predictions/pets/07.png", 400, "label: Field required"),
    ],
)
def test_what_can_not_be_predicted(client: TestClient, path: str, status: int, error: str) -> None:
    """An image or a column that is not there is named."""
    response = client.get(path)

    assert response.status_code == status
    assert response.json()["error"].startswith(error)
