"""What a store holds, as files for other programs: Parquet, CSV, NumPy's matrices, and what Embedding Atlas opens."""

from __future__ import annotations

from fpve.export.exporting import Exported, Format, export_rows
from fpve.export.header import Header, VectorKind

__all__ = ["Exported", "Format", "Header", "VectorKind", "export_rows"]
