"""Learning: what comes of it, what it can be relied on for, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from heads.lessons import FUSION, Lesson, lesson

from fpve.errors import QueryError
from fpve.fusion import Blocks, Fusion
from fpve.heads.examples import Examples
from fpve.heads.fitting import logistic, mlp
from fpve.heads.network import Network
from fpve.heads.settings import KINDS, HeadKind, HeadSettings
from fpve.heads.training import Trained, train_head

QUICK = {"max_epochs": 60, "patience": 5, "hidden": 16, "learning_rate": 0.01}


def learnt(one: Lesson, kind: HeadKind = "logistic", weight: float = 0.5, **options: object) -> Trained:
    """What is learnt of a lesson."""
    settings = HeadSettings(kind=kind, **{**QUICK, **options})  # type: ignore[arg-type]
    return train_head(one.queries(weight), one.codes, one.clusters, fusion=FUSION, settings=settings)


def arrays(found: Trained) -> list[bytes]:
    """All weights of what was learnt."""
    return [part.tobytes() for one in found.classifier.networks.values() for layer in one.layers for part in layer]


@pytest.mark.parametrize("kind", KINDS)
def test_it_tells_new_images_apart_with_their_prefix_and_without(kind: HeadKind) -> None:
    """What has learnt from some images is right about others; with both blocks more often than with one."""
    found = learnt(lesson(), kind)
    new = lesson(seed=0, counts=(300, 300, 300))
    both = found.classifier.probabilities(new.queries()).argmax(axis=1) == new.codes
    alone = found.classifier.probabilities(FUSION.query(new.blocks.image, None, 0.5)).argmax(axis=1) == new.codes
    assert found.classes.tolist() == [0, 1, 2]
    assert both.mean() > alone.mean() > 0.75
    assert both.mean() > 0.9
    assert found.metrics["held_out"] == found.metrics["held_out_without"] == 36
    assert abs(found.metrics["accuracy"] - both.mean()) < 0.15
    assert found.metrics["log_loss"] <= found.metrics["log_loss_uncalibrated"] + 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_weights(kind: HeadKind) -> None:
    """They are equal to the bit, whatever else was drawn at random before; another seed gives others."""
    import torch

    first = arrays(learnt(lesson(), kind, seed=3))
    torch.manual_seed(99)
    np.random.seed(99)
    state = torch.random.get_rng_state()
    assert arrays(learnt(lesson(), kind, seed=3)) == first
    assert torch.equal(torch.random.get_rng_state(), state)
    assert arrays(learnt(lesson(), kind, seed=4)) != first


def test_torch_has_as_many_threads_as_before() -> None:
    """Little work is done in one thread, and the number of others is left alone."""
    import torch

    before = torch.get_num_threads()
    learnt(lesson(), "mlp")
    assert torch.get_num_threads() == before


def test_logistic_regression_is_at_its_minimum() -> None:
    """The gradient of what is minimised is zero there: (P - Y)' X + penalty W, and sum(P - Y) for the bias."""
    one = lesson()
    examples = Examples(one.queries(), one.codes, one.clusters)
    fit = next(logistic(examples, np.ones(180, np.float32), 3, (0.5,), "cpu"))
    layer = fit.layers[0]
    left = Network(fit.layers).probabilities(examples.inputs) - np.eye(3)[one.codes]
    np.testing.assert_allclose(left.T @ examples.inputs + 0.5 * layer.weight, 0, atol=2e-3)
    np.testing.assert_allclose(left.sum(axis=0), 0, atol=2e-3)


def test_early_stopping_takes_the_best_weights() -> None:
    """What is learnt is the network after the pass with the least held-out loss, not after the last one."""
    one = lesson(noise=2.0)
    settings = HeadSettings(kind="mlp", refit=False, **{**QUICK, "patience": 7})  # type: ignore[arg-type]
    calls: list[None] = []
    found = train_head(
        one.queries(), one.codes, one.clusters, fusion=FUSION, settings=settings, told=lambda: calls.append(None)
    )
    best = {name: int(found.metrics[name]) for name in ("epochs", "epochs_without")}
    assert len(calls) == sum(best.values()) + 2 * 7
    # Trained once more on the rows that were not held out, for so many passes.
    from fpve.heads.split import held_out

    held = held_out(one.codes, one.clusters, settings.validation, np.random.default_rng(settings.seed))
    rows = Examples(one.queries(), one.codes, one.clusters).where(~held)
    *_, last = mlp(rows, np.ones(len(rows.codes), np.float32), 3, settings, best["epochs"])
    assert found.classifier.full is not None
    for mine, theirs in zip(found.classifier.full.layers, last.layers, strict=True):
        np.testing.assert_allclose(mine.weight, theirs.weight, rtol=1e-5, atol=1e-6)


def test_it_learns_from_all_rows_in_the_end() -> None:
    """Refitted, the weights are those of all rows with the penalty that held-out rows chose."""
    one = lesson(noise=2.0)
    found = learnt(one)
    examples = Examples(one.queries(), one.codes, one.clusters)
    fit = next(logistic(examples, np.ones(180, np.float32), 3, (found.metrics["penalty"],), "cpu"))
    assert found.classifier.full is not None
    np.testing.assert_array_equal(found.classifier.full.layers[0].weight, fit.layers[0].weight)
    assert arrays(learnt(one, refit=False)) != arrays(found)


