"""Choosing the fastest runtime on a CPU: by measuring them, once for each encoder and machine."""

from __future__ import annotations

import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from fpve.encoders.runtimes.cache import Entry
from fpve.encoders.runtimes.machine import pick_device
from fpve.encoders.runtimes.openvino import OpenVinoRuntime, check_precision, convert
from fpve.encoders.runtimes.probes import probe_pictures
from fpve.encoders.weights import first_line
from fpve.errors import EncoderError

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from fpve.encoders.protocol import Floats
    from fpve.encoders.runtimes.protocol import Pixels, Runtime, Subject

RUNTIMES = ("openvino", "torch")
# A runtime that does not give the vectors that torch gives is not used: what `fp32` promises.
MIN_COSINE = 0.9999
# How long each runtime is measured, after a first call that prepares it.
_SECONDS = 0.6
# What says nothing of the network: a full disk, too little memory, a library that is being replaced.
_TRANSIENT = (OSError, MemoryError, ImportError)
# torch's RuntimeError on a CPU.
_NO_MEMORY = "can't allocate memory"

_log = logging.getLogger("fpve")


def open_on_cpu(subject: Subject) -> Runtime:
    """Open the runtime that was the fastest on this machine for this encoder, or find out which one that is.

    Finding out takes some seconds, and is remembered in the cache. `$FPVE_RUNTIME` settles it without measuring.

    Raises:
        EncoderError: the CPU can't compute in the encoder's precision, or the model can't be loaded.
    """
    if subject.precision != "fp32":
        check_precision(subject.precision)
    entry = Entry(subject)
    choice = entry.choice()
    if choice is not None and choice.get("runtime") == "openvino":
        try:
            return OpenVinoRuntime(entry.network, subject.precision)
        except Exception as error:  # noqa: BLE001 (whatever OpenVINO says of a bad network)
            _log.warning("encoder %s: its network in the cache is made again: %s", subject.name, first_line(error))
            entry.forget()
            choice = None
    network = subject.pixel_network()
    if choice is not None and choice.get("runtime") == "torch" and subject.precision == "fp32":
        return _eager(network, subject)
    return _choose(subject, network, entry)


def _choose(subject: Subject, network: torch.nn.Module, entry: Entry) -> Runtime:
    wanted = os.environ.get("FPVE_RUNTIME", "")
    if wanted not in ("", *RUNTIMES):
        raise EncoderError(f"FPVE_RUNTIME: expected one of {', '.join(RUNTIMES)}, found {wanted!r}")
    if wanted == "torch":
        return _eager(network, subject)
    try:
        file = entry.network if entry.has_network() else entry.make_network(lambda path: _make(subject, network, path))
        fast = OpenVinoRuntime(file, subject.precision)
        pictures = probe_pictures(subject.side, fast.batch_size)
        found = fast.encode(pictures)
        if subject.precision == "fp32":
            slow = _eager(network, subject)
            _check(found, slow.encode(pictures))
            # What takes the time of every run is measured; the first one pays for it.
            rate = 0.0 if wanted else _rate(fast, pictures)
    except Exception as error:  # whatever a network that can't be converted makes of the converter
        if wanted or subject.precision != "fp32":
            raise EncoderError(f"encoder {subject.name!r} can't be run by OpenVINO: {first_line(error)}") from error
        if isinstance(error, _TRANSIENT) or _NO_MEMORY in str(error):
            _log.warning("encoder %s: runs in torch this time: %s", subject.name, first_line(error))
        else:
            _log.info("encoder %s: runs in torch, for OpenVINO can't run it: %s", subject.name, first_line(error))
            entry.keep_choice({"runtime": "torch", "reason": first_line(error)})
        return _eager(network, subject)
    if wanted or subject.precision != "fp32":
        entry.keep_choice({"runtime": "openvino"})
        return fast
    rates = {"openvino": round(rate, 1), "torch": round(_rate(slow, pictures), 1)}
    best = max(rates, key=lambda name: rates[name])
    entry.keep_choice({"runtime": best, "pictures_per_second": rates})
    return fast if best == "openvino" else slow


def _make(subject: Subject, network: torch.nn.Module, file: Path) -> None:
    if subject.precision != "int8":
        convert(network, subject.side, file)
        return
    from fpve.encoders.runtimes.quantise import quantise

    exact = file.with_name("exact.xml")
    convert(network, subject.side, exact)
    quantise(exact, subject.side, file)
    exact.unlink()
    exact.with_suffix(".bin").unlink()


def _eager(network: torch.nn.Module, subject: Subject) -> Runtime:
    from fpve.encoders.runtimes.eager import EagerRuntime

    return EagerRuntime(network, pick_device("cpu"), subject.precision)


def _check(found: Floats, expected: Floats) -> None:
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    cosines = np.einsum("nd,nd->n", found, expected, dtype=np.float64) / np.maximum(norms, np.finfo(np.float32).tiny)
    if not cosines.min() >= MIN_COSINE:
        raise EncoderError(f"its vectors have a cosine of {cosines.min():.6f} to torch's, less than {MIN_COSINE}")


def _rate(runtime: Runtime, pictures: Pixels) -> float:
    """Pictures per second of as many threads as the runtime wants."""
    batch = pictures[: runtime.batch_size]
    runtime.encode(batch)
    start = time.perf_counter()

    def work(_: int) -> int:
        count = 0
        while time.perf_counter() < start + _SECONDS:
            runtime.encode(batch)
            count += len(batch)
        return count

    with ThreadPoolExecutor(runtime.concurrency) as pool:
        # What one of them raises is raised here: a rate of the others would be too low.
        total = sum(pool.map(work, range(runtime.concurrency)))
    return total / (time.perf_counter() - start)
