"""Writers that are killed at random moments, and what the store says afterwards."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
from torture.children import Kill, Operation, Outcome, in_child
from torture.contents import State, Torn, damage, in_copies, in_index, labelled, named_files, read_state
from torture.world import World, copy_of, use_small_files

import fpve
from fpve.store import manifest as manifests
from fpve.store.snapshot import Snapshot

# How often each operation is the one that is killed.
_WEIGHTS = {"run": 10, "compact": 2, "prune": 2, "rollback": 2, "repair": 2, "label": 2}
# Of the kills by time the first moments, before anything is written, teach nothing.
_SHARE_BY_EVENT = 0.5


def operations() -> dict[str, float]:
    """The operations that this version of the library has, with their weights."""
    return {name: weight for name, weight in _WEIGHTS.items() if hasattr(fpve, name)}


@dataclass
class Campaign:
    """Cycles of change, killed operation and resumed run, on one store.

    Attributes:
        root: where everything lies.
        kills: how many fell where: by operation, `event` or `time`, and the function and event before which it died.
        survived: operations that were done before their time came.
        problems: what was wrong; empty if nothing was.
    """

    root: Path
    seed: int
    world: World = field(init=False)
    rng: random.Random = field(init=False)
    kills: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    survived: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    cycles: int = 0
    doubled: int = 0
    rescued: int = 0

    def __post_init__(self) -> None:
        use_small_files()
        self.rng = random.Random(self.seed)
        self.world = World.make(self.root, self.rng)

    @property
    def killed(self) -> int:
        """How many operations were killed."""
        return self.kills.total()

    def run(self, kills: int) -> None:
        """Go on until so many operations were killed, then compare with a store that was made in one go."""
        while self.killed < kills and not self.problems:
            self.cycle()
        if not self.problems:
            self.finish()

    def cycle(self) -> None:
        """Change the world, kill an operation, look, resume, and look again."""
        self.cycles += 1
        moves = self.world.mutate()
        operation = self._choose()
        spoilt = self._spoil() if operation.name == "repair" else None
        where = f"cycle {self.cycles} ({', '.join(moves)}; {operation.name}; {spoilt})"
        outcome = self._kill(operation, where, spoilt is not None)
        if operation.name != "run" and not self.problems:
            self._finish_in_peace(operation, where)
        while not self.problems and self.rng.random() < 0.25:
            outcome = self._kill(Operation("run", self.world.job()), where, False)
        if not self.problems:
            self._resume(f"{where}, killed at {outcome.last}")

    def finish(self) -> None:
        """The store equals one that a single run made, and compacted and pruned it holds nothing else."""
        store, fresh = self.world.store, self.root / "fresh"
        fpve.run(self.world.job(fresh))
        self._relabel(fresh)
        once = read_state(fresh)
        found = read_state(store)
        once.labels = found.labels
        self._note("at the end", found.differences(once))
        self.doubled = found.doubled
        fpve.compact(store)
        fpve.prune(store, keep=1, grace=timedelta(0))
        found = read_state(store)
        self._note("compacted", found.differences(once))
        self._note("compacted", [f"{found.doubled} vectors are there twice"] if found.doubled else [])
        self._note("pruned", [f"left over: {name}" for name in leftovers(store)])
        self._note("pruned", wrong(store))

    def _relabel(self, fresh: Path) -> None:
        """Give a new store the labels, but for those of images that are gone."""
        state = read_state(self.world.store)
        cells = [(one, name, value) for (one, name), value in state.labels.items() if one in state.images]
        for column in {name for _, name, _ in cells}:
            file = self.root / "relabel.csv"
            lines = [f"{one},{value}" for one, name, value in cells if name == column]
            file.write_text("\n".join([f"image_id,{column}", *lines]) + "\n", encoding="utf-8")
            fpve.label(fresh, file)

    def _choose(self) -> Operation:
        known = manifests.numbers(self.world.store)
        weights = operations() if known else {"run": 1}
        if len(known) < 2:
            weights.pop("rollback", None)
        name = self.rng.choices(list(weights), list(weights.values()))[0]
        return Operation(name, self.world.job(), self._arguments(name, known))

    def _arguments(self, name: str, known: list[int]) -> dict[str, object]:
        if name == "prune":
            return {"keep": self.rng.choice((1, 1, 3)), "grace": timedelta(0)}
        if name == "rollback":
            return {"to": self.rng.choice(known[:-1])}
        if name == "label":
            images = Snapshot.open(self.world.store).images["image_id"].to_pylist()
            # A column that nobody knows can't be taken back.
            known_column = any(column == "quality" for _, column in read_state(self.world.store).labels)
            return {"file": self.world.write_labels(images), "undo": known_column and self.rng.random() < 0.3}
        return {}

    def _spoil(self) -> str:
        """Flip a bit of a file of the newest snapshot, or delete it, so that there is something to repair."""
        manifest = manifests.load(self.world.store)
        derived = [f"vectors/{one.name}/{name}" for one in manifest.segments for name in one.derived]
        vectors = [one.file.path for one in manifest.segments]
        pages = [page.file.path for one in manifest.collections for page in one.pages]
        derived += [page.replace(".parquet", ".arrow") for page in pages]
        others = [one.file.path for one in manifest.tables]
        name = self.rng.choice(self.rng.choice([one for one in (derived, vectors, pages, others) if one]))
        path = self.world.store / name
        if self.rng.random() < 0.3:
            path.unlink()
            return f"{name} deleted"
        flip(path, self.rng.randrange(path.stat().st_size * 8))
        return f"a bit of {name} flipped"

    def _kill(self, operation: Operation, where: str, spoilt: bool) -> Outcome:
        """Let the operation live on a copy, to learn its length and its result; then kill it on the store itself."""
        world, mark = self.world, self.root / "mark"
        trial = copy_of(world, self.root / "trial")
        before = read_state(world.store) if manifests.numbers(world.store) and not spoilt else None
        if before is not None:
            # As of the snapshot that a killed operation left, be it the old one or the new one.
            world.labels = before.labels
        whole = in_child(Operation(operation.name, world.job(trial), operation.arguments), mark=mark)
        if whole.error:
            self._note(f"{where}, uninterrupted", [whole.error])
            return whole
        after = self._look(f"{where}, uninterrupted", trial)
        if after is None:
            return whole
        if operation.name == "run":
            self._note(f"{where}, uninterrupted", after.differences(world.expected()))
        elif before is not None and operation.name in ("compact", "prune"):
            self._note(f"{where}, uninterrupted", after.differences(before))
        elif before is not None and operation.name == "label":
            self._note(f"{where}, uninterrupted", after.differences(labelled(before, **operation.arguments)))
        self._note(f"{where}, uninterrupted", wrong(trial))
        if self.rng.random() < _SHARE_BY_EVENT and whole.events:
            how, kill = "event", Kill(event=self.rng.randint(1, whole.events))
        else:
            how, kill = "time", Kill(seconds=self.rng.uniform(0, whole.seconds))
        shards, number = finished_shards(world.store), manifests.numbers(world.store)
        outcome = in_child(operation, kill, mark=mark)
        where = f"{where}, killed at {outcome.last} ({outcome.events} of {whole.events})"
        if outcome.error:
            self._note(where, [outcome.error])
        if not outcome.killed:
            self.survived[operation.name] += 1
        else:
            self.kills[operation.name, how, outcome.last] += 1
        if manifests.numbers(world.store) == number and operation.name == "run":
            # The last event is the one that it did not live to see, or perhaps not.
            written = outcome.trail[:-1].count("write_shard: os.rename")
            left = len(finished_shards(world.store))
            if left < len(shards) + written:
                self._note(where, [f"{left} finished shards are left, of {len(shards)} and {written} new ones"])
        if not spoilt:
            self._note(where, wrong(world.store))
            self._check_one_or_the_other(where, before, after)
        return outcome

    def _check_one_or_the_other(self, where: str, before: State | None, after: State) -> None:
        if not manifests.numbers(self.world.store):
            self._note(where, [] if before is None else ["there is no snapshot any more"])
            return
        found = self._look(where, self.world.store)
        if found is not None and found not in (before, after):
            self._note(where, ["neither as before:", *([] if before is None else found.differences(before)[:5])])
            self._note(where, ["nor as after:", *found.differences(after)[:5]])

    def _finish_in_peace(self, operation: Operation, where: str) -> None:
        """Do again what was killed, or something else: both must be possible."""
        if operation.name != "repair" and self.rng.random() < 0.5:
            return
        outcome = in_child(operation, mark=self.root / "mark")
        where = f"{where}, again"
        self._note(where, [outcome.error] if outcome.error else wrong(self.world.store))

    def _resume(self, where: str) -> None:
        """A run that nobody kills: its result is the model's, and it encodes only what nobody had finished."""
        world = self.world
        if manifests.numbers(world.store):
            world.labels = read_state(world.store).labels
        known = published_pictures(world.store)
        finished = finished_pictures(world.store)
        needed = world.good_hashes() - known
        self.rescued += len(needed & finished)
        try:
            report = fpve.run(world.job(), allow_removals=True)
        except (fpve.FpveError, OSError) as error:
            self._note(where, [f"{type(error).__name__}: {error}"])
            return
        if report.encoded != len(needed - finished):
            expected = f"{len(needed - finished)}, as {len(needed & finished)} of {len(needed)} were finished"
            self._note(where, [f"encoded {report.encoded} pictures, expected {expected}"])
        found = self._look(where, world.store)
        self._note(where, found.differences(world.expected()) if found else [])
        self._note(where, wrong(world.store))

    def _look(self, where: str, store: Path) -> State | None:
        try:
            return read_state(store)
        except (Torn, fpve.FpveError) as error:
            self._note(where, [str(error)])
            return None

    def _note(self, where: str, problems: list[str]) -> None:
        self.problems += [f"{where}: {one}" for one in problems]

    def table(self) -> str:
        """How many kills fell where, a line for each operation and stage."""
        stages: dict[tuple[str, str], Counter[str]] = {}
        for (name, how, last), count in self.kills.items():
            stages.setdefault((name, last), Counter())[how] += count
        lines = [f"{'operation':10} {'killed before (by time: after)':48} {'by event':>8} {'by time':>8}"]
        for (name, last), counts in sorted(stages.items(), key=lambda one: (one[0][0], -one[1].total(), one[0][1])):
            lines.append(f"{name:10} {last:48} {counts['event']:8} {counts['time']:8}")
        survived = ", ".join(f"{count} {name}" for name, count in sorted(self.survived.items())) or "none"
        lines.append(f"{self.killed} kills in {self.cycles} cycles; done before they could be killed: {survived}")
        lines.append(f"{self.rescued} pictures were not encoded again, thanks to finished shards")
        lines.append(f"{self.doubled} vectors were there twice before compact")
        return "\n".join(lines)


