"""Networks as torch runs them, on a CPU or a GPU: the slowest runtime, and the one that runs everything."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from fpve.encoders.runtimes.convolutions import exact_convolutions
from fpve.encoders.runtimes.machine import cores
from fpve.encoders.runtimes.threads import one_thread

if TYPE_CHECKING:
    import torch

    from fpve.config import Precision
    from fpve.encoders.protocol import Floats
    from fpve.encoders.runtimes.protocol import Pixels

# EfficientNet-Lite0 in one thread: batches of 8 are as fast as any; larger ones miss the cache.
CPU_BATCH = 8
# Not measured on any GPU yet: 40 MB of pictures, enough to keep thousands of cores busy.
GPU_BATCH = 256
# One call copies its pictures to the GPU while the other computes.
GPU_CALLS = 2


class EagerRuntime:
    """A network in torch.

    On a CPU each call keeps to one thread, and as many calls as there are cores run at once: torch's own threads wait
    for one another, and collapse where cores are busy with anything else.

    Args:
        network: pictures (n, side, side, 3) uint8 to features (n, dim), in float32.
        device: where it runs.
        precision: `fp32`, or `bf16` for weights and activations.
    """

    def __init__(self, network: torch.nn.Module, device: torch.device, precision: Precision) -> None:
        import torch

        self.name = f"torch {precision} on {device}"
        self._device = device
        self._on_cpu = device.type == "cpu"
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        # On a CPU channels_last is the fastest order for depthwise convolutions, and on a GPU for all of them.
        self._network = network.to(device, self._dtype).to(memory_format=torch.channels_last)
        self.batch_size = CPU_BATCH if self._on_cpu else GPU_BATCH
        self.concurrency = cores() if self._on_cpu else GPU_CALLS
        self._local = threading.local()

    def encode(self, batch: Pixels) -> Floats:
        """Encode pictures (n, side, side, 3) uint8 into features (n, dim) float32."""
        import torch

        # torch warns of arrays that can't be written, which is what Pillow gives.
        pixels = torch.from_numpy(np.require(batch, np.uint8, ["C", "W"]))
        with torch.inference_mode():
            if self._on_cpu:
                with one_thread():
                    return self._features(pixels)
            if self._device.type != "cuda":
                return self._features(pixels.to(self._device))
            with exact_convolutions(), torch.cuda.stream(self._stream()):
                # From page-locked memory the copy runs while the other call's kernels do.
                return self._features(pixels.pin_memory().to(self._device, non_blocking=True))

    def _features(self, pixels: torch.Tensor) -> Floats:
        features: Floats = self._network(pixels).float().cpu().numpy()
        return np.ascontiguousarray(features)

    def _stream(self) -> torch.cuda.Stream:
        """A stream of the calling thread's own."""
        import torch

        if not hasattr(self._local, "stream"):
            self._local.stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        stream: torch.cuda.Stream = self._local.stream
        return stream
