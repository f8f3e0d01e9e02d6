"""Networks as torch runs them, on a CPU or a GPU: the slowest runtime, and the one that runs everything."""

from __future__ import annotations

import threading
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from fpve.encoders.runtimes.convolutions import exact_convolutions
from fpve.encoders.runtimes.machine import cores
from fpve.encoders.runtimes.threads import one_thread
from fpve.encoders.weights import first_line
from fpve.errors import EncoderError

if TYPE_CHECKING:
    import torch

    from fpve.config import Precision
    from fpve.encoders.protocol import Floats
    from fpve.encoders.runtimes.protocol import Pixels

# EfficientNet-Lite0 in one thread: batches of 8 are as fast as any; larger ones miss the cache.
CPU_BATCH = 8
# EfficientNet-Lite0 in fp32 on an H200, pictures per second: 6,000 in batches of 32, 6,500 to 7,200 of 64, 6,900 to
# 7,000 of 128, 7,600 of 256, which take four times the memory of the GPU.
GPU_BATCH = 64
# Of two calls at once each has memory of the GPU. Alone they make a quarter to a half more than one does; beside 16
# threads that decode at most 700 pictures a second, each took 200 ms for 128 pictures, and one took 13.
GPU_CALLS = 1
# A batch for a GPU is filled up to so many times its size before it gets a size of its own.
_PADDING = 8


class EagerRuntime:
    """A network in torch.

    On a CPU each call keeps to one thread, and as many calls as there are cores run at once: torch's own threads wait
    for one another, and collapse where cores are busy with anything else.

    On a GPU all calls are made by threads of the runtime's own, whoever asks. cuDNN plans the convolutions for each
    thread, and each size of batch, anew: two seconds for those of EfficientNet-Lite0, that each request to a server
    would wait for, and the last batch of each run. And each thread has memory of the GPU.

    Args:
        network: pictures (n, side, side, 3) uint8 to features (n, dim), in float32.
        device: where it runs.
        precision: `fp32`, or `bf16` for weights and activations.

    Raises:
        EncoderError: the device has too little memory for the network.
    """

    def __init__(self, network: torch.nn.Module, device: torch.device, precision: Precision) -> None:
        import torch

        self.name = f"torch {precision} on {device}"
        self._device = device
        self._on_cpu = device.type == "cpu"
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        try:
            # On a CPU channels_last is the fastest order for depthwise convolutions; on a GPU tensor cores want it.
            self._network = network.to(device, dtype).to(memory_format=torch.channels_last)
        except torch.OutOfMemoryError as error:
            raise self._no_memory(error) from error
        self.batch_size = CPU_BATCH if self._on_cpu else GPU_BATCH
        self.concurrency = cores() if self._on_cpu else GPU_CALLS
        self._threads = ThreadPoolExecutor(GPU_CALLS, thread_name_prefix="fpve-gpu")
        self._local = threading.local()
        self._sizes: set[int] = set()
        if device.type == "cuda":
            # Streams don't wait for this one, on which weights are still being put in order.
            torch.cuda.synchronize(device)

    def encode(self, batch: Pixels) -> Floats:
        """Encode pictures (n, side, side, 3) uint8 into features (n, dim) float32.

        Where a GPU has too little memory for so many at once they are encoded in parts, and later ones too.

        Raises:
            EncoderError: it has too little for one.
        """
        import torch

        try:
            return np.ascontiguousarray(self._encode(batch))
        except torch.OutOfMemoryError as error:
            if len(batch) == 1:
                raise self._no_memory(error) from error
        # Not in the handler, whose traceback holds what was computed so far.
        half = -(-len(batch) // 2)
        self.batch_size = min(self.batch_size, half)
        self._sizes = {size for size in self._sizes if size <= half}
        return np.concatenate([self.encode(batch[:half]), self.encode(batch[half:])])

    def _encode(self, batch: Pixels) -> Floats:
        import torch

        if self._device.type == "cuda":
            return self._threads.submit(self._encode_on_gpu, batch).result()
        # torch warns of arrays that can't be written, which is what Pillow gives.
        pixels = torch.from_numpy(np.require(batch, np.uint8, ["C", "W"]))
        with torch.inference_mode():
            if self._on_cpu:
                with one_thread():
                    return _as_array(self._network(pixels))
            return _as_array(self._network(pixels.to(self._device)))

    def _encode_on_gpu(self, batch: Pixels) -> Floats:
        import torch

        count = len(batch)
        size = padded(count, frozenset(self._sizes))
        # From page-locked memory the copy runs while kernels of another call do. NumPy fills it in one thread, torch
        # in as many as there are cores, which wait for one another.
        pinned = torch.empty((size, *batch.shape[1:]), dtype=torch.uint8, pin_memory=True)
        rows = pinned.numpy()
        rows[:count] = batch
        rows[count:] = 0
        with torch.inference_mode(), exact_convolutions(), torch.cuda.stream(self._stream()):
            features = _as_array(self._network(pinned.to(self._device, non_blocking=True)))
        self._sizes.add(size)
        return features[:count]

    def _stream(self) -> torch.cuda.Stream:
        """A stream of the calling thread's own."""
        import torch

        if not hasattr(self._local, "stream"):
            self._local.stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        stream: torch.cuda.Stream = self._local.stream
        return stream

    def _no_memory(self, error: Exception) -> EncoderError:
        return EncoderError(
            f"{self.name}: expected memory for the model and one picture, found too little: {first_line(error)}; "
            "end what else uses it, or set device = 'cpu'"
        )


def padded(count: int, sizes: AbstractSet[int]) -> int:
    """Of how many pictures a batch of `count` is made for a GPU, where batches of these sizes have been encoded.

    The smallest of them that it fits into, unless most of that would be empty: then it is a power of two, so that there
    are few sizes. A batch that is larger than all before stays as it is.
    """
    if count > max(sizes, default=0):
        return count
    return min((size for size in sizes if count <= size <= _PADDING * count), default=1 << (count - 1).bit_length())


def _as_array(features: torch.Tensor) -> Floats:
    found: Floats = features.float().cpu().numpy()
    return found
