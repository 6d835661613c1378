"""The scenario of watches: who is told that an actor has ended, and how often."""

import asyncio
import contextlib
from typing import Any, ClassVar

from callboard.actors.actor import Actor, handler
from callboard.actors.context import Context
from callboard.messages.contract import Contract, Request
from callboard.messages.errors import CallboardError
from callboard.messages.notices import Down
from callboard.messages.ref import Ref

from .ledger import ledger_here
from .run import Run
from .stage import BUSY_S, HOSTS, Stage, act, open_stage

__all__ = ["watch"]

NOTICED_S = 8.0
"""How long notices may take, over links that lose and send again."""


class WatchIt(Contract, name="sim.watch_it"):
    """Watch an actor, unless it is watched already."""

    to: Ref[Any]


class Waiting(Contract, name="sim.waiting"):
    """What is watched and has not ended, as far as the watcher was told."""

    watched: tuple[str, ...]


class Look(Request[Waiting], name="sim.look_at_watches"):
    """Which watches are open."""


class Watcher(Actor):
    """Keeps a book of its watches; the book ends with its incarnation, as they do."""

    mailbox_messages: ClassVar[int] = 64

    def __init__(self) -> None:
        self._open: dict[str, None] = {}

    @handler
    async def watch_it(self, message: WatchIt, ctx: Context) -> None:
        """Watch."""
        where = str(message.to.address)
        if where not in self._open:
            self._open[where] = None
            _ = ctx.watch(message.to)

    @handler
    async def down(self, notice: Down, ctx: Context) -> None:
        """Cross it out, and complain of what was not open."""
        where = str(notice.ref.address)
        if where not in self._open:
            ledger_here().complain("told_once", f"{ctx.path} is told twice that {where} has ended")
        self._open.pop(where, None)

    @handler
    async def look(self, request: Look) -> Waiting:
        """What is open."""
        return Waiting(watched=tuple(self._open))


async def watch(run: Run) -> None:
    """Watchers and watched on hosts that die; in the end all that is watched has ended."""
    async with open_stage(run) as stage:
        system = stage.system
        await stage.cast(receivers=4, senders=0, parents=0, agents=0)
        watchers = await asyncio.gather(
            *(system.spawn(Watcher, host=1 + place % HOSTS) for place in range(3))
        )
        run.permanent.clear()
        await act(
            stage,
            *(_watch_some(stage, watchers) for _ in range(12)),
            *(stage.fail() for _ in range(4)),
        )
        for ref in stage.receivers:
            await system.stop(ref)
        await asyncio.sleep(NOTICED_S)
        for watcher in watchers:
            waiting = await system.ask(Look(), watcher)
            if waiting.watched:
                run.complain("told_once", f"{watcher} was never told of {waiting.watched}")
        run.check_now()


async def _watch_some(stage: Stage, watchers: "list[Ref[Watcher]]") -> None:
    await stage.later(BUSY_S)
    with contextlib.suppress(CallboardError):
        stage.some(watchers).tell(WatchIt(to=stage.some(stage.receivers)))