@pytest.mark.parametrize("kind", KINDS)
def test_class_weights_have_rare_classes_found(kind: HeadKind) -> None:
    """Balanced, a class of few images is predicted more often, and found more often where it is the true one."""
    one, new = lesson((400, 40), noise=3.0), lesson((400, 400), noise=3.0)
    plain, balanced = (
        learnt(one, kind, class_weight=weight).classifier.probabilities(new.queries()).argmax(axis=1)
        for weight in (None, "balanced")
    )
    assert (balanced[400:] == 1).mean() > (plain[400:] == 1).mean() + 0.1


def test_images_without_a_prefix_alone_make_one_network() -> None:
    """Where nothing has a prefix, or the weight leaves none, only pictures are learnt."""
    for found in (learnt(lesson(prefix=False), weight=0.5), learnt(lesson(), weight=1.0)):
        assert found.classifier.full is None
        assert found.classifier.bare is not None
        assert "accuracy" in found.metrics
        assert not any(name.endswith("_without") for name in found.metrics)
    found = learnt(lesson(), weight=0.0)
    assert found.classifier.bare is None


def test_some_images_without_a_prefix_are_learnt_from_twice() -> None:
    """Both networks know the classes of all, also of one whose images all lack a picture."""
    one = lesson()
    image, prefix = one.blocks.image.copy(), one.blocks.prefix.copy()
    prefix[::3] = 0
    image[one.codes == 2] = 0
    prefix[one.codes == 2] = one.blocks.prefix[one.codes == 2]
    found = learnt(one._replace(blocks=Blocks(image, prefix)))
    asked = found.classifier.probabilities(FUSION.query(image[:5], None, 0.5))
    assert asked.shape == (5, 3)
    assert asked[:, 2].max() < 1e-15
    np.testing.assert_allclose(asked.sum(axis=1), 1)


def test_in_concat_a_query_without_its_prefix_is_as_long_as_one_with_it() -> None:
    """Pictures are learnt from as `Fusion.query` would make them without a prefix."""
    fusion = Fusion(FUSION.image_dim, FUSION.prefix_dim, "concat")
    one = lesson()
    settings = HeadSettings()
    both = train_head(one.queries(0.5, fusion), one.codes, one.clusters, fusion=fusion, settings=settings)
    alone = train_head(
        fusion.query(one.blocks.image, None, 0.5), one.codes, one.clusters, fusion=fusion, settings=settings
    )
    assert both.classifier.bare is not None
    assert alone.classifier.bare is not None
    np.testing.assert_allclose(both.classifier.bare.layers[0].weight, alone.classifier.bare.layers[0].weight, atol=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_a_handful_of_images_is_learnt_without_holding_any_out(kind: HeadKind) -> None:
    """With too few to choose by, the usual settings are taken, and nothing is said of how good that is."""
    found = learnt(lesson((4, 4), noise=0.2), kind)
    assert {name.removesuffix("_without") for name in found.metrics} == {"penalty" if kind == "logistic" else "epochs"}
    assert {one.temperature for one in found.classifier.networks.values()} == {1.0}
    assert found.classifier.classes == 2


def test_classes_of_one_image_are_learnt_beside_others() -> None:
    """They are never held out, and can be predicted."""
    found = learnt(lesson((60, 60, 1), noise=0.3))
    assert found.classes.tolist() == [0, 1, 2]
    one = lesson((60, 60, 1), noise=0.3)
    assert found.classifier.probabilities(one.queries())[-1].argmax() == 2


@pytest.mark.parametrize(
    ("codes", "clusters", "message"),
    [
        (np.zeros(9, np.int64), np.arange(9), "at least two classes to learn from, found one class"),
        (np.arange(9), np.arange(9), "found 9 classes of one image each"),
        (np.repeat([0, 1, 2], 3), np.repeat([0, 1, 2], 3), "found 3 classes of one image each"),
        (np.zeros(0, np.int64), np.zeros(0, np.int64), "labelled images to learn from, found none"),
    ],
)
def test_what_can_not_be_learnt_is_refused(codes: np.ndarray, clusters: np.ndarray, message: str) -> None:
    """One class, names instead of classes, or no rows: an error in one line."""
    queries = np.ones((len(codes), FUSION.dim), np.float32)
    with pytest.raises(QueryError, match=message) as error:
        train_head(queries, codes, clusters, fusion=FUSION)
    assert "\n" not in str(error.value)


def test_vectors_that_are_not_finite_are_refused() -> None:
    """The first row that has one is named."""
    one = lesson()
    queries = one.queries()
    queries[7, 3] = np.nan
    with pytest.raises(QueryError, match="NaN or infinity in row 7"):
        train_head(queries, one.codes, one.clusters, fusion=FUSION)
    with pytest.raises(ValueError, match=r"expected queries \(180, 20\)"):
        train_head(queries[:, 1:], one.codes, one.clusters, fusion=FUSION)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "svm"}, "expected logistic or mlp, found 'svm'"),
        ({"class_weight": "even"}, "expected balanced or none, found 'even'"),
        ({"seed": -1}, "seed: expected 0 or more, found -1"),
        ({"validation": 1.0}, "between 0 and 1"),
        ({"hidden": 0}, "hidden: expected at least 1, found 0"),
        ({"learning_rate": 0.0}, "learning_rate: expected more than 0"),
        ({"penalties": ()}, "penalties"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, object], message: str) -> None:
    """Each is named with its value."""
    with pytest.raises(QueryError, match=message):
        replace(HeadSettings(), **options)  # type: ignore[arg-type]


def test_settings_say_only_what_counts() -> None:
    """Those of the other kind are left out where they are written down."""
    assert "penalties" not in HeadSettings(kind="mlp").to_dict()
    assert "hidden" not in HeadSettings().to_dict()
    assert HeadSettings(kind="mlp").to_dict()["learning_rate"] == 0.001
