"""pyarrow without the pandas that it looks for: no command hands it any, and importing it takes as long as a search."""

from __future__ import annotations

import sys


class _NoPandas:
    """Among what finds modules, tells that there is no pandas."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:  # noqa: ARG004 (import's protocol)
        if name == "pandas":
            raise ModuleNotFoundError(name, name=name)


def arrow_alone() -> None:
    """Have pyarrow look for pandas at once, and find none; whoever asks for pandas later has it."""
    if "pandas" in sys.modules:
        return
    sys.meta_path.insert(0, _NoPandas)
    try:
        import pyarrow as pa

        # Of the first list that it makes an array of, it wants to know whether it is one of pandas.
        pa.array([0])
    finally:
        sys.meta_path.remove(_NoPandas)
