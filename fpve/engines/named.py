"""Engines by name."""

from __future__ import annotations

from typing import Literal

from fpve.engines.cluster.cluster import Cluster
from fpve.engines.local import LocalEngine
from fpve.engines.work import Engine
from fpve.errors import ClusterError

EngineName = Literal["local", "ray"]


def open_engine(engine: EngineName | Engine, cluster: Cluster | None) -> Engine:
    """The engine of a name: this process, or a Ray cluster; one that is made already stays as it is.

    Raises:
        ClusterError: there is no such engine, Ray is not installed, or a cluster is given to an engine without one.
    """
    if engine == "ray":
        from fpve.engines.cluster.engine import RayEngine

        return RayEngine(cluster)
    if cluster is not None:
        raise ClusterError("a cluster is for the engine 'ray': say engine = 'ray', or leave the cluster out")
    if engine == "local":
        return LocalEngine()
    if isinstance(engine, str):
        raise ClusterError(f"expected the engine 'local' or 'ray', found {engine!r}")
    return engine
