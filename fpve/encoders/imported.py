"""What stands for the encoder of vectors that were imported: it says what they are, and encodes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from numpy.typing import NDArray

from fpve.encoders.fingerprint import fingerprint
from fpve.errors import EncoderNotFound

if TYPE_CHECKING:
    from PIL.Image import Image

    from fpve.encoders.protocol import Floats

FAMILY = "imported"


@dataclass(slots=True)
class ImportedImageEncoder:
    """An encoder that is known by its name and fingerprint only.

    Attributes:
        name: what made the vectors; `imported:DIM` where nobody said it.
        fingerprint: that of what made them.
        dim: length of a vector.
        space: that of the encoder, if it has one.
    """

    name: str
    fingerprint: str
    dim: int
    space: str | None = None

    @classmethod
    def unnamed(cls, dim: int) -> ImportedImageEncoder:
        """Of vectors of which only the length is known: all of one length are taken for the same encoder's."""
        return cls(f"{FAMILY}:{dim}", fingerprint({"architecture": FAMILY, "dim": dim}), dim)

    @property
    def available(self) -> bool:
        """There is nothing to be fetched."""
        return True

    @property
    def batch_size(self) -> int:
        """It takes no pictures."""
        self._refuse()

    @property
    def concurrency(self) -> int:
        """It takes no pictures."""
        self._refuse()

    @property
    def side(self) -> int:
        """It takes no pictures."""
        self._refuse()

    def prepare(self, image: Image) -> NDArray[Any]:  # noqa: ARG002 (protocol)
        """It takes no pictures."""
        self._refuse()

    def encode(self, batch: NDArray[Any]) -> Floats:  # noqa: ARG002 (protocol)
        """It takes no pictures."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise EncoderNotFound(
            f"the store's vectors were imported as {self.name!r}, without a model that could encode a picture: search "
            "by id or by vector, or import them again with --image-encoder and the name of what made them"
        )
