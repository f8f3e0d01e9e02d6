"""What the Ray engine is made of, without a cluster: how inputs are cut, what workers refuse, how books are kept."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from samples import FAKE

import fpve
from fpve.cli import cli
from fpve.cli.log import notes_of
from fpve.config import Job
from fpve.engines.cluster.books import Books
from fpve.engines.cluster.cluster import Cluster
from fpve.engines.cluster.connection import connected, expected
from fpve.engines.cluster.engine import RayEngine
from fpve.engines.cluster.lot import KnownHashes, Lot, Shard, cut
from fpve.engines.cluster.receipt import Failure, Receipt
from fpve.engines.cluster.room import CLUSTER_FULL, say
from fpve.engines.cluster.tally import Tally, ToldStage
from fpve.engines.cluster.worker import Orders, Shared, Worker, marked
from fpve.engines.local import LocalEngine
from fpve.engines.named import kept, mapper_of
from fpve.engines.shards import SHARD_ROWS
from fpve.engines.work import Encoded, Models, Outcome, Target, Work
from fpve.errors import ClusterError, EncoderNotFound, SourceError
from fpve.events import LOGGER
from fpve.fusion import Fusion
from fpve.sources.inputs import Files
from fpve.store.pending import Recipe

NOTHING = Encoded([], 0)
FUSION = Fusion(24, 16)
SILENT = SimpleNamespace(advance=lambda count: None, limited_by=lambda part: None)


@pytest.fixture(autouse=True)
def _process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What workers change of their process is as it was after each test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FPVE_CORES", "2")
    # Which is asked for once in a process.
    monkeypatch.setattr("fpve.engines.cluster.connection.cores", lambda: 2)


@pytest.mark.parametrize(
    ("inputs", "workers", "rows", "count", "largest"),
    [
        (0, 3, None, 0, 0),
        (12, 3, None, 1, 12),
        (2_000, 2, None, 8, 250),
        (5_000, 4, None, 16, 313),
        (1_000_000, 8, None, 245, 4_082),
        (10, 3, 4, 3, 4),
        (10_000, 1, 10**6, 3, 3_334),
    ],
)
def test_inputs_are_cut_in_their_order(inputs: int, workers: int, rows: int | None, count: int, largest: int) -> None:
    """Shards of one size follow one another, enough for all workers, none larger than what is written as one."""
    shards = cut(inputs, workers, rows)
    assert [one.number for one in shards] == list(range(count))
    assert [at for one in shards for at in range(one.first, one.end)] == list(range(inputs))
    sizes = [one.end - one.first for one in shards]
    assert max(sizes, default=0) == largest <= SHARD_ROWS
    assert max(sizes, default=0) - min(sizes, default=0) <= 1


def test_known_hashes_are_a_set() -> None:
    """An array of digests is a set of the hashes in it, zeros at either end included; other names are none of them."""
    hashes = [hashlib.sha256(bytes([number])).hexdigest() for number in range(100)]
    hashes += ["00" * 32, "ab" * 31 + "00", "00" + "ab" * 31]
    known = KnownHashes([*hashes, "vector:imported"])
    assert set(known) == set(hashes)
    assert len(known) == 103
    assert all(one in known for one in hashes)
    assert "ab" * 31 + "01" not in known
    assert "ff" * 32 not in known
    assert "ff" * 32 not in KnownHashes()


def test_receipts_are_rows() -> None:
    """What is said of a shard is the same after it was a row of a table."""
    outcomes = [Outcome("ab" * 32, 3, 4), Outcome(None, -1, -1, "can't be read")]
    encoded = Encoded(outcomes, 1, {"read": 0.5, "write": 0.25}, "read", 2, ("0123",))
    receipts = [Receipt(7, "here", encoded), Receipt(8, "there", NOTHING, Failure.STORE, "no space")]
    assert [Receipt.from_table(one.to_table()) for one in receipts] == receipts


def test_a_lot_gives_the_work_of_a_shard(tmp_path: Path) -> None:
    """A shard's inputs, sizes and prefixes are its own."""
    work = numbered(tmp_path, 5)
    part = Lot.of(work).work(Shard(1, 2, 4), frozenset("x"))
    assert [part.inputs.read(number).data for number in range(len(part.inputs))] == [b"2", b"3"]
    assert (part.sizes.tolist(), part.prefixes, part.known) == ([2, 3], ["text 2", None], {"x"})


