"""What every encoder is: a frozen model with a fingerprint, a dimension and one method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

Floats = NDArray[np.float32]


class Encoder(Protocol):
    """A frozen model. Making one is cheap; the model is loaded by the first call of `encode`.

    Attributes:
        name: what a job file calls it, such as `torchvision:resnet18`.
    """

    name: str

    @property
    def fingerprint(self) -> str:
        """Hex digest of all that decides the output: weights, preprocessing, pooling, precision.

        Needs no torch where the weights are a local file.
        """
        ...

    @property
    def available(self) -> bool:
        """Whether its weights are on this machine; if not, the first use of anything but its name fetches them."""
        ...

    @property
    def dim(self) -> int:
        """Length of an encoded row."""
        ...

    @property
    def batch_size(self) -> int:
        """How many inputs one call of `encode` should get."""
        ...

    @property
    def space(self) -> str | None:
        """Name of the space into which it embeds pictures or texts, where another encoder embeds the others into it.

        None where rows can be compared with rows of the same encoder only. Needs no torch where the weights are local.
        """
        ...


@runtime_checkable
class Closable(Protocol):
    """An encoder that holds much memory from its first call of `encode` on."""

    def close(self) -> None:
        """Give it back; the next call of `encode` loads the model again."""
        ...


class ImageEncoder(Encoder, Protocol):
    """A frozen vision model."""

    @property
    def concurrency(self) -> int:
        """How many calls of `encode` at once pay: as many as there are cores, or one for a GPU."""
        ...

    @property
    def side(self) -> int:
        """Pixels to which `prepare` brings a picture: one that is much larger may have been reduced before."""
        ...

    def prepare(self, image: Image) -> NDArray[Any]:
        """Turn an RGB picture into the model's input, of one shape and dtype for all pictures.

        Called from many threads.
        """
        ...

    def encode(self, batch: NDArray[Any]) -> Floats:
        """Encode prepared pictures (n, …) into raw, not normalised features (n, dim) float32.

        Called from many threads.
        """
        ...


class TextEncoder(Encoder, Protocol):
    """A frozen text model."""

    def encode(self, texts: Sequence[str]) -> Floats:
        """Encode n texts into embeddings (n, dim) float32."""
        ...


@runtime_checkable
class Limited(Protocol):
    """A text encoder that sees no more than the beginning of a long text, and can tell how much."""

    def cut(self, texts: Sequence[str]) -> list[int]:
        """How many characters at the end of each text it does not see; 0 where it sees all.

        Loads the model, and changes nothing that it encodes.
        """
        ...