def sweep(world: World, operation: Operation, *, events: int | None = None) -> Counter[str]:
    """Kill an operation before every one of its events, or before so many of them, each time on a copy of the store.

    Raises:
        AssertionError: a snapshot is neither as before nor as after, or the operation can't be done again.
    """
    mark, copy = world.root / "mark", world.root / "copy"
    again = Operation(operation.name, world.job(copy), operation.arguments)
    before = read_state(world.store)
    copy_of(world, copy)
    trail = in_child(again, mark=mark).trail
    after = read_state(copy)
    chosen = range(1, len(trail) + 1)
    killed: Counter[str] = Counter()
    for at in chosen if events is None else sorted(world.rng.sample(chosen, min(events, len(trail)))):
        copy_of(world, copy)
        outcome = in_child(again, Kill(event=at), mark=mark)
        where = f"{operation.name} killed before event {at} of {len(trail)}, {outcome.last}"
        assert outcome.killed, where
        killed[outcome.last] += 1
        assert not wrong(copy), where
        assert read_state(copy) in (before, after), where
        outcome = in_child(again, mark=mark)
        # What was published before the kill has nothing to go back to, or to repair.
        assert outcome.error is None, f"{where}, again: {outcome.error}"
        assert not wrong(copy), where
        assert read_state(copy) == after, where
    return killed


