"""Keeping libraries from reporting how they are used."""

from __future__ import annotations

import sys
from typing import Any

_REPORTER = "openvino_telemetry"


def forbid_reports() -> None:
    """See to it that OpenVINO and NNCF send nothing to anybody; to be called before they are imported.

    They report imports, conversions and quantisations to Google Analytics unless a file in the home directory forbids
    it, and make that directory's `intel`. Both do without where the reporting library is not installed, which is what
    Python says of a module that is None. Where an application imported it earlier, its sending does nothing from here
    on: whose event it is can't be told.
    """
    modules: dict[str, Any] = sys.modules
    if modules.setdefault(_REPORTER, None) is not None:
        sender = getattr(modules.get(f"{_REPORTER}.utils.sender"), "TelemetrySender", None)
        if sender is not None:
            sender.send = lambda *_, **__: None
