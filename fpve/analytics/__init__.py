"""SQL over a snapshot: the only package that imports duckdb. It sees the store's tables and nothing else."""

from fpve.analytics.conditions import matching_rows, rows_where
from fpve.analytics.functions import Listed, TableFunction, VectorFunction
from fpve.analytics.prefixes import list_prefixes
from fpve.analytics.session import Answer, Bounds, Session
from fpve.analytics.statements import split_statements

__all__ = [
    "Answer",
    "Bounds",
    "Listed",
    "Session",
    "TableFunction",
    "VectorFunction",
    "list_prefixes",
    "matching_rows",
    "rows_where",
    "split_statements",
]
