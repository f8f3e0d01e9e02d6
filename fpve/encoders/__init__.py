"""Encoders by name: what a job file calls them, and the family that answers to it.

Neither this module nor the opening of an encoder imports torch; that is left to the first `encode`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Generic, TypeVar

from fpve.config import EncoderConfig, Pooling
from fpve.encoders.causal_lm import CausalTextEncoder
from fpve.encoders.conformance import check_encoder
from fpve.encoders.fake import FakeImageEncoder, FakeTextEncoder
from fpve.encoders.imported import FAMILY as IMPORTED
from fpve.encoders.imported import ImportedImageEncoder
from fpve.encoders.open_clip import OpenClipImageEncoder, OpenClipTextEncoder
from fpve.encoders.own import OwnImageEncoder, OwnTextEncoder
from fpve.encoders.packaged import EfficientNetLite0, open_minilm
from fpve.encoders.protocol import Encoder, Floats, ImageEncoder, Limited, TextEncoder
from fpve.encoders.sentence_transformers import SentenceTransformerEncoder, SentenceTransformerImageEncoder
from fpve.encoders.timm import TimmEncoder
from fpve.encoders.torchvision import TorchvisionEncoder
from fpve.encoders.weights import OFFLINE_IMAGE, OFFLINE_TEXT
from fpve.errors import EncoderError, EncoderNotFound, nearest

__all__ = [
    "Encoder",
    "Floats",
    "ImageEncoder",
    "ImportedImageEncoder",
    "Limited",
    "TextEncoder",
    "check_encoder",
    "open_image_encoder",
    "open_text_encoder",
]

E = TypeVar("E", covariant=True)


@dataclass(frozen=True, slots=True)
class _Family(Generic[E]):
    """What answers to `NAME` or `NAME:ARGUMENT`.

    Attributes:
        open: makes an encoder of a configuration and of what follows the colon.
        options: the options of a configuration that it honours; others are refused.
        argument: what follows the colon, as messages show it; in brackets where it can be left out;
            empty where there is no colon.
        poolings: values of the option `pooling` that it honours; empty where it takes none, or asks a class about it.
    """

    open: Callable[[EncoderConfig, str], E]
    options: tuple[str, ...]
    argument: str = ""
    poolings: tuple[Pooling, ...] = ()


# Of feature maps, and of the hidden states of tokens.
_OF_MAPS: tuple[Pooling, ...] = ("gem", "mean")
_OF_TOKENS: tuple[Pooling, ...] = ("mean", "last")
_OWN_OPTIONS = ("weights", "resize", "pooling", "precision", "batch_size", "device", "path")
_IMAGE: Mapping[str, _Family[ImageEncoder]] = {
    "efficientnet-lite0": _Family(
        lambda config, _: EfficientNetLite0(config),
        ("resize", "pooling", "precision", "batch_size", "device"),
        poolings=_OF_MAPS,
    ),
    "torchvision": _Family(
        TorchvisionEncoder, ("weights", "resize", "pooling", "precision", "batch_size", "device"), "NAME", _OF_MAPS
    ),
    "timm": _Family(
        TimmEncoder, ("weights", "resize", "pooling", "precision", "batch_size", "device"), "NAME", _OF_MAPS
    ),
    "st": _Family(SentenceTransformerImageEncoder, ("resize", "precision", "batch_size", "device"), "NAME-OR-PATH"),
    "open_clip": _Family(
        OpenClipImageEncoder, ("weights", "resize", "precision", "batch_size", "device"), "NAME/PRETRAINED"
    ),
    "python": _Family(OwnImageEncoder, _OWN_OPTIONS, "MODULE:CLASS"),
    "fake": _Family(FakeImageEncoder, ("resize", "batch_size"), "[DIM]"),
}
_TEXT: Mapping[str, _Family[TextEncoder]] = {
    "minilm": _Family(lambda config, _: open_minilm(config), ("batch_size", "device")),
    "st": _Family(SentenceTransformerEncoder, ("batch_size", "device"), "NAME-OR-PATH"),
    "lm": _Family(CausalTextEncoder, ("pooling", "layer", "batch_size", "device"), "NAME-OR-PATH", _OF_TOKENS),
    "open_clip": _Family(OpenClipTextEncoder, ("weights", "batch_size", "device"), "NAME/PRETRAINED"),
    "python": _Family(OwnTextEncoder, _OWN_OPTIONS, "MODULE:CLASS"),
    "fake": _Family(FakeTextEncoder, ("batch_size",), "[DIM]"),
}


def open_image_encoder(config: EncoderConfig) -> ImageEncoder:
    """Open the vision model that a configuration names, such as `efficientnet-lite0` or `torchvision:NAME`.

    Raises:
        EncoderNotFound: there is no such encoder, or a file that it needs is not there. What takes torch to find out,
            such as an unknown torchvision model, is raised by the first use.
        EncoderError: the configuration has an option that this encoder can't honour.
    """
    family, _, dim = config.name.partition(":")
    if family == IMPORTED and dim.isdecimal():
        # No family that a job could choose: only manifests of imported vectors name it.
        return ImportedImageEncoder.unnamed(int(dim))
    return _open(config, _IMAGE, "image", OFFLINE_IMAGE)


def open_text_encoder(config: EncoderConfig) -> TextEncoder:
    """Open the text model that a configuration names, such as `minilm` or `st:NAME-OR-PATH`.

    Raises:
        EncoderNotFound: there is no such encoder, or a directory that it needs is not there. A name on a model hub is
            looked for by the first use.
        EncoderError: the configuration has an option that this encoder can't honour.
    """
    return _open(config, _TEXT, "text", OFFLINE_TEXT)


def _open(config: EncoderConfig, families: Mapping[str, _Family[E]], kind: str, offline: str) -> E:
    name, colon, argument = config.name.partition(":")
    family = families.get(name)
    if family is None:
        raise EncoderNotFound(f"no {kind} encoder {config.name!r}{_hint(name, families)}; {offline}")
    spec = _spec(name, family)
    if colon and not family.argument:
        raise EncoderNotFound(f"no {kind} encoder {config.name!r}; did you mean {spec!r}?; {offline}")
    if not argument and (colon or family.argument.isupper()) and not family.argument.startswith("["):
        raise EncoderNotFound(f"{kind} encoder {config.name!r}: expected {spec}; {offline}")
    for option in (field.name for field in fields(config) if field.name != "name"):
        value = getattr(config, option)
        if value is not None and option not in family.options:
            raise EncoderError(
                f"{kind} encoder {config.name!r} takes no {option}, found {option} = {str(value)!r}; leave it out "
                f"(it takes {', '.join(family.options)})"
            )
    if config.pooling is not None and family.poolings and config.pooling not in family.poolings:
        raise EncoderError(
            f"{kind} encoder {config.name!r} takes no pooling = {config.pooling!r}: expected "
            f"{' or '.join(map(repr, family.poolings))}"
        )
    return family.open(config, argument)


def _hint(name: str, families: Mapping[str, _Family[E]]) -> str:
    """Which encoder may have been meant, or which there are."""
    if name in _IMAGE or name in _TEXT:
        return f" ({name} is for {'pictures' if name in _IMAGE else 'texts'})"
    return nearest(name, families) or f"; known: {', '.join(_spec(*item) for item in families.items())}"


def _spec(name: str, family: _Family[E]) -> str:
    if family.argument.startswith("["):
        return f"{name}[:{family.argument[1:]}"
    return f"{name}:{family.argument}" if family.argument else name
