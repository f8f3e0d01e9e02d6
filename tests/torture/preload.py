"""What the server of child processes imports, so that no child has to."""

import duckdb
import faiss
import PIL.PngImagePlugin
import pyarrow.compute
import pyarrow.dataset
import pyarrow.parquet
from torture import children, world

import fpve.api

__all__ = ["PIL", "children", "duckdb", "faiss", "fpve", "pyarrow", "world"]
