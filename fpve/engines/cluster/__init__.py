"""Work on a Ray cluster, which may be this machine.

cluster     which Ray, how many workers of what size, and being connected with it
"""

from fpve.engines.cluster.cluster import Cluster, connected

__all__ = ["Cluster", "connected"]
