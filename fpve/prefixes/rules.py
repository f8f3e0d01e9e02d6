"""Prefix rules of a job, with their templates parsed and checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fpve.config import PrefixRule
from fpve.errors import PrefixError, nearest
from fpve.prefixes.template import BUILT_IN_FIELDS, Template


@dataclass(frozen=True, slots=True)
class ParsedRule:
    """A rule whose templates have been parsed.

    Attributes:
        rule: as the job has it.
        template: its text, or its column as a template; None where it has several texts or a sidecar.
        templates: its texts by the value of the column `by`.
    """

    rule: PrefixRule
    template: Template | None
    templates: dict[str, Template]

    @property
    def all_templates(self) -> tuple[Template, ...]:
        """Its template, or all of them."""
        return (self.template,) if self.template is not None else tuple(self.templates.values())

    @property
    def origin(self) -> str:
        """Where its texts come from, as the table of prefixes says it."""
        rule = self.rule
        if rule.generate is not None:
            return "generated"
        if rule.column is not None:
            return "column"
        if rule.sidecar is not None:
            return "sidecar"
        # A template without a field is the text of all its images.
        return "template" if any(one.fields for one in self.all_templates) or rule.by else "literal"

    def check(self, columns: list[str]) -> None:
        """Refuse fields, and defaults of fields, that there are not.

        Raises:
            PrefixError: naming the field and the nearest column.
        """
        for one in self.all_templates:
            one.check(columns)
        known = [*columns, *BUILT_IN_FIELDS]
        if self.rule.by is not None and self.rule.by not in known:
            raise PrefixError(
                f"prefix: by names a column {self.rule.by!r} that is not there{nearest(self.rule.by, known)}; "
                f"there is {', '.join(known)}"
            )
        fields = {name for one in self.all_templates for name in one.fields}
        for name in self.rule.defaults:
            if name not in fields:
                raise PrefixError(
                    f"prefix {str(self.rule)!r}: defaults has a text for {name!r}, which is no field of it"
                    f"{nearest(name, fields)}"
                )


def parse_rules(rules: Iterable[PrefixRule]) -> tuple[ParsedRule, ...]:
    """Parse the templates of rules.

    Raises:
        PrefixError: braces don't match, or a field is not a plain column name.
    """
    return tuple(map(_parse, rules))


def rule_fields(rules: Iterable[PrefixRule]) -> set[str]:
    """The columns that decide what texts rules give."""
    return {name for rule in rules for name in _fields(rule)}


def _parse(rule: PrefixRule) -> ParsedRule:
    if rule.column is not None:
        return ParsedRule(rule, Template.of_column(rule.column), {})
    template = Template.parse(rule.text) if rule.text is not None else None
    return ParsedRule(rule, template, {value: Template.parse(text) for value, text in rule.texts.items()})


def _fields(rule: PrefixRule) -> Iterator[str]:
    parsed = _parse(rule)
    for one in parsed.all_templates:
        yield from one.fields
    if rule.by is not None:
        yield rule.by