def wrong(store: Path) -> list[str]:
    """What is wrong with a store, by its own `verify` and by counting again; empty if nothing is."""
    if not manifests.numbers(store):
        return []
    found = damage(store)
    if not found:
        found += in_index(store) + in_copies(store)
    if hasattr(fpve, "verify"):
        found += [f"verify: {one.file}: {one.problem}" for one in fpve.verify(store).problems]
    return found


def flip(path: Path, bit: int) -> None:
    """Flip one bit of a file, in place."""
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


def published_pictures(store: Path) -> set[str]:
    """Content hashes that the newest snapshot has features and size of."""
    if not manifests.numbers(store):
        return set()
    snapshot = Snapshot.open(store)
    seen = {*snapshot.images["content_hash"].to_pylist(), *snapshot.table("thumbnails")["content_hash"].to_pylist()}
    return seen & _encoded([store / one.file.path for one in snapshot.manifest.segments])


def finished_shards(store: Path) -> list[Path]:
    """Shards that a killed run has left whole."""
    whole = []
    for receipt in store.glob("pending/[!.]*/shard.json"):
        names = json.loads(receipt.read_bytes())["sha256"]
        files = {receipt.parent / name: digest for name, digest in names.items()}
        if all(
            one.exists() and hashlib.sha256(one.read_bytes()).hexdigest() == digest for one, digest in files.items()
        ):
            whole.append(receipt.parent)
    return whole


def finished_pictures(store: Path) -> set[str]:
    """Content hashes in them."""
    return _encoded([one / "rows.parquet" for one in finished_shards(store)])


def _encoded(files: list[Path]) -> set[str]:
    tables = [pq.read_table(one, columns=["content_hash", "image_norm"]).to_pylist() for one in files]
    return {row["content_hash"] for table in tables for row in table if row["image_norm"] > 0}


def leftovers(store: Path) -> list[str]:
    """Files under `images`, `vectors`, `tables` and `snapshots` that no snapshot names."""
    folders = ("images", "vectors", "tables", "snapshots")
    found = {path for one in folders for path in (store / one).rglob("*") if path.is_file()}
    return sorted({path.relative_to(store).as_posix() for path in found} - named_files(store))


def clean(root: Path) -> None:
    """Remove what a campaign wrote."""
    shutil.rmtree(root, ignore_errors=True)