def test_a_worker_that_does_not_see_the_store_says_so(tmp_path: Path) -> None:
    """One that finds another directory at the store's path, or none, refuses every shard with the remedy."""
    store = tmp_path / "store"
    store.mkdir()
    with marked(store) as mark:
        assert mark is not None
        orders = orders_for(store, mark)
        (store / mark).rmdir()
        receipt = refusal(orders)
        assert (receipt.shard, receipt.failure) == (3, Failure.WORKER)
        assert receipt.reason == (
            f"can't see the store: expected {store} to be the same directory on every machine, found another one; put "
            "the store on a file system that all share"
        )
        assert "found none; put" in refusal(replace(orders, store=str(tmp_path / "none"))).reason


def test_a_worker_with_other_encoders_says_so(tmp_path: Path) -> None:
    """One whose encoders have other fingerprints than the store's, or another fpve, refuses every shard."""
    (tmp_path / "store").mkdir()
    with marked(tmp_path / "store") as mark:
        orders = orders_for(tmp_path / "store", mark)
        other = refusal(replace(orders, recipe=replace(orders.recipe, text="0123")))
        assert other.reason.startswith("EncoderMismatch: the text encoder is another one: expected 0123, found ")
        assert refusal(replace(orders, version="0.0.1")).reason == (
            f"expected fpve 0.0.1, found {fpve.__version__}; install the same on every machine"
        )
    assert not list((tmp_path / "store" / "pending").iterdir())


@pytest.mark.parametrize("error", [SourceError("s3://pets: no answer"), EncoderNotFound("no weights here")])
def test_a_worker_without_its_source_or_its_model_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """What ends a run of this process is nothing that a shard's inputs are quarantined for."""
    monkeypatch.setattr("ray.get", lambda one: one)

    def fails(*_: object, **__: object) -> Encoded:
        raise error

    monkeypatch.setattr("fpve.engines.cluster.worker.encode_here", fails)
    (tmp_path / "store").mkdir()
    tally = SimpleNamespace(begin=SimpleNamespace(remote=lambda shard: 1))
    shared = Shared(Lot.of(numbered(tmp_path, 4)), KnownHashes(), tally)
    worker = Worker(orders_for(tmp_path / "store", None), shared)
    receipt = Receipt.from_table(worker(pa.table({"number": [1], "first": [2], "end": [4]})))
    assert (receipt.failure, receipt.reason) == (Failure.WORKER, f"{type(error).__name__}: {error}")


def test_what_no_shard_is_to_blame_for_ends_the_run(tmp_path: Path) -> None:
    """A worker that refuses, one that sees no input, and one that can't write: errors that say on which machine."""
    books = books_of(numbered(tmp_path, 4), tmp_path)
    with pytest.raises(ClusterError, match=r"^a worker on there: can't see the store$"):
        books.enter(Receipt(0, "there", NOTHING, Failure.WORKER, "can't see the store"))
    unread = [Outcome(None, -1, -1, "can't be read: No such file or directory")] * 2
    with pytest.raises(ClusterError, match=r"^a worker on there can read none of 2 inputs \(can't be read: No such"):
        books.enter(Receipt(0, "there", Encoded(unread, 0)))
    books.enter(Receipt(1, "there", NOTHING, Failure.STORE, "OSError: no space"))
    with pytest.raises(ClusterError, match=r"^a worker on there can't write to .* \(OSError: no space\); what was enc"):
        books.give_up(books.left[1])


