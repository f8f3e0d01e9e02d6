"""A store looked through without a query: which images meet filters, in which order, and how their values spread."""

from fpve.browsing.browser import Browser
from fpve.browsing.facets import Bin, Facet, RangeFacet, ValuesFacet
from fpve.browsing.filters import Filters

__all__ = ["Bin", "Browser", "Facet", "Filters", "RangeFacet", "ValuesFacet"]
