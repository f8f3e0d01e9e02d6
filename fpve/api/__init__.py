"""The Python API: a store that can be asked, and the calls behind every command."""

from fpve.api.running import run
from fpve.api.store import Store, open

__all__ = ["Store", "open", "run"]
