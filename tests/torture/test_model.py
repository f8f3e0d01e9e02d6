"""Any sequence of changes and operations leaves what the model says: found by hypothesis, and shrunk where it does not.

The suite tries a few sequences, the same each time. More, and others each time:

    FPVE_SEQUENCES=500 pytest tests/torture/test_model.py
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from torture.children import Kill, Operation, in_child
from torture.contents import State, labelled, read_state
from torture.kills import wrong
from torture.world import World

import fpve
from fpve.store import manifest as manifests
from fpve.store.snapshot import Snapshot

_SEQUENCES = int(os.environ.get("FPVE_SEQUENCES", "0"))
_SEED = st.integers(0, 10**6)
_MOVES = st.sampled_from(
    ["add", "change", "rename", "copy", "swap", "delete", "relabel", "recaption", "break_one", "change_template"]
)
_SETTINGS = settings(
    max_examples=_SEQUENCES or 14,
    stateful_step_count=20,
    deadline=None,
    derandomize=not _SEQUENCES,
    database=None,
    # Shrinking a sequence takes minutes: not in the suite.
    phases=[Phase.generate, Phase.shrink] if _SEQUENCES else [Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


class StoreMachine(RuleBasedStateMachine):
    """A world and its store, in a folder in `where`; `published` is the model as it was published last."""

    where: Path | None = None

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="fpve-model-", dir=self.where))
        self.published = State()
        self.snapshots: dict[int, State] = {}

    @initialize()
    def begin(self) -> None:
        """A few pictures, and a store of them."""
        self.world = World.make(self.folder, random.Random(1), pets=14, plain=5)
        self.night([], "run")

    def teardown(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.folder)

    @rule(moves=st.lists(_MOVES, max_size=4), end=st.sampled_from(["run", "run", "killed run", "nothing"]), seed=_SEED)
    def night(self, moves: list[str], end: str, seed: int = 0) -> None:
        """Changes of the sources, and mostly a run; one that is killed has published all or nothing."""
        self.world.rng = random.Random(seed)
        for move in moves:
            getattr(self.world, move)()
        self.world.write_metadata()
        if end == "run":
            fpve.run(self.world.job(), allow_removals=True)
            self._now(self.world.expected())
        elif end == "killed run":
            kill = Kill(event=self.world.rng.randint(1, 150))
            in_child(Operation("run", self.world.job()), kill, mark=self.folder / "mark")
            # If it is neither, the invariant says so.
            if read_state(self.world.store) == self.world.expected():
                self._now(self.world.expected())

    @rule()
    def compact(self) -> None:
        """Nothing but files change."""
        fpve.compact(self.world.store)
        self._now(self.published)

    @rule(keep=st.integers(1, 3))
    def prune(self, keep: int) -> None:
        """Older snapshots go."""
        fpve.prune(self.world.store, keep=keep, grace=timedelta(0))
        assert len(manifests.numbers(self.world.store)) <= keep

    @precondition(lambda self: len(manifests.numbers(self.world.store)) > 1)
    @rule(seed=_SEED, then=st.sampled_from(["run", "run", "killed run", "nothing"]))
    def roll_back(self, seed: int, then: str) -> None:
        """The newest snapshot is an older one again, but for labels, which wait for the run that mostly follows."""
        target = random.Random(seed).choice(manifests.numbers(self.world.store)[:-1])
        fpve.rollback(self.world.store, target)
        self._now(replace(self.snapshots[target], labels=self.published.labels))
        self.the_newest_snapshot_is_what_was_published()
        self.night([], then, seed)

    @rule(seed=_SEED, undo=st.booleans())
    def label(self, seed: int, undo: bool) -> None:
        """Some cells are given values, or lose them."""
        self.world.rng = random.Random(seed)
        file = self.world.write_labels(Snapshot.open(self.world.store).images["image_id"].to_pylist())
        # A column that nobody knows can't be taken back.
        undo = undo and any(column == "quality" for _, column in self.published.labels)
        fpve.label(self.world.store, file, undo=undo)
        self._now(labelled(self.published, file, undo=undo))

    @rule()
    def verify(self) -> None:
        """Nothing is wrong."""
        assert not wrong(self.world.store)

    def _now(self, state: State) -> None:
        self.published = state
        self.world.labels = dict(state.labels)
        for number in manifests.numbers(self.world.store):
            self.snapshots.setdefault(number, state)

    @invariant()
    def the_newest_snapshot_is_what_was_published(self) -> None:
        """Row for row, vector for vector."""
        assert not read_state(self.world.store).differences(self.published)


@pytest.mark.usefixtures("small_files")
def test_any_sequence_leaves_what_the_model_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After each step the newest snapshot is the model as of the last publication; older ones are what they were."""
    # Hypothesis makes the machines. `tempfile.tempdir` would move what is begun meanwhile, and stays, as well.
    monkeypatch.setattr(StoreMachine, "where", tmp_path)
    run_state_machine_as_test(StoreMachine, settings=_SETTINGS)