def test_what_nobody_can_read_is_not_there(tmp_path: Path) -> None:
    """Inputs that are gone for this machine too fail one by one, as with the local engine."""
    books = books_of(numbered(tmp_path, 4), tmp_path)
    for number in range(2):
        (tmp_path / str(number)).unlink()
    unread = [Outcome(None, -1, -1, "can't be read: No such file or directory")] * 2
    books.enter(Receipt(0, "there", Encoded(unread, 0)))
    read = [Outcome("ab" * 32, 1, 1), Outcome("cd" * 32, 1, 1, "no picture")]
    done = Receipt(1, "there", Encoded(read, 1, {"read": 1.0}, "read", 1, ("0123",)))
    books.enter(done)
    # Ray may have made it again.
    books.enter(done)
    assert books.left == []
    assert books.known() == {"known", "ab" * 32}
    assert books.encoded() == Encoded([*unread, *read], 1, {"read": 1.0}, "read", 1, ("0123",))


def test_progress_goes_forward_only(tmp_path: Path) -> None:
    """Parts of shards are told of once, though a worker begins one again, and all inputs in the end."""
    told: list[int] = []
    stage = SimpleNamespace(advance=told.append, limited_by=lambda part: None)
    books = books_of(numbered(tmp_path, 4), tmp_path, stage)
    for reached in ({}, {0: 1}, {0: 1, 1: 2}, {0: 0, 1: 1}, {1: 1}, {0: 9}):
        books.reach(reached)
    assert told == [1, 2]
    read = [Outcome("ab" * 32, 1, 1), Outcome("cd" * 32, 1, 1)]
    books.enter(Receipt(0, "there", Encoded(read, 2)))
    books.reach({0: 1, 1: 1})
    assert told == [1, 2]
    books.enter(Receipt(1, "there", Encoded(read, 2)))
    books.reach({1: 2})
    assert told == [1, 2, 1]


def test_a_worker_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not of each picture, but every so many seconds; which try of a shard it is, and of which nothing is known now."""
    now = 0.0
    monkeypatch.setattr("fpve.engines.cluster.tally.time", SimpleNamespace(monotonic=lambda: now))
    tally = Tally()
    assert [tally.begin(7), tally.begin(8), tally.begin(7)] == [1, 1, 2]
    stage = ToldStage(SimpleNamespace(reach=SimpleNamespace(remote=tally.reach)), 7, 2.0)
    found = []
    for now in (1.0, 2.0, 3.0, 4.5):  # noqa: B007 (what the clock says)
        stage.advance(8)
        found.append(dict(tally.standing().reached))
    assert found == [{7: 0, 8: 0}, {7: 16, 8: 0}, {7: 16, 8: 0}, {7: 32, 8: 0}]
    tally.end(7)
    assert tally.standing() == (2, {8: 0})


def test_what_is_waited_for_is_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    """On stderr, as long as a command lasts; other events are none."""
    with notes_of(CLUSTER_FULL):
        say("waiting for 2 CPUs")
        LOGGER.warning("waiting", extra={"event": "waiting", "fields": {"holder": "pets"}})
    say("waiting for 4 CPUs")
    assert capsys.readouterr().err == "note: waiting for 2 CPUs\n"


@pytest.mark.parametrize(
    ("options", "where", "cpus"),
    [
        ({}, "2 workers of 1 CPU", 2),
        ({"workers": 1, "cpus": 2}, "1 worker of 2 CPUs", 2),
        ({"cpus": 0.5, "gpus": 0.1}, "workers of 0.5 CPUs and 0.1 GPUs", 2),
    ],
)
def test_a_ray_that_would_be_begun_is_not_begun(options: dict[str, float], where: str, cpus: float) -> None:
    """How many workers it would have is known without Ray, but for what needs a GPU."""
    assert expected(Cluster("local", **options)) == (f"{where} on a Ray that is begun on this machine", cpus)  # type: ignore[arg-type]


def test_the_command_says_where_it_would_run(job: Job, tmp_path: Path) -> None:
    """A dry run with the options of a cluster, though none is there; of the local engine it says nothing."""
    (tmp_path / "job.toml").write_text(
        f'store = "store"\n[encoders]\nimage = "fake:24"\ntext = "none"\n[[collections]]\nname = "pets"\n'
        f'source = "{job.collections[0].source}"\n'
    )
    words = ["run", "job.toml", "--dry-run"]
    found = [CliRunner().invoke(cli, [*words, *more]) for more in (["--engine", "ray", "--address", "local"], [])]
    assert [one.exit_code for one in found] == [0, 0]
    assert "runs on    2 workers of 1 CPU on a Ray that is begun on this machine\n" in found[0].stdout
    assert "runs on" not in found[1].stdout
    away = CliRunner().invoke(cli, [*words, "--engine", "ray", "--address", "127.0.0.1:1"])
    assert str(away.exception).startswith("no Ray cluster answers at 127.0.0.1:1 ([Errno 111] Connection refused)")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"address": "ray://head:10001"}, "expected the address HOST:PORT of a Ray cluster, found 'ray://head:10001'"),
        ({"workers": 0}, "workers: expected at least 1, found 0"),
        ({"cpus": 0}, "cpus: expected more than 0, found 0"),
        ({"gpus": -1}, "gpus: expected at least 0, found -1"),
        ({"retries": -1}, "retries: expected at least 0, found -1"),
    ],
)
def test_numbers_that_make_no_cluster(options: dict[str, object], message: str) -> None:
    """What can't be meant is refused by name."""
    with pytest.raises(ClusterError) as raised:
        Cluster(**options)  # type: ignore[arg-type]
    assert str(raised.value).startswith(message)


