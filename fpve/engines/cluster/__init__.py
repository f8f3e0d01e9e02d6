"""Work on a Ray cluster, which may be this machine. Nothing here imports Ray before there is work.

cluster     which Ray, how many workers of what size, and being connected with it
engine      the engine that encodes there             books       what has become of each input
lot         all inputs, and how they are cut          passes      shards through Ray Data, each tried once
worker      a process that encodes shards             receipt     what it says of one
tries       how often each was begun          mapping   work that falls into parts: indexes, searches
"""

from fpve.engines.cluster.cluster import Cluster, connected
from fpve.engines.cluster.engine import RayEngine

__all__ = ["Cluster", "RayEngine", "connected"]
