"""Single flipped bits in any file of a store: each is found, and repaired, or what is lost is named."""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from maintenance.derived import add_rows, answer, correction, guesses, predict
from torture.contents import State, named_files, read_state
from torture.kills import flip, wrong
from torture.world import World, use_small_files

import fpve
from fpve.config import FusionConfig, Job
from fpve.maintenance.repair import Repair
from fpve.store import manifest as manifests
from fpve.store.snapshot import Snapshot

# So that small files are hit too: manifests and checksums are a hundredth of the bits.
_SHARE_BY_FILE = 0.3
# Tables of which the loss of a row must be named, with what names a row.
_KEPT = {"prefixes": "prefix_id", "generated": "generation_id", "corrected": "image_id"}
# Whether the newest snapshot became what it was, or lost something that was named; and how often older ones were given
# up, which was named too.
_HEADINGS = ("flips", "found", "equal", "lost and named", "older given up")


class FlipsWorld(World):
    """A world whose store is centred, but for its first snapshot."""

    centre = False

    def job(self, store: Path | None = None) -> Job:
        """The job of both collections."""
        return replace(super().job(store), fusion=FusionConfig(centre=self.centre))


@dataclass
class Flips:
    """Bits flipped in copies of one store, one at a time.

    Attributes:
        root: where everything lies.
        counts: by kind of file and by what became of the flip, as in the table's headings.
        problems: what was wrong; empty if nothing was.
    """

    root: Path
    seed: int
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    world: FlipsWorld = field(init=False)
    rng: random.Random = field(init=False)
    before: dict[int, State] = field(init=False)
    kept: dict[str, set[str]] = field(init=False)

    def __post_init__(self) -> None:
        use_small_files()
        self.rng = random.Random(self.seed)
        # The same store each time: what is random is the bit.
        self.world = make_master(self.root)
        self.before = {number: read_state(self.world.store, number) for number in manifests.numbers(self.world.store)}
        self.kept = kept_rows(self.world.store)
        sizes = {name: (self.world.store / name).stat().st_size for name in sorted(named_files(self.world.store))}
        self._names, self._bits = list(sizes), [size * 8 for size in sizes.values()]

    def run(self, flips: int) -> None:
        """Flip so many bits, the first of them in each kind of file."""
        kinds = {kind_of(name): name for name in self.rng.sample(self._names, len(self._names))}
        for name in sorted(kinds.values())[:flips]:
            self._flip_somewhere(name)
        for _ in range(flips - len(kinds)):
            weights = None if self.rng.random() < _SHARE_BY_FILE else self._bits
            self._flip_somewhere(self.rng.choices(self._names, weights)[0])

    def _flip_somewhere(self, name: str) -> None:
        self.flip(name, self.rng.randrange(self._bits[self._names.index(name)]))

    def flip(self, name: str, bit: int) -> None:
        """Flip one bit, and see it found and repaired."""
        store = self.root / "copy"
        copy_but(self.world.store, store, name)
        flip(store / name, bit)
        counts = self.counts.setdefault(kind_of(name), Counter())
        counts["flips"] += 1
        where = f"bit {bit} of {name}"
        # What is wrong with an index or a copy is told of it, though it be its checksum that changed.
        told = name.removesuffix(".sha256")
        found = [one for one in fpve.verify(store).problems if one.file == told]
        if not found:
            self.problems.append(f"{where}: not found by verify")
            return
        counts["found"] += 1
        done = fpve.repair(store)
        report = fpve.run(self.world.job(store))
        if report.error:
            self.problems.append(f"{where}: the run after the repair failed: {report.error}")
            return
        self.problems += [f"{where}: after the repair: {one}" for one in wrong(store)]
        counts["lost and named" if self._check_newest(where, store, done) else "equal"] += 1
        counts["older given up"] += self._check_older(where, store, done)

    def _check_older(self, where: str, store: Path, done: Repair) -> bool:
        """Compare the snapshots with what they were; whether one is gone, which then must have been named."""
        gone = False
        for number, state in self.before.items():
            if number in manifests.numbers(store):
                differences = read_state(store, number).differences(state)
                self.problems += [f"{where}: snapshot {number}: {one}" for one in differences]
            elif number != max(self.before) or not done.published:
                # The newest one may have given way to one without the damaged file.
                gone |= self._must_name(where, f"snapshot {number}:", done.lost)
        return gone

    def _check_newest(self, where: str, store: Path, done: Repair) -> bool:
        """Compare a repaired store with the original; whether something is gone, which then must have been named."""
        gone = False
        lost = done.lost
        kept = kept_rows(store)
        for name, rows in self.kept.items():
            if not rows <= kept[name]:
                gone |= self._must_name(where, f"{name}:", lost)
        before, after = (Snapshot.open(one) for one in (self.world.store, store))
        if before.manifest.fusion.centred != after.manifest.fusion.centred:
            gone |= self._must_name(where, "means:", lost)
        if not set(before.predicted_content.to_pylist()) <= set(after.predicted_content.to_pylist()):
            # They are made again by a run, or were of a snapshot that is lost.
            newest = f"snapshot {before.manifest.snapshot}:"
            named = any(one.startswith("predicted:") for one in done.taken_out)
            gone |= not named and self._must_name(where, newest, lost)
        found, expected = read_state(store), self.world.expected()
        if found.labels != expected.labels:
            gone |= self._must_name(where, "labels:", lost)
            labels, self.world.labels = self.world.labels, found.labels
            expected, self.world.labels = self.world.expected(), labels
        self.problems += [f"{where}: {one}" for one in found.differences(expected)]
        return gone

    def _must_name(self, where: str, what: str, lost: tuple[str, ...]) -> bool:
        if not any(one.startswith(what) for one in lost):
            self.problems.append(f"{where}: {what} gone, but not named: {lost}")
        return True

    def table(self) -> str:
        """What became of the flips, a line for each kind of file."""
        lines = ["".join([f"{'file':12}", *(f"{heading:>16}" for heading in _HEADINGS)])]
        total: Counter[str] = Counter()
        for kind, counts in sorted(self.counts.items()):
            lines.append("".join([f"{kind:12}", *(f"{counts[heading]:16}" for heading in _HEADINGS)]))
            total += counts
        lines.append("".join([f"{'all':12}", *(f"{total[heading]:16}" for heading in _HEADINGS)]))
        return "\n".join(lines)


