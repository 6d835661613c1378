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
"""How long notices may take, over links that lose and send again."""


class WatchIt(Contract, name="sim.watch_it"):
    """Watch an actor, unless it is watched already."""

    to: Ref[Any]


class Waiting(Contract, name="sim.waiting"):
    """The watched actors that have not ended, as far as the watcher knows."""

    watched: tuple[str, ...]


class Look(Request[Waiting], name="sim.look_at_watches"):
    """The request for the open watches."""


class Watcher(Actor):
    """Keeps a list of its watches; the list ends with its incarnation, as they do."""

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
        """Remove it from the list, and complain if it was not there."""
        where = str(notice.ref.address)
        if where not in self._open:
            current_message_log().complain(
                "notified_once", f"{ctx.path} gets a second notice that {where} has ended"
            )
        self._open.pop(where, None)

    @handler
    async def look(self, request: Look) -> Waiting:
        """The open watches."""
        return Waiting(watched=tuple(self._open))


async def watch(run: Run) -> None:
    """Watchers and watched on hosts that die; in the end all that is watched has ended."""
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
            waiting = await system.ask(Look(), watcher)
            if waiting.watched:
                run.complain("notified_once", f"{watcher} got no notice of {waiting.watched}")
        run.check_now()


async def _watch_some(fixture: ScenarioFixture, watchers: "list[Ref[Watcher]]") -> None:
    await fixture.later(BUSY_S)
    with contextlib.suppress(CallboardError):
        fixture.some(watchers).tell(WatchIt(to=fixture.some(fixture.receivers)))
