"""Duplicates: stars around what stays, by cosine and by pixels, and nothing is changed."""

from __future__ import annotations

import html
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from curation.conftest import pixels, save
from PIL import Image
from samples import make_job

import fpve
from fpve.cli import cli
from fpve.config import FusionConfig
from fpve.curation import duplicates as clusters
from fpve.curation import near as module
from fpve.curation.duplicates import SCHEMA, duplicates
from fpve.curation.near import NearContents, Pairs
from fpve.curation.pixels import Pixels
from fpve.errors import QueryError
from fpve.fusion import unit
from fpve.progress import Stage
from fpve.search import Searcher
from fpve.store import means
from fpve.store.snapshot import Snapshot


def cosines(searcher: Searcher) -> np.ndarray:
    """All cosines of raw features."""
    image = unit(searcher.blocks_of(np.arange(searcher.rows)).image).astype(np.float64)
    return image @ image.T


def checked(searcher: Searcher, table: pa.Table, threshold: float, agree: np.ndarray | None = None) -> None:
    """Compare clusters with all cosines: who goes has the nearest of those that stay, and no two of these are near."""
    rows = {one: at for at, one in enumerate(searcher.snapshot.images["image_id"].to_pylist())}
    every = cosines(searcher)
    near = np.round(every, 6) >= threshold
    if agree is not None:
        near &= agree
    kept = {row["cluster"]: rows[row["image_id"]] for row in table.to_pylist() if row["action"] == "keep"}
    gone = {rows[row["image_id"]]: row for row in table.to_pylist() if row["action"] == "remove"}
    stays = np.array([at for at in range(len(every)) if at not in gone])
    among = near[np.ix_(stays, stays)]
    assert among.sum() == len(stays)
    for at, row in gone.items():
        centre = kept[row["cluster"]]
        assert near[at, centre]
        assert row["cosine"] == pytest.approx(every[at, centre], abs=2e-6)
        assert every[at, centre] >= every[at, stays[near[at, stays]]].max() - 2e-6


@pytest.mark.parametrize("threshold", [0.6, 0.9, 0.97, 0.999])
def test_clusters_are_stars(searcher: Searcher, threshold: float) -> None:
    """By cosine alone: each that goes is near to what stays, the nearest of it, and no two that stay are near."""
    table = duplicates(searcher, threshold=threshold, pixels=-1)
    assert table.schema == SCHEMA
    checked(searcher, table, threshold)


def test_pixels_have_to_agree(searcher: Searcher) -> None:
    """With a low cosine everything is near, and only the pixels tell."""
    rows = np.arange(searcher.rows)
    small = Pixels(searcher.snapshot, rows)
    agree = small.compare(rows, rows).correlation >= 0.9
    checked(searcher, duplicates(searcher, threshold=0.5), 0.5, agree)


def test_what_was_planted_is_found(repeated: Path) -> None:
    """The clump, the pairs and the copies, largest cluster first, and the larger picture of a pair stays."""
    found = fpve.open(repeated).duplicates().to_arrow().to_pylist()
    sizes = Counter(row["cluster"] for row in found)
    assert list(sizes.items()) == [(1, 31), (2, 4), (3, 4), (4, 4), *((number, 2) for number in range(5, 10))]
    assert {row["image_id"].split("/")[1] for row in found if row["cluster"] == 1} == {"clump"}
    copies = [row for row in found if row["cluster"] in (2, 3, 4)]
    assert [row["action"] for row in copies] == 3 * ["keep", "remove", "remove", "remove"]
    assert {row["kind"] for row in copies if row["action"] == "remove"} == {"exact"}
    assert {(row["cosine"], row["mirrored"], row["pixels"]) for row in copies} == {(1.0, None, None)}
    pairs = [row for row in found if row["cluster"] >= 5]
    assert [row["image_id"][-5] for row in pairs] == 5 * ["b", "a"]
    assert [(row["action"], row["kind"]) for row in pairs] == 5 * [("keep", None), ("remove", "near")]
    assert all(row["mirrored"] is False and row["pixels"] > 0.9 for row in pairs if row["action"] == "remove")


