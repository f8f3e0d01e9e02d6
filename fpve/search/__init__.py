"""Similarity search over a snapshot: nearest images of query blocks, at any weight, filtered or not."""

from fpve.search.others import nearest_others
from fpve.search.searcher import DEFAULT_K, Conditions, Searcher

__all__ = ["DEFAULT_K", "Conditions", "Searcher", "nearest_others"]
