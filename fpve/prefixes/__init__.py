"""Frozen prefixes: rules and templates that give each image a text, and the ids of these texts."""

from __future__ import annotations

from fpve.prefixes.rules import ParsedRule, parse_rules, rule_fields
from fpve.prefixes.template import BUILT_IN_FIELDS, Template
from fpve.prefixes.texts import keep_chars, prefix_id, prefix_ids, without_blanks

__all__ = [
    "BUILT_IN_FIELDS",
    "ParsedRule",
    "Template",
    "keep_chars",
    "parse_rules",
    "prefix_id",
    "prefix_ids",
    "rule_fields",
    "without_blanks",
]
