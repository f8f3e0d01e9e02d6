"""What a run says while it runs: named events with fields, through the standard `logging`; silent until asked."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Any

LOGGER = logging.getLogger("fpve")
# Without it, Python would print warnings of a program that has not set up logging.
LOGGER.addHandler(logging.NullHandler())

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


class Events:
    """Sends the events of one run of a job; `store` is its path, or None while it is not known.

    A record's message is the event's name; `event`, `job`, `store` and `fields` are attributes of the record.
    """

    def __init__(self, job: str, store: str | None) -> None:
        self._context = {"job": job, "store": store}

    def send(self, event: str, *, level: int = logging.INFO, exc_info: ExcInfo | None = None, **fields: Any) -> None:
        """Send one event with its own fields, which are plain values that JSON has."""
        if LOGGER.isEnabledFor(level):
            LOGGER.log(level, event, exc_info=exc_info, extra={"event": event, **self._context, "fields": fields})
