"""What the families that run on torch share: loading once, the device, the input tensor, pooling."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from fpve import images
from fpve.encoders.weights import first_line
from fpve.errors import EncoderError

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from fpve.config import EncoderConfig, Pooling, Resize
    from fpve.encoders.protocol import Floats

    Compute = Callable[[torch.Tensor], torch.Tensor]

T = TypeVar("T")

# The exponent of GeM that Radenović et al. start from, and close to what they learn.
GEM_POWER = 3.0
# Their clamp: 0 has no gradient under a root, and less than 0 has no real cube root in general.
GEM_FLOOR = 1e-6
# EfficientNet-Lite0 on 2 cores: 102 pictures/s in batches of 8, 107 in those of 4, 72 of 16, 53 of 64 (cache misses).
IMAGE_BATCH = 8


class Once(Generic[T]):
    """A value that is made by the first call, in one thread while others wait; a failure is not kept."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: list[T] = []

    def __call__(self) -> T:
        """Return the value."""
        with self._lock:
            if not self._made:
                self._made.append(self._make())
            return self._made[0]


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What a vision model wants to see.

    Attributes:
        side: width and height in pixels.
        mean: of each channel, subtracted from pixel values of 0 to 255.
        std: of each channel, by which the difference is divided.
    """

    side: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class TorchImageEncoder(ABC):
    """A vision model that runs on torch in float32; a family adds its input, its weights and its fingerprint."""

    def __init__(self, config: EncoderConfig) -> None:
        self.name = config.name
        self.resize: Resize = config.resize or "squash"
        self._batch_size = config.batch_size or IMAGE_BATCH
        self._device = Once(lambda: pick_device(config.device))

    @property
    def batch_size(self) -> int:
        """How many pictures one pass through the model takes."""
        return self._batch_size

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Digest of weights, preprocessing, pooling and precision."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """Length of an encoded row."""

    @abstractmethod
    def _input(self) -> InputSpec:
        """What the model wants to see."""

    @abstractmethod
    def _features(self) -> Compute:
        """The loaded model: normalised pictures (n, 3, side, side) to features (n, dim)."""

    def prepare(self, image: Image) -> NDArray[np.uint8]:
        """Make the square (side, side, 3) uint8 that the model takes of an RGB picture."""
        return images.resize(image, self._input().side, self.resize)

    def encode(self, batch: NDArray[np.uint8]) -> Floats:
        """Encode prepared pictures (n, side, side, 3) uint8 into raw features (n, dim) float32.

        Raises:
            EncoderError: the batch has another shape or dtype, or the model can't be loaded.
            EncoderNotFound: the weights are not on this machine and can't be fetched.
        """
        return self._run(self._features, batch, self.dim)

    def _run(self, compute: Callable[[], Compute], batch: NDArray[np.uint8], width: int) -> Floats:
        spec = self._input()
        if batch.dtype != np.uint8 or batch.shape[1:] != (spec.side, spec.side, 3):
            raise EncoderError(
                f"encoder {self.name!r}: expected pictures of shape (n, {spec.side}, {spec.side}, 3) and uint8 as "
                f"`prepare` makes them, found {batch.shape} and {batch.dtype}"
            )
        rows = np.empty((len(batch), width), np.float32)
        if not len(batch):
            return rows
        import torch

        model, device = compute(), self._device()
        with torch.inference_mode():
            for start in range(0, len(batch), self._batch_size):
                part = slice(start, start + self._batch_size)
                rows[part] = model(to_input(batch[part], spec, device)).cpu().numpy()
        return rows


def pick_device(name: str | None) -> torch.device:
    """The torch device of this name; without a name a GPU where there is one, else the CPU.

    Raises:
        EncoderError: there is no such device on this machine.
    """
    import torch

    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        # Making a tensor is the only question that every kind of device answers.
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise EncoderError(f"device {name!r} can't be used here: {first_line(error)}; try device = 'cpu'") from None
    return device


def place(model: torch.nn.Module, device: torch.device) -> Any:
    """Make a model ready for inference on a device. Returned as Any: each architecture has methods of its own."""
    import torch

    # On a CPU channels_last is the fastest order for depthwise convolutions, and on a GPU for all of them.
    return model.eval().requires_grad_(requires_grad=False).to(device).to(memory_format=torch.channels_last)


def to_input(batch: NDArray[np.uint8], spec: InputSpec, device: torch.device) -> torch.Tensor:
    """Turn pictures (n, h, w, 3) uint8 into normalised float32 (n, 3, h, w) in channels_last memory order."""
    import torch

    # torch warns of arrays that can't be written, which is what Pillow gives.
    pixels = torch.from_numpy(np.require(batch, np.uint8, ["C", "W"])).to(device)
    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (spec.mean, spec.std))
    # Seen as NCHW without copying, an NHWC array is in channels_last order already.
    return pixels.permute(0, 3, 1, 2).float().sub_(mean).div_(std)


def pool(feature_map: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """Pool a feature map (n, c, h, w) to (n, c), by the mean or by the generalised mean.

    GeM is (mean over positions of max(x, GEM_FLOOR)^p)^(1/p) with p = GEM_POWER: Radenović, Tolias and Chum,
    *Fine-tuning CNN image retrieval with no human annotation*, TPAMI 2018 (arXiv:1711.02512), section 3.2.
    """
    if pooling == "mean":
        return feature_map.mean((2, 3))
    return feature_map.clamp(min=GEM_FLOOR).pow(GEM_POWER).mean((2, 3)).pow(1 / GEM_POWER)
