"""Times encoding from files on disk against the loop that everybody writes first, and against what its parts allow.

    .venv/bin/python scripts/bench/encode.py FOLDER [--pictures 8000] [--csv FILE]

FOLDER has pictures of any kind; changed copies of them are written, PNG and JPEG in turns, and encoded by each
encoder in each precision, in the same run:

- original loop: one picture at a time, decoded whole by Pillow, through the model in torch;
- DataLoader loop: torch's DataLoader with a worker process a core, batches of 64, the model in torch;
- decode only, model only: fpve's own parts, each with all cores; `parts` is what they can do together,
  1 / (1/decode + 1/model), since they share the cores;
- fpve, encoding: from the first file read to the last shard written, models loaded meanwhile;
- fpve, whole command: `fpve run` as a process of its own, from start to exit: imports, plan, model, index, snapshot.

Rates are pictures per second; `ratio` is that to the original loop, `efficiency` that to `parts`.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from copies import make_copies
from plain import Files, decoded_whole

from fpve import images
from fpve.config import EncoderConfig
from fpve.encoders import ImageEncoder, open_image_encoder
from fpve.encoders.runtimes.machine import cores, cpu_name
from fpve.errors import EncoderError

# A picture takes these loops ten milliseconds and more: enough of them for two digits.
LOOP_PICTURES = 300
LOADER_BATCH = 64


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    encoder: str
    what: str
    rate: float
    ratio: float
    efficiency: float | None = None
    note: str = ""


def main() -> None:
    """Measure, print the table and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=8000)
    parser.add_argument("--encoder", action="append", choices=["efficientnet-lite0", "torchvision:resnet18"])
    parser.add_argument("--precision", action="append", choices=["fp32", "bf16", "int8"])
    parser.add_argument("--work", type=Path, help="folder for the copies, kept for the next time")
    parser.add_argument("--csv", type=Path, default=Path("bench-encode.csv"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = options.work or Path(scratch)
        files = make_copies(options.folder, work / "pictures", options.pictures)
        size = sum(file.stat().st_size for file in files) / len(files) / 1024
        print(f"{cpu_name()}\n{len(files)} pictures, {size:.0f} KiB each on average", flush=True)
        rows: list[Row] = []
        for name in options.encoder or ["efficientnet-lite0", "torchvision:resnet18"]:
            weights = _random_weights(name, work)
            rows += _measure(name, weights, options.precision or ["fp32", "bf16", "int8"], files, work, Path(scratch))
    _print(rows)
    with options.csv.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["encoder", "what", "images_per_second", "ratio", "efficiency", "note"])
        writer.writerows([r.encoder, r.what, f"{r.rate:.1f}", f"{r.ratio:.2f}", r.efficiency, r.note] for r in rows)
    print(f"kept in {options.csv}")


def _measure(
    name: str, weights: Path | None, precisions: Sequence[str], files: list[Path], work: Path, scratch: Path
) -> list[Row]:
    exact = open_image_encoder(EncoderConfig(name, weights=weights))
    network = exact.pixel_network()  # type: ignore[attr-defined]
    base = _rate(lambda: _original_loop(network, exact, files[:LOOP_PICTURES]), LOOP_PICTURES)
    rows = [Row(name, "original loop", base, 1.0)]
    some = files[: 4 * LOOP_PICTURES]
    rate = _rate(lambda: _loader_loop(network, exact, some), len(some))
    rows.append(Row(name, "DataLoader loop", rate, rate / base))
    decode = _decode_only(exact, files)
    rows.append(Row(name, "decode only", decode, decode / base))
    for precision in precisions:
        config = EncoderConfig(name, weights=weights, precision=precision)  # type: ignore[arg-type]
        encoder = open_image_encoder(config)
        try:
            model = _model_only(encoder, files)
        except EncoderError as error:
            print(f"{name} {precision}: {error}", flush=True)
            continue
        parts = 1 / (1 / decode + 1 / model)
        rows.append(Row(name, f"model only, {precision}", model, model / base, note=encoder._runtime().name))  # type: ignore[attr-defined]
        rows.append(Row(name, f"parts, {precision}", parts, parts / base))
        report, seconds = _run(config, work / "pictures", scratch)
        encoding, whole = len(files) / report["seconds"]["encode"], len(files) / seconds
        limit = f"limited by {report['limited_by']}"
        rows.append(Row(name, f"fpve {precision}, encoding", encoding, encoding / base, encoding / parts, limit))
        rows.append(Row(name, f"fpve {precision}, whole command", whole, whole / base, whole / parts))
    return rows


def _rate(work: Callable[[], object], count: int) -> float:
    start = time.perf_counter()
    work()
    return count / (time.perf_counter() - start)


def _original_loop(network: torch.nn.Module, encoder: ImageEncoder, files: list[Path]) -> None:
    with torch.inference_mode():
        for file in files:
            network(torch.from_numpy(decoded_whole(file, encoder.side)[None]))


def _loader_loop(network: torch.nn.Module, encoder: ImageEncoder, files: list[Path]) -> None:
    loader = torch.utils.data.DataLoader(Files(files, encoder.side), batch_size=LOADER_BATCH, num_workers=cores())
    with torch.inference_mode():
        for batch in loader:
            network(batch)


def _decode_only(encoder: ImageEncoder, files: list[Path]) -> float:
    def one(file: Path) -> Any:
        decoded = images.decode(file.read_bytes(), enough=images.enough_for(encoder.side))
        return images.thumbnail(decoded.image), encoder.prepare(decoded.image)

    with ThreadPoolExecutor(cores()) as pool:
        return _rate(lambda: [None for _ in pool.map(one, files)], len(files))


def _model_only(encoder: ImageEncoder, files: list[Path]) -> float:
    ready = np.stack([encoder.prepare(images.decode(file.read_bytes()).image) for file in files[:256]])
    step = encoder.batch_size
    batches = [ready[at : at + step] for at in range(0, len(ready), step)]
    encoder.encode(batches[0])
    with ThreadPoolExecutor(encoder.concurrency) as pool:
        several = 4 * batches
        return max(_rate(lambda: list(pool.map(encoder.encode, several)), 4 * len(ready)) for _ in range(3))


def _run(config: EncoderConfig, pictures: Path, scratch: Path) -> tuple[dict[str, Any], float]:
    """The report of a run of the command with all pictures, and how many seconds the process took."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    weights = f', weights = "{config.weights}"' if config.weights else ""
    job = folder / "job.toml"
    job.write_text(
        f'store = "store"\n[encoders]\ntext = "none"\n'
        f'image = {{ name = "{config.name}", precision = "{config.precision}"{weights} }}\n'
        f'[[collections]]\nname = "pictures"\nsource = "{pictures}"\n',
        encoding="utf-8",
    )
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "fpve", "run", str(job), "--format", "json"], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout), time.perf_counter() - start


def _random_weights(name: str, work: Path) -> Path | None:
    """ResNet-18's published weights may not be on this machine: random ones take the same time."""
    if not name.startswith("torchvision:"):
        return None
    import torchvision.models

    path = work / "resnet18.pth"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        torch.save(torchvision.models.resnet18(weights=None).state_dict(), path)
    return path


def _print(rows: list[Row]) -> None:
    print(f"{'encoder':<22}{'what':<30}{'images/s':>9}{'ratio':>7}{'efficiency':>12}  ")
    for row in rows:
        efficiency = "" if row.efficiency is None else f"{row.efficiency:.2f}"
        print(f"{row.encoder:<22}{row.what:<30}{row.rate:>9.1f}{row.ratio:>7.2f}{efficiency:>12}  {row.note}")


if __name__ == "__main__":
    main()
