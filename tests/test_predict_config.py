"""Rules of predictions in a job file: what is read of them, and how a mistake in one is told."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from fpve.classify import WEIGHTS
from fpve.config import PredictRule, VoteWeights, load_job
from fpve.errors import JobError

JOB = """
store = "indexes/x"
[[collections]]
name = "stamps"
source = "data"
"""


def write(tmp_path: Path, text: str) -> Path:
    """A job file with these rules."""
    path = tmp_path / "night.toml"
    path.write_text(JOB + text, encoding="utf-8")
    return path


def test_rules_are_read(tmp_path: Path) -> None:
    """Each is a frozen value; without one nothing is predicted."""
    text = """
    [[predict]]
    label = "category"
    where = "category IS NULL"
    [[predict]]
    label = "colour"
    k = 5
    weights = "softmax"
    image_weight = 1
    abstain_below = 0.6
    abstain_novel = 0.95
    [[predict]]
    label = "size"
    head = "mlp"
    """
    assert load_job(write(tmp_path, text)).predict == (
        PredictRule("category", where="category IS NULL"),
        PredictRule("colour", k=5, weights="softmax", image_weight=1.0, abstain_below=0.6, abstain_novel=0.95),
        PredictRule("size", head="mlp"),
    )
    assert load_job(write(tmp_path, "")).predict == ()


def test_votes_weigh_what_they_do_elsewhere() -> None:
    """What a job may say is what `classify` takes."""
    assert get_args(VoteWeights) == ("softmax", "distance", "uniform")
    assert sorted(get_args(VoteWeights)) == sorted(WEIGHTS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("where = 'x'", "missing key 'predict.0.label'"),
        ("label = 'a'\nlable = 'b'", "unknown key 'predict.0.lable'; did you mean 'label'?"),
        ("label = ' '", "predict.0: label: expected the name of a metadata column, found an empty text"),
        ("label = 'a'\nwhere = ''", "where: expected an SQL condition, found an empty text; leave it out"),
        ("label = 'a'\nk = 0", "k: expected at least 1, found 0"),
        ("label = 'a'\nk = 2.5", "predict.0.k: Input should be a valid integer"),
        ("label = 'a'\nweights = 'soft'", "predict.0.weights: Input should be 'softmax', 'distance' or 'uniform'"),
        ("label = 'a'\nhead = 'tree'", "predict.0.head: Input should be 'knn', 'logistic' or 'mlp', found 'tree'"),
        ("label = 'a'\ntemperature = 0", "temperature: expected more than 0, found 0"),
        ("label = 'a'\nimage_weight = 2", "image_weight: expected a number from 0 to 1, found 2"),
        ("label = 'a'\nabstain_below = -1", "abstain_below: expected a number from 0 to 1, found -1"),
        ("label = 'a'\nhead = 'mlp'\nk = 5", 'k: belongs to head = "knn"; the mlp head has what it learnt with'),
        ("label = 'a'\nweights = 'uniform'\ntemperature = 0.1", "temperature: belongs to softmax votes, found weights"),
        ("label = 'a'\ntemperature = 0.1\nabstain_novel = 0.9", "abstain_novel: novelty is measured while softmax"),
        ("label = 'a'\n[[predict]]\nlabel = 'a'", "expected one rule for each label, found two for 'a'; join their"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    """It names the key, what was expected and what was found."""
    with pytest.raises(JobError) as caught:
        load_job(write(tmp_path, "[[predict]]\n" + text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
