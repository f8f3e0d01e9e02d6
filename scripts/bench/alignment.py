"""How well texts find pictures that nobody captioned: the alignment, its parts alone, and plain ridge regression.

    .venv/bin/python scripts/bench/alignment.py STORE [--splits 5] [--rows 4096]

STORE is any store with captions. Its captioned images are split by halves, several times. From one half each way of
predicting is learnt, settings and all; then it predicts a prefix block for every image of the other half, and texts are
compared with these predictions by the cosine: of centred vectors where the store is centred. Images with the same
content, the same prefix, or pictures of cosine .97 or more are on the same side, directly and by way of others; so no
held-out picture or prefix was seen. Of more images than `--rows`, so many take part: all pairs are compared.

What a hit at k is, in the two tables:

    by prefix   a distinct held-out prefix looks for images; a hit if an image that has it is among its first k.
                Prefixes are distinct where their embeddings are: captions that differ in case only are one. It is what
                `fpve align` reports.
    by image    every held-out image is looked for by its own prefix; a hit if this very image is among the first k, so
                that of three images with one prefix no more than one can be the first.

Of equal scores, that of the image in question comes last. Shares of hits, means over the splits ± their standard
deviation. Below, recall@10 of each way less that of plain ridge with its best penalty, in points and as a ratio, split
by split. That penalty is the best of eight for each held-out half itself: no other way is given that advantage. The
time is that of `fit_alignment`, which measures on a part of what it is given before it learns from all.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc

from fpve.alignment import RECALL_AT, Question, fit_alignment, plain_ridge
from fpve.alignment.fit import choose_penalty
from fpve.alignment.model import Rows
from fpve.alignment.recall import distinct
from fpve.errors import FpveError
from fpve.search import Searcher
from fpve.splits import components, half, near_duplicates, spread
from fpve.store.snapshot import Snapshot

PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
RIVAL = "plain ridge, best penalty"
CHANCE = "random ranks"
K = 10


class Captioned(NamedTuple):
    """Captioned rows, and by what their prefixes are centred before they are compared, or None."""

    rows: Rows
    centre: np.ndarray | None


class Recalls(NamedTuple):
    """Shares of hits (3,) at 1, 5 and 10, by prefix and by image."""

    prefix: np.ndarray
    image: np.ndarray


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--rows", type=int, default=4096)
    options = parser.parse_args()
    captioned = read(options.store, options.rows)
    rows = captioned.rows
    print(
        f"{len(rows.groups):,} captioned images, {len(distinct(rows.prefix)[0]):,} distinct prefixes, "
        f"{len(np.unique(rows.groups)):,} groups, {'' if captioned.centre is None else 'centred, '}"
        f"{options.splits} splits by halves",
        flush=True,
    )
    found: dict[str, list[Recalls]] = {}
    seconds = []
    for seed in range(options.splits):
        for name, recalls, took in split(captioned, seed):
            found.setdefault(name, []).append(recalls)
            seconds += [took] if took else []
    for place, what in enumerate(("by prefix", "by image")):
        print(f"\n{what:34}" + "".join(f"{f'recall@{k}':>17}" for k in RECALL_AT))
        for name, every in found.items():
            values = np.array([one[place] for one in every])
            figures = zip(values.mean(axis=0), values.std(axis=0), strict=True)
            print(f"{name:34}" + "".join(f"{mean:>10.3f} ± {deviation:.3f}" for mean, deviation in figures))
    print(f"\n{f'recall@{K}, beside {RIVAL}':44}{'by prefix':>24}{'by image':>28}")
    for name in found:
        if name not in (RIVAL, CHANCE):
            print(f"{name:44}" + "".join(f"{beside(found, name, place):>28}" for place in (0, 1)))
    print(f"\nfitting the alignment took {np.mean(seconds):.1f} s (at most {max(seconds):.1f} s) for half of the rows")


def read(store: Path, limit: int) -> Captioned:
    """The captioned images of a store, and what must stay together of them."""
    snapshot = Snapshot.open(store)
    searcher = Searcher(snapshot, fusion=snapshot.fusion, predicted=False)
    places = np.flatnonzero(snapshot.images["prefix_id"].is_valid().to_numpy())
    content, prefix = (
        pc.dictionary_encode(snapshot.images[name].take(places).combine_chunks()).indices.to_numpy().astype(np.int64)
        for name in ("content_hash", "prefix_id")
    )
    blocks = searcher.blocks_of(places)
    everything = Rows(blocks.image, blocks.prefix, components([content, prefix]))
    rows = everything.taken(spread(everything.groups, limit, np.random.default_rng(0)))
    rows = rows._replace(groups=components([rows.groups], near_duplicates(rows.image)))
    return Captioned(rows, None if snapshot.centre is None else snapshot.centre.prefix)


def split(captioned: Captioned, seed: int) -> Iterator[tuple[str, Recalls, float]]:
    """Each way by its name, with its recalls on one held-out half, and the seconds of the fit that is timed."""
    rows, centre = captioned
    held = half(rows.groups, np.random.default_rng(seed))
    learnt, other = rows.taken(np.flatnonzero(~held)), rows.taken(np.flatnonzero(held))
    question = Question.of(other.prefix, centre)

    def recalls(predicted: np.ndarray) -> Recalls:
        return Recalls(np.array([*question.recall(predicted).values()]), by_image(other.prefix, predicted, centre))

    yield CHANCE, Recalls(np.array([*question.chance().values()]), np.minimum(np.array(RECALL_AT) / held.sum(), 1)), 0.0
    penalty = choose_penalty(learnt, centre, np.random.default_rng(seed))
    yield "plain ridge, cross-validated", recalls(plain_ridge(learnt.image, learnt.prefix, penalty)(other.image)), 0.0
    ridges = [recalls(plain_ridge(learnt.image, learnt.prefix, one)(other.image)) for one in PENALTIES]
    # By either way of counting on its own, and at each k.
    yield RIVAL, Recalls(*(np.max(every, axis=0) for every in zip(*ridges, strict=True))), 0.0
    start = time.perf_counter()
    alignment = fit_alignment(learnt.image, learnt.prefix, learnt.groups, seed=seed, centre=centre).alignment
    took = time.perf_counter() - start
    for name, share in (("kernel ridge alone", 0.0), ("neighbours' average alone", 1.0)):
        # The settings of either were chosen for it alone, with the whole mean.
        alone = replace(alignment.settings, neighbour_share=share, mean_share=1.0)
        yield name, recalls(replace(alignment, settings=alone).predict(other.image)), 0.0
    yield "alignment", recalls(alignment.predict(other.image)), took


def by_image(prefix: np.ndarray, predicted: np.ndarray, centre: np.ndarray | None) -> np.ndarray:
    """Share of images (3,) that are among the first 1, 5 and 10 of their own prefix."""
    texts, images = (prefix, predicted) if centre is None else (unit(prefix - centre), unit(predicted - centre))
    scores = texts @ images.T
    places = (scores >= np.diag(scores)[:, None]).sum(axis=1) - 1
    return np.array([np.mean(places < k) for k in RECALL_AT])


def beside(found: dict[str, list[Recalls]], name: str, place: int) -> str:
    """The difference and the ratio to the rival's recall at K, each with its standard deviation over splits."""
    at = RECALL_AT.index(K)
    mine, theirs = (np.array([one[place][at] for one in found[who]]) for who in (name, RIVAL))
    points, ratio = 100 * (mine - theirs), mine / theirs
    return f"{points.mean():+.1f} ± {points.std():.1f}, x {ratio.mean():.2f} ± {ratio.std():.2f}"


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


if __name__ == "__main__":
    try:
        main()
    except FpveError as error:
        sys.exit(f"bench: {error}")
