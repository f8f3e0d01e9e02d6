"""What the families of vision models share: preprocessing, the fingerprint, and running a network as fast as can be."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fpve import images
from fpve.encoders.fingerprint import fingerprint
from fpve.encoders.once import Once
from fpve.encoders.runtimes import Runtime, check_device, open_runtime
from fpve.encoders.runtimes.cache import LIBRARIES, recalled, version_of
from fpve.encoders.runtimes.machine import give_gpu_memory_back
from fpve.encoders.runtimes.quantise import quantisation
from fpve.errors import EncoderError

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from PIL.Image import Image

    from fpve.config import EncoderConfig, Precision, Resize
    from fpve.encoders.protocol import Floats


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

    @classmethod
    def of_unit_scale(cls, side: int, mean: tuple[float, ...], std: tuple[float, ...]) -> InputSpec:
        """Of a mean and a deviation for pixel values of 0 to 1, as most models state them."""
        red, green, blue = (255 * value for value in mean)
        of_red, of_green, of_blue = (255 * value for value in std)
        return cls(side, (red, green, blue), (of_red, of_green, of_blue))

    @property
    def telling(self) -> list[Any]:
        """What a fingerprint must cover of it, as JSON values: the side, the means, the deviations."""
        return [self.side, list(self.mean), list(self.std)]

    @classmethod
    def of_json(cls, value: dict[str, Any]) -> InputSpec:
        """Of what JSON made of `dataclasses.asdict`."""
        red, green, blue = value["mean"]
        of_red, of_green, of_blue = value["std"]
        return cls(value["side"], (red, green, blue), (of_red, of_green, of_blue))


class VisionEncoder(ABC):
    """A vision model in torch; a family adds its input, its network, and what its fingerprint must cover.

    The family makes the network once, on the CPU and in float32; which runtime runs it, and in which precision, is
    decided here.

    Raises:
        EncoderError: the configuration wants int8 of another device than a CPU.
    """

    def __init__(self, config: EncoderConfig) -> None:
        self.name = config.name
        self.resize: Resize = config.resize or "squash"
        self.precision: Precision = config.precision or "fp32"
        self._batch_size = config.batch_size
        self._device = config.device
        check_device(self, self._device)
        self._runtime = Once(self._open_runtime)
        self._spec = Once(self._recall_input)
        self._dim = Once(lambda: int(self.encode(np.zeros((1, self.side, self.side, 3), np.uint8)).shape[1]))

    @abstractmethod
    def input(self) -> InputSpec:
        """What the model wants to see."""

    @abstractmethod
    def network(self) -> torch.nn.Module:
        """Make the model, on the CPU in float32: normalised pictures (n, 3, side, side) to features (n, dim).

        Raises:
            EncoderError, EncoderNotFound: its weights or its library are not there, or don't fit.
        """

    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """What decides the output beside weights, resize and precision: JSON values, such as the architecture."""

    @abstractmethod
    def weights_file(self) -> Path | None:
        """Where the weights are: a file, or a directory; they are fetched if that is possible.

        Raises:
            EncoderNotFound: they are not there and can't be fetched.
        """

    @property
    def dim(self) -> int:
        """Length of an encoded row. Loads the model, where a family does not know it without."""
        return self._dim()

    @property
    @abstractmethod
    def available(self) -> bool:
        """Whether its weights are on this machine; if not, the first use of anything but its name fetches them."""

    @property
    def space(self) -> str | None:
        """Name of the space that it shares with a text encoder; None for a model that knows pictures only."""
        return None

    @cached_property
    def fingerprint(self) -> str:
        """Digest of weights, preprocessing, pooling and precision."""
        shared: dict[str, Any] = {"decoding": images.DECODING, "resize": self.resize, "precision": self.precision}
        if self.precision == "int8":
            shared["quantisation"] = quantisation()
        return fingerprint({**self.settings(), **shared}, self.weights_file())

    @property
    def side(self) -> int:
        """Width and height in pixels of the pictures that the model takes."""
        return self._spec().side

    @property
    def batch_size(self) -> int:
        """How many pictures one call of `encode` should get."""
        return self._batch_size or self._runtime().batch_size

    @property
    def concurrency(self) -> int:
        """How many threads may call `encode` at once with profit."""
        return self._runtime().concurrency

    def prepare(self, image: Image) -> NDArray[np.uint8]:
        """Make the square (side, side, 3) uint8 that the model takes of an RGB picture."""
        return images.resize(image, self.side, self.resize)

    def encode(self, batch: NDArray[np.uint8]) -> Floats:
        """Encode prepared pictures (n, side, side, 3) uint8 into raw features (n, dim) float32.

        Raises:
            EncoderError: the batch has another shape or dtype, or the model can't be loaded.
            EncoderNotFound: the weights are not on this machine and can't be fetched.
        """
        side = self.side
        if batch.dtype != np.uint8 or batch.shape[1:] != (side, side, 3):
            raise EncoderError(
                f"encoder {self.name!r}: expected pictures of shape (n, {side}, {side}, 3) and uint8 as "
                f"`prepare` makes them, found {batch.shape} and {batch.dtype}"
            )
        if not len(batch):
            return np.empty((0, self.dim), np.float32)
        runtime = self._runtime()
        # Pieces keep memory bounded, whatever a caller sends.
        step = max(self.batch_size, 1)
        return np.concatenate([runtime.encode(batch[at : at + step]) for at in range(0, len(batch), step)])

    def close(self) -> None:
        """Give back the model's memory; the next call of `encode` loads it again."""
        self._runtime.forget()
        give_gpu_memory_back()

    def pixel_network(self) -> torch.nn.Module:
        """The network with its normalisation: pictures (n, side, side, 3) uint8 to features (n, dim)."""
        from fpve.encoders.networks import FromPixels

        spec = self._spec()
        return FromPixels(self.network(), spec.mean, spec.std).eval().requires_grad_(requires_grad=False)

    def map_network(self) -> torch.nn.Module | None:
        """Make what the network pools: normalised pictures (n, 3, side, side) to its last feature map (n, c, h, w).

        None where features are not a map that was pooled, or nobody knows of it: a ViT's, say.
        """
        return None

    def feature_maps(self) -> FeatureMaps | None:
        """The feature maps of which features are the means, or the generalised means; None where there are none.

        The first time on a machine this loads the model.

        Raises:
            EncoderError, EncoderNotFound: its weights or its library are not there, or don't fit.
        """
        shape = recalled("map", self.fingerprint, *_versions(), make=self._find_map)
        return None if shape is None else FeatureMaps(self, tuple(shape))

    def _find_map(self) -> list[int] | None:
        """The shape (c, h, w) of the map."""
        import torch

        network = self.map_network()
        if network is None:
            return None
        with torch.inference_mode():
            return list(network(torch.zeros(1, 3, self.side, self.side)).shape[1:])

    def _recall_input(self) -> InputSpec:
        """What the model wants to see, without the import or the model that it takes some families to find out."""
        found = recalled("input", self.fingerprint, *_versions(), make=lambda: asdict(self.input()))
        return InputSpec.of_json(found)

    def _open_runtime(self) -> Runtime:
        return open_runtime(self, device=self._device)


