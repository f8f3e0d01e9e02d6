"""Engines by name, and what a run has beside its engine where that works on a cluster."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Literal

from fpve.engines.cluster.cluster import Cluster, check_engine
from fpve.engines.local import LocalEngine
from fpve.engines.work import Engine
from fpve.mapper import Mapper

if TYPE_CHECKING:
    from fpve.engines.cluster.connection import Expected
    from fpve.engines.cluster.room import Said

EngineName = Literal["local", "ray"]


def open_engine(engine: EngineName | Engine, cluster: Cluster | None) -> Engine:
    """The engine of a name: this process, or a Ray cluster; one that is made already stays as it is.

    Raises:
        ClusterError: there is no such engine, Ray is not installed, or a cluster is given to an engine without one.
    """
    check_engine(engine, cluster)
    if engine == "ray":
        from fpve.engines.cluster.engine import RayEngine

        return RayEngine(cluster)
    return LocalEngine() if isinstance(engine, str) else engine


def open_mapper(engine: str | Mapper, cluster: Cluster | None) -> Mapper | None:
    """Where work that falls into parts is done by an engine of this name; None if by this process.

    Raises:
        ClusterError: there is no such engine, or a cluster is given to one without.
    """
    check_engine(engine, cluster)
    if engine == "ray":
        from fpve.engines.cluster.mapper import RayMapper

        return RayMapper(cluster)
    return None if isinstance(engine, str) else engine


def mapper_of(engine: Engine) -> Mapper | None:
    """Where work that falls into parts is done beside an engine that is kept: on its cluster, if it has one."""
    from fpve.engines.cluster.engine import RayEngine

    return engine.mapper() if isinstance(engine, RayEngine) else None


def kept(engine: Engine, said: Said) -> AbstractContextManager[object]:
    """Have an engine stay connected with its cluster, if it has one, until the context is left.

    Args:
        engine: the engine.
        said: is told what is waited for, if the cluster has no room for a worker.
    """
    from fpve.engines.cluster.engine import RayEngine

    if not isinstance(engine, RayEngine):
        return nullcontext()
    engine.said = said
    return engine


def expected_of(engine: Engine) -> Expected | None:
    """Where an engine would work, if that is not in this process.

    Raises:
        ClusterError: it could not.
    """
    from fpve.engines.cluster.connection import expected
    from fpve.engines.cluster.engine import RayEngine

    return expected(engine.cluster) if isinstance(engine, RayEngine) else None
