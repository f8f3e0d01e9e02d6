"""Readers in processes and threads of their own, who check every answer while a writer publishes, prunes and compacts.

Each publication gives every image another `generation`, and another number of images: an answer that mixes two
snapshots shows two generations, or a number that is not its generation's.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from samples import KINDS, draw

import fpve
from fpve import images

_ALWAYS = 20
_SOMETIMES = 4
_THREADS = 2


def count_of(generation: int) -> int:
    """How many images a generation has."""
    return _ALWAYS + generation % (_SOMETIMES + 1)


@dataclass
class Source:
    """A folder whose pictures and metadata are of one generation at a time."""

    root: Path
    thumbnails: dict[str, bytes] = field(default_factory=dict)

    @property
    def pictures(self) -> Path:
        """The folder."""
        return self.root / "pictures"

    @property
    def metadata(self) -> Path:
        """The metadata file."""
        return self.root / "metadata.csv"

    def become(self, generation: int) -> None:
        """Write what belongs to a generation."""
        lines = ["path,caption,generation"]
        for number in range(_ALWAYS + _SOMETIMES):
            # Those that come and go are sorted before the others, whose row numbers so change with each generation.
            name = f"b/{number:02d}.png" if number < _ALWAYS else f"a/{number:02d}.png"
            path = self.pictures / name
            if number >= count_of(generation):
                path.unlink(missing_ok=True)
                continue
            if not path.exists():
                draw(path, number)
            if number < _ALWAYS:
                self.thumbnails[f"pets/{name}"] = images.thumbnail(images.decode(path.read_bytes()).image)
            # So that some vectors are new each time, and others come back.
            caption = f"{KINDS[number % 3]} {(number + generation) % 7}"
            lines.append(f"{name},{caption},{generation}")
        self.metadata.write_text("\n".join(lines) + "\n", encoding="utf-8")


@dataclass
class Findings:
    """What a reader saw: how many answers of each kind, which generations, and what was wrong with them."""

    answers: Counter[str] = field(default_factory=Counter)
    generations: set[int] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)


def read_until(stop: Event, ready: Event, store: Path, thumbnails: dict[str, bytes], seed: int, pipe: Any) -> None:
    """Ask a store from several threads until told to stop, then send the findings; runs in a process of its own."""
    findings = Findings()
    reader = fpve.open(store)
    threads = [
        threading.Thread(target=_ask, args=(stop, reader, store, thumbnails, random.Random(seed + number), findings))
        for number in range(_THREADS)
    ]
    for thread in threads:
        thread.start()
    ready.set()
    for thread in threads:
        thread.join()
    pipe.send(findings)


def _ask(
    stop: Event, reader: fpve.Store, store: Path, thumbnails: dict[str, bytes], rng: random.Random, found: Findings
) -> None:
    questions = [_by_id, _by_vector, _by_sql, _by_sql_of_vectors, _thumbnails, _all_rows, _opened_anew]
    while not stop.is_set() and not found.problems:
        question = rng.choice(questions)
        try:
            if rng.random() < 0.5:
                reader.refresh()
            seen, count = question(reader, store, thumbnails, rng)
        except Exception as error:  # noqa: BLE001 (whatever it is, a reader should not have got it)
            found.problems.append(f"{question.__name__}: {type(error).__name__}: {error}")
            return
        found.answers[question.__name__.strip("_")] += 1
        found.generations |= seen
        if len(seen) > 1:
            found.problems.append(f"{question.__name__}: generations {sorted(seen)} in one answer")
        elif seen and count != count_of(*seen):
            found.problems.append(f"{question.__name__}: {count} images in generation {seen}")


# Each question gives the generations that its answer shows, and how many images it tells of.
Answer = tuple[set[int], int]


def _by_id(reader: fpve.Store, store: Path, thumbnails: dict[str, bytes], rng: random.Random) -> Answer:
    hits = reader.search(id=rng.choice(sorted(thumbnails)), k=1000).to_arrow()
    # The image itself is not among its hits.
    return set(hits["generation"].to_pylist()), len(hits) + 1


def _by_vector(reader: fpve.Store, store: Path, thumbnails: dict[str, bytes], rng: random.Random) -> Answer:
    hits = reader.search(vector=[rng.gauss(0, 1) for _ in range(24)], k=1000).to_arrow()
    return set(hits["generation"].to_pylist()), len(hits)


def _by_sql(reader: fpve.Store, store: Path, thumbnails: dict[str, bytes], rng: random.Random) -> Answer:
    rows = reader.sql("SELECT generation, count(*) AS n FROM images GROUP BY generation")
    return set(rows["generation"].to_pylist()), sum(rows["n"].to_pylist())


def _by_sql_of_vectors(reader: fpve.Store, store: Path, thumbnails: dict[str, bytes], rng: random.Random) -> Answer:
    rows = reader.sql(
        "SELECT generation, count(*) AS n FROM images JOIN vectors USING (image_id) WHERE len(vector) = 40 GROUP BY ALL"
    )
    return set(rows["generation"].to_pylist()), sum(rows["n"].to_pylist())


def _thumbnails(reader: fpve.Store, store: Path, thumbnails: dict[str, bytes], rng: random.Random) -> Answer:
    wanted = rng.sample(sorted(thumbnails), 5)
    if reader.thumbnails(wanted) != {name: thumbnails[name] for name in wanted}:
        raise AssertionError("a thumbnail of another picture, or none")
    return set(), 0


def _all_rows(reader: fpve.Store, store: Path, thumbnails: dict[str, bytes], rng: random.Random) -> Answer:
    rows = reader.images
    return set(rows["generation"].to_pylist()), len(rows)


def _opened_anew(reader: fpve.Store, store: Path, thumbnails: dict[str, bytes], rng: random.Random) -> Answer:
    return _by_sql(fpve.open(store), store, thumbnails, rng)
