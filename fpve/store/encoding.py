"""How a store's vectors are made, as its manifest says it: encoders and fusion."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ConfigDict

from fpve.config import DECIDING, EncoderConfig
from fpve.errors import StoreCorrupt
from fpve.fusion import Mode

_STRICT = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, slots=True)
class EncoderRef:
    """The encoder that made a block, with what is needed to open it again.

    Attributes:
        config: the fields of its EncoderConfig that were set, as a job file writes them.
        fingerprint: hex digest of weights, preprocessing, pooling and precision.
        dim: length of the block.
        space: name of the space into which it embeds, where an encoder of the other block can share it.
    """

    __pydantic_config__ = _STRICT

    config: dict[str, str]
    fingerprint: str
    dim: int
    space: str | None = None

    def as_config(self) -> EncoderConfig:
        """The configuration with which the encoder is opened again."""
        settings: dict[str, Any] = dict(self.config)
        if other := settings.keys() - set(DECIDING):
            raise StoreCorrupt(
                f"encoder {settings.get('name')!r}: a manifest says no {', '.join(sorted(other))} of one"
            )
        if "weights" in settings:
            settings["weights"] = Path(settings["weights"])
        if "layer" in settings:
            settings["layer"] = int(settings["layer"])
        return EncoderConfig(**settings)

    def __str__(self) -> str:
        """The encoder as messages name it, such as `efficientnet-lite0@1f3a09c2`."""
        return f"{self.config['name']}@{self.fingerprint[:8]}"


@dataclass(frozen=True, slots=True)
class CentreRef:
    """The means by which searched vectors are centred; the table `means` holds them.

    Attributes:
        version: hex digest of the means.
        pictures: of how many distinct pictures the image mean is; 0 where image blocks are not centred.
        prefixes: of how many distinct prefixes the prefix mean is; 0 where prefix blocks are not centred.
        snapshot: number of the snapshot in which they were fitted; they are frozen since.
    """

    __pydantic_config__ = _STRICT

    version: str
    pictures: int
    prefixes: int
    snapshot: int


@dataclass(frozen=True, slots=True)
class AlignmentRef:
    """The map by which prefix blocks are predicted from pictures; the table `alignment` holds its arrays.

    Recall at k is the share of held-out prefixes that find a picture of theirs among the first k predictions.

    Attributes:
        snapshot: number of the snapshot in which it was fitted; 0 if it has yet to be, for too little is captioned.
        rows: how many captioned pictures it was fitted to.
        prefixes: how many distinct prefixes the store's images had then.
        held_out: how many of them were held out to measure.
        recall, ridge, chance: by k, written out: of the map, of plain ridge regression, of random ranks.
        settings: what cross-validation chose.
        norm: the length in (0, 1] of a predicted block beside real ones.
    """

    __pydantic_config__ = _STRICT

    snapshot: int = 0
    rows: int = 0
    prefixes: int = 0
    held_out: int = 0
    recall: dict[str, float] = field(default_factory=dict)
    ridge: dict[str, float] = field(default_factory=dict)
    chance: dict[str, float] = field(default_factory=dict)
    settings: dict[str, float] = field(default_factory=dict)
    norm: float = 1.0


@dataclass(frozen=True, slots=True)
class WeightRef:
    """How the default weight was chosen by a label column.

    Attributes:
        label: the column.
        rows: how many images with a prefix and a label there were; 0 as long as they are too few to choose by.
        low, high: between which 95 % of resamples choose theirs.
        accuracy: grouped leave-one-out, of rows at a weight that was chosen without them.
        snapshot: number of the snapshot in which it was chosen.
    """

    __pydantic_config__ = _STRICT

    label: str
    rows: int = 0
    low: float | None = None
    high: float | None = None
    accuracy: float | None = None
    snapshot: int | None = None


@dataclass(frozen=True, slots=True)
class FusionRef:
    """How blocks were joined and are searched, and the default weight A of queries.

    Attributes:
        mode: how they were joined.
        image_weight: the default weight A.
        centre: whether searched vectors are to be centred, once there are enough of them.
        centred: by which means they are.
        auto: how the weight was chosen; None where the job says a number.
    """

    __pydantic_config__ = _STRICT

    mode: Mode
    image_weight: float
    centre: bool = False
    centred: CentreRef | None = None
    auto: WeightRef | None = None