def make_master(root: Path) -> FlipsWorld:
    """A world and its store: eight snapshots of two collections, with all tables, and files of any age.

    The first is not centred, the last has predictions.
    """
    world = FlipsWorld.make(root, random.Random(7))
    for moves in ((), (world.break_one, world.add, world.add, world.delete), (world.recaption, world.copy)):
        for move in moves:
            move()
        world.write_metadata()
        fpve.run(world.job())
        world.centre = True
    fpve.label(world.store, world.write_labels(Snapshot.open(world.store).images["image_id"].to_pylist()))
    world.labels = read_state(world.store).labels
    world.relabel()
    world.change()
    world.write_metadata()
    fpve.run(world.job())
    add_rows(world.store, "generated", [answer(name) for name in "abc"])
    # Of an image that may come back.
    add_rows(world.store, "corrected", [correction("pets/gone.png", "a text")])
    predict(world.store, guesses(Snapshot.open(world.store)))
    fpve.prune(world.store, keep=9, grace=timedelta(0))
    return world


def copy_but(source: Path, target: Path, name: str) -> None:
    """Copy a store by links, but for one file and for what writers write in place or lock."""
    shutil.rmtree(target, ignore_errors=True)

    def copy(file: str, to: str) -> None:
        relative = os.path.relpath(file, source)
        if relative == name or relative.startswith(("state", "snapshots", "runs", "pending")):
            shutil.copy2(file, to)
        else:
            os.link(file, to)

    shutil.copytree(source, target, copy_function=copy)


def kind_of(name: str) -> str:
    """What a file of the store is."""
    if name.startswith("tables/"):
        return name.split("/")[1]
    if name.startswith("images/"):
        return {".parquet": "page", ".arrow": "copy"}.get(Path(name).suffix, "copy.sha256")
    kinds = {"snapshots/": "manifest", ".parquet": "vectors", ".faiss": "index"}
    return next((kind for part, kind in kinds.items() if name.startswith(part) or name.endswith(part)), "checksum")


def kept_rows(store: Path) -> dict[str, set[str]]:
    """What names the rows of the newest snapshot's tables, whether images need them or not."""
    snapshot = Snapshot.open(store)
    return {name: set(snapshot.table(name, [key])[key].to_pylist()) for name, key in _KEPT.items()}
