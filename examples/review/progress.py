"""Live progress: a table on a terminal, a line every few seconds elsewhere, or nothing.

`Standing` is how far the review is, folded from the updates of its execution; the views
only show it. Everything goes to standard error, so that standard output is the result's.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType, TracebackType
from typing import Final, Protocol, Self, assert_never

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
    TaskTroubled,
)

from .agents import SPECIALISTS, BatchFindings

__all__ = ["LinesView", "NoView", "Standing", "TableView", "Tally", "View", "choose_view", "follow"]

LINE_EVERY_S: Final = 3.0
BAR_WIDTH: Final = 30
TROUBLES_SHOWN_MAX: Final = 5


@dataclass(frozen=True, slots=True)
class Tally:
    """What one specialist has done so far."""

    files: int = 0
    findings: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a review is. `hosts` are the living ones; 0 where there are none to count."""

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
        """Findings so far, before those about the same place are settled."""
        return sum(tally.findings for tally in self.by_specialist.values())

    def after(self, update: ExecutionUpdate) -> "Standing":
        """The standing once `update` has been heard."""
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
            case StateChanged() | Finished():
                return self
            case unknown:
                assert_never(unknown)


def tallies(answers: Sequence[BatchFindings]) -> Mapping[str, Tally]:
    """What each specialist has done, from the agents' answers so far."""
    found: dict[str, Tally] = {}
    for answer in answers:
        before = found.get(answer.specialist, Tally())
        found[answer.specialist] = Tally(
            before.files + len(answer.reviewed), before.findings + len(answer.findings)
        )
    return dict(sorted(found.items()))


class View(Protocol):
    """Shows standings; a context manager that tidies up after itself."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def show(self, standing: Standing) -> None:
        """Show it, unless it is too soon after the last one."""


async def follow(
    updates: AsyncIterator[ExecutionUpdate],
    view: View,
    *,
    files: int,
    living_hosts: Callable[[], int],
) -> None:
    """Show what `updates` tell, until they end."""
    standing = Standing(files, living_hosts())
    async for update in updates:
        standing = replace(standing.after(update), hosts=living_hosts())
        view.show(standing)


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

    def show(self, standing: Standing) -> None:
        """Nothing."""


class LinesView(NoView):
    """A line for the first partial result, and then every few seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next_s = 0.0
        self._hosts = 0

    def show(self, standing: Standing) -> None:
        """Print a line if one is due, or if a host came or went."""
        is_news = standing.hosts != self._hosts
        self._hosts = standing.hosts
        if not standing.by_specialist or (standing.elapsed_s < self._next_s and not is_news):
            return
        self._next_s = standing.elapsed_s + LINE_EVERY_S
        self._console.print(line_of(standing), highlight=False, markup=False, soft_wrap=True)


def line_of(standing: Standing) -> str:
    """The standing in one line."""
    parts = [
        f"{standing.elapsed_s:5.1f} s",
        f"{standing.phase}",
        f"{standing.sub_tasks_done:,} of {standing.sub_tasks:,} sub-tasks",
        f"{standing.findings:,} findings",
    ]
    if standing.hosts:
        parts.append(f"{standing.hosts} hosts")
    if standing.retries:
        parts.append(f"{standing.retries} retries")
    return " | ".join(parts)


class TableView:
    """A table that is redrawn in place: a row a specialist."""

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

    def show(self, standing: Standing) -> None:
        """Draw it."""
        self._live.update(table_of(standing), refresh=True)


def table_of(standing: Standing) -> Group:
    """The standing as something rich can draw."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("specialist")
    table.add_column("", width=BAR_WIDTH)
    table.add_column("files", justify="right")
    table.add_column("findings", justify="right")
    for name in SPECIALISTS:
        tally = standing.by_specialist.get(name, Tally())
        bar = ProgressBar(
            total=max(1, standing.files),
            completed=tally.files,
            width=BAR_WIDTH,
            complete_style="cyan",
            finished_style="green",
        )
        table.add_row(
            name,
            bar,
            f"{tally.files:,} / {standing.files:,}",
            f"{tally.findings:,}",
        )
    troubles = [Text(trouble, style="yellow", overflow="ellipsis") for trouble in standing.troubles]
    return Group(Text(line_of(standing), style="bold"), table, *troubles)


def choose_view(console: Console, *, silent: bool) -> View:
    """The view that fits where `console` writes to."""
    if silent:
        return NoView()
    return TableView(console) if console.is_terminal else LinesView(console)
