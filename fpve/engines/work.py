"""What every engine takes and gives back."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fpve.config import Encoders
from fpve.encoders import ImageEncoder, TextEncoder, open_image_encoder, open_text_encoder
from fpve.fusion import Fusion
from fpve.progress import Progress
from fpve.sources.inputs import Inputs
from fpve.store.pending import Recipe


@dataclass(frozen=True, slots=True)
class Models:
    """The encoders of a store.

    Attributes:
        image: of pictures.
        text: of prefixes; None where there are none.
        config: what they were made of, by which other processes make their own; None if nobody knows.
    """

    image: ImageEncoder
    text: TextEncoder | None
    config: Encoders | None = None

    @classmethod
    def of(cls, config: Encoders) -> Models:
        """Open encoders; loads no model.

        Raises:
            EncoderNotFound: there is no such encoder, or its weights are not here.
        """
        text = None if config.text.is_none else open_text_encoder(config.text)
        return cls(open_image_encoder(config.image), text, config)


@dataclass(frozen=True, slots=True)
class Target:
    """Where shards go, and how their vectors are made."""

    root: Path
    recipe: Recipe
    fusion: Fusion


@dataclass(frozen=True, slots=True)
class Work:
    """Inputs to encode.

    Attributes:
        inputs: where the bytes of each picture are read; they can be pickled.
        sizes: (n,) how many bytes each had when it was scanned.
        prefixes: the prefix text of each, or None.
        known: content hashes whose features are in the store: such inputs are hashed, not encoded.
    """

    inputs: Inputs
    sizes: NDArray[np.int64]
    prefixes: list[str | None]
    known: AbstractSet[str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file.

    Attributes:
        content_hash: hex SHA-256 of its bytes; None where it could not be read.
        size, mtime_ns: what it was when it was read; the file may have changed since it was scanned.
        reason: why it could not be encoded; None if it could, or needed not be.
    """

    content_hash: str | None
    size: int
    mtime_ns: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Encoded:
    """What became of all inputs.

    Attributes:
        outcomes: of each, in their order.
        pictures: how many went through the vision model.
        busy: thread seconds of each stage, such as `decode`.
        limited_by: the stage that the others waited for; None if nothing was encoded.
        cut: how many prefixes are so long that the text model does not see their end.
        shards: names of the shards that were finished.
    """

    outcomes: list[Outcome]
    pictures: int
    busy: dict[str, float] = field(default_factory=dict)
    limited_by: str | None = None
    cut: int = 0
    shards: tuple[str, ...] = ()


class Engine(Protocol):
    """Something that encodes: this process, or a cluster."""

    def encode(self, work: Work, models: Models, target: Target, progress: Progress) -> Encoded:
        """Encode files, leaving shards in `pending/`. Work that is interrupted keeps the shards that are finished."""
        ...
