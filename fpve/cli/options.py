"""Options that several commands share."""

from __future__ import annotations

import functools
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fpve.cli import output
from fpve.errors import BucketError
from fpve.rowfiles import check_target
from fpve.urls import any_path, check_local

if TYPE_CHECKING:
    import pyarrow as pa

    from fpve.api import Store
    from fpve.batch import FailedQuery
    from fpve.records import Records

Command = TypeVar("Command", bound=Callable[..., Any])

# Queries without an answer that are named one by one.
_NAMED = 5
# Done, but for some inputs that can't be encoded, or some queries that can't be answered.
EXIT_PARTLY = 3


class _Place(click.Path):
    """A path of this machine, or a URL of an object store."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Take a path for what it is."""
        path: Any = super().convert(value, param, ctx)
        return any_path(path)


# Whether a file is there is the library's to say: it knows what else could be meant, and says it in one line.
PATH = _Place(path_type=Path)


def count_or_share(value: str) -> int | float:
    """Take `5` as a count, `0.05` as a share: the library tells them apart by their type."""
    try:
        return int(value) if value.lstrip("+-").isdecimal() else float(value)
    except ValueError:
        raise click.BadParameter(f"expected a count such as 5, or a share such as 0.01, found {value!r}") from None


store_argument = click.argument("store", type=PATH)

at_option = click.option("--at", type=int, metavar="SNAPSHOT", help="Of an older snapshot.  [default: the newest]")


class _LocalPath(click.Path):
    """A path of this machine; the URL of an object is refused before anything is done."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Take a path."""
        path: Any = super().convert(value, param, ctx)
        try:
            check_local(path)
        except BucketError as error:
            self.fail(str(error), param, ctx)
        return path


class _Target(_LocalPath):
    """A file that is to be written: where none can be, that is said before anything is computed."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Take a path at which a file can be."""
        path: Any = super().convert(value, param, ctx)
        check_target(path)
        return path


LOCAL = _LocalPath(path_type=Path)
TARGET = _Target(path_type=Path)


def html_option(shown: str) -> Callable[[Command], Command]:
    """`--html`, for whatever can be shown as a page."""
    return click.option("--html", type=TARGET, metavar="FILE", help=f"Write a page with {shown}.")


def row_output(command: Command) -> Command:
    """`--format` and `--output`, for whatever prints rows."""
    command = click.option("--output", "-o", "output_file", type=TARGET, help="Write to a file instead of stdout.")(
        command
    )
    return click.option(
        "--format",
        "-f",
        "kind",
        type=click.Choice(["table", "json", "jsonl", "csv", "parquet"]),
        help="How to print rows; json is one array.  [default: by --output's extension, else table]",
    )(command)


