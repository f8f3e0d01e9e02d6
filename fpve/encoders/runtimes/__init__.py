"""Runtimes: what runs a vision model, chosen by measuring it on the machine at hand.

What is where:

    choice      which one it is on a CPU                cache      what was found out, and converted networks
    openvino    the fast one                            quantise   networks of 8-bit integers for it
    eager       torch as it is, also on a GPU           threads    how many of them torch uses
    machine     cores, CPU and GPU                      convolutions  what cuDNN may round
    reports     that libraries send none                probes     pictures to measure and to check with
"""

from __future__ import annotations

from fpve.encoders.runtimes.choice import open_on_cpu
from fpve.encoders.runtimes.machine import may_have_gpu, pick_device
from fpve.encoders.runtimes.protocol import Runtime, Subject
from fpve.errors import EncoderError

__all__ = ["Runtime", "Subject", "check_device", "open_runtime"]


def check_device(subject: Subject, device: str | None) -> None:
    """Refuse a device that can't compute in a model's precision; asks nothing of the device or its driver.

    Raises:
        EncoderError: it is another one than a CPU, for `int8`.
    """
    if subject.precision == "int8" and device is not None and device.partition(":")[0] != "cpu":
        raise EncoderError(
            f"encoder {subject.name!r}: precision = 'int8' runs on a CPU only, found device {device!r}; "
            "set device = 'cpu', or precision = 'bf16'"
        )


def open_runtime(subject: Subject, *, device: str | None) -> Runtime:
    """Open the fastest runtime that this machine has for a model.

    Without a GPU, and where it is known already which one that is, nothing of this imports torch.

    Args:
        subject: the model.
        device: a torch device; None takes a GPU where there is one.

    Raises:
        EncoderError: there is no such device, it can't compute in the model's precision, or the model can't be loaded.
        EncoderNotFound: the weights are not on this machine and can't be fetched.
    """
    check_device(subject, device)
    if device == "cpu" or subject.precision == "int8" or (device is None and not may_have_gpu()):
        return open_on_cpu(subject)
    chosen = pick_device(device)
    if chosen.type == "cpu":
        return open_on_cpu(subject)
    from fpve.encoders.runtimes.eager import EagerRuntime

    return EagerRuntime(subject.pixel_network(), chosen, subject.precision)
