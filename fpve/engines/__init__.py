"""Engines: where encoding runs.

work        what every engine takes and gives back
local       the engine that runs in this process
cluster/    the one that runs on a Ray cluster         named      engines by name, and what is beside them
loading     an input is read, and decoded           ordered    work ahead that comes back in order
shards      rows become shards                      writing    in a thread of its own
meter       where the time goes                        pictures   encoded in memory, for queries and samples
"""
