"""Compare what a night writes with what making the store anew would.

usage: .venv/bin/python scripts/bench/nights.py [PICTURES]

Makes PICTURES (10,000) small pictures and a store of them with the fake encoders, in a temporary directory; then
changes 10 pictures, then every label, and runs the job after each. Prints what each run encoded and wrote, by kind, and
the ratio to the first run, which is what a program without a plan would write every night.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

import fpve
from fpve.pipeline.report import RunReport
from fpve.pipeline.written import KINDS
from fpve.store import tables
from fpve.store.snapshot import Snapshot

CHANGED = 10
_JOB = """
store = "store"
encoders = { image = "fake:1280", text = "fake:384" }
[[collections]]
name = "c"
source = "pictures"
metadata = "metadata.csv"
prefix = "{caption}"
"""


def main(pictures: int) -> int:
    with tempfile.TemporaryDirectory(prefix="fpve-bench-") as name:
        folder = Path(name)
        job = folder / "job.toml"
        job.write_text(_JOB, encoding="utf-8")
        for number in range(pictures):
            draw(folder, number, seed=number)
        label(folder, pictures, "first")
        # A file that changed this moment is read again by the next run: not what is measured here.
        time.sleep(2.1)
        print(
            f"{'':<20} {'encoded':>8} {'fused':>6} {'seconds':>8} " + " ".join(f"{kind:>10}" for kind in KINDS) + "  MB"
        )
        first = night("first run", job, anew=None)
        for number in range(CHANGED):
            draw(folder, number * (pictures // CHANGED), seed=pictures + number)
        changed = night(f"{CHANGED} changed pictures", job, anew=first)
        time.sleep(2.1)
        before = thumbnails(folder)
        label(folder, pictures, "second")
        labelled = night(f"{pictures:,} new labels", job, anew=first)
        nothing = night("nothing", job, anew=first)
        wrong = [
            (changed.encoded, changed.changed) != (CHANGED, CHANGED),
            (labelled.encoded, labelled.fused, labelled.metadata_changed) != (0, 0, pictures),
            labelled.bytes_written["vectors"] + labelled.bytes_written["indexes"] > 0,
            thumbnails(folder) != before,
            nothing.published,
        ]
        print("the labels wrote no vector, index or thumbnail" if not any(wrong) else f"not as expected: {wrong}")
        return int(any(wrong))


def night(name: str, job: Path, *, anew: RunReport | None) -> RunReport:
    report = fpve.run(job)
    sizes = " ".join(f"{report.bytes_written[kind] / 1e6:>10.3f}" for kind in KINDS)
    total = sum(report.bytes_written.values())
    ratio = f"  {total / sum(anew.bytes_written.values()):.1%} of the first run" if anew else ""
    seconds = report.seconds["total"]
    print(f"{name:<20} {report.encoded:>8,} {report.fused:>6,} {seconds:>8.2f} {sizes}{ratio}")
    return report


def thumbnails(folder: Path) -> tuple[object, ...]:
    return Snapshot.open(folder / "store").manifest.tables_named(tables.THUMBNAILS)


def draw(folder: Path, number: int, *, seed: int) -> None:
    path = folder / "pictures" / f"folder{number // 1000:02d}" / f"picture_{number:06d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((32, 32), Image.Resampling.NEAREST).save(path)


def label(folder: Path, pictures: int, word: str) -> None:
    lines = [
        f"folder{number // 1000:02d}/picture_{number:06d}.png,number {number},{word} {number % 7}"
        for number in range(pictures)
    ]
    (folder / "metadata.csv").write_text("\n".join(["path,caption,label", *lines]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) > 2 or not all(word.isdecimal() for word in sys.argv[1:]):
        sys.exit(__doc__)
    sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else 10_000))
