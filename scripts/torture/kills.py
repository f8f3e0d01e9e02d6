"""Kill writers at random moments, and compare the store with a model.

usage: .venv/bin/python scripts/torture/kills.py --runs 200 [--seed N]

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
    from torture.kills import Campaign

    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--runs", type=int, default=200, help="how many operations to kill (200)")
    parser.add_argument("--seed", type=int, help="of the random numbers; a new one each time")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(10**6)
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fpve-kills-") as folder:
        campaign = Campaign(Path(folder), seed)
        campaign.run(options.runs)
    print(campaign.table())
    print(f"seed {seed}, {time.monotonic() - start:.0f} s")
    for problem in campaign.problems:
        print(f"FAILED {problem}")
    return 1 if campaign.problems else 0


if __name__ == "__main__":
    sys.exit(main())
