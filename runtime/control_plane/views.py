"""Views of the whole system, for the root's endpoint.

Each host is asked with a deadline of its own, so a host that hangs does not hide the others. For a
host that does not answer, the view shows what the root knows.
"""

import asyncio
import difflib
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from callboard.actors.kernel.inspection.history import (
    MATCHES_MAX,
    NEAR_MAX,
    entries_of,
    histories_of,
    newest_of,
    supervision_of,
    taken_along,
)
from callboard.actors.kernel.inspection.listing import list_actors
from callboard.actors.kernel.inspection.metric_sources import Name, Reading
from callboard.actors.kernel.inspection.views import view_host
from callboard.messages.control.control_plane import CONTROL_CELL, CONTROL_SLOT
from callboard.messages.control.views import (
    ActorHistories,
    ActorHistory,
    ActorRow,
    ActorsPage,
    CallboardView,
    DriverView,
    HistoryEntry,
    HostView,
    QueryActor,
    QueryActors,
    QueryHost,
    QueryHostActor,
    QueryHostActors,
    QuerySystem,
)
from callboard.messages.core.contract import Request
from callboard.messages.core.errors import ActorNotFound, CallboardError, DeadlineExceeded
from callboard.messages.core.names import shell_command
from callboard.messages.core.ref import Address

from .slots import Slot

if TYPE_CHECKING:
    from callboard.actors.kernel.host.host import Host

    from .root import Root

__all__ = ["SystemViews"]

SILENT_MAX: Final = 5
"""Hosts without an answer in one page: each costs a timeout."""
QUERY_TIMEOUT_S: Final = 2.0
"""How long a host may take to answer."""
ReplyT = TypeVar("ReplyT")


