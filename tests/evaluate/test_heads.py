"""Evaluation of heads: learnt from others than those they predict."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from samples import KINDS, make_job

import fpve
from fpve.cli import cli
from fpve.evaluate import Lesson
from fpve.fusion import Blocks, Fusion
from fpve.heads.settings import HeadSettings


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> fpve.Store:
    """80 captioned images of three kinds; captions tell the kind, some are shared."""
    root = tmp_path_factory.mktemp("heads")
    source = root / "pictures"
    source.mkdir()
    lines = ["path,caption,kind,part"]
    for number in range(80):
        kind = KINDS[number % 3]
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(source / f"{number:02d}.png")
        lines.append(f"{number:02d}.png,{kind} in place {number // 2},{kind},{'test' if number % 4 == 0 else 'train'}")
    (source / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    fpve.run(make_job(root / "store", source))
    return fpve.open(root / "store")


@pytest.mark.parametrize("head", ["logistic", "mlp"])
def test_a_head_is_evaluated_in_folds(store: fpve.Store, head: str) -> None:
    """All images are predicted once, twice in the same way, and figures of both kinds of queries stand beside."""
    found = store.evaluate(label="kind", head=head, folds=3)
    assert (found.head, found.protocol, found.rows, found.voters) == (head, "folds", 80, 80)
    assert sum(map(sum, found.confusion)) == 80
    assert found == store.evaluate(label="kind", head=head, folds=3)
    without = store.evaluate(label="kind", head=head, folds=3, query="without")
    assert found.accuracy_without_prefix == without.accuracy
    assert found.naive_accuracy_without_prefix == without.naive_accuracy
    assert (found.k, found.temperature, found.log_loss is None) == (None, None, False)


def test_the_command_line_measures_a_balanced_head(store: fpve.Store) -> None:
    """`--class-weight` and `--seed` are those of the library's evaluation."""
    options = ["--head", "mlp", "--folds", "3", "--class-weight", "balanced", "--seed", "5", "--format", "json"]
    done = CliRunner().invoke(cli, ["evaluate", str(store.path), "--label", "kind", *options])
    assert done.exit_code == 0, done.output
    found = store.evaluate(label="kind", head="mlp", folds=3, class_weight="balanced", seed=5)
    assert json.loads(done.stdout)["log_loss"] == pytest.approx(found.log_loss)
    assert found.log_loss != store.evaluate(label="kind", head="mlp", folds=3, seed=5).log_loss


def test_a_split_is_predicted_by_the_rest(store: fpve.Store) -> None:
    """Images with `test` are predicted by a head that has learnt from those with `train`, without their captions."""
    found = store.evaluate(label="kind", head="logistic", split="part")
    assert (found.protocol, found.rows, found.voters) == ("split", 20, 60)


def test_what_is_tied_to_a_query_is_not_learnt_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where sides don't keep ties apart, the lesson does; naive figures let them be."""
    random = np.random.default_rng(0)
    blocks = Blocks(random.standard_normal((60, 6)).astype(np.float32), np.zeros((60, 0), np.float32))
    codes, ties = np.arange(60) % 3, np.arange(60) // 2
    lesson = Lesson(blocks, codes, ties, 3, Fusion(6, 0), 1.0)
    side = (np.arange(60) % 2).astype(np.int64)
    seen: list[int] = []
    import fpve.evaluate.heads as heads

    real = heads.train_head

    def spy(queries: np.ndarray, *rest: object, **options: object) -> object:
        seen.append(len(queries))
        return real(queries, *rest, **options)

    monkeypatch.setattr(heads, "train_head", spy)
    queries = np.flatnonzero(side == 1)[:10]
    lesson.verdicts(side, queries, HeadSettings(), apart=True)
    lesson.verdicts(side, queries, HeadSettings(), apart=False)
    assert seen == [20, 30]
