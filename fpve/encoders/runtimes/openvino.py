"""Networks as OpenVINO runs them: several times faster than torch on a CPU, also in bf16 and in 8-bit integers."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fpve.encoders.runtimes.machine import cores, cpu_features, cpu_name
from fpve.encoders.runtimes.reports import forbid_reports
from fpve.errors import EncoderError

if TYPE_CHECKING:
    import torch

    from fpve.config import Precision
    from fpve.encoders.protocol import Floats
    from fpve.encoders.runtimes.protocol import Pixels

# EfficientNet-Lite0 and ResNet-18 are within a few percent of their best in batches of 4 to 8; larger ones miss the
# cache, and cost EfficientNet-Lite0 a third.
BATCH = 8
_ARITHMETIC = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
# What a CPU needs, one of them: without it bf16 is emulated, slower than float32, and sums of products
# of 8-bit numbers overflow.
_NEEDED = {
    "bf16": ("avx512_bf16", "amx_bf16", "bf16"),
    "int8": ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp"),
}


class OpenVinoRuntime:
    """A converted network on the CPU: as many calls as there are cores run at once, each in one thread.

    Args:
        file: what `convert` wrote.
        precision: of its arithmetic; the file of an `int8` network is quantised.

    Raises:
        EncoderError: the CPU has no fast arithmetic of this precision.
    """

    def __init__(self, file: Path, precision: Precision) -> None:
        core = library().Core()
        check_precision(precision)
        self.name = f"openvino {precision}"
        self.batch_size = BATCH
        self.concurrency = cores()
        self._model = core.compile_model(
            core.read_model(file),
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": _ARITHMETIC[precision],
                "NUM_STREAMS": self.concurrency,
                "INFERENCE_NUM_THREADS": self.concurrency,
                "ENABLE_CPU_PINNING": False,
            },
        )
        self._local = threading.local()
        # OpenVINO fills its table of types at the first call, and two threads that come first together wait for each
        # other for ever: one holds the table and wants the interpreter's lock, the other the reverse.
        library().Type.f32.to_dtype()

    def encode(self, batch: Pixels) -> Floats:
        """Encode pictures (n, side, side, 3) uint8 into features (n, dim) float32."""
        if not hasattr(self._local, "request"):
            self._local.request = self._model.create_infer_request()
        found = self._local.request.infer([np.ascontiguousarray(batch)], share_inputs=True)[0]
        # The request writes its next answer to where this one is.
        return np.array(found, np.float32)


def check_precision(precision: Precision) -> None:
    """Refuse a precision in which the CPU can't compute.

    Raises:
        EncoderError: naming the precision.
    """
    needed = _NEEDED.get(precision)
    if needed is not None and cpu_features().isdisjoint(needed):
        raise EncoderError(
            f"precision = {precision!r} needs a CPU with {' or '.join(needed)}, which {cpu_name()} has not: leave it "
            "out, or encode, and query by picture, on another machine"
        )


def convert(network: torch.nn.Module, side: int, file: Path) -> None:
    """Write a network that takes pictures (n, side, side, 3) uint8 as OpenVINO's .xml and .bin, in float32.

    Raises:
        OSError: it can't be written.
        Exception: whatever the conversion raises for a network that it can't follow.
    """
    import torch

    with quiet():
        openvino = library()
        pixels = torch.zeros((2, side, side, 3), dtype=torch.uint8)
        shape = openvino.PartialShape([-1, side, side, 3])
        model = openvino.convert_model(network, example_input=pixels, input=[(shape, openvino.Type.u8)])
        save(model, file)


def save(model: Any, file: Path) -> None:
    """Write OpenVINO's .xml and .bin.

    Raises:
        OSError: they can't be written, to a full disk, say.
    """
    openvino = library()
    try:
        # Compressed, as is its default, weights would be stored in half precision.
        openvino.save_model(model, file, compress_to_fp16=False)
    except RuntimeError as error:  # `basic_ios::clear: iostream error` is all that it says of a full disk
        raise OSError(f"{file} can't be written: {error}") from error


def library() -> Any:
    """The module `openvino`, which reports to nobody. It is imported nowhere else."""
    forbid_reports()
    import openvino

    return openvino


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out what tracing says of Python code that it can't see, of its own deprecation, and of no CUDA.

    The root logger is as it was afterwards: of a conversion that fails OpenVINO leaves it at errors only.
    """
    log, root = logging.getLogger("torch.utils.cpp_extension"), logging.getLogger()
    before, roots = log.level, (root.level, root.handlers[:], root.filters[:])
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
        root.setLevel(roots[0])
        root.handlers[:], root.filters[:] = roots[1:]
