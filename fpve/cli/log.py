"""Logs for machines: one JSON object a line."""

from __future__ import annotations

import json
import logging
import logging.handlers
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from fpve.cli.output import note
from fpve.events import LOGGER

STDERR = "-"


class JsonFormatter(logging.Formatter):
    """Formats an event as one line of JSON: time (UTC), level, event, job, store, then the event's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, without the newline."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", record.getMessage()),
            "job": getattr(record, "job", None),
            "store": getattr(record, "store", None),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        # A path whose bytes are no UTF-8 must not cost the line.
        return json.dumps(line, ensure_ascii=False, default=str).encode(errors="backslashreplace").decode()


@contextmanager
def log_to(target: str | None, *, refused: Callable[[OSError], None]) -> Iterator[None]:
    """Append events to a file while the context lasts, or write them to stderr for `-`; None does nothing.

    Args:
        target: the file.
        refused: is told why it can't be opened, before that is raised.

    Raises:
        OSError: it can't be opened.
    """
    if target is None:
        yield
        return
    try:
        handler = _Quiet() if target == STDERR else _QuietFile(target, encoding="utf-8")
    except OSError as error:
        refused(error)
        raise
    handler.setFormatter(JsonFormatter())
    level, propagate = LOGGER.level, LOGGER.propagate
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)
        LOGGER.propagate = propagate
        with suppress(OSError):
            # It flushes once more; that the disk is full has been said.
            handler.close()


@contextmanager
def notes_of(event: str) -> Iterator[None]:
    """Print what events of a name say, as notes on stderr, while the context lasts."""
    handler = _Notes(event)
    LOGGER.addHandler(handler)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)


class _Notes(logging.Handler):
    def __init__(self, event: str) -> None:
        super().__init__()
        self._event = event

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "event", None) == self._event:
            for text in getattr(record, "fields", {}).values():
                note(f"note: {text}")


class _SaysOnce:
    """A log that can't be written, on a full disk say, costs one line on stderr and not the run."""

    _said = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, ARG002 (logging's own name)
        if not self._said:
            self._said = True
            print(f"fpve: the log can't be written: {sys.exc_info()[1]}", file=sys.stderr)  # noqa: T201


class _Quiet(_SaysOnce, logging.StreamHandler):  # type: ignore[type-arg]
    pass


# Watched: a log that is rotated while a night runs goes on in the new file.
class _QuietFile(_SaysOnce, logging.handlers.WatchedFileHandler):
    pass
