"""A folder of everything that a collection can hold, with what is to become of each file."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from hostile.attacks import attacks
from hostile.kinds import Case, kinds

# One file of each format, from which damaged ones are made.
SOUND = (
    *("baseline.jpg", "progressive.jpg", "rgba.png", "palette.png", "animated.gif", "animated.png", "animated.webp"),
    *("lossy.webp", "plain.avif", "plain.jp2", "tiff_lzw.tif", "jpeg.tif", "plain.bmp", "icon.ico", "packed.tga"),
    *("plain.ppm", "deep.ppm"),
)
# What of a file is left: bytes of it at least, by parts of a hundred.
CUTS = (1, 5, 25, 50, 75, 95)
FLIPPED = 6
# A hole in a file, as long as it is not a picture's own.
SPARSE = 6 * 2**30


def corpus(seed: int = 20) -> Iterator[Case]:
    """All files that have bytes: sound ones, attacks, and sound ones that were cut off or had bits flipped."""
    sound = list(kinds())
    yield from sound
    yield from attacks()
    by_name = {case.name: case for case in sound}
    random_bits = random.Random(seed)
    for name in SOUND:
        data = by_name[name].data
        for percent in CUTS:
            # A first frame, or all but an end mark, may be whole in what is left; half a picture is none.
            rest = data[: max(len(data) * percent // 100, 12)]
            yield replace(by_name[name], kind="cut off", name=f"cut{percent}-{name}", data=rest, encoded=False)
        for number in range(FLIPPED):
            damaged = bytearray(data)
            # Headers are where it hurts; of a large file hardly a flip would hit one.
            for _ in range(1 + number):
                damaged[random_bits.randrange(min(len(data), 400 * (1 + number)))] ^= 1 << random_bits.randrange(8)
            yield Case("bits flipped", f"flip{number}-{name}", bytes(damaged))


def write(folder: Path, cases: Iterator[Case] | list[Case]) -> dict[str, Case]:
    """Write files into a folder for each kind; return the cases by path."""
    written: dict[str, Case] = {}
    for case in cases:
        path = folder / case.kind.replace(" ", "-") / case.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(case.data)
        written[path.relative_to(folder).as_posix()] = case
    return written


def write_odd(folder: Path) -> dict[str, str | None]:
    """Make what is no file, or no usual one; return patterns of the reasons by path, None for what is encoded."""
    odd = folder / "odd"
    odd.mkdir(parents=True)
    os.mkfifo(odd / "fifo.jpg")
    with socket.socket(socket.AF_UNIX) as bound:
        here = Path.cwd()
        # The address of a socket is shorter than many a path.
        os.chdir(odd)
        try:
            bound.bind("socket.png")
        finally:
            os.chdir(here)
    (odd / "device.jpg").symlink_to("/dev/zero")
    (odd / "loop.png").symlink_to("loop.png")
    (odd / "first.png").symlink_to("second.png")
    (odd / "second.png").symlink_to("first.png")
    (odd / "gone.jpg").symlink_to("nowhere.jpg")
    (odd / "folder.jpg").mkdir()
    (odd / "sparse.jpg").touch()
    os.truncate(odd / "sparse.jpg", SPARSE)
    reasons: dict[str, str | None] = {
        "odd/fifo.jpg": "not a regular file",
        "odd/socket.png": "not a regular file",
        "odd/device.jpg": "not a regular file",
        "odd/loop.png": "can't be read: Too many levels",
        "odd/first.png": "can't be read: Too many levels",
        "odd/second.png": "can't be read: Too many levels",
        "odd/gone.jpg": "can't be read: No such file",
        "odd/sparse.jpg": "more than .* MB",
        "odd/caf%E9.png": None,
    }
    sound = next(case.data for case in kinds() if case.name == "rgb.png")
    (Path(os.fsdecode(os.fsencode(odd) + b"/caf\xe9.png"))).write_bytes(sound + b"another")
    closed = odd / "closed.png"
    closed.write_bytes(sound + b"closed")
    closed.chmod(0)
    # Root may read it.
    reasons["odd/closed.png"] = None if os.access(closed, os.R_OK) else "can't be read: Permission denied"
    return reasons
