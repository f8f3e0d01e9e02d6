"""Times encoding on a GPU against the loops that everybody writes first, and compares its vectors with a CPU's.

    .venv/bin/python scripts/bench/gpu.py [FOLDER] [--pictures 6000]

FOLDER has pictures of any kind, of which changed copies are encoded; without it photographs of scikit-image are taken:
JPEG files of 640 x 480 and 1920 x 1080 pixels in turns.

- decode only: fpve's own part, in as many threads as there are cores, as fpve does it; and in as many processes, which
  don't wait for one another's Python;
- vectors: cosines of the GPU's to those of torch on the CPU in float32, and the largest relative error of a row;
- fpve, encoding: from the first file read to the last shard written, models loaded meanwhile;
- original loop: one picture at a time, decoded whole by Pillow, through the model on the GPU;
- DataLoader loop: a worker process a core, page-locked batches, the model on the GPU;
- model only: ready pictures, in batches of several sizes, with one to three calls at once; `resident` is the network
  alone, on pictures that are on the GPU already.

The loops have torch's own defaults, TF32 for convolutions included. At the end a tiny language model generates and
embeds on both devices. A part that fails says so, and the others go on.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from copies import make_copies
from PIL import Image
from plain import Files as PlainFiles

from fpve import images
from fpve.config import EncoderConfig, GenerateConfig
from fpve.encoders import open_image_encoder, open_text_encoder
from fpve.encoders.runtimes import eager
from fpve.encoders.runtimes.convolutions import exact_convolutions
from fpve.encoders.runtimes.machine import cores, cpu_name
from fpve.engines.local import LocalEngine
from fpve.engines.work import Models, Target, Work
from fpve.fusion import Fusion
from fpve.generators import LocalGenerator
from fpve.progress import SilentProgress
from fpve.sources.inputs import Files
from fpve.store.pending import Recipe, finished_shards

ENCODERS = ("efficientnet-lite0", "torchvision:resnet50")
PRECISIONS = ("fp32", "bf16")
# Of scikit-image's photographs those with details all over.
PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")
SIZES = ((640, 480), (1920, 1080))
# Of which the larger ones are put together: scaled up to them, those photographs would be smoother than others.
TILE = (640, 540)
JPEG_QUALITY = 90
# A picture takes the loop some milliseconds: enough of them for two digits.
LOOP_PICTURES = 200
COMPARED = 256
CALLS = (1, 2, 3)
MIB = 2**20
PROMPTS = ("A cat", "Two planes over the alps", "?", "Describe the picture in one short sentence.")


def add(config: EncoderConfig | None, what: str, rate: float | None = None, note: str = "") -> None:
    """Print a line of the table at once, so that what ends the script early loses none."""
    name, precision = (config.name, config.precision or "") if config else ("", "")
    shown = "" if rate is None else f"{rate:.1f}"
    print(f"{name:<22}{precision:<6}{what:<34}{shown:>9}  {note}", flush=True)


@contextmanager
def part(what: str) -> Iterator[None]:
    """Go on after what fails within."""
    start = time.perf_counter()
    try:
        yield
    except Exception as error:  # noqa: BLE001 (the other parts are to be measured all the same)
        traceback.print_exc()
        print(f"FAILED: {what}: {error}", flush=True)
    print(f"   ({what}: {time.perf_counter() - start:.1f} s)", flush=True)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--pictures", type=int, default=6000)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch", type=int, nargs="*", default=[32, 64, 128, 256, 512, 1024])
    parser.add_argument("--loader-batch", type=int, nargs="*", default=[64, 256])
    parser.add_argument("--seconds", type=float, default=0.6, help="how long each batch size is measured")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, images.without_warnings():
        work = Path(scratch)
        # Before torch has threads or a GPU, of which processes that are forked can make nothing.
        if options.folder is None:
            files = make_photographs(work / "pictures", options.pictures)
        else:
            files = make_copies(options.folder, work / "pictures", options.pictures)
        size = sum(file.stat().st_size for file in files) / len(files) / 1024
        print(f"{_device_name(options.device)}; {cpu_name()}; torch {torch.__version__}")
        print(f"{len(files)} pictures, {size:.0f} KiB each on average", flush=True)
        configs = configs_on(options.device, work)
        side = open_image_encoder(configs[0]).side
        with part("decode only"):
            time_decoding(files, side)
        ready = prepared(files[:COMPARED], side)
        for name in ENCODERS:
            with part(f"vectors of {name}"):
                compare([config for config in configs if config.name == name], ready)
        for config in configs:
            with part(f"engine of {config.name} {config.precision}"):
                time_engine(config, files, work / f"{config.name} {config.precision}")
        for config in configs:
            with part(f"loops of {config.name} {config.precision}"):
                time_loops(config, files, options.loader_batch)
        for config in configs:
            with part(f"model only of {config.name} {config.precision}"):
                time_model(config, ready, options.batch, options.seconds)
        with part("language models"):
            try_language_models(work / "lm", options.device)


def make_photographs(folder: Path, count: int) -> list[Path]:
    """Write JPEG files out of parts of scikit-image's photographs, each another picture."""
    with ProcessPoolExecutor(cores()) as pool:
        return list(pool.map(partial(_photograph, folder), range(count), chunksize=64))


