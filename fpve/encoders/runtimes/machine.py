"""What this machine can do: its cores, its CPU's name, its GPU."""

from __future__ import annotations

import math
import os
import platform
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from fpve.encoders.weights import first_line
from fpve.errors import EncoderError

if TYPE_CHECKING:
    import torch

# Of an NVIDIA card, of one below Windows' Linux, and of an AMD card.
_GPU_DEVICES = ("nvidia[0-9]*", "dxg", "kfd")


@cache
def cores() -> int:
    """How many cores this process may use: those it is bound to, or fewer where a container's quota says so.

    Whoever begins several processes on a machine gives each of them a part of it by FPVE_CORES.
    """
    told = os.environ.get("FPVE_CORES", "")
    if told.isdecimal() and int(told):
        return int(told)
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(bound, _quota(Path("/sys/fs/cgroup/cpu.max"))))


def _quota(file: Path) -> int:
    """Cores that a control group (version 2) allows: `MICROSECONDS PERIOD`, or `max PERIOD` for all of them."""
    try:
        allowed, period = file.read_text().split()
        return math.ceil(int(allowed) / int(period))
    except (OSError, ValueError):
        return 1 << 16


@cache
def cpu_name() -> str:
    """Model of the CPU, such as `AMD EPYC 9654 96-Core Processor`, and how many of its cores this process may use."""
    name = _cpu_fact("model name") or platform.processor() or platform.machine()
    return f"{name}, {cores()} cores"


@cache
def cpu_features() -> frozenset[str]:
    """What the CPU can do beyond its architecture's minimum, as Linux names it: `avx512_vnni`, say. May be empty."""
    return frozenset((_cpu_fact("flags") or _cpu_fact("Features")).split())


def _cpu_fact(name: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def may_have_gpu() -> bool:
    """Whether there is a device file of a GPU: asked first, because asking torch means importing it."""
    return any(any(Path("/dev").glob(pattern)) for pattern in _GPU_DEVICES)


def give_gpu_memory_back() -> None:
    """Let other processes have the memory of a GPU that torch keeps for tensors to come."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def pick_device(name: str | None) -> torch.device:
    """The torch device of this name; without a name a GPU where there is one, else the CPU.

    Raises:
        EncoderError: there is no such device on this machine.
    """
    import torch

    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        # Making a tensor is the only question that every kind of device answers.
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise EncoderError(f"device {name!r} can't be used here: {first_line(error)}; try device = 'cpu'") from None
    return device
