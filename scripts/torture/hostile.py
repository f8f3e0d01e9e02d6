"""Decode everything that a folder can hold, and see time and memory stay within bounds.

usage: .venv/bin/python scripts/torture/hostile.py [--seed N] [--threads N]

Prints a table by kind, and exits with 1 if a file took more than 2 s, a process more than 1 GiB, or a file was not what
it must be. Bits are flipped at random, others with each seed.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from itertools import chain
from pathlib import Path
from typing import Any

root = Path(__file__).parents[2]
# In place of this script's own folder, in which it has the name of what it needs.
sys.path[:1] = [str(root / "tests")]
sys.path.append(str(root))

SECONDS = 2
MIB = 1024
CHILD = root / "tests/hostile/child.py"
ROW = "{:<18} {:>6} {:>8} {:>11} {:>10} {:>9}"


def child(*arguments: object) -> dict[str, Any]:
    environment = {"PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, str(CHILD), *map(str, arguments)], stdout=subprocess.PIPE, env=environment, check=True
    )
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def main() -> int:
    from hostile.attacks import heavy
    from hostile.corpus import corpus, write, write_odd

    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--seed", type=int, help="of the random numbers; a new one each time")
    parser.add_argument("--threads", type=int, default=4, help="that decode all at once, in the last rows (4)")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(10**6)
    problems: list[str] = []

    def add(kind: str, files: list[Path], threads: int) -> list[str | None]:
        """A row of the table; the reasons of its files."""
        answer = child("decode", threads, *files)
        slowest, reasons = max(ms for ms, _ in answer["files"]), [reason for _, reason in answer["files"]]
        encoded = reasons.count(None)
        print(ROW.format(kind, len(files), encoded, len(files) - encoded, f"{slowest:.0f}", f"{answer['peak']:.0f}"))
        # One that waits for others has not taken that long itself.
        if slowest > SECONDS * 1000 and threads == 1:
            problems.append(f"{kind}: a file took {slowest / 1000:.1f} s, more than {SECONDS}")
        if answer["peak"] > MIB:
            problems.append(f"{kind}: {answer['peak']:.0f} MiB, more than {MIB}")
        return reasons

    with tempfile.TemporaryDirectory(prefix="fpve-hostile-") as temporary:
        folder = Path(temporary) / "wild"
        cases = write(folder, chain(corpus(seed), heavy()))
        print(ROW.format("kind", "files", "encoded", "quarantined", "slowest ms", "peak MiB"))
        for kind in dict.fromkeys(case.kind for case in cases.values()):
            names = [name for name, case in cases.items() if case.kind == kind]
            reasons = add(kind, [folder / name for name in names], 1)
            for name, reason in zip(names, reasons, strict=True):
                if reason if cases[name].encoded else cases[name].reason and not reason:
                    problems.append(f"{name}: {reason or 'should be refused, was encoded'}")
        largest = [folder / name for name, case in cases.items() if case.kind == "largest"]
        add(f"largest, {options.threads} threads", largest * 2, options.threads)
        add(f"all, {options.threads} threads", [folder / name for name in cases], options.threads)
        odd = write_odd(folder)
        answer = child("run", Path(temporary) / "store", folder)
        total = len(cases) + len(odd)
        print(
            ROW.format("a run over all", total, answer["encoded"], answer["quarantined"], "", f"{answer['peak']:.0f}")
        )
        if answer["peak"] > MIB:
            problems.append(f"a run: {answer['peak']:.0f} MiB, more than {MIB}")
    print(f"seed {seed}")
    for problem in problems:
        print(f"FAILED {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
