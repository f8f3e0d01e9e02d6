"""Comparing encoders and poolings: figures are those of a store, and pooling by prefixes is what it says it is."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from generators.generation_server import fake_server
from PIL import Image, ImageDraw
from samples import KINDS, draw, make_job
from tiny_models import TIMM_MODEL, write_timm

import fpve
from fpve.alignment import fit_alignment
from fpve.cli import cli
from fpve.config import CollectionConfig, EncoderConfig, Encoders, Job
from fpve.encoders import open_image_encoder
from fpve.errors import AlignmentError, FpveError, JobError, PrefixError, QueryError
from fpve.experiment import guided as guided_pooling
from fpve.experiment.features import Model
from fpve.experiment.guided import guided, tie
from fpve.experiment.maps import MapFile
from fpve.fusion import Floats
from fpve.progress import SilentProgress
from fpve.splits import folds

FIGURES = ("accuracy", "accuracy_low", "accuracy_high", "naive_accuracy", "balanced_accuracy", "macro_f1", "rows")
LITE0 = EncoderConfig("efficientnet-lite0", device="cpu")


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in torch, which takes no conversion."""
    monkeypatch.setenv("FPVE_RUNTIME", "torch")


@pytest.fixture
def tinted(tmp_path: Path) -> Job:
    """A job with the fake encoders over 120 pictures, tinted by their kind, whose captions name it now and then."""
    folder = tmp_path / "tinted"
    folder.mkdir()
    random = np.random.default_rng(4)
    lines = ["path,caption,kind"]
    for number in range(120):
        kind = number % 3
        pixels = random.integers(0, 200, (8, 8, 3))
        pixels[:, :, kind] += 25
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:03d}.png")
        caption = f"{KINDS[kind] if number % 2 else 'thing'} {number // 2 if number % 10 == 0 else number}"
        lines.append(f"{number:03d}.png,{caption if number % 9 else ''},{KINDS[kind]}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return make_job(tmp_path / "store", folder)


@pytest.fixture
def shapes(tmp_path: Path) -> Job:
    """A job over 48 drawings of three kinds, 40 of them with a caption, the last one broken."""
    folder = tmp_path / "shapes"
    folder.mkdir()
    random = np.random.default_rng(1)
    lines = ["path,caption,kind"]
    for number in range(48):
        kind = KINDS[number % 3]
        colours = [tuple(int(one) for one in random.integers(0, 256, 3)) for _ in range(3)]
        picture = Image.new("RGB", (64, 64), colours[0])
        pen = ImageDraw.Draw(picture)
        for colour in colours[1:]:
            x, y, size = (int(one) for one in random.integers(4, 40, 3))
            box = (x, y, x + size, y + size)
            if kind == "cat":
                pen.ellipse(box, colour)
            elif kind == "dog":
                pen.rectangle(box, colour)
            else:
                pen.line(box, colour, 7)
        picture.save(folder / f"{number:02d}.png")
        lines.append(f"{number:02d}.png,{f'{kind} {number}' if number % 6 else ''},{kind}")
    (folder / "47.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    job = make_job(tmp_path / "store", folder)
    return replace(job, encoders=Encoders(image=LITE0, text=EncoderConfig("fake:16")))


def test_figures_are_those_of_a_store(tinted: Job, tree: Callable[[Path], dict[str, bytes]]) -> None:
    """An encoder without maps is evaluated as `evaluate` does it on a store that a run makes, and none is touched."""
    job = tinted
    found = fpve.compare(job, label="kind")
    assert not job.store.exists()
    assert [(row.image_encoder, row.pooling, row.fusion, row.query_prefix) for row in found] == [
        ("fake:24", "own", "balanced", "fused"),
        ("fake:24", "own", "image only", "unused"),
    ]
    assert all(0.4 < row.accuracy < 1 for row in found)
    assert found.notes == ("fake:24 has no feature map that could be pooled: it pools in its own way",)
    fpve.run(job)
    before = tree(job.store)
    again = fpve.compare(job, label="kind")
    assert tree(job.store) == before
    for row, once_more in zip(found, again, strict=True):
        # Balanced as by default: a query without a prefix has weight 1.
        weight = 1 if row.fusion == "image only" else None
        expected = fpve.open(job.store).evaluate(label="kind", image_weight=weight, centred=False)
        assert {name: row[name] for name in FIGURES} == {name: getattr(expected, name) for name in FIGURES}
        assert {**row, "ms_per_image": 0} == {**once_more, "ms_per_image": 0}
        assert row.ms_per_image > 0
    assert {row.fusion: (row.image_weight, row.bytes_per_row) for row in found} == {
        "balanced": (0.5, 4 * (24 + 16)),
        "image only": (1.0, 4 * 24),
    }


def test_encoders_are_compared_on_the_same_pictures(pictures: Path, job: Job) -> None:
    """Each encoder has its rows, the best first, and is behind the best of those whose queries know as much."""
    (pictures / "cat" / "00.png").write_bytes(b"no picture")
    (pictures / "bird" / "02.png").write_bytes(b"")
    found = fpve.compare(job, label="kind", image_encoders=["fake:24", "fake:3", EncoderConfig("fake:24")])
    assert sorted((row.image_encoder, row.fusion) for row in found) == [
        ("fake:24", "balanced"),
        ("fake:24", "image only"),
        ("fake:3", "balanced"),
        ("fake:3", "image only"),
    ]
    assert {row.rows for row in found} == {10}
    assert found.notes[0] == "2 of 12 pictures are left out, the first is 'pets/bird/02.png': empty file"
    accuracies = [row.accuracy for row in found]
    assert accuracies == sorted(accuracies, reverse=True)
    for query in ("unused", "fused"):
        mine = [row for row in found if row.query_prefix == query]
        best = max(row.accuracy for row in mine)
        assert [row.behind for row in mine] == pytest.approx([best - row.accuracy for row in mine])
        assert all(row.behind_low <= row.behind <= row.behind_high for row in mine)


def test_a_sample_is_drawn_from_labelled_pictures(pictures: Path, job: Job) -> None:
    """Pictures without a label take no part, and of the others so many are taken, each time the same."""
    lines = (pictures / "metadata.csv").read_text(encoding="utf-8").replace("cat,0.50", ",0.50").splitlines()
    (pictures / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert {row.rows for row in fpve.compare(job, label="kind")} == {11}
    some = fpve.compare(job, label="kind", sample=8)
    again = fpve.compare(job, label="kind", sample=8)
    assert {row.rows for row in some} == {8}
    assert some.to_arrow().drop_columns("ms_per_image") == again.to_arrow().drop_columns("ms_per_image")


def test_a_label_may_be_in_one_collection_only(tmp_path: Path, pictures: Path, job: Job) -> None:
    """A collection without the column adds no pictures; all are read by their own source."""
    draw(tmp_path / "others" / "a.png", 99)
    others = CollectionConfig(name="a-others", source=tmp_path / "others")
    both = replace(job, collections=(others, *job.collections))
    alone, found = fpve.compare(job, label="kind"), fpve.compare(both, label="kind")
    assert found.to_arrow().drop_columns("ms_per_image") == alone.to_arrow().drop_columns("ms_per_image")


def test_a_label_in_the_prefix_is_told(tmp_path: Path, pictures: Path) -> None:
    """A prefix that gives the label away is noted, as `evaluate` warns of it."""
    found = fpve.compare(make_job(tmp_path / "store", pictures, prefix="a {kind}"), label="kind")
    assert found.notes[0].startswith("figures that use the prefix leak the label 'kind' (collection 'pets' fills it in")


def test_poolings_of_maps_are_those_of_the_encoder(tmp_path: Path) -> None:
    """One pass through the network gives the rows that an encoder with this pooling gives, and maps to pool again."""
    weights = write_timm(tmp_path / "w.safetensors", TIMM_MODEL, 0)
    config = EncoderConfig(f"timm:{TIMM_MODEL}", weights=weights, device="cpu", batch_size=2)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 160, 160, 3), dtype=np.uint8)
    model = Model(open_image_encoder(config), ("mean", "gem"), keep_maps=True, count=5)
    assert model.take(pixels[:3]).tolist() == [True] * 3
    assert model.take(pixels[3:]).tolist() == [True] * 2
    features = model.features(np.array([4, 3, 2, 1, 0]))
    assert list(features.pooled) == ["mean", "gem"]
    for pooling, rows in features.pooled.items():
        expected = open_image_encoder(replace(config, pooling=pooling)).encode(pixels)
        np.testing.assert_allclose(rows[::-1], expected, rtol=1e-4, atol=1e-5)
    assert features.maps is not None
    [(part, maps)] = features.maps.read(np.array([4, 0]))
    assert part.start == 0
    np.testing.assert_allclose(maps.mean((2, 3)), features.pooled["mean"][[0, 4]], rtol=1e-2, atol=1e-3)
    model.close()


def test_maps_that_have_no_room_are_refused() -> None:
    """Before anything is encoded, with the remedies."""
    with pytest.raises(FpveError, match=r"expected 1,\d+,\d+\.\d GB for the feature maps of 1,000,000,000 .* sample"):
        MapFile((1280, 21, 21), 10**9)


class Synthetic:
    """80 maps (16, 3, 3) of which one position, elsewhere in each, shows what the prefix says; pairs share a prefix."""

    def __init__(self) -> None:
        random = np.random.default_rng(3)
        self.groups = np.arange(80) // 2
        self.prefix = random.standard_normal((40, 12)).astype(np.float32)[self.groups]
        to_features = random.random((12, 16)) * (random.random((12, 16)) < 0.4)
        self.shown = np.maximum(self.prefix @ to_features, 0).astype(np.float32) * 3
        self.maps = (random.random((80, 16, 3, 3)) * (random.random((80, 16, 3, 3)) < 0.3)).astype(np.float32)
        self.at = random.integers(3, size=(80, 2))
        self.maps[np.arange(80), :, self.at[:, 0], self.at[:, 1]] = self.shown
        self.maps = self.maps.astype(np.float16).astype(np.float32)
        # The last five have none.
        self.prefix[75:] = 0
        self.kept = MapFile((16, 3, 3), 80)
        self.kept.add(self.maps)

    @property
    def plain(self) -> Floats:
        """The means of the maps."""
        return self.maps.mean((2, 3))


@pytest.fixture
def synthetic() -> Iterator[Synthetic]:
    """Maps and prefixes."""
    made = Synthetic()
    yield made
    made.kept.close()


def unit(rows: Floats) -> Floats:
    """Rows at length 1."""
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def pooled(made: Synthetic) -> Floats:
    """The maps pooled by their prefixes."""
    places = np.arange(80)
    return guided(made.kept, places, made.plain, made.prefix, made.groups, pooling="mean", progress=SilentProgress())


def test_guided_pooling_is_the_formula(synthetic: Synthetic) -> None:
    """Written out position by position: each fold by the alignment of the others, weights by a softmax of cosines."""
    found = pooled(synthetic)
    rows = np.arange(75)
    seen = []
    for inside, outside in folds(synthetic.groups[rows], 5, np.random.default_rng(0)):
        assert not set(synthetic.groups[inside]) & set(synthetic.groups[outside])
        taught = (synthetic.plain[inside], synthetic.prefix[inside], synthetic.groups[inside])
        alignment = fit_alignment(*taught, seed=0).alignment
        cosines = np.array(
            [
                [unit(synthetic.prefix[row]) @ alignment.predict(vector[None])[0] for vector in positions.T]
                for row, positions in ((row, synthetic.maps[row].reshape(16, 9)) for row in outside)
            ]
        )
        weights = np.exp(cosines / np.sqrt(cosines.var(axis=1).mean()))
        weights /= weights.sum(axis=1, keepdims=True)
        expected = np.einsum("np,ncp->nc", weights, synthetic.maps[outside].reshape(-1, 16, 9))
        np.testing.assert_allclose(found[outside], expected, rtol=1e-3, atol=1e-3)
        seen += outside.tolist()
    assert sorted(seen) == rows.tolist()


def test_guided_pooling_looks_where_the_prefix_points(synthetic: Synthetic) -> None:
    """Features come nearer to those of the position that shows what the prefix says; without a prefix they stay."""
    found = pooled(synthetic)
    np.testing.assert_array_equal(found[75:], synthetic.plain[75:])
    shown = unit(synthetic.shown[:75])
    before, after = ((unit(one[:75]) * shown).sum(axis=1) for one in (synthetic.plain, found))
    assert after.mean() - before.mean() > 0.05
    assert np.mean(after > before) > 0.8


def test_no_group_teaches_the_alignment_that_pools_it(monkeypatch: pytest.MonkeyPatch, synthetic: Synthetic) -> None:
    """Every group is pooled by the one map of five that it did not teach; pictures without a prefix teach none."""
    taught: list[set[int]] = []

    def watched(image: Floats, prefix: Floats, groups: np.ndarray, **options: int) -> object:
        assert prefix.any(axis=1).all()
        taught.append(set(groups.tolist()))
        return fit_alignment(image, prefix, groups, **options)

    monkeypatch.setattr(guided_pooling, "fit_alignment", watched)
    pooled(synthetic)
    assert len(taught) == 5
    assert all(sum(group in one for one in taught) == 4 for group in set(synthetic.groups[:75].tolist()))


def test_copies_and_shared_prefixes_are_tied() -> None:
    """By equal codes, by features of cosine .97, and by a chain of both."""
    features = np.array([[1, 0], [1, 0.1], [0, 1], [1, 1], [1, -1]], np.float32)
    assert tie([np.array([-1, -1, 5, 5, -1])], features).tolist() == [0, 0, 2, 2, 4]
    assert tie([np.array([-1, 1, 1, -1, -1]), np.array([0, 1, 2, 3, 3])], features).tolist() == [0, 0, 0, 3, 3]


def test_pooling_by_prefixes_is_compared(shapes: Job) -> None:
    """Every pooling has its rows; text-guided ones tell whether the query's prefix pools; plain ones are a store's."""
    found = fpve.compare(shapes, label="kind")
    assert sorted((row.pooling, row.fusion, row.query_prefix) for row in found) == [
        ("gem", "balanced", "fused"),
        ("gem", "image only", "unused"),
        ("mean", "balanced", "fused"),
        ("mean", "image only", "unused"),
        ("text", "balanced", "fused"),
        ("text", "balanced", "pools, fused"),
        ("text", "image only", "pools"),
        ("text", "image only", "unused"),
    ]
    assert found.notes == (
        "1 of 48 pictures are left out, the first is 'pets/47.png': a PNG that is damaged, or of a kind "
        "that can't be decoded",
    )
    assert {row.bytes_per_row for row in found} == {4 * 1280, 4 * (1280 + 16)}
    # Alone it is what it is beside the others: all calls leave out the same copies.
    for row in fpve.compare(shapes, label="kind", poolings=["mean"]):
        [same] = [one for one in found if (one.pooling, one.fusion) == ("mean", row.fusion)]
        assert {name: row[name] for name in FIGURES} == {name: same[name] for name in FIGURES}
    fpve.run(shapes)
    store = fpve.open(shapes.store)
    for row in found:
        if row.pooling == "gem":
            weight = 1 if row.fusion == "image only" else None
            expected = store.evaluate(label="kind", image_weight=weight, centred=False)
            assert {name: row[name] for name in FIGURES} == {name: getattr(expected, name) for name in FIGURES}


def test_pooling_by_prefixes_needs_enough_of_them(tmp_path: Path, shapes: Job) -> None:
    """Where it was not asked for it is left out with a note; where it was, that is an error."""
    found = fpve.compare(shapes, label="kind", sample=20)
    assert {row.pooling for row in found} == {"gem", "mean"}
    assert (
        "efficientnet-lite0 is not pooled by prefixes: expected at least 20 pictures with prefixes" in found.notes[-1]
    )
    with pytest.raises(AlignmentError, match="expected at least 20 pictures with prefixes of their own to learn from"):
        fpve.compare(shapes, label="kind", poolings=["text"], sample=20)
    bare = replace(shapes, collections=(replace(shapes.collections[0], prefix=()),))
    without = fpve.compare(bare, label="kind", sample=20)
    assert sorted((row.pooling, row.fusion) for row in without) == [("gem", "image only"), ("mean", "image only")]
    with pytest.raises(QueryError, match="pooling 'text': none of the 20 labelled images has a prefix; give the coll"):
        fpve.compare(bare, label="kind", poolings=["text"], sample=20)


def test_prefixes_of_a_language_model_are_frozen_first(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its answers the commands that ask it are named; with them, kept and not yet in a store, it compares."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with fake_server() as server:
        model = {"model": "openai:tiny", "base_url": server.url, "with_image": True}
        prefix = {"text": "What is {stem}?", "generate": model}
        job = make_job(tmp_path / "store", pictures, prefix=prefix)
        with pytest.raises(
            PrefixError, match=r"12 labelled images wait .* `fpve prefix freeze pets.toml`, or .* `fpve"
        ):
            fpve.compare(job, label="kind")
        fpve.freeze(job)
        asked = len(server.requests)
        found = fpve.compare(job, label="kind")
        assert len(server.requests) == asked
    assert [row.fusion for row in found if row.query_prefix == "fused"] == ["balanced"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"label": "knid"}, QueryError, "no label column 'knid'; did you mean 'kind'?; the job's collections have"),
        ({"label": "kind", "poolings": ["gme"]}, QueryError, "pooling: expected gem, mean, text, found 'gme'; did you"),
        ({"label": "kind", "sample": 1}, QueryError, "sample: expected at least 2 pictures, found 1"),
        ({"label": "path"}, QueryError, "no label column 'path'"),
    ],
)
def test_mistakes_are_found_before_anything_is_encoded(
    job: Job, options: dict[str, object], error: type[Exception], message: str
) -> None:
    """A wrong column, pooling or sample is one line that says what was expected."""
    with pytest.raises(error, match=message.replace("?", r"\?")):
        fpve.compare(job, **options)


