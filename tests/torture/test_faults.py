"""Full disks, read-only disks, sources and stores that vanish: a line that says so, and nothing lost."""

from __future__ import annotations

import gc
import itertools
import os
import random
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from torture.children import Kill, Operation, in_child
from torture.contents import read_state
from torture.kills import wrong
from torture.world import CAPTIONS, World

import fpve
from fpve.cli import main
from fpve.sources.inputs import Files, Reading
from fpve.store import manifest as manifests

pytestmark = pytest.mark.usefixtures("small_files")

_PAGE = 4096
# How many events of a run are tried for each thing that can happen.
_MOMENTS = 6
# A run is tried with room for so many pages more each time; a manifest takes more than that.
_STEP = 2


class Ended(NamedTuple):
    """How a command ended: exit code, stderr, and the functions in which it failed."""

    code: int
    said: str
    functions: set[str]

    def in_one_line(self) -> str:
        """The message of a command that failed as it should: exit code 1, and one line."""
        assert self.code == 1
        assert self.said.startswith("fpve: ")
        assert self.said.count("\n") == 1
        return self.said


Command = Callable[..., Ended]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Pictures of which a store knows about half."""
    return World.make(tmp_path, random.Random(20))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Runs the command line in this process."""
    # Here others may hand pyarrow what is of pandas.
    monkeypatch.setattr("fpve.cli.arrow_alone", lambda: None)

    def call(*arguments: str | Path) -> Ended:
        monkeypatch.setattr(sys, "argv", ["fpve", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        code, failed = ended.value.code, ended.value.__context__
        assert isinstance(code, int)
        frames = traceback.extract_tb(failed.__traceback__) if failed else []
        # capfd and not capsys: FAISS and Arrow are not Python.
        return Ended(code, capfd.readouterr().err, {frame.name for frame in frames})

    return call


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A disk of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = _mount(folder)
    if mounted.returncode and "FPVE_IN_NAMESPACE" not in os.environ:
        _run_in_a_namespace(request.node.nodeid, request.config.rootpath)
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    yield folder
    # At once for names, later for files that are still open: a snapshot keeps its manifest open.
    subprocess.run(["umount", "-l", folder], check=True)


def _mount(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True, text=True, check=False
    )


def _run_in_a_namespace(test: str, root: Path) -> None:
    """Who may not mount, may do so in a user namespace, where the system allows those."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], check=False).returncode:
        return
    command = ["unshare", "-rm", sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", test]
    ran = subprocess.run(
        command, cwd=root, env=os.environ | {"FPVE_IN_NAMESPACE": "1"}, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout
    pytest.skip("passed under `unshare -rm`, for disks can't be mounted outside")


def _write_job(world: World, store: Path) -> Path:
    """The world's job as a file."""
    job = world.root / "world.toml"
    job.write_text(
        f"""
name = "world"
store = "{store}"
[encoders]
image = "fake:24"
text = "fake:16"
[limits]
max_quarantine = 0.5
max_removed = 1.0
[[collections]]
name = "pets"
source = "{world.root / "pets"}"
metadata = "{world.root / "pets.csv"}"
prefix = "{world.template}"
[[collections]]
name = "plain"
source = "{world.root / "plain"}"
""",
        encoding="utf-8",
    )
    return job


def _grow(world: World) -> None:
    """Pictures in both collections that are not in the store yet."""
    for _ in range(14):
        world.add()
    world.write_metadata()


def test_a_full_disk_loses_nothing(world: World, disk: Path, command: Command) -> None:
    """Whatever a run was writing when the disk was full: one line says so, the last snapshot stands, the next heals."""
    store = disk / "store"
    job = _write_job(world, store)
    assert command("run", job).code == 0
    base, before = world.root / "base", read_state(store)
    shutil.copytree(store, base)
    _grow(world)
    after = world.expected()
    functions: set[str] = set()
    for free in itertools.count(0, _STEP):
        shutil.rmtree(store)
        shutil.copytree(base, store)
        _fill(disk, free=free * _PAGE)
        ended = command("run", job)
        (disk / "filler").unlink()
        if ended.code == 0:
            break
        assert "No space left on device" in ended.in_one_line(), f"{free} pages were free"
        functions |= ended.functions
        assert not wrong(store), f"{free} pages were free"
        assert read_state(store) in (before, after), f"{free} pages were free"
        assert command("run", job).code == 0
        assert not wrong(store), f"{free} pages were free"
        assert not read_state(store).differences(after), f"{free} pages were free"
    assert not wrong(store)
    assert not read_state(store).differences(after)
    assert {"writer_lock", "write_shard", "build_exact", "update_pages", "publish"} <= functions, sorted(functions)


def _fill(disk: Path, *, free: int) -> None:
    """Fill a disk up, but for so many bytes."""
    # Who was given up with an error may have files open that are deleted: their room would be free in mid-run.
    gc.collect()
    status = os.statvfs(disk)
    with (disk / "filler").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, status.f_bfree * status.f_frsize - free)


def test_a_read_only_store_can_be_read(world: World, disk: Path, command: Command) -> None:
    """On a read-only disk a run is one line that says so, and everything that only reads works."""
    store = disk / "store"
    job = _write_job(world, store)
    assert command("run", job).code == 0
    before = read_state(store)
    _grow(world)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    try:
        said = command("run", job).in_one_line()
        assert "Read-only file system" in said
        assert not wrong(store)
        assert read_state(store) == before
        opened = fpve.open(store)
        first = next(iter(before.images))
        assert len(opened.search(id=first, k=3)) == 3
        assert opened.sql("SELECT count(*) AS n FROM images")["n"].to_pylist() == [len(before.images)]
        for name in ("compact", "prune", "repair", "rollback"):
            options = ["--keep", "1"] if name == "prune" else []
            assert "Read-only file system" in command(name, store, *options).in_one_line(), name
    finally:
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    assert command("run", job).code == 0
    assert not read_state(store).differences(world.expected())


def test_a_source_that_is_gone_is_no_deletion(world: World, command: Command) -> None:
    """A folder that is not there, or empty, is an error even where removals are allowed; back, it is unchanged."""
    job = _write_job(world, world.store)
    assert command("run", job).code == 0
    number = manifests.numbers(world.store)
    pets = world.root / "pets"
    pets.rename(world.root / "away")
    assert str(pets) in command("run", job, "--allow-removals").in_one_line()
    pets.mkdir()
    assert str(pets) in command("run", job, "--allow-removals").in_one_line()
    pets.rmdir()
    (world.root / "away").rename(pets)
    assert not wrong(world.store)
    assert command("run", job).code == 0
    assert manifests.numbers(world.store) == number
    assert read_state(world.store) == world.expected()


def test_a_source_that_vanishes_while_it_is_read(
    world: World, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures that can no longer be read publish nothing; those that were read are not encoded again."""
    job = _write_job(world, world.store)
    assert command("run", job).code == 0
    before = read_state(world.store)
    _grow(world)
    world.template = CAPTIONS[1]
    job = _write_job(world, world.store)
    decode, read = fpve.images.decode, Files.read
    seen: list[bytes] = []
    numbers: list[int] = []

    def vanish_then_read(files: Files, number: int) -> Reading:
        numbers.append(number)
        if len(numbers) == 3:
            (world.root / "pets").rename(world.root / "pets-away")
            (world.root / "plain").rename(world.root / "plain-away")
        return read(files, number)

    def decode_and_tell(data: bytes, *, enough: int) -> object:
        seen.append(data)
        return decode(data, enough=enough)

    with monkeypatch.context() as patch:
        patch.setattr(Files, "read", vanish_then_read)
        patch.setattr("fpve.images.decode", decode_and_tell)
        said = command("run", job).in_one_line()
    assert "vanished while it was being read" in said
    assert not wrong(world.store)
    assert read_state(world.store) == before
    (world.root / "pets-away").rename(world.root / "pets")
    (world.root / "plain-away").rename(world.root / "plain")
    with monkeypatch.context() as patch:
        first, seen = set(seen), []
        patch.setattr("fpve.images.decode", decode_and_tell)
        assert command("run", job).code == 0
    assert not first & set(seen)
    assert not wrong(world.store)
    assert read_state(world.store) == world.expected()


@pytest.mark.parametrize("fate", ["store deleted", "store replaced", "sources moved"])
def test_what_vanishes_in_mid_run_is_an_error_and_heals(world: World, tmp_path: Path, fate: str) -> None:
    """At whichever moment the store or the sources are gone: an error or a whole snapshot, and the next run heals."""
    mark = tmp_path / "mark"
    fpve.run(world.job())
    base = tmp_path / "base"
    shutil.copytree(world.store, base)
    before = read_state(world.store)
    _grow(world)
    after = world.expected()
    operation = Operation("run", world.job())
    trail = in_child(operation, mark=mark).trail
    # What happens to a store after a run has published is no error of the run.
    last = next(number for number, one in enumerate(trail, 1) if one.startswith("give_name"))
    # What is written next is written into whatever is there by then: these are the moments when a run notices least.
    moments = [number for number, one in enumerate(trail[:last], 1) if one.endswith("os.mkdir")][-_MOMENTS:]
    moments += [1 + moment * (last - 1) // (_MOMENTS - 1) for moment in range(_MOMENTS)]
    for at in sorted(set(moments)):
        shutil.rmtree(world.store)
        shutil.copytree(base, world.store)
        outcome = in_child(operation, Kill(event=at, fate=fate), mark=mark)
        where = f"{fate} at event {at} of {last} ({trail[at - 1]}), then {outcome.last}: {outcome.error}"
        assert outcome.foreseen, where
        if fate == "sources moved":
            for name in ("pets", "plain"):
                (world.root / f"{name}-away").rename(world.root / name)
            assert read_state(world.store) in (before, after), where
        else:
            # With the store its old snapshots are gone, and so no new one can be right.
            assert outcome.error, where
            assert not manifests.numbers(world.store), where
        assert not wrong(world.store), where
        fpve.run(world.job())
        assert not wrong(world.store), where
        assert not read_state(world.store).differences(after), where
