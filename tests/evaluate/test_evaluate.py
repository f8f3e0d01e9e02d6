"""Intervals, weights and ablations of evaluations, against loops written out by hand and against the search itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from samples import KINDS, draw, make_job

import fpve
from fpve.classify import DEFAULT_TEMPERATURE, LabelSets, Voting, read_labels, vote
from fpve.cli import cli
from fpve.errors import QueryError
from fpve.evaluate import Comparison, Labelled, behind, evaluate, evaluate_blocks, fit_weight
from fpve.evaluate.bootstrap import RESAMPLES, intervals, resamples
from fpve.evaluate.pairs import nearest_columns
from fpve.evaluate.weights import GRID, best_weight
from fpve.fusion import Blocks, Floats, Mode
from fpve.groups import Groups, grouped
from fpve.search import Searcher
from fpve.splits import NEAR_DUPLICATE
from fpve.store.snapshot import Snapshot


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 132 pictures of three kinds, enough to centre by; a third of the captions tell the kind."""
    root = tmp_path_factory.mktemp("evaluate")
    lines = ["path,caption,kind"]
    for number in range(132):
        path, kind = f"{number:03d}.png", KINDS[number % 3]
        draw(root / "pictures" / path, number)
        caption = f"{kind if number % 2 else 'thing'} {number // 2 if number % 11 == 0 else number}"
        lines.append(f"{path},{'' if number < 4 else caption},{kind}")
    (root / "pictures/metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    fpve.run(make_job(root / "store", root / "pictures"))
    return root / "store"


@pytest.fixture(scope="module")
def searcher(root: Path) -> Searcher:
    """The store, as the library searches it."""
    return Searcher(Snapshot.open(root))


@pytest.mark.parametrize("weight", [0.3, 1.0])
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("mode", ["balanced", "concat"])
def test_what_is_evaluated_is_what_a_search_finds(searcher: Searcher, mode: Mode, centred: bool, weight: float) -> None:
    """Naive accuracy is that of votes by the neighbours that the index finds for each image."""
    variant = searcher.variant(mode=mode, centred=centred, predicted=False)
    labels = read_labels(searcher, "kind")
    rows = np.arange(searcher.rows)
    found = variant.nearest(variant.blocks_of(rows), image_weight=weight, k=7, exclude=rows)
    shares = vote(found, LabelSets.of(labels), len(rows), Voting(7))
    expected = np.mean(shares.argmax(axis=1) == labels.codes)
    result = evaluate(searcher, label="kind", mode=mode, centred=centred, image_weight=weight, k=7, temperature=0.07)
    assert (result.naive_accuracy, result.centred) == (expected, centred)


@pytest.mark.parametrize("k", [1, 5, 40])
def test_ties_go_to_the_first(k: int) -> None:
    """The best columns are those of a full sort by rounded score, then by place, however wide the ties."""
    random = np.random.default_rng(0)
    scores = random.choice([0.1, 0.2, 0.2 + 1e-9, 0.9, -np.inf], (30, 200), p=[0.3, 0.3, 0.2, 0.1, 0.1])
    scores = scores.astype(np.float32)
    scores[0] = 0.5
    expected = np.argsort(-scores.astype(np.float64).round(6), axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(nearest_columns(scores, k), expected)


def test_a_chain_of_groups_is_one_cluster() -> None:
    """Images are resampled together where content or prefix ties them, directly or through others."""
    groups = Groups(np.array([7, 7, 8, 9, 5, 4]), np.array([1, 2, 2, -1, -1, 3]))
    np.testing.assert_array_equal(groups.clusters(), [0, 0, 0, 1, 2, 3])
    tied = groups.tied(np.array([1, 3]), np.arange(6))
    np.testing.assert_array_equal(tied, [[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0]])


def test_intervals_are_those_of_resampled_clusters() -> None:
    """They are percentiles of accuracy and mean recall over resamples that take clusters whole."""
    random = np.random.default_rng(3)
    truth, predicted = random.integers(4, size=60), random.integers(4, size=60)
    predicted[:40] = truth[:40]
    clusters = np.repeat(np.arange(20), 3)
    accuracies, recalls = [], []
    full = [np.mean(predicted[truth == one] == one) for one in range(4)]
    for times in resamples(clusters):
        assert times.sum() == 60
        assert np.all(times.reshape(20, 3) == times[::3, None])
        drawn = np.repeat(np.arange(60), times.astype(int))
        accuracies.append(np.mean(predicted[drawn] == truth[drawn]))
        per_class = [drawn[truth[drawn] == one] for one in range(4)]
        recalls.append(
            np.mean([np.mean(predicted[own] == one) if len(own) else full[one] for one, own in enumerate(per_class)])
        )
    assert len(accuracies) == RESAMPLES
    found = intervals(truth, np.stack([predicted, truth]), clusters)
    np.testing.assert_allclose(found[0].accuracy, np.percentile(accuracies, [2.5, 97.5]))
    np.testing.assert_allclose(found[0].balanced_accuracy, np.percentile(recalls, [2.5, 97.5]))
    assert found[1].accuracy == found[1].balanced_accuracy == (1, 1)


def test_images_of_one_cluster_are_no_more_than_one() -> None:
    """Two clusters, one right and one wrong, leave everything open, however many images they are of."""
    truth = np.zeros(1000, int)
    predicted = np.repeat([0, 1], 500)
    assert intervals(truth, predicted[None], predicted)[0].accuracy == (0, 1)


def test_an_evaluation_has_its_interval(searcher: Searcher) -> None:
    """The interval holds the figure, and there are fewer clusters than rows where captions are shared."""
    found = evaluate(searcher, label="kind", k=5)
    assert found.accuracy_low < found.accuracy < found.accuracy_high
    assert found.balanced_accuracy_low < found.balanced_accuracy < found.balanced_accuracy_high
    assert (found.rows, found.voters) == (132, 132)
    assert found.clusters < 132


@pytest.mark.parametrize("mode", ["balanced", "concat"])
def test_a_query_without_its_prefix_is_a_picture_alone(searcher: Searcher, mode: Mode) -> None:
    """Its figures are those of weight 1, as a search has it; they stand beside those of any other weight."""
    without = evaluate(searcher, label="kind", mode=mode, query="without", k=5)
    assert without == evaluate(searcher, label="kind", mode=mode, image_weight=1, k=5)
    assert without.image_weight == 1
    assert without.accuracy_without_prefix == without.accuracy
    with_prefix = evaluate(searcher, label="kind", mode=mode, k=5)
    assert with_prefix.accuracy_without_prefix == without.accuracy
    with pytest.raises(QueryError, match=r"a query without its prefix has 1, found 0\.3"):
        evaluate(searcher, label="kind", query="without", image_weight=0.3)


@pytest.mark.parametrize("mode", ["balanced", "concat"])
def test_the_curve_is_what_evaluations_give(searcher: Searcher, mode: Mode) -> None:
    """Each accuracy on a fitted weight's curve is that of an evaluation at this weight, and the best one is chosen."""
    where = "prefix IS NOT NULL"
    fitted = fit_weight(searcher, label="kind", mode=mode, k=5, where=where)
    assert tuple(weight for weight, _ in fitted.curve) == GRID
    for weight, accuracy in fitted.curve[::4]:
        one = evaluate(
            searcher, label="kind", mode=mode, image_weight=weight, k=5, temperature=DEFAULT_TEMPERATURE, where=where
        )
        assert accuracy == one.accuracy, weight
    best = max(accuracy for _, accuracy in fitted.curve)
    assert dict(fitted.curve)[fitted.image_weight] == best
    assert fitted.low <= fitted.image_weight <= fitted.high
    assert fitted.accuracy_low < fitted.accuracy < fitted.accuracy_high
    assert fitted.accuracy <= best + 1e-9


def test_images_without_a_prefix_vote_but_are_not_predicted(searcher: Searcher) -> None:
    """They can't tell what a prefix is worth, but a query with one finds them."""
    assert fit_weight(searcher, label="kind").rows == 128


def in_memory(searcher: Searcher) -> tuple[Labelled, Blocks]:
    """The images of a store with their blocks, as somebody has them who has no store."""
    labels = read_labels(searcher, "kind")
    rows = np.arange(searcher.rows)
    images = searcher.snapshot.images.select(["collection", "content_hash", "prefix_id"])
    groups, warnings = grouped(images, {}, "kind", labels.codes, rows)
    prefixed = images["prefix_id"].is_valid().to_numpy()
    found = Labelled("kind", labels.names, labels.codes, prefixed, groups, warnings)
    return found, searcher.blocks_of(rows)


def test_blocks_in_memory_are_evaluated_as_those_of_a_store(searcher: Searcher) -> None:
    """All figures are the same, with intervals, whichever way blocks and groups come."""
    images, blocks = in_memory(searcher)
    comparisons = {f"{weight}": Comparison("balanced", weight, centred=False) for weight in (1.0, 0.5)}
    found = evaluate_blocks(images, blocks, comparisons, k=5)
    for name, one in comparisons.items():
        expected = evaluate(searcher, label="kind", image_weight=one.image_weight, centred=False, k=5)
        assert found[name].evaluation == replace(expected, mistakes=())
        assert np.mean(found[name].predicted == images.codes) == expected.accuracy


def test_queries_can_have_other_blocks_than_voters(searcher: Searcher) -> None:
    """They are compared by their own, and what counts as a copy is told by features that are neither."""
    images, blocks = in_memory(searcher)
    random = np.random.default_rng(0)
    asked = Blocks(blocks.image[:, ::-1] + random.standard_normal(blocks.image.shape).astype(np.float32), blocks.prefix)
    pictures = random.standard_normal((searcher.rows, 2)).astype(np.float32)
    one = Comparison("balanced", 0.7, centred=False)
    found = evaluate_blocks(images, blocks, {"": one}, asked=asked, pictures=pictures, k=5, temperature=0.07)[""]

    def unit(rows: Floats) -> Floats:
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)

    scores = 0.7 * unit(asked.image) @ unit(blocks.image).T + 0.3 * unit(asked.prefix) @ unit(blocks.prefix).T
    near = unit(pictures) @ unit(pictures).T >= NEAR_DUPLICATE
    assert near.sum() > 2 * searcher.rows
    rows = np.arange(searcher.rows)
    expected = []
    for row in rows:
        others = np.flatnonzero(~(near[row] | images.groups.tied(rows[[row]], rows)[0]))
        best = others[np.argsort(-scores[row, others].round(6), kind="stable")][:5]
        votes = np.bincount(images.codes[best], np.exp(scores[row, best] / DEFAULT_TEMPERATURE), minlength=3)
        expected.append(votes.argmax())
    np.testing.assert_array_equal(found.predicted, expected)


def test_one_class_can_not_be_evaluated(searcher: Searcher) -> None:
    """Images that are all of one class are refused, however they come."""
    groups = Groups(np.arange(3), np.full(3, -1))
    with pytest.raises(QueryError, match="evaluating 'kind' needs two labelled images of different classes, found 3"):
        Labelled("kind", ("cat",), np.zeros(3, np.int64), np.zeros(3, bool), groups)


def test_how_far_behind_is_resampled_in_pairs() -> None:
    """A difference of accuracies has the interval of the difference on the same resamples, not that of either."""
    random = np.random.default_rng(0)
    best = random.random(200) < 0.7
    # Wrong on ten more, and nowhere better.
    worse = best.copy()
    worse[np.flatnonzero(best)[:10]] = False
    clusters = np.arange(200) // 2
    found = behind(np.stack([worse, best]), 1, clusters)
    assert (found[1].value, *found[1].interval) == (0, 0, 0)
    assert found[0].value == pytest.approx(10 / 200)
    gaps = [times @ (best.astype(float) - worse) / times.sum() for times in resamples(clusters)]
    np.testing.assert_allclose(found[0].interval, np.percentile(gaps, [2.5, 97.5]))
    spread = intervals(np.ones(200, np.int64), np.stack([best, worse]).astype(np.int64), clusters)
    assert found[0].interval.low > 0
    assert spread[1].accuracy.high > spread[0].accuracy.low


def test_a_sample_is_the_same_each_time(searcher: Searcher) -> None:
    """Of many rows so many are predicted, always the same ones."""
    first = fit_weight(searcher, label="kind", k=5, sample=40)
    assert first.rows == 40
    assert first == fit_weight(searcher, label="kind", k=5, sample=40)


@pytest.mark.parametrize(
    ("right", "weight"), [([], 0.5), ([0.45, 0.55], 0.55), ([0.45, 0.6], 0.45), ([0.0, 1.0], 1.0), ([0.2], 0.2)]
)
def test_of_equal_weights_the_nearest_to_the_default_is_chosen(right: list[float], weight: float) -> None:
    """Nearest to 0.5, then the larger; rows on which all resamples agree leave no doubt."""
    hits = np.zeros((len(GRID), 10), bool)
    hits[[GRID.index(one) for one in right]] = True
    best = best_weight(hits, np.arange(10))
    assert (best.weight, best.low, best.high) == (weight, weight, weight)
    assert best.out_of_bag == best.accuracy.low == best.accuracy.high == float(bool(right))


def test_choosing_among_coin_tosses_gains_nothing_out_of_bag() -> None:
    """Where no weight is better than another, the best one's accuracy is luck: out of bag it is gone."""
    tosses = [np.random.default_rng(seed).random((len(GRID), 100)) < 0.5 for seed in range(30)]
    found = [best_weight(hits, np.arange(100)) for hits in tosses]
    assert np.mean([hits.mean(axis=1).max() for hits in tosses]) > 0.58
    assert np.mean([one.out_of_bag for one in found]) == pytest.approx(0.5, abs=0.02)
    assert np.mean([one.high - one.low for one in found]) > 0.5


def test_an_ablation_compares_everything_on_the_same_rows(root: Path) -> None:
    """It has pictures, texts, concat, balanced and the fitted weight, centred and not; each as `evaluate` gives it."""
    store = fpve.open(root)
    found = store.ablation(label="kind", k=5)
    assert list(found) == [
        "image only",
        "image only, centred",
        "prefix only",
        "prefix only, centred",
        "concat",
        "concat, query without prefix",
        "balanced",
        "balanced, centred",
        "balanced auto",
        "balanced auto, centred",
    ]
    for name, one in found.items():
        alone = store.evaluate(label="kind", image_weight=one.image_weight, mode=one.mode, centred=one.centred, k=5)
        assert (alone.accuracy, alone.confusion) == (one.accuracy, one.confusion), name
        assert (alone.accuracy_low, alone.accuracy_high) == (one.accuracy_low, one.accuracy_high), name
        assert one.centred == name.endswith("centred")
    chosen = found["balanced auto, centred"]
    assert f"image weight {chosen.image_weight:.2f} was chosen on these rows" in chosen.warnings[-1]


def test_what_has_no_mean_is_not_called_centred(tmp_path: Path, root: Path) -> None:
    """With a few prefixes for many pictures only pictures have a mean: texts alone are not evaluated as centred."""
    fpve.run(make_job(tmp_path / "store", root.parent / "pictures", prefix="a {kind}"))
    found = fpve.open(tmp_path / "store").ablation(label="kind")
    assert {"image only, centred", "balanced, centred"} < set(found)
    assert "prefix only, centred" not in found


def test_without_prefixes_there_is_no_weight_to_fit(tmp_path: Path, pictures: Path) -> None:
    """A store without prefixes is told so, with the remedy."""
    fpve.run(make_job(tmp_path / "store", pictures, prefix=None))
    with pytest.raises(QueryError, match=r"has a prefix, so there is no weight to choose; give the collections"):
        fpve.open(tmp_path / "store").fit_weight(label="kind")


def test_a_label_in_the_prefix_is_told_with_the_weight(tmp_path: Path, pictures: Path) -> None:
    """A weight fitted on a leaked label carries the warning that evaluations carry."""
    fpve.run(make_job(tmp_path / "store", pictures, prefix="{kind} {stem}"))
    assert any("leak" in text for text in fpve.open(tmp_path / "store").fit_weight(label="kind").warnings)


def test_the_command_says_what_the_library_found(root: Path) -> None:
    """A fitted weight with its curve, an ablation as a table with intervals, and both as JSON."""
    store = fpve.open(root)
    fitted = store.fit_weight(label="kind", k=5, centred=False)
    command = ["evaluate", str(root), "--label", "kind", "-k", "5"]
    auto = CliRunner().invoke(cli, [*command, "--image-weight", "auto", "--uncentred"])
    assert auto.stdout.startswith(f"image_weight   {fitted.image_weight:.4f}\nlow            {fitted.low:.4f}\n")
    assert f"0.5000         {dict(fitted.curve)[0.5]:.4f}" in " ".join(auto.stdout.split("\n"))
    found = json.loads(
        CliRunner().invoke(cli, [*command, "--image-weight", "auto", "--uncentred", "-f", "json"]).stdout
    )
    assert (found["image_weight"], len(found["curve"])) == (fitted.image_weight, 21)
    table = CliRunner().invoke(cli, [*command, "--ablation"])
    assert "balanced auto, centred" in table.stdout
    assert "a query without a prefix has weight 1" in table.stderr
    assert len(table.stdout.splitlines()) == 12
    without = CliRunner().invoke(cli, [*command, "--query", "without", "--centred"]).stdout
    assert "image_weight                   1.0000" in without
    assert "centred                        True" in without


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ablation", "--image-weight", "auto"], "--ablation sets image weight"),
        (["--ablation", "--uncentred"], "--ablation sets image weight"),
        (["--image-weight", "auto", "--query", "with"], "--query has nothing to say"),
        (["--image-weight", "much"], "expected a number from 0 to 1, or auto, found 'much'"),
    ],
)
def test_the_command_refuses_what_contradicts_itself(root: Path, options: list[str], message: str) -> None:
    """Options that another one sets are refused, and so is a weight that is neither a number nor `auto`."""
    done = CliRunner().invoke(cli, ["evaluate", str(root), "--label", "kind", *options])
    assert done.exit_code == 2
    assert message in done.stderr
