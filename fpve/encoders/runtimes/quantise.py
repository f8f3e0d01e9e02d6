"""Quantising a converted network to 8-bit integers, calibrated on photographs; needs the extra `int8`."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import logging
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fpve import images
from fpve.encoders.runtimes.cache import version_of
from fpve.encoders.runtimes.openvino import library, quiet, save
from fpve.errors import EncoderError

if TYPE_CHECKING:
    from fpve.encoders.runtimes.protocol import Pixels

# Counts up with whatever changes the quantised network.
_VERSION = 1
# Photographs and drawings that scikit-image ships. Pictures drawn by chance were tried: their activations have other
# ranges, and cosines to fp32 fell from .99 to .95.
_CALIBRATION = (
    *("astronaut.png", "brick.png", "camera.png", "cell.png", "chelsea.png", "clock_motion.png", "coffee.png"),
    *("coins.png", "color.png", "grass.png", "gravel.png", "horse.png", "hubble_deep_field.jpg", "ihc.png"),
    *("logo.png", "moon.png", "motorcycle_left.png", "page.png", "retina.jpg", "rocket.jpg", "text.png"),
)
_LAYERS = ("Convolution", "GroupConvolution", "MatMul")
# How many layers stay in floating point: the first ones see pixels, the last one makes the features.
_FIRST, _LAST = 2, 1
_ADVICE = "precision = 'int8' needs the extra int8: `pip install 'fpve[int8]'`"


@cache
def quantisation() -> str:
    """What decides how a network is quantised, for fingerprints: the rules, the libraries and the pictures.

    Raises:
        EncoderError: they are not installed.
    """
    digest = hashlib.sha256()
    for file in _calibration_files():
        digest.update(file.read_bytes())
    libraries = ", ".join(f"{name} {version_of(name)}" for name in ("nncf", "openvino"))
    return f"{_VERSION} {digest.hexdigest()}, {libraries}"


def quantise(exact: Path, side: int, file: Path) -> None:
    """Write a network with weights (per channel) and activations of 8 bits.

    The layers that see pixels, the one that makes the features, and pooling stay in floating point: what is lost there
    is lost for all that follows, and a power of an 8-bit number is no good number.

    Raises:
        EncoderError: the extra is not installed.
        OSError: the network can't be written.
    """
    if importlib.util.find_spec("nncf") is None:
        raise EncoderError(_ADVICE)
    with quiet():
        openvino = library()
        import nncf

        nncf.set_log_level(logging.ERROR)
        model = openvino.Core().read_model(exact)
        pictures = calibration_pictures(side)
        with contextlib.redirect_stdout(io.StringIO()):  # it draws progress bars
            quantised = nncf.quantize(
                model,
                nncf.Dataset([pictures[at : at + 1] for at in range(len(pictures))]),
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=len(pictures),
                fast_bias_correction=False,
                ignored_scope=nncf.IgnoredScope(names=_in_floats(model), types=["Power", "ReduceMean"], validate=False),
                # The remedy for CPUs without VNNI instructions costs a bit of the weights; those CPUs are refused.
                advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.DISABLE),
            )
        save(quantised, file)


def calibration_pictures(side: int) -> Pixels:
    """Pictures (n, side, side, 3) uint8: each file whole, its upper left and its lower right quarter.

    Raises:
        EncoderError: they are not installed.
    """
    squares: list[Pixels] = []
    for file in _calibration_files():
        picture = images.decode(file.read_bytes(), enough=images.enough_for(2 * side)).image
        width, height = picture.size
        quarters = [(0, 0, width // 2, height // 2), (width // 2, height // 2, width, height)]
        parts = [picture, *(picture.crop(box) for box in quarters)]
        squares += [images.resize(part, side, "squash") for part in parts]
    return np.stack(squares)


def _calibration_files() -> list[Path]:
    spec = importlib.util.find_spec("skimage")
    folders = [Path(one) / "data" for one in (spec.submodule_search_locations if spec else None) or ()]
    found = [folder / name for folder in folders[:1] for name in _CALIBRATION]
    missing = next((file for file in found if not file.is_file()), None)
    if not found or missing is not None:
        raise EncoderError(f"{_ADVICE}; {'scikit-image is' if missing is None else f'{missing} is'} not there")
    return found


def _in_floats(model: Any) -> list[str]:
    """Names of the layers that are not quantised."""
    layers = [one.get_friendly_name() for one in model.get_ordered_ops() if one.get_type_name() in _LAYERS]
    return [*layers[:_FIRST], *layers[-_LAST:]] if len(layers) > _FIRST + _LAST else []
