"""Live progress: a table on a terminal, a line every few seconds elsewhere, or nothing.

`ReviewProgress` is the progress of a review, computed from the updates of its execution. The views
only show it. They begin before Ray starts and end after it has stopped, which takes most of the
time of a small review. They write to standard error, because standard output is for the result.
"""

import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType, TracebackType
from typing import Final, Protocol, Self, TextIO, assert_never

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from callboard.updates import (
    ExecutionPhase,
    ExecutionUpdate,
    Finished,
    PartialResult,
    PhaseChanged,
    Progressed,
    StateChanged,
    StatusLines,
    SubTaskPartial,
    TaskTroubled,
)

from .agents import SPECIALISTS, BatchFindings

__all__ = [
    "LinesView",
    "NoView",
    "ReviewProgress",
    "TableView",
    "Tally",
    "View",
    "choose_view",
    "follow",
]

LINE_EVERY_S: Final = 3.0
"""At least every so often there is a line, whatever the review does."""
BAR_WIDTH: Final = 30
TROUBLES_SHOWN_MAX: Final = 5


@dataclass(frozen=True, slots=True)
class Tally:
    """The work of one specialist so far."""

    files: int = 0
    findings: int = 0


@dataclass(frozen=True, slots=True)
class ReviewProgress:
    """The progress of a review. `hosts` counts living hosts; 0 where there are none to count."""

    files: int
    hosts: int = 0
    phase: ExecutionPhase = ExecutionPhase.VALIDATING
    sub_tasks_done: int = 0
    sub_tasks: int = 0
    retries: int = 0
    elapsed_s: float = 0.0
    by_specialist: Mapping[str, Tally] = field(default_factory=lambda: MappingProxyType({}))
    troubles: tuple[str, ...] = ()

    @property
    def findings(self) -> int:
        """The number of findings so far, before resolution."""
        return sum(tally.findings for tally in self.by_specialist.values())

    def after(self, update: ExecutionUpdate) -> "ReviewProgress":
        """The progress after `update`."""
        match update:
            case PhaseChanged():
                return replace(self, phase=update.phase)
            case Progressed():
                return replace(
                    self,
                    sub_tasks_done=update.done,
                    sub_tasks=update.total,
                    retries=update.retries,
                    elapsed_s=update.elapsed_s,
                )
            case PartialResult():
                return replace(self, by_specialist=tallies(update.value))
            case TaskTroubled():
                if len(self.troubles) >= TROUBLES_SHOWN_MAX:
                    return self
                return replace(
                    self, troubles=(*self.troubles, f"{update.task_id}: {update.message}")
                )
            case StateChanged() | SubTaskPartial() | Finished():
                return self
            case unknown:
                assert_never(unknown)


def tallies(answers: Sequence[BatchFindings]) -> Mapping[str, Tally]:
    """The work of each specialist, from the replies so far."""
    found: dict[str, Tally] = {}
    for answer in answers:
        before = found.get(answer.specialist, Tally())
        found[answer.specialist] = Tally(
            before.files + len(answer.reviewed), before.findings + len(answer.findings)
        )
    return dict(sorted(found.items()))


class View(Protocol):
    """Shows the progress. A context manager that cleans up at its end."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def say(self, text: str) -> None:
        """Show what happens before or after the review."""

    def show(self, progress: ReviewProgress) -> None:
        """Show the progress, unless the last one was shown just before."""


async def follow(
    updates: AsyncIterator[ExecutionUpdate],
    view: View,
    *,
    files: int,
    living_hosts: Callable[[], int],
) -> None:
    """Show the progress after each of `updates`, until they end."""
    progress = ReviewProgress(files, living_hosts())
    async for update in updates:
        progress = replace(progress.after(update), hosts=living_hosts())
        view.show(progress)
    view.say("stopping")


class NoView:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def say(self, text: str) -> None:
        """Do nothing."""

    def show(self, progress: ReviewProgress) -> None:
        """Do nothing."""


class LinesView:
    """A line at once, at the first result and when a host is lost; and one every few seconds."""

    def __init__(self, stream: TextIO, *, every_s: float = LINE_EVERY_S) -> None:
        self._lines = StatusLines(stream, every_s=every_s)
        self._known: tuple[bool, int] = (False, 0)

    def __enter__(self) -> Self:
        self._lines.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lines.__exit__(kind, error, trace)

    def say(self, text: str) -> None:
        """Print this as the next line."""
        self._lines.show(text)

    def show(self, progress: ReviewProgress) -> None:
        """Print the progress: at once if there is news, otherwise as the next line."""
        before, self._known = self._known, (bool(progress.by_specialist), progress.hosts)
        is_news = self._known[0] and self._known != before
        self._lines.show(line_of(progress), now=is_news)


def line_of(progress: ReviewProgress) -> str:
    """The progress in one line."""
    parts = [
        f"{progress.phase}",
        f"{progress.sub_tasks_done:,} of {progress.sub_tasks:,} sub-tasks",
        f"{progress.findings:,} findings",
    ]
    if progress.hosts:
        parts.append(f"{progress.hosts} hosts")
    if progress.retries:
        parts.append(f"{progress.retries} retries")
    return " | ".join(parts)


class TableView:
    """A table that is redrawn in place, with one row for each specialist."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        """Show this instead of the table."""
        self._live.update(Text(text, style="bold"), refresh=True)

    def show(self, progress: ReviewProgress) -> None:
        """Redraw the table."""
        self._live.update(table_of(progress), refresh=True)


def table_of(progress: ReviewProgress) -> Group:
    """The progress as a table of rich."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("specialist")
    table.add_column("", width=BAR_WIDTH)
    table.add_column("files", justify="right")
    table.add_column("findings", justify="right")
    for name in SPECIALISTS:
        tally = progress.by_specialist.get(name, Tally())
        bar = ProgressBar(
            total=max(1, progress.files),
            completed=tally.files,
            width=BAR_WIDTH,
            complete_style="cyan",
            finished_style="green",
        )
        table.add_row(
            name,
            bar,
            f"{tally.files:,} / {progress.files:,}",
            f"{tally.findings:,}",
        )
    troubles = [Text(trouble, style="yellow", overflow="ellipsis") for trouble in progress.troubles]
    line = f"{progress.elapsed_s:5.1f} s | {line_of(progress)}"
    return Group(Text(line, style="bold"), table, *troubles)


def choose_view(console: Console, *, silent: bool) -> View:
    """The right view for `console`."""
    if silent:
        return NoView()
    return TableView(console) if console.is_terminal else LinesView(sys.stderr)
