"""Flip single bits of a store, and see them found and repaired.

usage: .venv/bin/python scripts/torture/flips.py --flips 1000 [--seed N]

Prints a table, and exits with 1 if the store was not what it must be.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

root = Path(__file__).parents[2]
sys.path[:0] = [str(root / "tests")]
sys.path.append(str(root))


def main() -> int:
    from torture.flips import Flips

    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--flips", type=int, default=1000, help="how many bits to flip (1000)")
    parser.add_argument("--seed", type=int, help="of the random numbers; a new one each time")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(10**6)
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fpve-flips-") as folder:
        flips = Flips(Path(folder), seed)
        flips.run(options.flips)
    print(flips.table())
    print(f"seed {seed}, {time.monotonic() - start:.0f} s")
    for problem in flips.problems:
        print(f"FAILED {problem}")
    return 1 if flips.problems else 0


if __name__ == "__main__":
    sys.exit(main())