@pytest.mark.parametrize(("first", "centres"), [(1, 64), (8, 1), (8, 7), (1_000, 64)])
def test_long_lists_are_completed(
    searcher: Searcher, first: int, centres: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clump of more pictures than are fetched from the index is found as well as with all fetched at once."""
    monkeypatch.setattr(module, "_FIRST", first)
    monkeypatch.setattr(clusters, "_CENTRES", centres)
    table = duplicates(searcher, threshold=0.9, pixels=-1)
    checked(searcher, table, 0.9)
    monkeypatch.undo()
    usual = duplicates(searcher, threshold=0.9, pixels=-1)
    # The seventh decimal of a product depends on what else is multiplied.
    cosines_of = [
        dict(zip(one["image_id"].to_pylist(), one["cosine"].to_pylist(), strict=True)) for one in (table, usual)
    ]
    assert cosines_of[0] == pytest.approx(cosines_of[1], abs=2e-6)


def test_a_better_one_stays_though_the_index_missed_it(searcher: Searcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists that are taken for whole, and know a pair in one direction only, never have two that stay be near."""
    fetched = NearContents._fetched

    def one_way(self: NearContents, stage: Stage) -> Iterator[Pairs]:
        for pairs in fetched(self, stage):
            keep = pairs.query > pairs.member
            self.is_cut[:] = False
            yield pairs.where(keep)

    monkeypatch.setattr(NearContents, "_fetched", one_way)
    monkeypatch.setattr(module, "_FIRST", 1_000)
    checked(searcher, duplicates(searcher, threshold=0.9, pixels=-1), 0.9)


def test_a_centred_store_compares_raw_features(tmp_path: Path, repeated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same pictures in a centred store give the same clusters."""
    monkeypatch.setattr(means, "MIN_BLOCKS", 6)
    job = make_job(tmp_path / "store", repeated.parent / "pictures", metadata=None, prefix=None)
    fpve.run(replace(job, fusion=FusionConfig(centre=True)))
    searcher = Searcher(Snapshot.open(tmp_path / "store"))
    assert searcher.fusion.centre is not None
    table = duplicates(searcher, threshold=0.9, pixels=-1)
    checked(searcher, table, 0.9)
    plain = duplicates(Searcher(Snapshot.open(repeated)), threshold=0.9, pixels=-1)
    names = ["cluster", "image_id", "action", "kind"]
    assert table.select(names).equals(plain.select(names))


def test_only_what_meets_the_condition_is_looked_at(repeated: Path) -> None:
    """Copies in another folder are none under a condition that leaves it out."""
    found = fpve.open(repeated).duplicates(where="image_id NOT LIKE '%/copy/%'").to_arrow()
    assert not [one for one in found["image_id"].to_pylist() if "/copy/" in one]
    assert set(found["kind"].to_pylist()) == {None, "near"}


def test_what_is_preferred_stays(repeated: Path) -> None:
    """The smaller picture of a pair, and a copy rather than the first image that has its content."""
    found = fpve.open(repeated).duplicates(prefer="image_id LIKE '%-a.png' OR image_id LIKE '%copy/4.png'").to_arrow()
    kept = {row["image_id"] for row in found.to_pylist() if row["action"] == "keep"}
    assert {f"pets/pair/{number}-a.png" for number in range(5)} < kept
    assert "pets/copy/4.png" in kept
    assert "pets/single/01.png" not in kept


def test_nothing_is_changed(repeated: Path, tree: Callable[[Path], dict[str, bytes]]) -> None:
    """Neither the store nor a picture."""
    before = tree(repeated.parent)
    fpve.open(repeated).duplicates()
    assert tree(repeated.parent) == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"threshold": 0}, "threshold: expected a cosine above 0"),
        ({"threshold": 1.1}, "threshold: expected a cosine above 0"),
        ({"threshold": float("nan")}, "threshold: expected a cosine above 0"),
        ({"pixels": 2}, "pixels: expected a correlation"),
        ({"where": "nonsense"}, "^where: .*nonsense"),
        ({"prefer": "nonsense"}, "^prefer: [^w].*nonsense"),
    ],
)
def test_wrong_options_are_refused(repeated: Path, options: dict[str, object], said: str) -> None:
    """In a line that says what was expected."""
    with pytest.raises(QueryError, match=said):
        fpve.open(repeated).duplicates(**options)


def test_an_empty_answer_has_all_columns(searcher: Searcher) -> None:
    """Where no image is looked at there is no cluster."""
    assert duplicates(searcher, where="false").equals(SCHEMA.empty_table())


def test_the_command_prints_a_plan(repeated: Path, tmp_path: Path) -> None:
    """Rows as JSON on stdout, what they come to on stderr, and saved rows in SQL."""
    ran = CliRunner().invoke(cli, ["duplicates", str(repeated), "--where", "image_id LIKE '%/pair/%'", "-f", "json"])
    assert ran.exit_code == 0
    rows = json.loads(ran.stdout)
    assert len(rows) == 10
    assert list(rows[0]) == SCHEMA.names
    assert "5 clusters; 5 images could go" in ran.stderr
    assert "Nothing was changed." in ran.stderr


def test_the_page_says_how_it_was_made(repeated: Path, tmp_path: Path) -> None:
    """With all options, those that only the command has included."""
    page = tmp_path / "page.html"
    options = ["--prefer", "image_id LIKE '%-a.png'", "--where", "image_id LIKE '%/pair/%'", "--threshold", "0.9"]
    ran = CliRunner().invoke(cli, ["duplicates", str(repeated), *options, "--html", str(page)])
    assert ran.exit_code == 0, ran.output
    text = html.unescape(page.read_text(encoding="utf-8"))
    assert "a preferred one is kept, or the largest" in text
    assert "--threshold 0.9 --pixels 0.9 --where" in text
    assert "--prefer" in text


def thumbnails_of(folder: Path) -> tuple[Snapshot, dict[str, int]]:
    """A store of the pictures of a folder, and the rows of its images by their names."""
    job = make_job(folder.parent / "small", folder, metadata=None, prefix=None)
    fpve.run(job)
    snapshot = Snapshot.open(job.store)
    return snapshot, {Path(one).stem: at for at, one in enumerate(snapshot.images["image_id"].to_pylist())}


def test_pixels_tell_what_features_may_not(tmp_path: Path) -> None:
    """Darker, resized, re-encoded and mirrored copies agree, and plain ones that are one; other pictures don't."""
    folder = tmp_path / "pictures"
    # Fields of two by two pixels, which a thumbnail's compression leaves as they are.
    base = np.kron(pixels(1)[:4, :4], np.ones((2, 2, 1)))
    save(folder / "base.png", base)
    save(folder / "dark.png", base * 0.6)
    save(folder / "large.png", base, (160, 120))
    save(folder / "mirrored.png", base[:, ::-1])
    save(folder / "other.png", np.kron(pixels(2)[:4, :4], np.ones((2, 2, 1))))
    save(folder / "plain.png", np.full((8, 8, 3), 128))
    save(folder / "plainer.png", np.full((8, 8, 3), 129))
    save(folder / "black.png", np.full((8, 8, 3), 0))
    Image.open(folder / "base.png").save(folder / "encoded.jpg", quality=40)
    snapshot, row = thumbnails_of(folder)
    small = Pixels(snapshot, np.arange(len(row)))

    def compare(name: str, other: str = "base") -> tuple[float, bool]:
        found = small.compare(np.array([row[other]]), np.array([row[name]]))
        return round(float(found.correlation[0, 0]), 2), bool(found.mirrored[0, 0])

    assert compare("base") == (1.0, False)
    assert compare("dark")[0] > 0.95
    assert compare("large")[0] > 0.95
    assert compare("encoded")[0] > 0.95
    assert compare("mirrored")[0] > 0.95
    assert compare("mirrored")[1]
    assert compare("other")[0] < 0.5
    assert compare("plain") == compare("base", "plain") == (0.0, False)
    assert compare("plainer", "plain") == (1.0, False)
    assert compare("black", "plain") == (0.0, False)


def test_agreement_is_the_correlation_of_small_pictures(searcher: Searcher) -> None:
    """As NumPy computes it, in the better of both orientations."""
    rows = np.arange(searcher.rows)
    small = Pixels(searcher.snapshot, rows)
    shown = small._small
    for row in (0, 50, len(rows) - 1):
        expected = np.array(
            [[np.corrcoef(shown[row].ravel(), one.ravel())[0, 1] for one in (other, other[:, ::-1])] for other in shown]
        )
        found = small.compare(np.array([row]), rows)
        assert found.correlation[0] == pytest.approx(expected.max(axis=1), abs=1e-5)
        clear = np.abs(expected[:, 0] - expected[:, 1]) > 1e-5
        assert found.mirrored[0, clear].tolist() == (expected[:, 1] > expected[:, 0])[clear].tolist()


def test_broken_thumbnails_are_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no picture, or is not there, is no reason to take two pictures for different."""
    folder = tmp_path / "pictures"
    for number in range(3):
        save(folder / f"{number}.png", pixels(number))
    snapshot, _ = thumbnails_of(folder)
    hashes = snapshot.images["content_hash"].to_pylist()
    good = io.BytesIO()
    Image.fromarray(pixels(1).astype(np.uint8)).save(good, "JPEG")
    monkeypatch.setattr(Snapshot, "thumbnails", lambda *_: {hashes[0]: b"no picture", hashes[1]: good.getvalue()})
    small = Pixels(snapshot, np.arange(3))
    found = small.compare(np.arange(2), np.arange(3))
    assert np.isnan(found.correlation).tolist() == [[True, True, True], [True, False, True]]
    assert not found.mirrored.any()
