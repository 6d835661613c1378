"""The scenario of watches: each watcher gets one notice when an actor ends."""

import asyncio
import contextlib
from typing import Any, ClassVar

from callboard.actors.kernel.actor import Actor, handler
from callboard.actors.kernel.context import Context
from callboard.messages.control.notices import Down
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import CallboardError
from callboard.messages.core.ref import Ref

from .message_log import current_message_log
from .run import Run
from .scenario_fixture import BUSY_S, HOSTS, ScenarioFixture, open_fixture, run_under_faults

__all__ = ["watch"]

NOTICED_S = 8.0
"""The time in which notices arrive over bad links."""


class WatchIt(Contract, name="sim.watch_it"):
    """Watch an actor, unless a watch is open."""

    to: Ref[Any]


class Waiting(Contract, name="sim.waiting"):
    """The watched actors of which the watcher has no notice yet."""

    watched: tuple[str, ...]


class QueryWatches(Request[Waiting], name="sim.query_watches"):
    """The request for the open watches."""


class Watcher(Actor):
    """Keeps a list of its watches, which end with its incarnation."""

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
        """Remove the actor from the list; complain when it is not there."""
        where = str(notice.ref.address)
        if where not in self._open:
            current_message_log().complain(
                "notified_once", f"{ctx.path} gets a second notice that {where} has ended"
            )
        self._open.pop(where, None)

    @handler
    async def query_watches(self, request: QueryWatches) -> Waiting:
        """The open watches."""
        return Waiting(watched=tuple(self._open))


async def watch(run: Run) -> None:
    """Watchers and watched actors on dying hosts; in the end all watched actors have ended."""
    async with open_fixture(run) as fixture:
        system = fixture.system
        await fixture.start_actors(receivers=4, senders=0, parents=0, agents=0)
        watchers = await asyncio.gather(
            *(system.spawn(Watcher, host=1 + place % HOSTS) for place in range(3))
        )
        run.permanent.clear()
        await run_under_faults(
            fixture,
            *(_watch_some(fixture, watchers) for _ in range(12)),
            *(fixture.fail() for _ in range(4)),
        )
        for ref in fixture.receivers:
            await system.stop(ref)
        await asyncio.sleep(NOTICED_S)
        for watcher in watchers:
            waiting = await system.ask(QueryWatches(), watcher)
            if waiting.watched:
                run.complain("notified_once", f"{watcher} got no notice of {waiting.watched}")
        run.check_now()


async def _watch_some(fixture: ScenarioFixture, watchers: "list[Ref[Watcher]]") -> None:
    await fixture.later(BUSY_S)
    with contextlib.suppress(CallboardError):
        fixture.some(watchers).tell(WatchIt(to=fixture.some(fixture.receivers)))
