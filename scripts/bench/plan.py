"""Compare planning a night with nothing to do with a bare walk of the same files.

usage: .venv/bin/python scripts/bench/plan.py [FILES [MANY]]

Makes FILES (100,000) empty files and a store that knows them, in a temporary directory, and times in turns, in one
process: `os.scandir` with `stat` and nothing else, fpve's scan, and scan and plan together; then the whole command
`fpve run`, in processes of their own. With MANY (1,000,000) files it measures the peak memory of a process that plans.
Prints medians and their ratios to the walk.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROUNDS = 7


def main(files: int, many: int) -> None:
    with tempfile.TemporaryDirectory(prefix="fpve-bench-") as name:
        speed(Path(name), files)
    if many:
        with tempfile.TemporaryDirectory(prefix="fpve-bench-") as name:
            memory(Path(name), many)


def speed(folder: Path, files: int) -> None:
    from synthetic import make

    from fpve.config import CollectionConfig, load_job
    from fpve.planning.models import open_models, recipe_for
    from fpve.planning.plan import plan_job
    from fpve.progress import SilentProgress
    from fpve.sources.source import scan_source

    path = make(folder, files)
    job = load_job(path)
    recipe = recipe_for(job, open_models(job))
    source = job.collections[0].source

    def plan() -> None:
        (one,) = plan_job(job, recipe, progress=SilentProgress()).collections
        if one.expected_changes().unchanged != files:
            sys.exit(f"expected {files} unchanged files, found {one.expected_changes()}")

    ways: dict[str, Callable[[], object]] = {
        "os.scandir and stat": lambda: walk(os.fsencode(source)),
        "scan": lambda: scan_source(CollectionConfig("c", source)),
        "scan and plan": plan,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            seconds[name].append(timed(way))
    script = "import sys; from fpve.cli import main\ntry: main()\nfinally: sys.exit('torch' in sys.modules and 'torch')"
    command = [sys.executable, "-c", script, "run", str(path)]
    seconds["fpve run (a process)"] = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds["fpve run (a process)"].append(time.perf_counter() - start)
        if done.returncode or "nothing to do" not in done.stdout:
            sys.exit(f"fpve run: {done.returncode} {done.stdout} {done.stderr}")
    print(f"{files:,} unchanged files, medians of {ROUNDS} rounds")
    bare = statistics.median(seconds["os.scandir and stat"])
    for name, each in seconds.items():
        print(f"{name:<22} {statistics.median(each):8.3f} s {statistics.median(each) / bare:6.2f} times the walk")
    print("torch was not imported by fpve run")


def memory(folder: Path, many: int) -> None:
    # In a process of its own, so that its peak is not that of making the store.
    made = subprocess.run([sys.executable, __file__, "--make", str(folder), str(many)], check=False)
    if made.returncode:
        sys.exit(made.returncode)
    done = subprocess.run(
        [sys.executable, __file__, "--plan", str(folder / "job.toml")], capture_output=True, text=True, check=False
    )
    print(done.stdout or done.stderr, end="")


def plan_alone(path: Path) -> None:
    from fpve.config import load_job
    from fpve.planning.models import open_models, recipe_for
    from fpve.planning.plan import plan_job
    from fpve.progress import SilentProgress

    job = load_job(path)
    recipe = recipe_for(job, open_models(job))
    bare = timed(lambda: walk(os.fsencode(job.collections[0].source)))
    start = time.perf_counter()
    (one,) = plan_job(job, recipe, progress=SilentProgress()).collections
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{one.expected_changes().unchanged:,} unchanged files")
    print(f"{'os.scandir and stat':<22} {bare:8.3f} s")
    print(f"{'scan and plan':<22} {seconds:8.3f} s {seconds / bare:6.2f} times the walk")
    print(f"{'peak memory':<22} {peak:8.0f} MiB, Python and its libraries among it")


def walk(folder: bytes) -> int:
    """What any walk must do: list, and ask each file for its status."""
    count, stack = 0, [folder]
    while stack:
        with os.scandir(stack.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)
                else:
                    entry.stat()
                    count += 1
    return count


def timed(way: Callable[[], object]) -> float:
    start = time.perf_counter()
    way()
    return time.perf_counter() - start


if __name__ == "__main__":
    if sys.argv[1:2] == ["--plan"]:
        plan_alone(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["--make"]:
        from synthetic import make as make_store

        make_store(Path(sys.argv[2]), int(sys.argv[3]))
    elif len(sys.argv) > 3 or not all(word.isdecimal() for word in sys.argv[1:]):
        sys.exit(__doc__)
    else:
        main(*(int(word) for word in (sys.argv[1:] + ["100000", "1000000"][len(sys.argv) - 1 :])))