def _photograph(folder: Path, number: int) -> Path:
    path = folder / f"{number // 1000:04d}" / f"{number:07d}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(number)
    width, height = SIZES[number % len(SIZES)]
    picture = Image.new("RGB", (width, height))
    for left in range(0, width, TILE[0]):
        for top in range(0, height, TILE[1]):
            whole = _scaled(PHOTOGRAPHS[random.integers(len(PHOTOGRAPHS))])
            x, y = (int(random.integers(room + 1)) for room in (whole.width - TILE[0], whole.height - TILE[1]))
            picture.paste(whole.crop((x, y, x + TILE[0], y + TILE[1])), (left, top))
    # A corner says which one it is: some parts are the same.
    picture.paste((number % 256, number // 256 % 256, 128), (0, 0, 16, 16))
    picture.save(path, quality=JPEG_QUALITY)
    return path


@cache
def _scaled(name: str) -> Image.Image:
    """One of scikit-image's photographs, a bit larger than a tile, so that there are many parts of it to take."""
    import skimage

    with Image.open(Path(skimage.__file__).parent / "data" / name) as image:
        scale = 1.1 * max(wanted / found for wanted, found in zip(TILE, image.size, strict=True))
        return image.convert("RGB").resize([round(found * scale) for found in image.size], Image.Resampling.BILINEAR)


def configs_on(device: str, work: Path) -> list[EncoderConfig]:
    """Each encoder in each precision. Published weights may not be on this machine: random ones take the same time."""
    import torchvision.models

    found = []
    for name in ENCODERS:
        family, _, model = name.partition(":")
        weights = work / f"{model}.pth" if family == "torchvision" else None
        if weights is not None:
            torch.manual_seed(0)
            torch.save(torchvision.models.get_model(model, weights=None).state_dict(), weights)
        found += [EncoderConfig(name, weights=weights, precision=one, device=device) for one in PRECISIONS]
    return found


def time_decoding(files: list[Path], side: int) -> None:
    for kind in (ThreadPoolExecutor, ProcessPoolExecutor):
        with kind(cores()) as pool:
            # All of them are started, and have imported what it takes.
            list(pool.map(partial(_decode, side), files[: 4 * cores()]))
            start = time.perf_counter()
            count = sum(1 for _ in pool.map(partial(_decode, side), files, chunksize=8))
            rate = count / (time.perf_counter() - start)
        add(None, f"decode only, {kind.__name__}", rate)


def _decode(side: int, file: Path) -> None:
    """Do what the engine does with a picture, but for its hash."""
    decoded = images.decode(file.read_bytes(), enough=images.enough_for(side))
    images.thumbnail(decoded.image)
    images.resize(decoded.image, side, "squash")


def prepared(files: list[Path], side: int) -> np.ndarray:
    """Pictures (n, side, side, 3) uint8 as a model takes them."""
    with ThreadPoolExecutor(cores()) as pool:
        decoded = pool.map(lambda file: images.decode(file.read_bytes(), enough=images.enough_for(side)), files)
        return np.stack([images.resize(one.image, side, "squash") for one in decoded])


def compare(configs: list[EncoderConfig], ready: np.ndarray) -> None:
    """Compare rows of each precision with the CPU's in float32, and rows of a batch with those alone."""
    network = open_image_encoder(configs[0]).pixel_network()  # type: ignore[attr-defined]
    with torch.inference_mode():
        exact = np.concatenate([network(batch).numpy() for batch in torch.from_numpy(ready).split(32)])
    for config in configs:
        encoder, before = open_image_encoder(config), _memory()
        rows = encoder.encode(ready)
        add(config, "vectors to CPU fp32", note=_agreement(rows, exact))
        alone = np.concatenate([encoder.encode(ready[at : at + 1]) for at in range(16)])
        add(config, "vectors alone to in a batch", note=_agreement(alone, rows[:16]))
        loaded = _memory()
        encoder.close()  # type: ignore[attr-defined]
        add(config, "memory", note=f"{before} before, {loaded} loaded, {_memory()} closed")


def _agreement(found: np.ndarray, expected: np.ndarray) -> str:
    """Cosines of rows, and the largest relative error of one."""
    left, right = found.astype(np.float64), expected.astype(np.float64)
    norms = np.linalg.norm(right, axis=1)
    cosines = np.einsum("nd,nd->n", left, right) / np.linalg.norm(left, axis=1) / norms
    error = (np.linalg.norm(left - right, axis=1) / norms).max()
    return f"cosine {cosines.mean():.8f} mean, {cosines.min():.8f} worst; error {error:.1e}"


def time_engine(config: EncoderConfig, files: list[Path], root: Path) -> None:
    """Encode the files by fpve's engine, without prefixes and index."""
    encoder = open_image_encoder(config)
    sizes = np.array([file.stat().st_size for file in files])
    inputs = Files([os.fsencode(file) for file in files])
    work = Work(inputs, sizes, prefixes=[None] * len(files), known=frozenset())
    dim = encoder.dim
    encoder.close()  # type: ignore[attr-defined]
    root.mkdir()
    target = Target(root, Recipe(encoder.fingerprint, None, "balanced"), Fusion(dim, 0))
    _reset_peak()
    start = time.perf_counter()
    done = LocalEngine().encode(work, Models(encoder, None), target, SilentProgress())
    seconds = time.perf_counter() - start
    busy = ", ".join(f"{stage} {spent / seconds:.1f}" for stage, spent in done.busy.items())
    note = f"limited by {done.limited_by}; busy threads: {busy}; {_memory(peak=True)}; after it {_memory()}"
    add(config, "fpve, encoding", done.pictures / seconds, note)
    rows = sum(shard.rows for shard in finished_shards(root, {}))
    if rows != len(files) or done.pictures != len(files):
        raise RuntimeError(f"expected {len(files)} rows, found {rows} of {done.pictures} pictures")


def time_loops(config: EncoderConfig, files: list[Path], sizes: list[int]) -> None:
    encoder = open_image_encoder(config)
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    network = encoder.pixel_network().to(config.device, dtype)  # type: ignore[attr-defined]

    def through(pixels: torch.Tensor) -> int:
        return len(network(pixels.to(config.device, non_blocking=True)).float().cpu().numpy())

    def rate(batches: Callable[[], Any]) -> float:
        start = time.perf_counter()
        with torch.inference_mode():
            count = sum(through(batch) for batch in batches())
        return count / (time.perf_counter() - start)

    pictures = PlainFiles(files, encoder.side)
    through(torch.from_numpy(pictures[0][None]))
    single = range(min(LOOP_PICTURES, len(files)))
    add(config, "original loop", rate(lambda: (torch.from_numpy(pictures[number][None]) for number in single)))
    for size in sizes:
        loader = torch.utils.data.DataLoader(
            pictures, batch_size=size, num_workers=cores(), pin_memory=config.device != "cpu"
        )
        add(config, f"DataLoader loop, batch {size}", rate(lambda loader=loader: loader))


def time_model(config: EncoderConfig, ready: np.ndarray, sizes: list[int], seconds: float) -> None:
    network = open_image_encoder(config).pixel_network()  # type: ignore[attr-defined]
    with patch.object(eager, "GPU_CALLS", max(CALLS)):
        runtime = eager.EagerRuntime(network, torch.device(config.device or "cpu"), config.precision or "fp32")
    for size in sizes:
        batch = np.ascontiguousarray(np.resize(ready, (size, *ready.shape[1:])))
        encode = partial(runtime.encode, batch)
        _reset_peak()
        # So that each thread of the GPU has seen this size.
        _calls(encode, size, max(CALLS), 0)
        rates = [_calls(encode, size, calls, seconds) for calls in CALLS]
        peak, resident = _memory(peak=True), _resident(runtime, batch, seconds)
        note = ", ".join(f"{calls}: {rate:.0f}" for calls, rate in zip(CALLS, rates, strict=True))
        add(config, f"model only, batch {size}", max(rates), f"calls {note}; resident {resident:.0f}; {peak}")


def _calls(call: Callable[[], object], count: int, threads: int, seconds: float) -> float:
    """Pictures per second of so many threads that make calls of `count` pictures; all of them have made one before."""
    start = [0.0]
    barrier = threading.Barrier(threads, lambda: start.__setitem__(0, time.perf_counter()), timeout=60)

    def work(_: int) -> int:
        call()
        barrier.wait()
        done = 0
        while time.perf_counter() < start[0] + seconds:
            call()
            done += count
        return done

    with ThreadPoolExecutor(threads) as pool:
        total = sum(pool.map(work, range(threads)))
    return total / (time.perf_counter() - start[0])


def _resident(runtime: eager.EagerRuntime, batch: np.ndarray, seconds: float) -> float:
    """Pictures per second of the network alone: nothing is copied, and nobody waits between batches."""
    pixels, done = torch.from_numpy(batch).to(runtime._device), 0
    with torch.inference_mode(), exact_convolutions():
        runtime._network(pixels)
        _wait()
        start = time.perf_counter()
        while time.perf_counter() < start + seconds:
            for _ in range(4):
                runtime._network(pixels)
            _wait()
            done += 4 * len(batch)
        return done / (time.perf_counter() - start)


def try_language_models(folder: Path, device: str) -> None:
    """Have a tiny one with random weights answer and embed on both devices, and give its memory back."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
    from tiny_models import write_causal_lm

    write_causal_lm(folder, 0)
    answers, rows = [], []
    for where in ("cpu", device):
        for temperature in (None, 0.8):
            config = GenerateConfig(f"hf:{folder}", max_tokens=40, device=where, temperature=temperature)
            generator, before = LocalGenerator(config), _memory()
            first, second = ([generator.generate(prompt).text for prompt in PROMPTS] for _ in range(2))
            note = f"{'the same' if first == second else 'OTHERS'} the second time; {before} before, {_memory()} loaded"
            generator.close()
            add(None, f"generates on {where} at {temperature or 0}", note=f"{note}, {_memory()} closed")
            answers.append(first)
        encoder, before = open_text_encoder(EncoderConfig(f"lm:{folder}", device=where)), _memory()
        rows.append(encoder.encode([*PROMPTS, ""]))
        note = f"{before} before, {_memory()} loaded"
        encoder.close()  # type: ignore[attr-defined]
        add(None, f"embeds on {where}", note=f"{note}, {_memory()} closed")
    same = [sum(map(str.__eq__, answers[at], answers[2 + at])) for at in range(2)]
    add(None, "answers as on the CPU", note=f"greedy {same[0]}, sampled {same[1]} of {len(PROMPTS)}")
    add(None, "embeddings to the CPU's", note=_agreement(rows[1], rows[0]))


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _reset_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _memory(*, peak: bool = False) -> str:
    """What tensors have of the GPU's memory, of what torch holds of it."""
    if not torch.cuda.is_available():
        return "no GPU"
    cuda = torch.cuda
    if peak:
        return f"peak {cuda.max_memory_allocated() / MIB:.0f} of {cuda.max_memory_reserved() / MIB:.0f} MiB"
    return f"{cuda.memory_allocated() / MIB:.1f} of {cuda.memory_reserved() / MIB:.0f} MiB"


if __name__ == "__main__":
    main()