class SystemViews:
    """Views of one system."""

    def __init__(self, host: "Host", root: "Root", system_name: str) -> None:
        self._host = host
        self._root = root
        self._system_name = system_name
        replaced = Name("callboard_hosts_replaced")
        host.meters.instruments.add(lambda: Reading({}, {replaced: root.lost_hosts}))

    # --- everything -----------------------------------------------------------------------

    async def system(self, request: QuerySystem) -> CallboardView:
        """View every host; a host that does not answer has a line with the reason."""
        wanted = QueryHost(actors_max=request.actors_max, busiest_max=request.busiest_max)
        slots = list(self._root.table.slots.values())
        own, *views = await asyncio.gather(
            view_host(self._host, wanted), *(self._view_of(slot, wanted) for slot in slots)
        )
        numbers = self._root.statistics()
        return CallboardView(
            name=self._system_name,
            hosts=(own, *views),
            restarts=numbers["lost_hosts"],
            standbys=numbers["standbys"],
            standby_processes=self._root.standbys.views(),
            drivers=tuple(
                DriverView(slot=driver.number, name=driver.name)
                for driver in self._root.table.attached_drivers.values()
            ),
        )

    async def _view_of(self, slot: Slot, request: QueryHost) -> HostView:
        if not slot.is_up:
            return self._absent(slot, "down", self._why_down(slot))
        try:
            view = await self._ask(slot, request)
        except CallboardError as error:
            return self._after_failed_query(slot, error)
        return view

    def _after_failed_query(self, slot: Slot, error: CallboardError) -> HostView:
        if slot.is_up:
            return self._absent(slot, "silent", self._why_silent(slot, error))
        return self._absent(slot, "down", self._why_down(slot) or error.message)

    def _why_down(self, slot: Slot) -> str:
        """What a slot without a host waits for, or why its last process ended."""
        waits_for = self._root.hosting.waits_for(slot)
        return waits_for or slot.problem or _last_end(self._root, slot)

    def _why_silent(self, slot: Slot, error: CallboardError) -> str:
        """Since when a host does not answer heartbeats; otherwise why this query has no answer."""
        silence_s = self._root.hosting.heartbeats.silence_s(slot.process)
        return f"silent for {silence_s:.0f} s" if silence_s else _why_silent(error)

    def _ask(self, slot: Slot, request: Request[ReplyT]) -> Awaitable[ReplyT]:
        return self._host.ask(Address(slot.number, CONTROL_CELL), request, QUERY_TIMEOUT_S)

    def _absent(self, slot: Slot, state: str, problem: str) -> HostView:
        return HostView(
            slot=slot.number,
            epoch=slot.epoch,
            name=slot.name,
            pid=0,
            node="",
            actors=len(slot.entries),
            handled=0,
            pending_asks=0,
            dead_letters={},
            memory_bytes=0,
            state=state,
            problem=problem,
            at_s=self._host.now(),
        )

    # --- lists ----------------------------------------------------------------------------

    async def actors(self, request: QueryActors) -> ActorsPage:
        """A page of the actors of all hosts, by slot and cell; ended hosts have none."""
        items: list[ActorRow] = []
        silent: list[tuple[str, str]] = []
        numbers = sorted({CONTROL_SLOT, *self._root.table.slots})
        for number in numbers:
            if number < request.slot:
                continue
            if len(items) == request.limit or len(silent) == SILENT_MAX:
                # The page before this host: its first actor comes next.
                return ActorsPage(
                    items=tuple(items), slot=number, cell=-1, has_more=True, silent=tuple(silent)
                )
            wanted = QueryHostActors(
                cell=request.cell if number == request.slot else -1,
                limit=request.limit - len(items),
                path=request.path,
                failed_only=request.failed_only,
            )
            page = await self._actors_on(number, wanted)
            items += page.items
            silent += page.silent
            if page.has_more:
                return page.model_copy(update={"items": tuple(items), "silent": tuple(silent)})
        return ActorsPage(items=tuple(items), silent=tuple(silent))

    async def _actors_on(self, number: int, request: QueryHostActors) -> ActorsPage:
        if number == CONTROL_SLOT:
            return await list_actors(self._host, request)
        slot = self._root.table.slots.get(number)
        if slot is None:
            return ActorsPage()
        if not slot.is_up:
            return ActorsPage(silent=((slot.name, self._why_down(slot) or "down"),))
        try:
            return await self._ask(slot, request)
        except CallboardError as error:
            return ActorsPage(silent=((slot.name, self._why_silent(slot, error)),))

    # --- one actor ------------------------------------------------------------------------

    async def actor(self, request: QueryActor) -> ActorHistories:
        """The history of an actor or a host on any host; or similar names when there is none."""
        histories = await self._histories_of(request.path.strip())
        return histories.model_copy(update={"system": self._system_name})

    async def _histories_of(self, text: str) -> ActorHistories:
        named = self._root.table.names.get(text)
        if named is not None:
            found = await self._on_hosts([named.slot], "", named.cell)
            if found.matches or found.silent:
                return found
        head, _, rest = text.partition("/")
        numbers = {self._host.name: CONTROL_SLOT} | {
            slot.name: slot.number for slot in self._root.table.slots.values()
        }
        if head in numbers:
            if not rest.strip("/"):
                return ActorHistories(matches=(self._host_history(numbers[head]),))
            return await self._on_hosts([numbers[head]], rest, 0)
        if not text.strip("/"):
            return ActorHistories(near=tuple(numbers)[:NEAR_MAX])
        found = await self._on_hosts(list(numbers.values()), text, 0)
        if found.matches:
            return found
        alike = difflib.get_close_matches(head, numbers, NEAR_MAX)
        alike += difflib.get_close_matches(text, self._root.table.names, NEAR_MAX)
        near = tuple(dict.fromkeys([*alike, *found.near]))[:NEAR_MAX]
        return ActorHistories(near=near, silent=found.silent)

    async def _on_hosts(self, numbers: Sequence[int], path: str, cell: int) -> ActorHistories:
        wanted = QueryHostActor(path=path, cell=cell)
        answers = await asyncio.gather(*(self._histories(number, wanted) for number in numbers))
        living = [
            match
            for histories in answers
            for match in histories.matches
            if match.lifecycle != "ended"
        ]
        # Living actors of the path first; ended ones only when none lives.
        matches = living or [match for histories in answers for match in histories.matches]
        names = {slot.number: slot.name for slot in self._root.table.slots.values()}
        names[CONTROL_SLOT] = self._host.name
        near = [
            f"{names[number]}{path}"
            for number, histories in zip(numbers, answers, strict=True)
            for path in histories.near
        ]
        return ActorHistories(
            matches=tuple(matches[:MATCHES_MAX]),
            matches_left_off=max(0, len(matches) - MATCHES_MAX)
            + sum(histories.matches_left_off for histories in answers),
            near=tuple(near[:NEAR_MAX]),
            silent=tuple(silent for histories in answers for silent in histories.silent),
        )

    async def _histories(self, number: int, request: QueryHostActor) -> ActorHistories:
        if number == CONTROL_SLOT:
            return histories_of(self._host, request)
        slot = self._root.table.slots.get(number)
        if slot is None:
            return ActorHistories()  # The host has just ended for good.
        if not slot.is_up:
            waits_for = self._root.hosting.waits_for(slot)
            return ActorHistories(silent=((slot.name, waits_for or "down"),))
        try:
            histories = await self._ask(slot, request)
        except CallboardError as error:
            return ActorHistories(silent=((slot.name, self._why_silent(slot, error)),))
        if slot.epoch == 1:
            return histories
        command = shell_command("callboard why", slot.name)
        note = (
            f"{slot.name} has been taken over {_times(slot.epoch - 1)}; the history of the actor "
            f"before that is lost. `{command}` shows the history of the host."
        )
        of_host = taken_along(self._host_entries(slot), "host", slot.name)
        matches = tuple(
            match.model_copy(
                update={
                    "note": note,
                    "host_restarts": slot.epoch - 1,
                    "entries": newest_of(match.entries, of_host),
                }
            )
            for match in histories.matches
        )
        return histories.model_copy(update={"matches": matches})

    def _host_entries(self, slot: Slot) -> tuple[HistoryEntry, ...]:
        def name_of(number: Any) -> str:
            found = self._root.table.slots.get(number)
            return f"slot {number}" if found is None else found.name

        history = self._root.supervisor_of(slot).history(slot.number)
        return entries_of(history.entries, self._host.now(), name_of)

    def _host_history(self, number: int) -> ActorHistory:
        if number == CONTROL_SLOT:
            return ActorHistory(
                host=self._host.name,
                path="",
                kind="control host",
                lifecycle="running",
                note="It has no supervisor: when it ends, the system ends.",
            )
        slot = self._root.table.slots[number]
        children = self._root.isolated if slot.is_isolated else self._root.hosts
        restarts, group_restarts, restart = 0, 0, ""
        try:
            child = children.supervisor.child(number)
        except ActorNotFound:
            pass  # The supervisor has given it up.
        else:
            restarts, restart = child.restarts, child.spec.restart.value
            group_restarts = child.group_restarts
        return ActorHistory(
            host=slot.name,
            path="",
            kind="host",
            lifecycle="running" if slot.is_up else "down",
            note=self._state_of(slot),
            incarnation=slot.epoch,
            restarts=restarts,
            group_restarts=group_restarts,
            restart=restart,
            supervision=supervision_of(children.spec),
            entries=self._host_entries(slot),
        )

    def _state_of(self, slot: Slot) -> str:
        """What is going on with a host that is silent or given up; empty for others."""
        if not slot.is_up:
            return self._root.hosting.waits_for(slot)
        silence_s = self._root.hosting.heartbeats.silence_s(slot.process)
        return f"silent for {silence_s:.0f} s" if silence_s else ""


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _why_silent(error: CallboardError) -> str:
    if isinstance(error, DeadlineExceeded):
        return f"it has not answered for {QUERY_TIMEOUT_S:g} s"
    return error.message


def _last_end(root: "Root", slot: Slot) -> str:
    """Why the last process of a slot ended, if it did."""
    entries = root.supervisor_of(slot).history(slot.number).entries
    return f"{entries[-1].kind.value}: {entries[-1].message}" if entries else ""
