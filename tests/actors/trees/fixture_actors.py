"""Actors for trees that log their starts and stops, and functions to build trees of them."""

import asyncio
from typing import Any, ClassVar, Final

from callboard.actors.kernel.actor import Actor, handler
from callboard.actors.kernel.context import Context
from callboard.actors.kernel.props import props
from callboard.actors.trees.ref import TreeRef
from callboard.actors.trees.spec import ActorSpec
from callboard.messages.control.lifecycle import Exit, ExitReason
from callboard.messages.control.spec import Backoff, Intensity, Strategy, SupervisorSpec
from callboard.messages.core.contract import Contract, Request

__all__ = ["AT_ONCE", "LOG", "Child", "End", "Log", "Ping", "Pong", "child", "states", "supervised"]

AT_ONCE: Final = Backoff(max_s=0.0)
WAIT_S: Final = 10.0


class Log:
    """The starts and stops, in order; all hosts of the inline engine share it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.failing: dict[str, int] = {}
        """The number of coming starts of a child that fail."""
        self._changed: asyncio.Event = asyncio.Event()

    def clear(self) -> None:
        self.__init__()  # type: ignore[misc]

    def write(self, line: str) -> None:
        self.lines.append(line)
        self._changed.set()

    def taken(self) -> list[str]:
        lines, self.lines = self.lines, []
        return lines

    async def reach(self, count: int) -> None:
        """Wait until the log has `count` lines."""
        async with asyncio.timeout(WAIT_S):
            while len(self.lines) < count:
                self._changed.clear()
                await self._changed.wait()


LOG: Final = Log()


class Pong(Contract, name="trees.pong"):
    label: str
    incarnation: int


class Ping(Request[Pong], name="trees.ping"):
    """The request for label and incarnation."""


class End(Contract, name="trees.end"):
    """Let an actor end by itself."""

    kind: str


class Child(Actor):
    """Logs its starts and its ordered stops."""

    starts: ClassVar[dict[str, int]] = {}

    def __init__(self, label: str) -> None:
        self.label = label
        if LOG.failing.get(label, 0) > 0:
            LOG.failing[label] -= 1
            LOG.write(f"fail {label}")
            raise ValueError(f"{label} does not start")
        self.starts[label] = self.starts.get(label, 0) + 1
        self.incarnation = self.starts[label]

    async def started(self, ctx: Context) -> None:
        LOG.write(f"start {self.label}")

    async def stopping(self, ctx: Context, reason: Exit) -> None:
        LOG.write(f"stop {self.label}")

    @handler
    async def ping(self, request: Ping) -> Pong:
        return Pong(label=self.label, incarnation=self.incarnation)

    @handler
    async def end(self, message: End, ctx: Context) -> None:
        if message.kind == ExitReason.FAILED:
            raise ValueError("boom")
        ctx.stop(Exit(ExitReason(message.kind)))


def child(label: str, **options: Any) -> ActorSpec:
    """The spec of a `Child` with this label."""
    return ActorSpec(label, props(Child, label), **options)


def supervised(
    strategy: Strategy = Strategy.ONE_FOR_ONE, restarts: int = 100, **options: Any
) -> SupervisorSpec:
    """A supervisor that restarts at once."""
    return SupervisorSpec(strategy, Intensity(restarts, 60.0), AT_ONCE, **options)


async def states(tree: TreeRef, path: str = "") -> dict[str, str]:
    """The states of a supervisor's children, by name."""
    return {row.name: row.state for row in (await tree.children(path)).children}
