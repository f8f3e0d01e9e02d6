"""Peak memory of encoding many pictures, against that of few: what a run holds must not grow with its collection.

    .venv/bin/python scripts/bench/memory.py FOLDER [--pictures 5000 100000] [--work FOLDER] [--encoder NAME]

Changed copies of FOLDER's pictures are written (100,000 of 20 KB are 2 GB), and encoded by `fpve run` in a process of
its own for each number of them. The peak is that process's, in resident memory, as the system counts it.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from copies import make_copies


def main() -> None:
    """Measure, print the table and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, nargs="+", default=[5_000, 100_000])
    parser.add_argument("--encoder", default="efficientnet-lite0")
    parser.add_argument("--work", type=Path, help="folder for the copies, kept for the next time")
    parser.add_argument("--csv", type=Path, default=Path("bench-memory.csv"))
    options = parser.parse_args()
    header = ["pictures", "images_per_second", "peak_mib", "ratio"]
    print("".join(f"{one:>20}" for one in header))
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as scratch:
        first = None
        for count in options.pictures:
            folder = (options.work or Path(scratch)) / f"{count}"
            make_copies(options.folder, folder, count)
            rate, peak = _run(folder, options.encoder, Path(scratch) / f"store{count}")
            first = first or peak
            rows.append([f"{count}", f"{rate:.1f}", f"{peak:.0f}", f"{peak / first:.2f}"])
            print("".join(f"{one:>20}" for one in rows[-1]), flush=True)
    with options.csv.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    print(f"kept in {options.csv}")


def _run(folder: Path, encoder: str, store: Path) -> tuple[float, float]:
    """Pictures per second of the encoding stage, and the peak of resident memory in MiB."""
    job = store.with_suffix(".toml")
    job.write_text(
        f'store = "{store}"\nencoders = {{ image = "{encoder}", text = "fake" }}\n'
        f'[[collections]]\nname = "c"\nsource = "{folder}"\nprefix = "picture {{stem}}"\n',
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "fpve", "run", str(job), "--format", "json"]
    said = store.with_suffix(".json")
    with said.open("w") as file:
        process = subprocess.Popen(command, stdout=file)
    _, status, usage = os.wait4(process.pid, 0)
    # 3: some are in quarantine.
    if os.waitstatus_to_exitcode(status) not in (0, 3):
        raise SystemExit(f"fpve run ended with {os.waitstatus_to_exitcode(status)}")
    return json.loads(said.read_text())["images_per_second"], usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
