"""The page of a map: points, names and colours as they are given, pictures as many as fit, and nothing is fetched."""

from __future__ import annotations

import base64
import io
import json
from datetime import date
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from report.parsed import NASTY, Page
from samples import make_job
from skimage.color import deltaE_ciede2000, rgb2lab

import fpve
from fpve.curation.map import Map
from fpve.report import map as pages
from fpve.report.colouring import DARK, LIGHT, colouring_of
from fpve.report.map import spread, write_map

# What people see who see no green, no red, no blue: Machado, Oliveira and Fernandes 2009, of severity 1.
SIGHTS = {
    "all": np.eye(3),
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def written(path: Path, found: Map, store: fpve.Store) -> tuple[Page, dict[str, Any], list[str]]:
    """The page of a map, the data in it, and its pictures in base64."""
    write_map(path / "page.html", found, store)
    page = Page.read(path / "page.html")
    page.assert_self_contained(scripts=3)
    data, pictures, _ = (one.text for one in page.all("script"))
    return page, json.loads(data), pictures.split("\n") if pictures else []


def unpacked(text: str, kind: str) -> np.ndarray:
    """Numbers as the page's script reads them."""
    return np.frombuffer(base64.b64decode(text), kind)


def test_every_image_is_a_point_with_its_name_colour_and_picture(tmp_path: Path, store: fpve.Store) -> None:
    """In whatever order they are, each has the place, the caption, the class and the picture that are its own."""
    found = store.map(color="kind")
    page, data, pictures = written(tmp_path, found, store)
    rows = {row.image_id: row for row in found}
    prefixes = dict(zip(*(store.images[name].to_pylist() for name in ("image_id", "prefix")), strict=True))
    points, caption = unpacked(data["points"], "<f4").reshape(-1, 2), unpacked(data["caption"], "<i4")
    codes = unpacked(data["codes"], "<i4")
    assert sorted(data["ids"]) == sorted(rows)
    for at, name in enumerate(data["ids"]):
        assert points[at].tolist() == [rows[name].x, rows[name].y]
        assert data["captions"][caption[at]] == prefixes[name][:400]
        assert data["names"][codes[at]] == rows[name].kind
        with (
            Image.open(io.BytesIO(base64.b64decode(pictures[at]))) as shown,
            Image.open(io.BytesIO(store.thumbnail(name) or b"")) as stored,
        ):
            assert (shown.format, shown.size) == ("WEBP", stored.size)
            assert np.abs(np.asarray(shown.convert("RGB"), int) - np.asarray(stored, int)).mean() < 20
    assert (data["kind"], data["column"], data["names"]) == ("classes", "kind", ["bird", "cat", "dog"])
    assert page.texts("title") == ["store: map of 24 images"]
    assert "24 images, placed by principal components" in page.text
    assert f"show {100 * (found.share or 0):.1f} % of the variance" in page.text
    assert "By kind: bird 8, cat 8, dog 8." in page.text
    assert "The picture weighs 0.5, the caption 0.5." in page.text
    assert "Each image has its picture here." in page.text
    assert page.all("canvas")[0].given["aria-label"] == "Map of 24 images of store, coloured by kind"


def test_texts_are_texts_whatever_is_in_them(tmp_path: Path, store: fpve.Store) -> None:
    """Captions, names and classes that want to be more come back as they were, and none ends the script it is in."""
    nasty = ("</script><img src=x onerror=alert(1)>", "<!--<script>", "\u2028", *NASTY)
    table = pa.table({"image_id": nasty, "x": pa.array(range(8), pa.float32()), "y": pa.array(range(8), pa.float32())})
    found = Map(table.append_column("<b>", pa.array(nasty)), method="umap", image_weight=1, share=None, color="<b>")
    page, data, pictures = written(tmp_path, found, store)
    assert sorted(data["ids"]) == sorted(nasty)
    # A separator of lines is no letter, and so no class.
    assert sorted(data["names"]) == sorted(one for one in nasty if one != "\u2028")
    assert data["column"] == "<b>"
    assert pictures == []
    assert "There are no pictures in this file." in page.text
    assert "placed by UMAP" in page.text
    assert not page.all("img")
    assert nasty[0] in page.texts("p", "hush")[0]
    captions = set(written(tmp_path, store.map(), store)[1]["captions"])
    assert set(NASTY[:3]) < captions


def test_pictures_are_as_many_as_fit(tmp_path: Path, store: fpve.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """They take no more than the bound, begin with those that are spread over the map, and the page says how many."""
    monkeypatch.setattr(pages, "_MOST_BYTES", 6_000)
    page, data, pictures = written(tmp_path, store.map(), store)
    assert 3 < len(pictures) < 24
    assert sum(len(one) + 1 for one in pictures) <= 6_000
    assert len(data["ids"]) == 24
    assert f"{len(pictures)} images have their pictures in this file, spread over the map" in page.text
    monkeypatch.setattr(pages, "_MOST_BYTES", 1)
    assert written(tmp_path, store.map(), store)[2] == []


def test_all_pictures_are_smaller_before_some_are_left_out(
    tmp_path: Path, store: fpve.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of sides at which all fit the largest is taken."""
    monkeypatch.setattr(pages, "_SIDES", (40, 12))
    whole = sum(map(len, written(tmp_path, store.map(), store)[2]))
    monkeypatch.setattr(pages, "_MOST_BYTES", whole // 2)
    _, _, pictures = written(tmp_path, store.map(), store)
    with Image.open(io.BytesIO(base64.b64decode(pictures[0]))) as shown:
        assert max(shown.size) == 12
    assert all(pictures)
    assert len(pictures) == 24


def test_a_store_of_nothing_has_a_page(tmp_path: Path, store: fpve.Store) -> None:
    """Without images there is a page that says so; with one there is a point."""
    page, data, pictures = written(tmp_path, store.map(where="kind = 'none'"), store)
    assert (data["ids"], data["points"], pictures) == ([], "", [])
    assert "There are no images to show." in page.text
    page, data, _ = written(tmp_path, store.map(where="image_id = 'pets/07.png'"), store)
    assert data["ids"] == ["pets/07.png"]
    assert "1 image, placed by" in page.text


def test_collections_have_colours_where_there_are_several(tmp_path: Path, shop: Path, store: fpve.Store) -> None:
    """Without a column points are coloured by collection; of a single one they are all alike."""
    assert written(tmp_path, store.map(), store)[1]["names"] == ["images"]
    fpve.run(make_job(tmp_path / "store", shop / "pictures"))
    fpve.encode(tmp_path / "store", shop / "pictures", collection="more")
    with fpve.open(tmp_path / "store") as both:
        _, data, _ = written(tmp_path, both.map(), both)
    assert (data["column"], data["names"]) == ("collection", ["more", "pets"])


def test_any_beginning_of_the_order_is_spread() -> None:
    """The first points are in different quarters, then sixteenths; each point is there once."""
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(size=(900, 2)) * 0.01, rng.random((100, 2)) * 8 - 4]).astype(np.float32)
    order = spread(points)
    np.testing.assert_array_equal(np.sort(order), np.arange(1000))
    low, width = points.min(axis=0), np.ptp(points, axis=0).max()
    for side in (2, 4, 8):
        cells = np.minimum((points - low) / width * side, side - 1).astype(int) @ [side, 1]
        count = len(np.unique(cells))
        assert len(np.unique(cells[order[:count]])) == count
    np.testing.assert_array_equal(spread(points), order)
    assert sorted(spread(np.zeros((5, 2), np.float32))) == [0, 1, 2, 3, 4]
    assert spread(np.zeros((0, 2), np.float32)).tolist() == []


def test_classes_are_in_the_order_of_their_sizes() -> None:
    """Largest first, then by name; null and blank are none, and a list is a class of its own."""
    texts = colouring_of(pa.chunked_array([["b", None, "a"], ["c", "c", " "]]))
    assert (texts.kind, texts.names) == ("classes", ("c", "a", "b"))
    assert texts.codes.tolist() == [2, -1, 1, 0, 0, -1]
    assert texts.counts() == (("c", 2), ("a", 1), ("b", 1))
    assert colouring_of(pa.array([True, None, False, False])).names == ("false", "true")
    assert colouring_of(pa.array([["x", "y"], ["x"], None, ["x"], []])).names == ("x", "x, y")
    assert colouring_of(pa.array([], pa.string())).names == ()


def test_numbers_are_numbers() -> None:
    """A few integers are classes, many are not; times are seconds, and what is no finite number has no colour."""
    few, many = colouring_of(pa.array([3, 1, 3])), colouring_of(pa.array([*range(20), None]))
    assert (few.kind, few.names) == ("classes", ("3", "1"))
    assert (many.kind, many.values[19]) == ("integers", 19.0)
    assert np.isnan(many.values[20])
    floats = colouring_of(pa.array([0.5, None, float("inf")]))
    assert (floats.kind, floats.values[0], np.isnan(floats.values[1:]).all()) == ("numbers", 0.5, True)
    days = colouring_of(pa.array([date(1970, 1, 2), None, date(1969, 12, 31)]))
    assert (days.kind, days.values[0], days.values[2]) == ("times", 86_400.0, -86_400.0)


@pytest.mark.parametrize(("colours", "paper", "contrast"), [(LIGHT, "#f6f7f9", 1.7), (DARK, "#14181d", 3.1)])
def test_classes_are_told_apart_by_those_who_see_fewer_colours(
    colours: tuple[str, ...], paper: str, contrast: float
) -> None:
    """Any two colours differ by 13 or more to anybody, and by 21 to most; all stand out from the paper."""
    linear = np.array([_linear(one) for one in (*colours, paper)])
    for sight, matrix in SIGHTS.items():
        seen = np.clip(linear[:-1] @ np.array(matrix).T, 0, 1)
        lab = rgb2lab(np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)[None])[0]
        least = min(deltaE_ciede2000(one, other) for one, other in combinations(lab, 2))
        assert least > (21 if sight == "all" else 13), sight
    light = linear @ [0.2126, 0.7152, 0.0722] + 0.05
    assert np.maximum(light[:-1] / light[-1], light[-1] / light[:-1]).min() > contrast


def _linear(colour: str) -> list[float]:
    """Linear red, green and blue of a colour such as #f6f7f9."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    return [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
