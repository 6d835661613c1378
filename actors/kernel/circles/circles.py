"""The search for asks in a circle, on one host.

An ask that has waited in a mailbox for `SUSPECT_AFTER_S` is suspected. A search goes back from
it, from asker to asker: from the ask to the task that waits for it, to the handler or hook that
the task runs, and to the ask that this handler has to answer. It ends where nobody waits. When it
comes to the very actor that the ask waits for, and all messages that this actor may handle at once
are in the chain, the ask can never be answered, and fails.

So nothing is sent or stored for an ask that is answered at once, and an asker that does not wait
for its ask is never part of a circle. A search that needs another host goes there by the link.
"""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

from callboard.messages.core.frame import Kind

from ..asks import Ask, AskFuture, Call
from ..cell import Cell, Lifecycle
from ..ports import CellHost
from .runs import HookRun, Run
from .search import ACTORS_MAX, Search, circular_ask, read_search
from .waits import waiting_tasks

__all__ = ["Circles"]

SUSPECT_AFTER_S: Final = 0.02
"""A search costs some 5 µs for each actor, little for an ask that has waited for so long."""
AGAIN_AFTER_S: Final = 1.0
"""The time of a second search: a handler may send an ask first and await it later."""

SEARCHES_MAX: Final = 64
"""Searches of one turn; the next ones follow after `SUSPECT_AFTER_S`. So an actor with thousands
of waiting asks does not hold the event loop up."""


class ControlOutbox(Protocol):
    """The messages to another host."""

    def control(self, kind: int, target: int, correlation: int = 0, body: bytes = b"") -> None:
        """Write an envelope without a contract."""


class SearchLink(Protocol):
    """The link to another host, for the searches that continue there."""

    @property
    def outbox(self) -> ControlOutbox:
        """The messages to it."""


class CirclesHost(CellHost[Cell], Protocol):
    """The host, for the search for asks in a circle."""

    @property
    def links(self) -> Mapping[int, SearchLink]:
        """The links to other hosts that exist so far."""

    @property
    def pending(self) -> Mapping[int, Call]:
        """Asks to other hosts that wait for their outcome."""


class Suspect:
    """An ask that waits for its actor."""

    __slots__ = ("ask", "cell", "due_s")

    def __init__(self, ask: Ask, cell: Cell, due_s: float) -> None:
        self.ask = ask
        self.cell = cell
        self.due_s = due_s

    @property
    def waits(self) -> bool:
        """Whether no handler has begun with it."""
        return not self.ask.done and self.ask.worker is None