def test_a_client_that_the_environment_names_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that is given is, and not taken for a host that does not answer."""
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    match = r"^expected the address HOST:PORT of a Ray cluster, found 'ray://head"
    with pytest.raises(ClusterError, match=match), connected(Cluster()):
        pass


def test_workers_stay_for_all_that_a_run_does() -> None:
    """They are the same for its commit and its merges; another run has its own, and what runs here has none."""
    engine = RayEngine(Cluster("127.0.0.1:1"))
    with kept(engine, say):
        first = mapper_of(engine)
        assert mapper_of(engine) is first
    with kept(engine, say):
        assert mapper_of(engine) is not first
    with kept(LocalEngine(1), say):
        assert mapper_of(LocalEngine(1)) is None


def test_engines_that_there_are_not(tmp_path: Path) -> None:
    """Another name than local or ray, and a cluster for the local engine, are refused."""
    (tmp_path / "job.toml").write_text('store = "s"\n[[collections]]\nname = "a"\nsource = "a"\n')
    with pytest.raises(ClusterError, match=r"^expected the engine 'local' or 'ray', found 'spark'$"):
        fpve.run(tmp_path / "job.toml", engine="spark")  # type: ignore[arg-type]
    with pytest.raises(ClusterError, match=r"^a cluster is for the engine 'ray'"):
        fpve.run(tmp_path / "job.toml", cluster=Cluster())


def numbered(folder: Path, count: int) -> Work:
    """Inputs whose bytes, sizes and prefixes are their numbers."""
    for number in range(count):
        (folder / str(number)).write_bytes(str(number).encode())
    paths = [bytes(folder / str(number)) for number in range(count)]
    prefixes = [None if number % 2 else f"text {number}" for number in range(count)]
    return Work(Files(paths), np.arange(count), prefixes, {"known"})


def books_of(work: Work, root: Path, stage: Any = SILENT) -> Books:
    """The books of four inputs in two shards, each to be tried three times."""
    target = Target(root, Recipe("image", None, "balanced"), FUSION)
    return Books(work, target, [Shard(0, 0, 2), Shard(1, 2, 4)], 3, stage)


def orders_for(store: Path, mark: str | None) -> Orders:
    """What a worker with the fake encoders is told."""
    models = Models.of(FAKE)
    assert models.text is not None
    recipe = Recipe(models.image.fingerprint, models.text.fingerprint, "balanced")
    return Orders(str(store), mark, recipe, FUSION, FAKE, threads=1, tries=3, folder=str(store), told_every=2.0)


def refusal(orders: Orders) -> Receipt:
    """What a worker says of a shard that it was told to encode, where it can't."""
    row = pa.table({"number": [3], "first": [0], "end": [4]})
    return Receipt.from_table(Worker(orders, Shared(None, None, None))(row))
