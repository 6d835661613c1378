"""Watches and links, the shell: between actors, the monitor table, and other hosts.

An actor gets a notice exactly when its end is taken out of this host's table. A request to
another host goes to its control actor once the link is open; until then it waits in the
table.
"""

import asyncio
import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol, final
from weakref import WeakValueDictionary

from callboard.messages.control.control_plane import CONTROL_CELL, HostDown
from callboard.messages.control.lifecycle import Exit, ExitReason
from callboard.messages.control.monitors import MonitorDropped, MonitorEnded, MonitorRequested
from callboard.messages.control.notices import Down, Exited
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import CallboardError, UsageError
from callboard.messages.core.ref import Address, Ref

from ..cell_port import CellPort, Lifecycle
from .core import DropEnd, Effect, End, Key, MonitorTable, Notify, ReportEnd, Role, release
from .notices import Notices, check_handled

__all__ = ["MONITORS_MAX", "Monitors", "Watch", "WatchingHost"]

MONITORS_MAX: Final = 65_536
"""Watches and links of one actor: so many notices may exceed the limit of its mailbox."""
DRIVER: Final = -1
"""The cell number of the driver's watches, which have no cell."""
DETAIL_CHARS_MAX: Final = 1_000
SYSTEM_STOPPED: Final = Exit(ExitReason.HOST_LOST, {"message": "the system has stopped."})
LOST_HOST: Final = Exit(ExitReason.HOST_LOST, {"message": "its host is lost."})


@final
class Watch:
    """A watch on one incarnation of an actor, or on a host; made by `watch` and `watch_host`.

    Await it for the `Down` that ends it. `cancel` ends it without one. A task that gives up
    waiting, for instance by a timeout, does not end the watch.
    """

    __slots__ = ("__weakref__", "_down", "_end", "_future", "_key", "ref")

    def __init__(self, ref: Ref[Any], key: Key, end: "Callable[[Watch], None]") -> None:
        self.ref: Final = ref
        """The watched actor."""
        self._key: Final = key
        self._end = end
        self._down: Down | None = None
        self._future: asyncio.Future[Down] | None = None

    @property
    def key(self) -> Key:
        """The key of its end, for the kernel."""
        return self._key

    @property
    def down(self) -> Down | None:
        """The notice that has ended the watch; None before it."""
        return self._down

    def done(self) -> bool:
        """Whether the watched actor has ended."""
        return self._down is not None

    def cancel(self) -> None:
        """End the watch: no notice comes after this, and tasks that await it are cancelled."""
        self._end(self)
        if self._future is not None:
            self._future.cancel()

    def settle(self, down: Down) -> None:
        """The watched actor has ended; the kernel calls this."""
        self._down = down
        if self._future is not None and not self._future.done():
            self._future.set_result(down)

    def __await__(self) -> Generator[Any, None, Down]:
        if self._down is not None:
            return self._down
        if self._future is None:
            self._future = asyncio.get_running_loop().create_future()
        return (yield from asyncio.shield(self._future).__await__())

    def __repr__(self) -> str:
        return f"<Watch {self._key.number} on {self.ref.address}>"


class OutboxPort(Protocol):
    """The outbox of a link."""

    @property
    def is_open(self) -> bool:
        """Whether requests may leave."""


class LinkPort(Protocol):
    """The link to another host."""

    @property
    def epoch(self) -> int:
        """The incarnation that it is connected to."""

    @property
    def is_connected(self) -> bool:
        """Whether the link has a carrier to a process of the slot."""

    @property
    def is_closed(self) -> bool:
        """Whether the slot has ended for good."""

    @property
    def outbox(self) -> OutboxPort:
        """The messages that have yet to be sent."""


class WatchingHost(Protocol):
    """The host, for its monitors."""

    @property
    def slot(self) -> int:
        """Its place in the cluster."""

    @property
    def epoch(self) -> int:
        """Which incarnation of the slot it is."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Its event loop."""

    @property
    def notices(self) -> Notices:
        """The notices in its mailboxes."""

    @property
    def cells(self) -> Mapping[int, CellPort]:
        """Its cells, by number."""

    @property
    def links(self) -> Mapping[int, LinkPort]:
        """The links to other hosts that exist so far."""

    def link(self, slot: int) -> LinkPort:
        """The link to a slot, made at first use."""

    def ref(self, address: Address) -> Ref[Any]:
        """A reference that is bound to this host."""

    def tell(self, address: Address, message: Contract) -> None:
        """See `Ref.tell`."""