class Circles:
    """The suspected asks of one host, and its part in all searches."""

    def __init__(self, host: CirclesHost) -> None:
        self._host: Final = host
        self._new: Final[dict[tuple[int, int], Suspect]] = {}
        """Suspects before their first search, by asking slot and correlation, the oldest first."""
        self._old: Final[dict[tuple[int, int], Suspect]] = {}
        """Suspects after it."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_s = 0.0

    def suspect(self, ask: Ask, cell: Cell) -> None:
        """An ask has come to an actor that cannot take it now."""
        sink: Any = ask.sink
        if ask.step or (ask.target < 0 and not isinstance(sink, AskFuture)):
            return  # An attempt of a step: no handler has asked.
        key = (sink.slot, ask.correlation)
        self._new[key] = Suspect(ask, cell, self._host.now() + SUSPECT_AFTER_S)
        if cell.is_reentrant:
            # After the asker has begun to wait.
            self._host.loop.call_soon(self._search, key)
        self._arm(self._new[key].due_s)

    def path_waiting(self, future: "asyncio.Future[Any]") -> str | None:
        """The path of the actor whose handler or hook waits for `future`."""
        runs = [self._host.dispatcher.runs.get(task) for task in waiting_tasks(future)]
        return next((run.cell.path for run in runs if run is not None and run.cell), None)

    def close(self) -> None:
        """The host ends."""
        if self._timer is not None:
            self._timer.cancel()

    def _search_due(self) -> None:
        self._timer = None
        now_s = self._host.now()
        left = SEARCHES_MAX
        for suspects in (self._new, self._old):
            while left and suspects:
                key, suspect = next(iter(suspects.items()))
                if suspect.due_s > now_s:
                    break
                if suspect.waits:
                    left -= 1
                    self._search(key)
                    if suspects is self._new and key in suspects:
                        suspect.due_s = now_s + AGAIN_AFTER_S
                        self._old[key] = suspect
                suspects.pop(key, None)
        heads = [next(iter(each.values())).due_s for each in (self._new, self._old) if each]
        if heads:
            self._arm(max(min(heads), now_s if left else now_s + SUSPECT_AFTER_S))

    def _arm(self, at_s: float) -> None:
        if self._timer is not None:
            if self._timer_at_s <= at_s:
                return
            self._timer.cancel()
        # Of a time that has passed, uvloop makes a handle that does not know its time.
        self._timer_at_s = at_s
        self._timer = self._host.loop.call_at(at_s, self._search_due)

    def _find(self, key: tuple[int, int]) -> Suspect | None:
        suspect = self._new.get(key) or self._old.get(key)
        return suspect if suspect is not None and suspect.waits else None

    def _search(self, key: tuple[int, int]) -> None:
        suspect = self._find(key)
        if suspect is not None:
            self._go_back(suspect.ask, Search(self._host.slot, *key))

    # --- one search, step by step ---------------------------------------------------------------

    def take_search(self, correlation: int, body: bytes) -> bool:
        """A search has come for an ask of this host; False when it does not decode."""
        search = read_search(body)
        if search is not None:
            call = self._host.pending.get(correlation)
            if isinstance(call, AskFuture):
                self._visit_askers(call, search)
        return search is not None

    def _go_back(self, item: Any, search: Search) -> None:
        """Continue at the asker of `item`."""
        if type(item) is not Ask:
            return
        sink: Any = item.sink
        if isinstance(sink, AskFuture):
            self._visit_askers(sink, search)
        elif item.target >= 0:
            link = self._host.links.get(sink.slot)
            if link is not None:
                link.outbox.control(Kind.SEARCH, 0, item.correlation, search.to_bytes())

    def _visit_askers(self, future: "asyncio.Future[Any]", search: Search) -> None:
        """Continue at the handlers and hooks that wait for `future`."""
        runs = self._host.dispatcher.runs
        for task in waiting_tasks(future):
            run = runs.get(task)
            if run is not None and run.cell is not None and len(search.actors) < ACTORS_MAX:
                self._visit(run, run.cell, search.visit(self._host.name, run.cell.path))

    def _visit(self, run: Run[Cell], cell: Cell, search: Search) -> None:
        if search.slot == self._host.slot:
            suspect = self._find((search.source, search.correlation))
            if suspect is None:
                return  # It has an outcome, or its handler has begun.
            # A handler whose actor has just failed is about to end.
            counts = isinstance(run, HookRun) or cell.lifecycle == Lifecycle.RUNNING
            if counts and suspect.cell.is_handled_by(cell, suspect.ask.message):
                search = search._replace(hits=search.hits + 1)
                if self._has_closed(suspect, run, cell, search):
                    return
        if not isinstance(run, HookRun):
            self._go_back(run.item, search)
            return
        for item in self._waiting_for_hook(cell):
            if isinstance(item, asyncio.Future):
                self._visit_askers(item, search)
            else:
                self._go_back(item, search)

    def _waiting_for_hook(self, cell: Cell) -> Iterator[Any]:
        """Who waits for the end of a hook: a spawner, who stops it, and asks for the actor."""
        if cell.lifecycle >= Lifecycle.STOPPING:
            stopped = self._host.termination.stop_awaited(cell)
            yield from () if stopped is None else (stopped,)
            return
        started = self._host.children_of(cell.parent).start_awaited(cell)
        yield from () if started is None else (started,)
        yield from list(cell.waiting_for_start())[:ACTORS_MAX]

    def _has_closed(self, suspect: Suspect, run: Run[Cell], cell: Cell, search: Search) -> bool:
        """The search has come to a handler where the ask belongs: settle it if none can."""
        ask, asked = suspect.ask, suspect.cell
        is_hook = isinstance(run, HookRun)
        if (
            not is_hook
            and cell.behaviour.reentrant
            and self._host.dispatcher.has_interleaving_room(cell)
            and (asked.withdraw(ask) or cell.withdraw(ask))
        ):
            for suspects in (self._new, self._old):
                suspects.pop((search.source, search.correlation), None)
            self._host.dispatcher.interleave(cell, ask)
            return True
        if not is_hook and search.hits < asked.handled_at_once(ask.message):
            return False
        name = type(ask.message).contract_name
        ask.fail(circular_ask(name, self._host.name, cell.path, search.actors))
        return True
