"""Engines by name."""

from __future__ import annotations

from typing import Literal

from fpve.engines.cluster.cluster import Cluster, check_engine
from fpve.engines.local import LocalEngine
from fpve.engines.work import Engine

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
