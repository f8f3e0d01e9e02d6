"""Quantising a converted network to 8-bit integers; needs the extra `int8`."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
from pathlib import Path

from fpve.encoders.runtimes.openvino import quiet
from fpve.encoders.runtimes.probes import probe_pictures
from fpve.errors import EncoderError

# Counts up with whatever changes the quantised network, and is part of the fingerprint.
QUANTISATION = 1
CALIBRATION_PICTURES = 128


def check_installed() -> None:
    """Check that what quantises is there.

    Raises:
        EncoderError: it is not.
    """
    if importlib.util.find_spec("nncf") is None:
        raise EncoderError("precision = 'int8' needs the extra int8: `pip install 'fpve[int8]'`")


def quantise(exact: Path, side: int, file: Path) -> None:
    """Write a network with weights (per channel) and activations of 8 bits, found with probe pictures.

    Pooling and what follows it stay in floating point: a power of an 8-bit number is no good number.
    """
    check_installed()
    with quiet():
        import nncf
        import openvino

    nncf.set_log_level(logging.ERROR)
    model = openvino.Core().read_model(exact)
    pictures = probe_pictures(side, CALIBRATION_PICTURES)
    with contextlib.redirect_stdout(io.StringIO()):  # it draws progress bars
        quantised = nncf.quantize(
            model,
            nncf.Dataset([pictures[at : at + 1] for at in range(len(pictures))]),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(pictures),
            fast_bias_correction=False,
            ignored_scope=nncf.IgnoredScope(types=["Power", "ReduceMean"], validate=False),
            # The remedy for CPUs without VNNI instructions costs a bit of the weights; those CPUs are refused.
            advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.DISABLE),
        )
    openvino.save_model(quantised, file, compress_to_fp16=False)
