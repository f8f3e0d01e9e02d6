"""Progress bars on a terminal, and silence elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from fpve.progress import Progress, SilentProgress, Stage


def terminal_progress() -> Progress:
    """Bars on stderr if that is a terminal; otherwise nothing, for a log is no place for bars."""
    return BarProgress() if sys.stderr.isatty() else SilentProgress()


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show on a terminal that something is going on, such as a model being loaded, where nothing can be counted."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(f"{what} …"):
        yield


class BarProgress:
    """One bar a stage: what is done, how fast, and how long it will take."""

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Stage]:
        """Show a bar while the stage runs."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description:<8}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
            task = bars.add_task(name, total=total, rate="")

            class _BarStage:
                _limit = ""

                def advance(self, count: int = 1) -> None:
                    bars.advance(task, count)
                    speed = bars.tasks[0].speed
                    if speed:
                        bars.update(task, rate=f"{speed:,.0f}/s{self._limit}")

                def limited_by(self, part: str) -> None:
                    self._limit = f", limited by {part}"

            yield _BarStage()
