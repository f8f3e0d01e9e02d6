"""Batches of queries that are answered here or elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable

from fpve.batch import Answering, Batch
from fpve.engines.cluster.cluster import Cluster
from fpve.engines.named import EngineName, open_mapper
from fpve.mapper import Mapper
from fpve.opened import Opened
from fpve.progress import Progress


def batch_of(
    opened: Opened,
    source: str | os.PathLike[str],
    answering: Callable[[Opened], Answering],
    *,
    progress: Progress | None,
    engine: EngineName | Mapper,
    cluster: Cluster | None,
) -> Batch:
    """The queries of a source, with what answers them.

    Args:
        opened: the store.
        source: the queries.
        answering: makes what answers them, of the store as it is opened for the engine.
        progress: is told how many are answered.
        engine: where segments are searched; what is opened here for its name is closed when the batch is done.
        cluster: which Ray cluster.

    Raises:
        ClusterError: there is no such engine or cluster.
        QueryError, SourceError, MetadataError: as what answers, or the source, has it.
    """
    mapper = open_mapper(engine, cluster)
    if mapper is None:
        return Batch(opened, source, answering(opened), progress)
    there = opened.over(mapper)
    if mapper is engine:
        return Batch(there, source, answering(there), progress)
    try:
        return Batch(there, source, answering(there), progress, close=mapper.close)
    except BaseException:
        mapper.close()
        raise