def test_what_can_not_be_compared(pictures: Path, job: Job) -> None:
    """A job without an image encoder, labels of one class, and pictures that are all broken."""
    none = replace(job, encoders=replace(job.encoders, image=EncoderConfig("none")))
    with pytest.raises(JobError, match="expected an image encoder to compare, found 'none'"):
        fpve.compare(none, label="kind")
    assert len(fpve.compare(none, label="kind", image_encoders=["fake"])) == 2
    for path in pictures.rglob("*.png"):
        path.write_bytes(b"broken")
    with pytest.raises(QueryError, match="needs two labelled images of different classes, found 0 images"):
        fpve.compare(job, label="kind")


def test_the_command_prints_what_the_library_found(tmp_path: Path, pictures: Path) -> None:
    """A table, JSON and CSV with a row for each encoder and comparison; notes go to stderr."""
    file = tmp_path / "pets.toml"
    file.write_text(
        'store = "store"\nencoders = { image = "fake:24", text = "fake:16" }\n[[collections]]\nname = "pets"\n'
        'source = "pictures"\nmetadata = "pictures/metadata.csv"\nprefix = "{caption}"\n',
        encoding="utf-8",
    )
    command = ["compare", str(file), "--label", "kind", "--image-encoder", "fake:24", "--image-encoder", "fake:8"]
    expected = fpve.compare(file, label="kind", image_encoders=["fake:24", "fake:8"])
    done = CliRunner().invoke(cli, [*command, "--pooling", "gem"])
    assert done.exit_code == 0
    header, _, *lines = done.stdout.splitlines()
    assert header.split()[:6] == ["image_encoder", "pooling", "fusion", "query_prefix", "accuracy", "accuracy_low"]
    assert [line.split()[0] for line in lines] == [row.image_encoder for row in expected]
    assert done.stderr.count("note: fake:24 has no feature map") == 1
    rows = json.loads(CliRunner().invoke(cli, [*command, "--format", "json"]).stdout)
    assert [row["accuracy"] for row in rows] == [row.accuracy for row in expected]
    table = list(csv.DictReader(io.StringIO(CliRunner().invoke(cli, [*command, "--format", "csv"]).stdout)))
    assert [float(row["macro_f1"]) for row in table] == [row.macro_f1 for row in expected]
    assert CliRunner().invoke(cli, [*command, "--pooling", "max"]).exit_code == 2
