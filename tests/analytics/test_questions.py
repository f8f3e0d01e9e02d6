"""Twenty questions about a store, answered by SQL and by pandas on the same rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import fpve
from fpve.config import Job
from fpve.store.snapshot import Snapshot


class Rows(NamedTuple):
    """What pandas asks: the images, the fused vectors (n, dim) of each, and rows that were saved."""

    images: pd.DataFrame
    vectors: np.ndarray
    hits: pd.DataFrame
    copies: pd.DataFrame
    dim: int


@pytest.fixture(scope="module")
def rows(rich: fpve.Store, rich_job: Job) -> Rows:
    """The rows of the store, read without SQL, with hits and copies that are saved in it."""
    images = rich.images.to_pandas()
    snapshot = Snapshot.open(rich_job.store)
    parts = {one.name: snapshot.segment_rows(one).vectors for one in snapshot.manifest.segments}
    vectors = np.stack([parts[name][row] for name, row in zip(images["segment"], images["row"], strict=True)])
    hits = rich.search(text="dog number 4", k=50)
    rich.save("dogs", hits)
    # What a curation would say: pictures that are there twice, as clusters.
    groups = images.groupby("content_hash")["image_id"]
    twice = images[groups.transform("count") > 1].sort_values("image_id")
    copies = pd.DataFrame(
        {
            "cluster": twice.groupby("content_hash").ngroup().to_numpy(),
            "image_id": twice["image_id"].to_numpy(),
            "action": np.where(twice.duplicated("content_hash"), "remove", "keep"),
        }
    )
    rich.save("copies", pa.Table.from_pandas(copies, preserve_index=False))
    return Rows(images, vectors, hits.to_pandas(), copies, snapshot.fusion.image_dim)


def _cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Cosines of rows with one row; NaN where a side is zero."""
    with np.errstate(invalid="ignore"):
        return (left @ right) / (np.linalg.norm(left, axis=1) * np.linalg.norm(right))


def counts_by_kind(rows: Rows) -> pd.DataFrame:
    """How many images has each kind, and how many of them a caption?"""
    return rows.images.groupby("kind").agg(n=("image_id", "count"), captions=("caption", "count")).reset_index()


def mean_price(rows: Rows) -> pd.DataFrame:
    """What do images of each kind cost on average, on sale and not, and how many are in stock?"""
    found = rows.images.groupby(["kind", "sale"]).agg(price=("price", "mean"), stock=("stock", "sum"))
    return found.reset_index()


def without_price(rows: Rows) -> pd.DataFrame:
    """How many images have no price, and how many cost less than 20?"""
    frame = rows.images
    return pd.DataFrame({"missing": [frame["price"].isna().sum()], "cheap": [(frame["price"] < 20).sum()]})


def percentiles(rows: Rows) -> pd.DataFrame:
    """What are the median and the ninetieth percentile of prices, by kind?"""
    found = rows.images.groupby("kind")["price"].quantile([0.5, 0.9]).unstack()
    return pd.DataFrame({"kind": found.index, "median": found[0.5].to_numpy(), "p90": found[0.9].to_numpy()})


def shares(rows: Rows) -> pd.DataFrame:
    """What share of the images is of each kind?"""
    found = rows.images["kind"].value_counts(normalize=True).sort_index()
    return pd.DataFrame({"kind": found.index, "share": found.to_numpy()})


def dearest_three(rows: Rows) -> pd.DataFrame:
    """Which are the three dearest images of each kind?"""
    frame = rows.images.dropna(subset="price").sort_values(["kind", "price"], ascending=[True, False])
    frame["place"] = frame.groupby("kind").cumcount() + 1
    return frame[frame["place"] <= 3][["kind", "place", "image_id", "price"]]


def running_stock(rows: Rows) -> pd.DataFrame:
    """How many are in stock up to each image, in the order of their ids?"""
    frame = rows.images.sort_values("image_id")
    return pd.DataFrame({"image_id": frame["image_id"], "total": frame["stock"].cumsum()})


def change_by_day(rows: Rows) -> pd.DataFrame:
    """How does the stock change from one day of a kind to its next?"""
    frame = rows.images.dropna(subset="taken").sort_values(["kind", "taken"])
    frame["change"] = frame.groupby("kind")["stock"].diff()
    return frame[["image_id", "change"]].sort_values("image_id")


