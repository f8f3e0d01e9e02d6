"""What a precision costs: cosines to torch in float32, and the accuracy of k-NN, for each way to make a square.

    .venv/bin/python scripts/bench/precision.py JOB --label COLUMN [--csv FILE]

JOB is a job over one or more collections with labels. Its store is made anew in a temporary folder for each precision
and each `resize`. Cosines are those of the features to torch's in float32, over all pictures, with `squash`;
accuracies are leave-one-out and grouped (`fpve evaluate`), of pictures alone and of the fused vectors.
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

import fpve
from fpve.config import EncoderConfig, Encoders, Job, load_job
from fpve.encoders import open_image_encoder
from fpve.encoders.runtimes.machine import cpu_name
from fpve.errors import EncoderError
from fpve.store.snapshot import Snapshot

PRECISIONS = ("fp32", "bf16", "int8")
RESIZES = ("squash", "pad", "crop")


def main() -> None:
    """Measure, print the table and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", type=Path)
    parser.add_argument("--label", required=True)
    parser.add_argument("--csv", type=Path, default=Path("bench-precision.csv"))
    options = parser.parse_args()
    job = load_job(options.job)
    print(cpu_name())
    header = ["resize", "precision", "cosine mean", "cosine worst", "image only", "fused", "points", "fused points"]
    print("".join(f"{one:>14}" for one in header))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FPVE_RUNTIME"] = "torch"
        exact = _features(_encode(job, "squash", "fp32", Path(folder) / "torch"))
        del os.environ["FPVE_RUNTIME"]
        for resize in RESIZES:
            base: tuple[float, float] | None = None
            for precision in PRECISIONS:
                try:
                    store = _encode(job, resize, precision, Path(folder) / f"{resize}-{precision}")
                except EncoderError as error:
                    print(f"{precision}: {error}")
                    continue
                both = [
                    fpve.open(store).evaluate(label=options.label, image_weight=weight).accuracy
                    for weight in (1.0, None)
                ]
                found = (both[0], both[1])
                base = base or found
                cosines = _cosines(_features(store), exact) if resize == "squash" else None
                figures = [f"{one:.5f}" for one in (cosines.mean(), cosines.min())] if cosines is not None else ["", ""]
                points = [f"{100 * (mine - theirs):+.2f}" for mine, theirs in zip(found, base, strict=True)]
                rows.append([resize, precision, *figures, *(f"{one:.4f}" for one in found), *points])
                print("".join(f"{one:>14}" for one in rows[-1]), flush=True)
    with options.csv.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    print(f"kept in {options.csv}")


def _encode(job: Job, resize: str, precision: str, store: Path) -> Path:
    image: EncoderConfig = replace(job.encoders.image, resize=resize, precision=precision, device="cpu")  # type: ignore[arg-type]
    open_image_encoder(image)
    fpve.run(replace(job, store=store, encoders=Encoders(image=image, text=job.encoders.text)))
    return store


def _features(store: Path) -> dict[str, np.ndarray]:
    """Image blocks by content."""
    snapshot = Snapshot.open(store)
    found: dict[str, np.ndarray] = {}
    for segment in snapshot.manifest.segments:
        names = snapshot.segment_keys(segment)["content_hash"].to_pylist()
        found |= zip(names, snapshot.fusion.unfuse(snapshot.segment_rows(segment)).image, strict=True)
    snapshot.close()
    return found


def _cosines(mine: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> np.ndarray:
    names = sorted(mine.keys() & theirs.keys())
    left, right = (np.stack([rows[name] for name in names]).astype(np.float64) for rows in (mine, theirs))
    return np.sum(left * right, axis=1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)


if __name__ == "__main__":
    main()
