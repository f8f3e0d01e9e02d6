"""Colours of the page, by day and by night: texts can be read, and fields can be seen, as WCAG 2.2 AA has it."""

from __future__ import annotations

import re

import pytest

from fpve.web.page_files import STATIC

_TOKEN = re.compile(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);")
_SURFACES = ("paper", "card", "well", "hover")


def tokens(scheme: str) -> dict[str, str]:
    """The colours of a scheme, by their names."""
    found = _TOKEN.findall((STATIC / "css" / "base.css").read_text(encoding="utf-8"))
    return {name: light if scheme == "light" else dark for name, light, dark in found}


def luminance(colour: str) -> float:
    """The relative luminance of #rrggbb, as WCAG defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours, from 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_the_standard() -> None:
    """Black on white has 21, and the lightest grey that passes on white is #767676."""
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") > 4.5 > contrast("#777777", "#ffffff")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_can_be_read(scheme: str) -> None:
    """Each colour of a text has 4.5 against whatever it stands on."""
    colour = tokens(scheme)
    pairs = [(text, on) for text in ("ink", "soft", "faint", "accent", "right", "wrong") for on in _SURFACES]
    pairs += [("on-accent", "accent"), ("accent", "accent-soft"), ("wrong", "wrong-soft"), ("ink", "warn-soft")]

    found = {f"{text} on {on}": contrast(colour[text], colour[on]) for text, on in pairs}

    assert {name: round(ratio, 2) for name, ratio in found.items() if ratio < 4.5} == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fields_can_be_seen(scheme: str) -> None:
    """The rim of what takes input, and the ring around what has the focus, have 3 against what is beside them."""
    colour = tokens(scheme)
    found = [contrast(colour[name], colour[on]) for name in ("field", "accent") for on in ("paper", "card")]

    assert min(found) >= 3