def tags(rows: Rows) -> pd.DataFrame:
    """How often is each tag given?"""
    found = rows.images["tags"].explode().dropna().value_counts().sort_index()
    return pd.DataFrame({"tag": found.index, "n": found.to_numpy()})


def tag_counts(rows: Rows) -> pd.DataFrame:
    """How many images have no list of tags, how many an empty one, and how long are lists on average?"""
    lengths = rows.images["tags"].map(lambda one: None if one is None else float(len(one)))
    return pd.DataFrame({"none": [lengths.isna().sum()], "empty": [(lengths == 0).sum()], "mean": [lengths.mean()]})


def mark_sums(rows: Rows) -> pd.DataFrame:
    """What do the marks of each image add up to?"""
    return pd.DataFrame({"image_id": rows.images["image_id"], "total": rows.images["marks"].map(sum)})


def months(rows: Rows) -> pd.DataFrame:
    """How many images were taken in each month?"""
    taken = pd.to_datetime(rows.images["taken"].dropna())
    found = taken.dt.strftime("%Y-%m").value_counts().sort_index()
    return pd.DataFrame({"month": found.index, "n": found.to_numpy()})


def sold_in_the_morning(rows: Rows) -> pd.DataFrame:
    """Which images were sold before noon (UTC), since February 2024?"""
    sold = rows.images["sold_at"]
    morning = rows.images[(sold.dt.hour < 12) & (sold >= pd.Timestamp("2024-02-01", tz="UTC"))]
    return morning[["image_id"]].sort_values("image_id")


def coalesced(rows: Rows) -> pd.DataFrame:
    """Which prefixes do more than eight images share, those without one included?"""
    text = rows.images["prefix"].fillna("(none)")
    found = text.groupby(text).size()
    found = found[found > 8].sort_index()
    return pd.DataFrame({"text": found.index, "n": found.to_numpy()})


def saved_hits(rows: Rows) -> pd.DataFrame:
    """Of which kinds are the hits of a search that was saved, and how good is the best of each?"""
    joined = rows.hits[["image_id", "score"]].merge(rows.images, on="image_id")
    return joined.groupby("kind").agg(n=("score", "size"), best=("score", "max")).reset_index()


def hits_not_found(rows: Rows) -> pd.DataFrame:
    """Which dogs did that search not find?"""
    dogs = rows.images[rows.images["kind"] == "dog"]
    return dogs[~dogs["image_id"].isin(rows.hits["image_id"])][["image_id"]].sort_values("image_id")


def copies_to_remove(rows: Rows) -> pd.DataFrame:
    """How many copies are to be removed, and how much room do they take?"""
    removed = rows.copies[rows.copies["action"] == "remove"].merge(rows.images, on="image_id")
    return pd.DataFrame({"n": [len(removed)], "megabytes": [removed["bytes"].sum() / 1e6]})


def leaks(rows: Rows) -> pd.DataFrame:
    """Which clusters of copies have images on both sides of a division?"""
    joined = rows.copies.merge(rows.images, on="image_id")
    joined["test"] = joined["stock"] % 2 == 0
    sides = joined.groupby("cluster")["test"].nunique()
    return pd.DataFrame({"cluster": sides[sides > 1].index})


def nearest_to_one(rows: Rows) -> pd.DataFrame:
    """Which ten images are nearest to one, by the cosine of whole vectors?"""
    at = int(np.flatnonzero(rows.images["image_id"] == "pets/1/001.png")[0])
    frame = pd.DataFrame({"image_id": rows.images["image_id"], "cosine": _cosines(rows.vectors, rows.vectors[at])})
    return frame.drop(index=at).sort_values(["cosine", "image_id"], ascending=[False, True]).head(10)


def nearest_by_halves(rows: Rows) -> pd.DataFrame:
    """How near are all images to one by their pictures, and by their prefixes?"""
    at = int(np.flatnonzero(rows.images["image_id"] == "pets/1/001.png")[0])
    halves = (slice(None, rows.dim), slice(rows.dim, None))
    image, prefix = (_cosines(rows.vectors[:, half], rows.vectors[at, half]) for half in halves)
    return pd.DataFrame({"image_id": rows.images["image_id"], "image": image, "prefix": prefix})