class FeatureMaps:
    """The last feature maps of a vision model, before they are pooled: the model itself, run as fast as can be.

    Args:
        encoder: the model.
        shape: (c, h, w) of a map.
    """

    def __init__(self, encoder: VisionEncoder, shape: tuple[int, int, int]) -> None:
        self.name = encoder.name
        self.precision: Precision = encoder.precision
        self.shape = shape
        self._encoder = encoder
        self._runtime = Once(lambda: open_runtime(self, device=encoder._device))

    @cached_property
    def fingerprint(self) -> str:
        """Digest of all that decides the maps."""
        return fingerprint({"maps": self._encoder.fingerprint})

    @property
    def side(self) -> int:
        """Width and height in pixels of the pictures that the model takes."""
        return self._encoder.side

    @property
    def batch_size(self) -> int:
        """How many pictures one call of `encode` should get."""
        return self._encoder._batch_size or self._runtime().batch_size

    @property
    def concurrency(self) -> int:
        """How many threads may call `encode` at once with profit."""
        return self._runtime().concurrency

    def encode(self, batch: NDArray[np.uint8]) -> Floats:
        """Encode n > 0 pictures (n, side, side, 3) uint8, as the encoder prepares them, into maps (n, c, h, w) float32.

        Called from many threads.
        """
        return self._runtime().encode(batch).reshape(-1, *self.shape)

    def close(self) -> None:
        """Give back the model's memory; the next call of `encode` loads it again."""
        self._runtime.forget()
        give_gpu_memory_back()

    def pixel_network(self) -> torch.nn.Module:
        """The model with its normalisation: pictures (n, side, side, 3) uint8 to maps (n, c * h * w)."""
        import torch

        from fpve.encoders.networks import FromPixels

        spec, network = self._encoder._spec(), self._encoder.map_network()
        if network is None:
            raise EncoderError(f"encoder {self.name!r}: expected a network with a feature map, found one without")
        # Runtimes give rows, and compare them.
        flat = torch.nn.Sequential(network, torch.nn.Flatten())
        return FromPixels(flat, spec.mean, spec.std).eval().requires_grad_(requires_grad=False)


def _versions() -> list[str]:
    """What decides what is found out about a model beside its weights."""
    # Processors, which say how a model of sentence-transformers sees pictures, are of transformers.
    return [f"{name} {version_of(name)}" for name in ("transformers", *LIBRARIES)]