class PeerListener(Protocol):
    """A listener to the links of a host: its extensions."""

    def peer_opened(self, slot: int) -> None:
        """The link to a slot is open."""

    def peer_lost(self, slot: int, epoch: float) -> None:
        """A host is lost, in this incarnation and all before it."""


class Monitors:
    """The watches and links of one host's actors and driver."""

    def __init__(self, host: WatchingHost, listener: PeerListener) -> None:
        self._host = host
        self._listener = listener
        self._table = MonitorTable(host.slot)
        self._callers: dict[int, Callable[[Down], None]] = {}
        """The driver's functions that get a `Down`, by the number of their monitor."""
        self._watches: WeakValueDictionary[Key, Watch] = WeakValueDictionary()
        """The watches that actors still refer to."""
        self._signals: dict[int, tuple[CellPort, int, Address, Exit]] = {}
        """Exit signals to be delivered in the next loop iteration, by number."""
        self._last_signal = 0
        self._late: dict[int, tuple[int, Exit]] = {}
        """Exit signals during a start hook, by cell: the incarnation, and the reason."""

    @property
    def count(self) -> int:
        """How many ends of monitors this host has."""
        return len(self._table)

    # --- requests of actors and drivers -------------------------------------------------------

    def watch(self, cell: CellPort, ref: Ref[Any]) -> Watch:
        """Watch `ref` for the actor of a cell; raises `UsageError`."""
        check_handled(cell, Down)
        self._check_number(cell)
        end = self._table.ask(cell.id, ref.address, is_link=False)
        watch = self._watches[end.key] = Watch(ref, end.key, partial(self.unwatch, cell))
        self._request(end)
        return watch

    def watch_for_driver(self, ref: Ref[Any]) -> Watch:
        """Watch `ref` for the driver of this host, which has no mailbox."""
        end = self._table.ask(DRIVER, ref.address, is_link=False)

        def unwatch(_: Watch) -> None:
            self._callers.pop(end.key.number, None)
            self._drop(self._table.take_all([end]))

        watch = Watch(ref, end.key, unwatch)
        self._callers[end.key.number] = watch.settle
        # In the next loop iteration, when the caller has the watch and can end it.
        self._host.loop.call_soon(self._request, end)
        return watch

    def unwatch(self, cell: CellPort, watched: Watch | Ref[Any]) -> None:
        """End a watch, or all watches of the actor on one other; no notice comes after this."""
        if isinstance(watched, Watch):
            found = self._table.find(watched.key)
            ends = [found] if found is not None and found.here == cell.id else []
            self._host.notices.withdraw(cell.id, watched.key)
        else:
            ends = self._table.between(cell.id, watched.address, Role.WATCHER)
            self._host.notices.withdraw_all(
                cell.id, lambda notice: isinstance(notice, Down) and notice.ref == watched
            )
        self._drop(self._table.take_all(ends))

    def link(self, cell: CellPort, ref: Ref[Any]) -> None:
        """Link an actor to another; raises `UsageError`."""
        address = ref.address
        if address.cell == CONTROL_CELL:
            raise UsageError(
                "an actor cannot link to a host.", advice="Watch the host with ctx.watch_host."
            )
        if cell.behaviour.trap_exits:
            check_handled(cell, Exited)
        if address == Address(self._host.slot, cell.id):
            return
        if self._table.between(cell.id, address, Role.PARTNER):
            return
        self._check_number(cell)
        self._request(self._table.ask(cell.id, address, is_link=True))

    def unlink(self, cell: CellPort, ref: Ref[Any]) -> None:
        """End a link; the other actor's end has no effect after this."""
        address = ref.address
        for number, (receiver, _, partner, _) in list(self._signals.items()):
            if receiver is cell and partner == address:
                del self._signals[number]
        self._host.notices.withdraw_all(
            cell.id, lambda notice: isinstance(notice, Exited) and notice.ref == ref
        )
        self._drop(self._table.take_all(self._table.between(cell.id, address, Role.PARTNER)))

    def _check_number(self, cell: CellPort) -> None:
        if self._table.count_asked(cell.id) + self._host.notices.count(cell.id) >= MONITORS_MAX:
            raise UsageError(
                f"{cell.path} has {MONITORS_MAX} watches and links.",
                advice="End those it no longer needs, or let several actors watch.",
            )

    # --- requests to other hosts --------------------------------------------------------------

    def _request(self, end: End) -> None:
        host = self._host
        slot, cell = end.there
        if self._table.find(end.key) is not end:
            return  # It ended before its request.
        if slot == host.slot:
            end.epoch = host.epoch
            is_link = end.role is Role.PARTNER
            self._accept(end.key, cell, end.here, slot, host.epoch, is_link=is_link)
            return
        link = host.link(slot)
        if link.is_closed:
            self._notify_all(self._table.take_all([end]), LOST_HOST, comes_back=False)
        elif link.outbox.is_open:
            self._send_request(end, link.epoch)

    def _send_request(self, end: End, epoch: int) -> None:
        end.epoch = epoch
        host = self._host
        request = MonitorRequested(
            slot=host.slot,
            epoch=host.epoch,
            number=end.key.number,
            cell=end.there.cell,
            asker=end.here,
            is_link=end.role is Role.PARTNER,
        )
        self._tell(end.there.slot, request)

    def _tell(self, slot: int, message: Contract) -> None:
        link = self._host.links.get(slot)
        if (
            link is not None and link.is_connected
        ):  # Otherwise both hosts notice the loss of the link.
            self._host.tell(Address(slot, CONTROL_CELL), message)

    def link_opened(self, slot: int, epoch: int) -> None:
        """The link to a slot is open: send the waiting requests."""
        for end in self._table.pending_requests(slot):
            self._send_request(end, epoch)
        self._listener.peer_opened(slot)

    # --- messages of other hosts --------------------------------------------------------------

    def handle_request(self, request: MonitorRequested) -> None:
        """Another host requests a watch on, or a link with, an actor here."""
        link = self._host.links.get(request.slot)
        if link is None or not link.is_connected or link.epoch != request.epoch:
            return  # The request is from an incarnation that is lost.
        key = Key(request.slot, request.number, is_asked=False)
        self._accept(
            key, request.cell, request.asker, request.slot, request.epoch, is_link=request.is_link
        )

    def _accept(
        self, asker: Key, cell: int, asking: int, slot: int, epoch: int, *, is_link: bool
    ) -> None:
        if cell in self._host.cells:
            there = Address(slot, asking)
            self._table.accept(asker.slot, asker.number, cell, there, epoch, is_link=is_link)
            return
        message = f"there is no actor at {self._host.slot}/{cell}."
        self._send_end(
            slot, asker, Exit(ExitReason.NO_ACTOR, {"message": message}), comes_back=False
        )

    def handle_end(self, report: MonitorEnded) -> None:
        """Another host reports that an actor there has ended."""
        key = Key(report.slot, report.number, not report.to_asker)
        reason = Exit(ExitReason(report.kind), report.detail)
        self._perform(self._table.peer_ended(key, reason, comes_back=report.comes_back))

    def handle_drop(self, report: MonitorDropped) -> None:
        """Another host has dropped its end of a monitor."""
        self._table.take(Key(report.slot, report.number, not report.to_asker))

    # --- events of links ----------------------------------------------------------------------

    def host_lost(self, slot: int, epoch: int, reason: Exit = LOST_HOST) -> None:
        """An incarnation of a host is lost."""
        self._notify_all(self._table.take_lost(slot, epoch), reason, comes_back=None)
        self._listener.peer_lost(slot, epoch)

    def slot_closed(self, slot: int) -> None:
        """A slot has ended for good."""
        self._notify_all(self._table.take_slot(slot), LOST_HOST, comes_back=False)
        self._listener.peer_lost(slot, math.inf)

    def host_down(self, notice: HostDown) -> None:
        """The root reports that a host has ended; the caller handles its link."""
        reason = Exit.from_data(notice.reason)
        if reason.kind is not ExitReason.SHUTDOWN:
            detail = {"message": f"host {notice.slot} has ended.", **reason.detail}
            reason = Exit(ExitReason.HOST_LOST, detail)
        self.host_lost(notice.slot, notice.epoch, reason)

    def _notify_all(self, ends: Sequence[End], reason: Exit, *, comes_back: bool | None) -> None:
        self._perform(
            [Notify(end, reason, comes_back) for end in ends if end.role is not Role.WATCHED]
        )

    def close(self) -> None:
        """The host closes: drop everything, and notify the driver's watches."""
        self._signals.clear()
        table, self._table = self._table, MonitorTable(self._host.slot)
        self._notify_all(table.of(DRIVER), SYSTEM_STOPPED, comes_back=None)

    # --- ends of actors on this host ----------------------------------------------------------

    def detach(self, number: int) -> Sequence[End]:
        """An incarnation has ended: take its ends out, for `release`."""
        if self._late:
            self._late.pop(number, None)
        return self._table.detach(number) if self._table else ()

    def release(self, ends: Sequence[End], reason: Exit, *, comes_back: bool | None) -> None:
        """Notify all watchers and linked actors of an incarnation of how it ended."""
        self._perform(release(ends, reason, comes_back=comes_back))

    def abandon(self, number: int, reason: Exit) -> None:
        """An incarnation never ran: end the watches and links of its start hook."""
        self._late.pop(number, None)
        if self._table:
            self._perform(release(self._table.abandon(number), reason, comes_back=None))

    def take_late_exit(self, cell: CellPort) -> Exit | None:
        """The exit signal that came during the start hook of this incarnation, if any."""
        if not self._late:
            return None
        incarnation, reason = self._late.pop(cell.id, (0, LOST_HOST))
        return reason if incarnation == cell.incarnation else None

    # --- effects ------------------------------------------------------------------------------

    def _perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Notify(end, reason, comes_back):
                    self._notify(end, reason, comes_back=comes_back)
                case ReportEnd(end, reason, comes_back):
                    self._send_end(end.there.slot, end.key.other, reason, comes_back=comes_back)
                case DropEnd(end):
                    self._drop([end])

    def _drop(self, ends: Sequence[End]) -> None:
        for end in ends:
            slot, key = end.there.slot, end.key.other
            if slot == self._host.slot:
                self._table.take(key)
            elif end.epoch:
                self._tell(
                    slot,
                    MonitorDropped(slot=key.slot, number=key.number, to_asker=not key.is_asked),
                )

    def _send_end(self, slot: int, key: Key, reason: Exit, *, comes_back: bool | None) -> None:
        if slot == self._host.slot:
            self._perform(self._table.peer_ended(key, reason, comes_back=comes_back))
            return
        report = MonitorEnded(
            slot=key.slot,
            number=key.number,
            to_asker=not key.is_asked,
            kind=reason.kind.value,
            detail=dict(reason.detail),
            comes_back=comes_back,
        )
        try:
            self._tell(slot, report)
        except CallboardError:  # Its detail cannot be encoded; the report must still arrive.
            text = str(reason.detail.get("message", ""))[:DETAIL_CHARS_MAX]
            self._tell(slot, report.model_copy(update={"detail": {"message": text}}))

    def _notify(self, end: End, reason: Exit, *, comes_back: bool | None) -> None:
        if end.role is Role.PARTNER:
            self._notify_exit(end, reason)
            return
        down = Down(
            ref=self._host.ref(end.there),
            kind=reason.kind,
            detail=dict(reason.detail),
            comes_back=comes_back,
        )
        caller = self._callers.pop(end.key.number, None)
        if caller is not None:
            caller(down)
            return
        watch = self._watches.pop(end.key, None)
        if watch is not None:
            watch.settle(down)
        cell = self._host.cells.get(end.here)
        if cell is not None:
            self._host.notices.put(cell, end.key, down)

    def _notify_exit(self, end: End, reason: Exit) -> None:
        """Send an exit signal to a linked actor, in the next loop iteration."""
        cell = self._host.cells.get(end.here)
        if cell is not None:
            self._last_signal += 1
            self._signals[self._last_signal] = (cell, cell.incarnation, end.there, reason)
            self._host.loop.call_soon(self._deliver_exit, self._last_signal)

    def _deliver_exit(self, number: int) -> None:
        signal = self._signals.pop(number, None)
        if signal is None:
            return  # It was unlinked meanwhile, or the host closes.
        cell, incarnation, partner, reason = signal
        if (
            cell.incarnation != incarnation
            or not cell.has_actor
            or cell.lifecycle >= Lifecycle.STOPPING
        ):
            return
        if cell.behaviour.trap_exits:
            notice = Exited(
                ref=self._host.ref(partner), kind=reason.kind, detail=dict(reason.detail)
            )
            self._host.notices.put(cell, ("exit", number), notice)
        elif not reason.is_abnormal:
            return
        elif cell.lifecycle == Lifecycle.RUNNING:
            cell.exit(reason)
        else:
            self._late[cell.id] = (incarnation, reason)