QUESTIONS: list[tuple[Callable[[Rows], pd.DataFrame], str]] = [
    (counts_by_kind, "SELECT kind, count(*) AS n, count(caption) AS captions FROM images GROUP BY kind ORDER BY kind"),
    (
        mean_price,
        "SELECT kind, sale, avg(price) AS price, sum(stock) AS stock FROM images GROUP BY ALL ORDER BY kind, sale",
    ),
    (
        without_price,
        "SELECT count(*) FILTER (price IS NULL) AS missing, count(*) FILTER (price < 20) AS cheap FROM images",
    ),
    (
        percentiles,
        "SELECT kind, median(price) AS median, quantile_cont(price, 0.9) AS p90 FROM images "
        "GROUP BY kind ORDER BY kind",
    ),
    (
        shares,
        "SELECT kind, count(*) / sum(count(*)) OVER () AS share FROM images GROUP BY kind ORDER BY kind",
    ),
    (
        dearest_three,
        "SELECT kind, row_number() OVER (PARTITION BY kind ORDER BY price DESC) AS place, image_id, price FROM images "
        "WHERE price IS NOT NULL QUALIFY place <= 3 ORDER BY kind, place",
    ),
    (running_stock, "SELECT image_id, sum(stock) OVER (ORDER BY image_id) AS total FROM images ORDER BY image_id"),
    (
        change_by_day,
        "SELECT image_id, stock - lag(stock) OVER (PARTITION BY kind ORDER BY taken) AS change FROM images "
        "WHERE taken IS NOT NULL ORDER BY image_id",
    ),
    (tags, "SELECT tag, count(*) AS n FROM (SELECT unnest(tags) AS tag FROM images) GROUP BY tag ORDER BY tag"),
    (
        tag_counts,
        "SELECT count(*) FILTER (tags IS NULL) AS none, count(*) FILTER (len(tags) = 0) AS empty, "
        "avg(len(tags)) AS mean FROM images",
    ),
    (mark_sums, "SELECT image_id, list_sum(marks) AS total FROM images ORDER BY image_id"),
    (
        months,
        "SELECT strftime(taken, '%Y-%m') AS month, count(*) AS n FROM images WHERE taken IS NOT NULL "
        "GROUP BY month ORDER BY month",
    ),
    (
        sold_in_the_morning,
        "SELECT image_id FROM images WHERE hour(sold_at) < 12 AND sold_at >= TIMESTAMPTZ '2024-02-01' "
        "ORDER BY image_id",
    ),
    (
        coalesced,
        "SELECT coalesce(prefix, '(none)') AS text, count(*) AS n FROM images GROUP BY text HAVING n > 8 ORDER BY text",
    ),
    (
        saved_hits,
        "SELECT i.kind, count(*) AS n, max(h.score) AS best FROM saved.dogs h JOIN images i USING (image_id) "
        "GROUP BY i.kind ORDER BY i.kind",
    ),
    (
        hits_not_found,
        "SELECT image_id FROM images ANTI JOIN hits('dogs') USING (image_id) WHERE kind = 'dog' ORDER BY image_id",
    ),
    (
        copies_to_remove,
        "SELECT count(*) AS n, sum(bytes) / 1e6 AS megabytes FROM saved.copies JOIN images USING (image_id) "
        "WHERE action = 'remove'",
    ),
    (
        leaks,
        "SELECT cluster FROM saved.copies JOIN images USING (image_id) GROUP BY cluster "
        "HAVING count(DISTINCT stock % 2) > 1 ORDER BY cluster",
    ),
    (
        nearest_to_one,
        "SELECT b.image_id, cosine(a.vector, b.vector) AS cosine FROM vectors a, vectors b "
        "WHERE a.image_id = 'pets/1/001.png' AND b.image_id != a.image_id ORDER BY cosine DESC, b.image_id LIMIT 10",
    ),
    (
        nearest_by_halves,
        "SELECT b.image_id, image_cosine(a.vector, b.vector) AS image, prefix_cosine(a.vector, b.vector) AS prefix "
        "FROM vectors a, vectors b WHERE a.image_id = 'pets/1/001.png' ORDER BY b.image_id",
    ),
]


@pytest.mark.parametrize(("by_pandas", "query"), QUESTIONS, ids=[one.__name__ for one, _ in QUESTIONS])
def test_sql_answers_as_pandas_does(
    rich: fpve.Store, rows: Rows, by_pandas: Callable[[Rows], pd.DataFrame], query: str
) -> None:
    """Both give the same rows in the same order, nulls included, and numbers to six digits."""
    expected = by_pandas(rows).reset_index(drop=True)
    assert len(expected) > 0
    found = rich.sql(query).to_pandas()
    # int32 and int64, float32 and float64 are the same numbers.
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-6, atol=1e-6)
