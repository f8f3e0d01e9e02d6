"""A pass: shards through Ray Data.

One row of the dataset is one shard, in a block of its own: a task of one of a pool of actors, which have one task at a
time, so that a process that dies takes no other shard with it. Ray Data begins dead actors anew, on other nodes if need
be, and has them do again what they were at, as often as it takes. That is what a lost node needs, and it would never
end with a shard that kills its process each time; so tries are counted outside of the workers, and who begins a shard
once too often says so instead (`Failure.LOST`). What a worker's code raises is in its receipt, not Ray's business: such
shards wait for the next pass. Should Ray give a block up all the same, it is left out (`max_errored_blocks`), and its
shard has no receipt: the next pass tries it too.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fpve.encoders.weights import first_line
from fpve.engines.cluster.cluster import NO_RAY, Cluster
from fpve.engines.cluster.lot import Shard
from fpve.engines.cluster.receipt import Receipt
from fpve.engines.cluster.worker import Orders, Shared, Worker
from fpve.errors import ClusterError


class GaveUp(ClusterError):
    """Ray ended a pass, which is no shard's fault."""


def one_pass(
    shards: Sequence[Shard], orders: Orders, shared: Shared, *, cluster: Cluster, workers: int
) -> Generator[Receipt]:
    """Have shards encoded, and yield their receipts as they come, but those of shards that were lost.

    Args:
        shards: at least one.
        orders: what workers are told.
        shared: what they have in common.
        cluster: how large each is.
        workers: how many there are.

    Raises:
        GaveUp: Ray ended it; what has a receipt is done all the same.
        ClusterError: Ray Data is not installed.
    """
    with _quiet_data() as context:
        import ray
        from ray.data.exceptions import SystemException
        from ray.exceptions import RayError

        size = min(workers, len(shards))
        context.max_errored_blocks = -1
        # A node may be lost while actors begin there; where none ever begins, there is an end to it.
        context.max_consecutive_actor_init_deaths = size + cluster.retries
        dataset = ray.data.from_items([one._asdict() for one in shards], override_num_blocks=len(shards)).map_batches(
            Worker,
            batch_size=1,
            batch_format="pyarrow",
            fn_constructor_kwargs={"orders": orders, "shared": shared},
            compute=ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=1),
            **cluster.resources,
        )
        try:
            for bundle in dataset.iter_internal_ref_bundles():
                for block in bundle.block_refs:
                    try:
                        table = ray.get(block)
                    except RayError:
                        # Its node was lost with it.
                        continue
                    if len(table):
                        yield Receipt.from_table(table)
        except (RayError, SystemException) as error:
            raise GaveUp(
                f"the workers of the Ray cluster die before they have done anything: {first_line(error)}"
            ) from error


@contextmanager
def _quiet_data() -> Iterator[Any]:
    """Have Ray Data neither draw bars nor log to the terminal: whoever asked for the work is told of it.

    Its settings, which are what they were when the block is left.

    Raises:
        ClusterError: it is not installed.
    """
    try:
        import ray.data
    except ImportError as error:
        raise ClusterError(f"{NO_RAY} ({error})") from None
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # Ray Data's files of logs stay.
    handlers = [one for one in logging.getLogger("ray.data").handlers if isinstance(one, logging.StreamHandler)]
    levels = [one.level for one in handlers]
    try:
        for one in handlers:
            one.setLevel(logging.CRITICAL)
        with ray.data.DataContext.current(context):
            yield context
    finally:
        for one, level in zip(handlers, levels, strict=True):
            one.setLevel(level)
