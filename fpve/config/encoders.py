"""Which encoders a job names, and with which options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field

Resize = Literal["squash", "pad", "crop"]
Pooling = Literal["gem", "mean", "last"]
Precision = Literal["fp32", "bf16", "int8"]

NO_ENCODER = "none"
# The options of an encoder that decide its vectors; the others are the machine's business.
DECIDING = ("name", "weights", "resize", "pooling", "layer", "precision")
_STRICT = ConfigDict(extra="forbid", strict=True)


def _named_encoder(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """Which encoder, and how it is to be used. In a job file a bare string stands for `{ name = … }`.

    Attributes:
        name: `efficientnet-lite0`, `minilm`, `torchvision:resnet18`, `st:NAME-OR-PATH`, `fake`, or `none`.
        weights: a local file of weights, instead of those that the name stands for.
        resize: how a picture becomes the square that a vision model takes; None is the encoder's default.
        pooling: how a feature map (`gem` or `mean`), or the hidden states of a text (`mean` or `last`, its last token),
            become one vector; None is the encoder's default.
        layer: of a causal language model, which hidden states: -1, the default, are those of its last layer.
        precision: of the vision model's arithmetic: `fp32`, the default, gives the same vectors on every machine.
        batch_size: pictures or texts in one call of the model; None is the encoder's default.
        device: a torch device, such as `cpu` or `cuda:1`; None takes a GPU where there is one.
        path: of `python:MODULE:CLASS`, a folder in which the module is looked for besides Python's path; in a job file
            it is the file's own folder unless the job says otherwise.
    """

    __pydantic_config__ = _STRICT

    name: str
    weights: Path | None = None
    resize: Resize | None = None
    pooling: Pooling | None = None
    layer: int | None = None
    precision: Precision | None = None
    batch_size: Annotated[int, Field(ge=1, le=65536)] | None = None
    device: str | None = None
    path: Path | None = None

    @property
    def is_none(self) -> bool:
        """Whether the store does without this block."""
        return self.name == NO_ENCODER


Encoder = Annotated[EncoderConfig, BeforeValidator(_named_encoder)]


@dataclass(frozen=True, slots=True)
class Encoders:
    """The frozen models of a store."""

    __pydantic_config__ = _STRICT

    image: Encoder = EncoderConfig("efficientnet-lite0")
    text: Encoder = EncoderConfig("minilm")
