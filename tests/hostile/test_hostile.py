"""Whatever lies in a folder is encoded as what it shows, or in quarantine with the reason, within bounds of memory."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hostile.attacks import attacks, heavy
from hostile.corpus import corpus, write, write_odd
from hostile.kinds import Case, kinds

import fpve
from fpve import images
from fpve.errors import ImageError

CHILD = Path(__file__).with_name("child.py")
MIB = 1024
# Of a class of Python's, or a value that is none: a reason is for the one whose file it is.
ODD_WORDS = re.compile(r"None|Error\b|Exception|Plugin|\bclass\b|0x[0-9a-f]{6}|\n")
SOUND = list(kinds())
ATTACKS = list(attacks())
EVERYTHING = list(corpus())


def child(*arguments: object) -> dict[str, object]:
    """What a process of its own reports, its peak memory too."""
    command = [sys.executable, str(CHILD), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    answer: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return answer


def outcome(case: Case) -> images.Decoded | str:
    """What a file decodes to, or the reason."""
    with images.without_warnings():
        try:
            return images.decode(case.data)
        except ImageError as error:
            return str(error)


def differs(case: Case, picture: images.Decoded) -> float:
    """By how much the middles of a picture's quarters are not what they should be."""
    square = images.resize(picture.image, 32, "squash").astype(int)
    middles = (square[8, 8], square[8, 24], square[24, 8], square[24, 24])
    return max(np.abs(found - wanted).max() for found, wanted in zip(middles, case.colours, strict=True))


def test_there_are_enough_of_them() -> None:
    """The corpus has hundreds of files, each with a name of its own."""
    assert len({(case.kind, case.name) for case in EVERYTHING}) == len(EVERYTHING) >= 300


@pytest.mark.parametrize("case", SOUND, ids=lambda case: case.name)
def test_every_kind_of_picture_is_decoded_as_what_it_shows(case: Case) -> None:
    """Colours, turn, transparency, depth and size are right, whatever the format."""
    picture = outcome(case)
    assert isinstance(picture, images.Decoded), picture
    assert (picture.image.mode, picture.width, picture.height) == ("RGB", *case.size)
    if case.colours:
        assert differs(case, picture) <= case.off


@pytest.mark.parametrize("case", ATTACKS, ids=lambda case: case.name)
def test_every_attack_is_refused_with_its_reason(case: Case) -> None:
    """What is no picture, or too much of one, is told apart."""
    reason = outcome(case)
    assert isinstance(reason, str)
    assert re.search(case.reason, reason), reason


def test_reasons_are_a_line_for_people_and_half_a_picture_is_none() -> None:
    """Whatever was cut off or flipped has a reason in words, or all four colours of the picture."""
    for case in EVERYTHING:
        found = outcome(case)
        if isinstance(found, str):
            assert found.strip()
            assert not ODD_WORDS.search(found), (case.name, found)
        elif case.colours and case.kind == "cut off":
            assert differs(case, found) <= case.off, case.name


def test_a_run_over_everything(tmp_path: Path) -> None:
    """Each file is an image or in quarantine with its reason, no pipe or device is waited for, within 1 GiB."""
    folder, store = tmp_path / "wild", tmp_path / "store"
    cases = write(folder, EVERYTHING)
    odd = write_odd(folder)
    answer = child("run", store, folder)
    assert answer["peak"] < MIB
    opened = fpve.open(store)
    encoded = {row["image_id"].removeprefix("hostile/") for row in opened.images.to_pylist()}
    rows = opened.sql("SELECT image_id, reason FROM quarantine").to_pylist()
    reasons = {row["image_id"].removeprefix("hostile/"): row["reason"] for row in rows}
    assert encoded | set(reasons) == set(cases) | set(odd)
    assert not encoded & set(reasons)
    assert {name for name, case in cases.items() if case.encoded} <= encoded
    wanted = {name: case.reason for name, case in cases.items() if case.reason}
    wanted |= {name: reason for name, reason in odd.items() if reason}
    for name, reason in wanted.items():
        assert re.search(reason, reasons[name]), (name, reasons[name])
    for name, reason in reasons.items():
        assert reason, name
        assert not ODD_WORDS.search(reason), (name, reason)


def test_several_of_the_largest_at_once_stay_within_memory(tmp_path: Path) -> None:
    """Threads wait for one another rather than hold 400 MB each."""
    largest = [case for case, _ in zip(heavy(), range(2), strict=False)]
    files = [tmp_path / f"{number}-{case.name}" for number in range(3) for case in largest]
    for number, file in enumerate(files):
        file.write_bytes(largest[number % len(largest)].data)
    answer = child("decode", 4, *files)
    assert [reason for _, reason in answer["files"]] == [None] * len(files)
    assert answer["peak"] < MIB