def _saved_name(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """A name for saved rows: one that is none is refused before anything is computed."""
    if value is None:
        return None
    from fpve.store.saved import checked_name

    return checked_name(value)


save_option = click.option(
    "--save",
    callback=_saved_name,
    metavar="NAME",
    help="Keep the rows in the store as well; SQL has them as saved.NAME.",
)


def save_rows(store: Store, name: str | None, rows: pa.Table | Records) -> None:
    """Keep rows under the name of `--save`, if there is one, with the command line that made them."""
    if name is not None:
        store.save(name, rows, command=shlex.join(["fpve", *sys.argv[1:]]))
        output.note(f'saved {len(rows):,} rows: `fpve sql {store.location} "SELECT * FROM saved.{name}"`')


def object_output(command: Command) -> Command:
    """`--format table|json`, for whatever prints one object."""
    return click.option(
        "--format",
        "-f",
        "kind",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="How to print; json is one object.",
    )(command)


wait_option = click.option("--wait", is_flag=True, help="Wait for another writer of the store, instead of failing.")


def run_options(command: Command) -> Command:
    """Options of whatever runs a job."""
    for option in (
        click.option(
            "--metrics", type=LOCAL, metavar="FILE.prom", help="Write figures for Prometheus' textfile collector."
        ),
        click.option(
            "--log",
            type=_LocalPath(allow_dash=True),
            metavar="FILE",
            help="Append events to FILE, one JSON object a line; - means stderr.",
        ),
        wait_option,
        click.option(
            "--retry-quarantined", is_flag=True, help="Open the files in quarantine again, though they did not change."
        ),
        click.option(
            "--allow-removals", is_flag=True, help="Publish even if more than max_removed of a collection is gone."
        ),
        click.option("--dry-run", is_flag=True, help="Say what would be done; write nothing."),
    ):
        command = option(command)
    return command


def engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of whatever can be done on a Ray cluster; the command gets them as one argument `on`, for the library."""

    @functools.wraps(command)
    def gathered(
        *args: Any,
        engine: str,
        address: str | None,
        workers: int | None,
        cpus_per_worker: float | None,
        gpus_per_worker: float | None,
        retries: int | None,
        **options: Any,
    ) -> Any:
        told = given(address=address, workers=workers, cpus=cpus_per_worker, gpus=gpus_per_worker, retries=retries)
        if engine != "ray":
            if told:
                raise click.UsageError(
                    "--address, --workers, --cpus-per-worker, --gpus-per-worker and --retries are of --engine ray"
                )
            return command(*args, on={}, **options)
        from fpve.cli.log import STDERR, notes_of
        from fpve.engines.cluster.cluster import Cluster
        from fpve.engines.cluster.room import CLUSTER_FULL

        # Where the log is on stderr, it says so there.
        with nullcontext() if options.get("log") == STDERR else notes_of(CLUSTER_FULL):
            return command(*args, on={"engine": engine, "cluster": Cluster(**told)}, **options)

    options: Callable[..., Any] = gathered
    for option in (
        click.option(
            "--retries", type=int, metavar="N", help="How often what failed is tried again: of ray.  [default: 2]"
        ),
        click.option(
            "--gpus-per-worker", type=float, metavar="X", help="GPUs of each worker, 0.5 is shared.  [default: 0]"
        ),
        click.option("--cpus-per-worker", type=float, metavar="X", help="CPUs of each worker of ray.  [default: 1]"),
        click.option(
            "--workers", type=int, metavar="N", help="Processes that work: of ray.  [default: what it has room for]"
        ),
        click.option(
            "--address",
            metavar="HOST:PORT",
            help="Which Ray cluster.  [default: of RAY_ADDRESS, or the one of this machine, or begin one]",
        ),
        click.option(
            "--engine",
            type=click.Choice(["local", "ray"]),
            default="local",
            show_default=True,
            help="Where it is done: in this process, or on a Ray cluster.",
        ),
    ):
        options = option(options)
    return options


def neighbours(command: Command) -> Command:
    """Options of k-NN classifiers but for the weight. Defaults are the library's: None leaves them to it."""
    for option in (
        click.option("--where", metavar="SQL", help="Only use images for which this condition holds."),
        click.option(
            "--temperature",
            type=float,
            metavar="TAU",
            help="Votes weigh exp(score / TAU), and nothing is calibrated.  [default: fitted, with a prior]",
        ),
        click.option(
            "--weights",
            type=click.Choice(["softmax", "distance", "uniform"]),
            help="What a vote weighs; only softmax votes are calibrated.  [default: softmax]",
        ),
        click.option("-k", "k", type=int, metavar="N", help="How many neighbours vote.  [default: 20]"),
        click.option("--label", required=True, metavar="COLUMN", help="The metadata column of true classes."),
    ):
        command = option(command)
    return command


def votes(command: Command) -> Command:
    """All options of k-NN classifiers."""
    return neighbours(image_weight(command))


head_option = click.option(
    "--head",
    type=click.Choice(["knn", "logistic", "mlp"]),
    help="What classifies: votes of neighbours, or what `fpve train` has learnt.  [default: knn]",
)

class_weight_option = click.option(
    "--class-weight",
    type=click.Choice(["balanced"]),
    help="Have every class count the same, however many images it has: of a head.  [default: every image does]",
)

seed_option = click.option("--seed", type=int, metavar="N", help="Of what a head draws at random.  [default: 0]")

image_weight = click.option(
    "--image-weight",
    "-A",
    type=float,
    metavar="A",
    help="Weight of the picture in the score, 1 (picture only) to 0 (text only).  [default: the store's]",
)


def given(**options: Any) -> dict[str, Any]:
    """The options that were set, for a call whose other defaults are the library's."""
    return {name: value for name, value in options.items() if value is not None}


def name_failed(failed: Sequence[FailedQuery]) -> None:
    """Say which queries have no answer, and why: the first few, and how many there are."""
    for one in failed[:_NAMED]:
        output.note(f"note: {output.printable(one.query)}: {output.printable(one.reason)}")
    if len(failed) > _NAMED:
        output.note(f"note: … and {len(failed) - _NAMED:,} more queries have no answer")
