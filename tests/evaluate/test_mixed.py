"""Stores in which some images have a prefix, and others none."""

from __future__ import annotations

import numpy as np
import pytest
from samples import KINDS, draw, make_job

import fpve


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> fpve.Store:
    """120 images, half of them captioned; captions tell the kind."""
    root = tmp_path_factory.mktemp("mixed")
    source = root / "pictures"
    lines = ["path,caption,kind"]
    for number in range(120):
        draw(source / f"{number:03d}.png", number)
        kind = KINDS[number % 3]
        lines.append(f"{number:03d}.png,{f'{kind} in place {number}' if number % 2 else ''},{kind}")
    (source / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    fpve.run(make_job(root / "store", source))
    return fpve.open(root / "store")


@pytest.mark.parametrize("temperature", [0.1, None])
def test_evaluation_measures_what_classification_does(store: fpve.Store, temperature: float | None) -> None:
    """Each image is predicted as `classify` predicts it: with its own weight, and what was fitted to its kind."""
    ids = store.images["image_id"].to_pylist()
    kinds = store.images["kind"].to_pylist()
    found = store.evaluate(label="kind", temperature=temperature)
    predicted = store.classify(ids=ids, label="kind", temperature=temperature)
    right = np.mean([one.prediction == kind for one, kind in zip(predicted, kinds, strict=True)])
    if temperature is not None:
        assert found.naive_accuracy == pytest.approx(right)
    else:
        # What judges an image in an evaluation was fitted to others.
        assert abs(found.naive_accuracy - right) < 0.1


def test_what_has_no_prefix_is_not_compared_by_it(store: fpve.Store) -> None:
    """At image weight 0 images without a prefix have no neighbours, which counts as wrong."""
    found = store.evaluate(label="kind", image_weight=0)
    assert found.rows_without_neighbours == 60
    assert found.accuracy <= 0.5
