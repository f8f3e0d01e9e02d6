"""A process whose peak memory is that of a run, or of decoding some files.

usage: child.py run STORE FOLDER | child.py decode THREADS FILE...

Prints a line of JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def peak_mib() -> float:
    """Peak of this process's own memory in MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss, which on Linux begins with that of the parent.
        return int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def run(store: str, folder: str) -> dict[str, object]:
    """Encode a folder with the fake encoder."""
    import fpve
    from fpve.config import CollectionConfig, EncoderConfig, Encoders, FusionConfig, Job, Limits

    job = Job(
        name="hostile",
        store=Path(store),
        encoders=Encoders(image=EncoderConfig("fake:24"), text=EncoderConfig("fake:16")),
        fusion=FusionConfig(),
        collections=(CollectionConfig(name="hostile", source=Path(folder)),),
        limits=Limits(max_quarantine=1.0),
    )
    before = peak_mib()
    report = fpve.run(job)
    return {"encoded": report.encoded, "quarantined": report.quarantined, "before": before, "peak": peak_mib()}


def decode(threads: str, *files: str) -> dict[str, object]:
    """Decode files; the milliseconds of each, and its reason or None."""
    from fpve import images
    from fpve.errors import ImageError

    def one(file: str) -> tuple[float, str | None]:
        data = Path(file).read_bytes()
        start = time.perf_counter()
        try:
            picture = images.decode(data)
            images.thumbnail(picture.image)
            images.resize(picture.image, 224, "squash")
        except ImageError as error:
            return (time.perf_counter() - start) * 1000, str(error)
        return (time.perf_counter() - start) * 1000, None

    with images.without_warnings(), ThreadPoolExecutor(int(threads)) as pool:
        return {"files": list(pool.map(one, files)), "peak": peak_mib()}


if __name__ == "__main__":
    print(json.dumps({"run": run, "decode": decode}[sys.argv[1]](*sys.argv[2:])))  # noqa: T201 (its parent reads it)
