"""How long-running work tells whoever started it how far it is."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Stage(Protocol):
    """One running stage, such as `encode`."""

    def advance(self, count: int = 1) -> None:
        """Say that `count` more units are done."""
        ...

    def limited_by(self, part: str) -> None:
        """Say which part of the stage the others wait for, such as `decode`."""
        ...


class Progress(Protocol):
    """Something that shows progress: a terminal, a log, a web page."""

    def stage(self, name: str, total: int | None) -> AbstractContextManager[Stage]:
        """Open the stage `name`, of `total` units where that is known; it ends with the context."""
        ...


class _SilentStage:
    def advance(self, count: int = 1) -> None:
        """Show nothing."""

    def limited_by(self, part: str) -> None:
        """Show nothing."""


class SilentProgress:
    """Shows nothing: the default of the library."""

    def stage(self, name: str, total: int | None) -> AbstractContextManager[Stage]:  # noqa: ARG002 (protocol)
        """Open a stage that nobody watches."""
        return nullcontext(_SilentStage())
